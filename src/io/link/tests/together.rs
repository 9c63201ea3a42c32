// SPDX-License-Identifier: Apache-2.0
//! Items that a handler sends in one poll go to the link together, and nothing else changes by that.

use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::task::Poll;

use parking_lot::Mutex;

use super::*;
use crate::connection::Inbound;
use crate::dispatch::{Dispatch, DispatchLimits, Turn};
use crate::error::Result;
use crate::io::link::Service;
use crate::message::{ControlMessage, Message};
use crate::plane::{Handler, ResponsePlane, ResponsePlanes, handler_fn};
use crate::stream::{Event, ResponseSender};

struct NoPlanes;

impl ResponsePlanes for NoPlanes {
    fn response_plane(&self, _: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        Err(Error::unsupported("answers come back inline"))
    }
}

struct Serves(Dispatch);

impl Service for Serves {
    fn is_supervised(&self) -> bool {
        true
    }

    fn request(&self, _: &Arc<MuxLink>, turn: &mut Turn, request: Request, _: ReplyTo, reply: ResponseSender) {
        self.0.launch_in(turn, request, reply);
    }
}

/// Asks `handler` over a link whose streams have `window` bytes of credit.
async fn answer_of(handler: impl Handler, window: u32) -> ResponseStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialed = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0;
    let prologue = Prologue { stream_window: window, link_window: 1 << 20, max_frame: 1 << 20, max_streams: 64 };
    let link = |io: TcpStream, role, service: Arc<dyn Service>| {
        let mux = Mux::new(role, prologue, prologue, LIMITS, Instant::now());
        let link = Arc::new(MuxLink::new(TransportId::TCP, "test".to_owned(), mux, service, 64));
        tokio::spawn(Driver::new(Box::new(io), link.clone(), Duration::from_secs(30), BytesMut::new()));
        link
    };
    let dispatch = Dispatch::new(handler, Arc::new(NoPlanes), DispatchLimits::default());
    link(accepted, Role::Acceptor, Arc::new(Serves(dispatch)));
    ask(&link(dialed, Role::Dialer, Arc::new(NoService)), "x")
}

/// The events of an answer as texts, and how it ended.
async fn events(mut answer: ResponseStream) -> (Vec<String>, Option<ErrorKind>) {
    let mut seen = Vec::new();
    while let Some(event) = answer.next_event().await {
        match event {
            Ok(Event::Item(item)) => seen.push(item.text().unwrap().to_owned()),
            Ok(Event::Inbound(Inbound::Notification(subject, _))) => seen.push(format!("<{subject}>")),
            Ok(Event::Inbound(Inbound::Request(..))) => seen.push("a question".to_owned()),
            Err(error) => return (seen, Some(error.kind())),
        }
    }
    (seen, None)
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|item| item.to_string()).collect()
}

fn is_ready<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

