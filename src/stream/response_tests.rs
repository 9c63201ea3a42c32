// SPDX-License-Identifier: Apache-2.0
//! What a stream asks of its overseer, and when.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use super::super::{Overseer, ResponseSender, pipe};
use super::ResponseStream;
use crate::error::{Error, ErrorKind, Result};
use crate::message::ControlMessage;

#[derive(Debug, PartialEq)]
enum Asked {
    Came,
    Failed,
    Ended,
}

/// Has further streams, and one more for each failure as long as there are any.
struct Fake {
    asked: Arc<Mutex<Vec<Asked>>>,
    further: Vec<ResponseStream>,
    is_looking: bool,
}

impl Overseer for Fake {
    fn came(&mut self) {
        self.asked.lock().push(Asked::Came);
    }

    fn poll_pending(&mut self, _seen: u64, _cx: &mut Context<'_>) -> Poll<Result<ResponseStream>> {
        if !std::mem::take(&mut self.is_looking) {
            return Poll::Pending;
        }
        Poll::Ready(self.further.pop().ok_or_else(|| Error::unexpected("nobody is left")))
    }

    fn failed(&mut self, error: Error) -> Option<Error> {
        self.asked.lock().push(Asked::Failed);
        self.is_looking = !self.further.is_empty();
        if self.is_looking { None } else { Some(error) }
    }

    fn ended(self: Box<Self>, _at: Option<Instant>) {
        self.asked.lock().push(Asked::Ended);
    }
}

/// A stream read on behalf of an overseer that has one more, with the senders of both.
fn overseen() -> (ResponseStream, [ResponseSender; 2], Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::default();
    let ((first, mut stream), (second, further)) = (pipe(1024, 1024), pipe(1024, 1024));
    stream.oversee(Box::new(Fake { asked: Arc::clone(&asked), further: vec![further], is_looking: false }));
    (stream, [first, second], asked)
}

#[tokio::test]
async fn an_overseer_is_asked_at_the_first_item_and_at_the_end() {
    let (mut stream, [first, _second], asked) = overseen();
    for _ in 0..3 {
        first.send("x").await.unwrap();
        stream.next().await.unwrap().unwrap();
    }
    first.close();
    assert!(stream.next().await.is_none());
    assert_eq!(*asked.lock(), [Asked::Came, Asked::Ended]);
}

#[tokio::test]
async fn a_failed_stream_gives_way_to_the_overseers_next() {
    let (mut stream, [first, second], asked) = overseen();
    first.fail(Error::refused("not here"));
    second.send("x").await.unwrap();
    assert_eq!(&stream.next().await.unwrap().unwrap().body[..], b"x");
    second.fail(Error::refused("nor here"));
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Refused);
    assert!(stream.next().await.is_none());
    assert_eq!(*asked.lock(), [Asked::Failed, Asked::Came, Asked::Failed]);
}

#[tokio::test]
async fn what_is_said_before_there_is_a_stream_is_said_to_the_one_that_comes() {
    let (sender, further) = pipe(1024, 1024);
    let mut stream = ResponseStream::found_by(Box::new(Fake {
        asked: Arc::default(),
        further: vec![ResponseStream::deferred(async { Ok(further) })],
        is_looking: true,
    }));
    stream.control(ControlMessage::Stop);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(stream.poll_item(&mut cx).is_pending());
    assert_eq!(sender.stopped().await, ControlMessage::Stop);
    drop(stream);
    poll_fn(|cx| sender.poll_ready(cx)).await.unwrap_err();
}

#[tokio::test]
async fn a_stream_that_others_oversee_or_have_begun_to_read_keeps_what_it_has() {
    let (mut stream, [first, _second], asked) = overseen();
    let above = Arc::default();
    stream.oversee(Box::new(Fake { asked: Arc::clone(&above), further: Vec::new(), is_looking: false }));
    first.send("x").await.unwrap();
    first.close();
    assert_eq!(&stream.next().await.unwrap().unwrap().body[..], b"x");
    assert!(stream.next().await.is_none());
    assert_eq!(*asked.lock(), [Asked::Came, Asked::Ended]);
    assert_eq!(*above.lock(), [Asked::Came, Asked::Ended]);
}
