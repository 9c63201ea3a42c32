// SPDX-License-Identifier: Apache-2.0
//! Who writes: the caller that is alone, or the driver.

use std::future::Future;
use std::io::{ErrorKind as Io, Read};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use ::bytes::{Bytes, BytesMut};
use tokio::net::{TcpListener, TcpStream};

use super::{MuxLink, NoService};
use crate::error::{Error, ErrorKind};
use crate::io::BoxedBytes;
use crate::io::driver::Driver;
use crate::message::{Request, Subject};
use crate::plane::ReplyTo;
use crate::proto::mux::{Incoming, Limits, Mux, Role};
use crate::proto::prologue::Prologue;
use crate::stream::{ResponseStream, Unended};
use crate::target::TransportId;

mod together;

const LIMITS: Limits = Limits {
    max_message: 64 << 20,
    heartbeat_interval: Duration::from_secs(30),
    silence_limit: Duration::from_secs(60),
};

const WIDE: Prologue = Prologue { stream_window: 64 << 20, link_window: 64 << 20, max_frame: 1 << 20, max_streams: 64 };

fn mux(role: Role) -> Mux {
    Mux::new(role, WIDE, WIDE, LIMITS, Instant::now())
}

/// A link over `io` whose driver has had its first turns and sleeps.
async fn link(io: BoxedBytes) -> Arc<MuxLink> {
    let link = Arc::new(MuxLink::new(TransportId::TCP, "test".to_owned(), mux(Role::Dialer), Arc::new(NoService), 64));
    tokio::spawn(Driver::new(io, link.clone(), Duration::from_secs(30), BytesMut::new()));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    link
}

/// A link over TCP, and the peer's socket, which never blocks.
async fn over_tcp() -> (Arc<MuxLink>, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let peer = listener.accept().await.unwrap().0.into_std().unwrap();
    (link(Box::new(ours)).await, peer)
}

fn ask(link: &Arc<MuxLink>, body: impl Into<Bytes>) -> ResponseStream {
    link.open(Request::new(Subject::from_static("echo"), body.into()), ReplyTo::Inline, None, Instant::now).unwrap()
}

/// What has arrived at `peer` by now.
fn arrived(peer: &mut std::net::TcpStream) -> BytesMut {
    let (mut all, mut some) = (BytesMut::new(), [0; 4096]);
    loop {
        match peer.read(&mut some) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&some[..count]),
            Err(error) if error.kind() == Io::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

fn requests(acceptor: &mut Mux, input: &mut BytesMut) -> Vec<Bytes> {
    acceptor.feed(input, Instant::now()).unwrap();
    std::iter::from_fn(|| match acceptor.next_incoming() {
        Some(Incoming::Request(request)) => {
            acceptor.release_writer(request.key, Unended::Close);
            Some(request.message.body)
        }
        _ => None,
    })
    .collect()
}

#[tokio::test]
async fn a_request_that_is_alone_is_written_before_anybody_else_runs() {
    let (link, mut peer) = over_tcp().await;
    let first = ask(&link, "one");
    let mut acceptor = mux(Role::Acceptor);
    assert_eq!(requests(&mut acceptor, &mut arrived(&mut peer)), ["one"]);
    let second = ask(&link, "two");
    let third = ask(&link, "three");
    assert!(arrived(&mut peer).is_empty(), "others may have something to add: theirs is the driver's to write");
    let mut input = BytesMut::new();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        tokio::task::yield_now().await;
        input.unsplit(arrived(&mut peer));
        seen.extend(requests(&mut acceptor, &mut input));
    }
    assert_eq!(seen, ["two", "three"]);
    drop((first, second, third));
}

#[tokio::test]
async fn an_answer_that_is_alone_is_written_when_it_is_over() {
    let (link, mut peer) = over_tcp().await;
    let mut sender = link.open_call_home([7; 16], None).unwrap();
    let supervisor = sender.supervise();
    sender.send("item").await.unwrap();
    drop(sender);
    assert!(arrived(&mut peer).is_empty(), "its handler still runs");
    supervisor.settle(Ok(()));
    let mut acceptor = mux(Role::Acceptor);
    acceptor.feed(&mut arrived(&mut peer), Instant::now()).unwrap();
    assert!(matches!(acceptor.next_incoming(), Some(Incoming::CallHome { token, .. }) if token == [7; 16]));
}

#[tokio::test]
async fn who_waits_for_a_flush_is_woken_though_the_answer_ended_meanwhile() {
    let (link, _peer) = over_tcp().await;
    let mut sender = link.open_call_home([7; 16], None).unwrap();
    let supervisor = sender.supervise();
    sender.send("item").await.unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut flushing = pin!(sender.flush());
    assert!(flushing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(supervisor);
    while !woken.0.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    flushing.await.unwrap();
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_left_to_the_driver_in_order() {
    let (link, mut peer) = over_tcp().await;
    let body = Bytes::from((0..16_u32 << 20).map(|at| (at / 1000) as u8).collect::<Vec<_>>());
    let large = ask(&link, body.clone());
    let small = ask(&link, "behind");
    let mut acceptor = mux(Role::Acceptor);
    let mut input = BytesMut::new();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        tokio::task::yield_now().await;
        input.extend_from_slice(&arrived(&mut peer));
        seen.extend(requests(&mut acceptor, &mut input));
    }
    // Parts of the large one let the small one pass, but no byte is lost or doubled.
    seen.sort_by_key(Bytes::len);
    assert!(seen[0] == "behind" && seen[1] == body);
    drop((large, small));
}

#[tokio::test]
async fn a_socket_that_broke_fails_the_request_and_the_link() {
    let (link, peer) = over_tcp().await;
    drop(peer);
    let mut stream = ask(&link, "x");
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    link.closed().await;
}

#[tokio::test]
async fn the_socket_is_closed_with_the_driver_though_the_link_is_held() {
    let (link, mut peer) = over_tcp().await;
    link.abort(Error::closed("enough"));
    link.closed().await;
    let mut some = [0; 256];
    loop {
        match peer.read(&mut some) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == Io::WouldBlock => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_no_plain_socket_is_written_by_its_driver() {
    use tokio::io::AsyncReadExt;
    let (ours, mut peer) = tokio::io::duplex(1 << 16);
    let link = link(Box::new(ours)).await;
    let stream = ask(&link, "one");
    let mut input = BytesMut::new();
    peer.read_buf(&mut input).await.unwrap();
    assert_eq!(requests(&mut mux(Role::Acceptor), &mut input), ["one"]);
    drop(stream);
}