async fn send(reply: &ResponseSender, items: std::ops::Range<usize>) -> Result<()> {
    for item in items {
        reply.send(item.to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn whatever_is_sent_in_one_poll_comes_in_order() {
    let note = || Inbound::Notification(Subject::from_static("note"), Message::new("n"));
    let handler = handler_fn(move |_, reply: ResponseSender| async move {
        send(&reply, 0..3).await?;
        reply.send_inbound(note()).await?;
        reply.send("x".repeat(2000)).await?;
        send(&reply, 0..4).await?;
        reply.send(Message::new("headed").with_header("name", "value")).await?;
        reply.send("y".repeat(8000)).await?;
        reply.send_inbound(note()).await?;
        send(&reply, 0..2).await?;
        reply.send_control(ControlMessage::Stop)?;
        send(&reply, 2..3).await?;
        reply.close();
        Ok(())
    });
    let (seen, error) = events(answer_of(handler, 64 << 10).await).await;
    let (long, longer) = ("x".repeat(2000), "y".repeat(8000));
    let wanted = ["0", "1", "2", "<note>", &long, "0", "1", "2", "3", "headed", &longer, "<note>", "0", "1", "2"]
        .map(str::to_owned);
    assert_eq!((seen, error), (wanted.to_vec(), None));
}

#[tokio::test]
async fn a_handler_waits_where_its_credit_ends() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let handler = handler_fn(move |_, reply: ResponseSender| {
        let count = count.clone();
        async move {
            for item in 0..2000 {
                reply.send(item.to_string()).await?;
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
    });
    let mut answer = answer_of(handler, 8192).await;
    assert_eq!(answer.next().await.unwrap().unwrap().text().unwrap(), "0");
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    // Ten bytes an item. The reader has taken what came first at once, whose credit came back.
    assert!(sent.load(Ordering::SeqCst) < 1999, "{sent:?} of 2000 items, and nobody reads");
    let (seen, error) = events(answer).await;
    assert_eq!((seen, error), (texts(2000).split_off(1), None));
}

#[tokio::test]
async fn items_before_an_error_or_a_panic_arrive() {
    for panics in [false, true] {
        let handler = handler_fn(move |_, reply: ResponseSender| async move {
            send(&reply, 0..5).await?;
            assert!(!panics, "as the test wants it");
            Err(Error::refused("no"))
        });
        let wanted = if panics { ErrorKind::Unexpected } else { ErrorKind::Refused };
        assert_eq!(events(answer_of(handler, 64 << 10).await).await, (texts(5), Some(wanted)));
    }
}

#[tokio::test]
async fn each_poll_of_a_handler_sends_what_it_has() {
    let handler = handler_fn(|_, reply: ResponseSender| async move {
        for round in 0..10 {
            send(&reply, round * 5..(round + 1) * 5).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    });
    assert_eq!(events(answer_of(handler, 64 << 10).await).await, (texts(50), None));
}

#[tokio::test]
async fn what_was_collected_before_a_wait_arrives_during_it() {
    let handler = handler_fn(|_, reply: ResponseSender| async move {
        send(&reply, 0..5).await?;
        reply.flush().await?;
        send(&reply, 5..8).await?;
        assert_eq!(reply.stopped().await, ControlMessage::Stop);
        send(&reply, 8..10).await
    });
    let mut answer = answer_of(handler, 64 << 10).await;
    for item in 0..8 {
        assert_eq!(answer.next().await.unwrap().unwrap().text().unwrap(), item.to_string());
    }
    answer.control(ControlMessage::Stop);
    assert_eq!(events(answer).await, (vec!["8".to_owned(), "9".to_owned()], None));
}

#[tokio::test]
async fn a_sender_on_another_thread_comes_after_the_poll() {
    let thread = Arc::new(Mutex::new(None));
    let put = thread.clone();
    let handler = handler_fn(move |_, reply: ResponseSender| {
        let put = put.clone();
        async move {
            send(&reply, 0..3).await?;
            let (waits, waiting) = mpsc::channel();
            *put.lock() = Some(std::thread::spawn(move || {
                let mut sending = Box::pin(send(&reply, 3..6));
                let mut flushing = Box::pin(reply.flush());
                assert!(!is_ready(&mut flushing) && !is_ready(&mut sending));
                waits.send(()).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(sending).unwrap();
                runtime.block_on(flushing).unwrap();
                reply.close();
            }));
            waiting.recv().unwrap();
            Ok(())
        }
    });
    assert_eq!(events(answer_of(handler, 64 << 10).await).await, (texts(6), None));
    thread.lock().take().unwrap().join().unwrap();
}

#[tokio::test]
async fn an_end_on_another_thread_comes_after_what_was_collected() {
    for count in 0..4 {
        let handler = handler_fn(move |_, reply: ResponseSender| async move {
            send(&reply, 0..count).await?;
            std::thread::spawn(move || reply.fail(Error::refused("no"))).join().unwrap();
            Ok(())
        });
        assert_eq!(events(answer_of(handler, 64 << 10).await).await, (texts(count), Some(ErrorKind::Refused)));
    }
}

#[tokio::test]
async fn a_handler_within_another_has_its_own() {
    let inner = Arc::new(Mutex::new(None));
    let put = inner.clone();
    let outer = handler_fn(move |request: Request, reply: ResponseSender| {
        let put = put.clone();
        async move {
            send(&reply, 0..3).await?;
            let nested = handler_fn(|_, reply: ResponseSender| async move { send(&reply, 0..4).await });
            let (sender, answer) = crate::stream::pipe(1024, 1024);
            Dispatch::new(nested, Arc::new(NoPlanes), DispatchLimits::default()).launch(request, sender);
            *put.lock() = Some(answer);
            send(&reply, 3..6).await
        }
    });
    assert_eq!(events(answer_of(outer, 64 << 10).await).await, (texts(6), None));
    let inner = inner.lock().take().unwrap();
    assert_eq!(events(inner).await, (texts(4), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_in_the_midst_of_a_poll_ends_the_handler() {
    let (begun, has_begun) = mpsc::channel();
    let (told, outcome) = mpsc::channel();
    let handler = handler_fn(move |_, reply: ResponseSender| {
        let (begun, told) = (begun.clone(), told.clone());
        async move {
            tokio::task::yield_now().await;
            send(&reply, 0..3).await?;
            begun.send(()).unwrap();
            // Still in this poll, but what else this thread has to do is another's meanwhile.
            tokio::task::block_in_place(|| {
                while !is_ready(&mut Box::pin(reply.stopped())) {
                    std::thread::yield_now();
                }
            });
            // What there is room for finds the stream over when it goes out. Nothing of this loop waits.
            let error = loop {
                if let Err(error) = reply.send("more").await {
                    break error;
                }
            };
            told.send(error.kind()).unwrap();
            poll_fn(|_| Poll::<()>::Pending).await;
            Ok(())
        }
    });
    let answer = answer_of(handler, 1 << 20).await;
    has_begun.recv().unwrap();
    drop(answer);
    assert_eq!(outcome.recv().unwrap(), ErrorKind::Cancelled);
}
