// SPDX-License-Identifier: Apache-2.0
//! How an answer ends whose handler was polled in place.

use parking_lot::Mutex;

use super::*;
use crate::error::ErrorKind;
use crate::message::Subject;
use crate::plane::{ResponsePlane, handler_fn};
use crate::stream::ResponseStream;
use crate::target::TransportId;

struct NoPlanes;

impl ResponsePlanes for NoPlanes {
    fn response_plane(&self, _: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        Err(Error::unsupported("answers come back inline"))
    }
}

fn launch(handler: impl Handler) -> ResponseStream {
    let (reply, answer) = pipe(1024, 1024);
    Dispatch::new(handler, Arc::new(NoPlanes), DispatchLimits::default())
        .launch(Request::new(Subject::from_static("s"), "body"), reply);
    answer
}

/// The items of an answer, and the kind of the error that it ends with.
async fn read(mut answer: ResponseStream) -> (usize, Option<ErrorKind>) {
    let mut items = 0;
    while let Some(item) = answer.next().await {
        match item {
            Ok(_) => items += 1,
            Err(error) => return (items, Some(error.kind())),
        }
    }
    (items, None)
}

#[tokio::test]
async fn a_handler_that_is_done_with_its_sender_ends_as_it_returns() {
    let good = handler_fn(|request: Request, reply: ResponseSender| async move { reply.send(request.message).await });
    assert_eq!(read(launch(good)).await, (1, None));
    let bad = handler_fn(|request: Request, reply: ResponseSender| async move {
        reply.send(request.message).await?;
        drop(reply);
        Err(Error::refused("no"))
    });
    assert_eq!(read(launch(bad)).await, (1, Some(ErrorKind::Refused)));
}

#[tokio::test]
async fn one_that_waits_after_it_dropped_its_sender_ends_as_it_returns() {
    for (fails, outcome) in [(false, None), (true, Some(ErrorKind::Refused))] {
        let handler = handler_fn(move |request: Request, reply: ResponseSender| async move {
            reply.send(request.message).await?;
            drop(reply);
            tokio::task::yield_now().await;
            if fails { Err(Error::refused("no")) } else { Ok(()) }
        });
        assert_eq!(read(launch(handler)).await, (1, outcome));
    }
}

#[tokio::test]
async fn a_sender_that_outlives_its_handler_decides() {
    let kept = Arc::new(Mutex::new(None));
    let keep = kept.clone();
    let answer = launch(handler_fn(move |_: Request, reply: ResponseSender| {
        *keep.lock() = Some(reply);
        async { Ok(()) }
    }));
    let reply = kept.lock().take().unwrap();
    reply.send("late").await.unwrap();
    reply.close();
    assert_eq!(read(answer).await, (1, None));
}

#[tokio::test]
async fn a_sender_dropped_by_another_thread_is_let_go_of_there() {
    let handler = handler_fn(|_: Request, reply: ResponseSender| async move {
        std::thread::spawn(move || drop(reply)).join().unwrap();
        Ok(())
    });
    assert_eq!(read(launch(handler)).await, (0, None));
}

#[tokio::test]
async fn one_handler_in_the_place_of_another_ends_its_own_answer() {
    let inner = Arc::new(Mutex::new(None));
    let put = inner.clone();
    let outer = launch(handler_fn(move |request: Request, reply: ResponseSender| {
        let put = put.clone();
        async move {
            let nested =
                handler_fn(|request: Request, reply: ResponseSender| async move { reply.send(request.message).await });
            *put.lock() = Some(launch(nested));
            reply.send(request.message).await
        }
    }));
    assert_eq!(read(outer).await, (1, None));
    let inner = inner.lock().take().unwrap();
    assert_eq!(read(inner).await, (1, None));
}
