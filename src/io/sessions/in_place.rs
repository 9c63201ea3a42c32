// SPDX-License-Identifier: Apache-2.0
//! Requests that the other side answers where they come in: whoever writes to the client reads the answer itself, and no
//! task stands between.

use tokio::runtime::Handle;

use super::settings::{CREDIT, SessionSettings};
use crate::connection::{Answerer, Inbound};
use crate::error::Error;
use crate::message::Request;
use crate::stream::{Event, ResponseSender, ResponseStream, pipe};

/// Where the answer to `request` comes from; and what the other side has to receive, if it did not answer in place.
pub(super) fn ask(
    answerer: Option<&dyn Answerer>,
    request: Request,
    settings: &SessionSettings,
) -> (ResponseStream, Option<Inbound>) {
    let request = match answerer {
        Some(answerer) => match answerer.answer(request) {
            Ok(events) => return (events, None),
            Err(request) => *request,
        },
        None => request,
    };
    let (answer, events) = pipe(CREDIT, settings.max_message_size);
    (events, Some(Inbound::Request(request, answer)))
}

/// The same answer, after its reader went away and may come back: from now on a task polls it.
pub(super) fn attended(events: ResponseStream, max_item: usize) -> ResponseStream {
    // Without a runtime everything is about to end.
    let Ok(runtime) = Handle::try_current() else { return events };
    let (answer, attended) = pipe(CREDIT, max_item);
    runtime.spawn(carry(events, answer));
    attended
}

async fn carry(mut from: ResponseStream, to: ResponseSender) {
    loop {
        let event = tokio::select! {
            biased;
            event = from.next_event() => event,
            _ = to.stopped() => return,
        };
        let passed = match event {
            Some(Ok(Event::Item(item))) => {
                return match to.send(item).await {
                    Ok(()) => to.close(),
                    Err(error) => to.fail(error),
                };
            }
            Some(Ok(Event::Inbound(inbound))) => to.send_inbound(inbound).await,
            // As it came: whether the request ran is known already.
            Some(Err(error)) => return to.refuse(error),
            None => return to.refuse(Error::unexpected("the answer ended without a result")),
        };
        if passed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use crate::connection::Answerer;
    use crate::error::Error;
    use crate::io::sessions::tests::{call, host, host_with, open, post, request, text};
    use crate::io::sessions::{RandomIds, SessionSettings};
    use crate::message::{Message, Request};
    use crate::stream::{Event, ResponseStream};

    /// Echoes what is called `echo`, and answers `later` when it is told to.
    #[derive(Default)]
    struct Echo(Mutex<Option<oneshot::Receiver<()>>>);

    impl Answerer for Echo {
        fn answer(&self, request: Request) -> Result<ResponseStream, Box<Request>> {
            match request.subject.as_str() {
                "echo" => Ok(said(request.message)),
                "later" => {
                    let told = self.0.lock().take().unwrap();
                    Ok(ResponseStream::deferred(async {
                        told.await.map_err(|_| Error::closed("nobody tells"))?;
                        Ok(said(request.message))
                    }))
                }
                _ => Err(Box::new(request)),
            }
        }
    }

    fn said(message: Message) -> ResponseStream {
        ResponseStream::from_events(futures_util::stream::iter([Ok(Event::Item(message))]))
    }

    #[tokio::test]
    async fn what_is_answered_in_place_is_not_received() {
        let host = host();
        let (session, server) = open(&host, None).await;
        server.answer_in_place(Arc::new(Echo::default()));
        let mut echoed = post(&host, &session, call("1", "echo", r#"{"x":1}"#)).await;
        let mut other = post(&host, &session, call("2", "other", "{}")).await;
        assert_eq!(text(&mut echoed).await, r#"{"jsonrpc":"2.0","id":1,"result":{"x":1}}"#);
        let (received, reply) = request(&*server).await;
        assert_eq!(received.subject.as_str(), "other");
        reply.send("{}").await.unwrap();
        assert_eq!(text(&mut other).await, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    }

    #[tokio::test]
    async fn an_answer_goes_on_without_its_reader() {
        let host = host();
        let (session, server) = open(&host, None).await;
        let (mut tell, told) = oneshot::channel();
        server.answer_in_place(Arc::new(Echo(Mutex::new(Some(told)))));
        let mut answer = post(&host, &session, call("1", "later", r#"{"y":2}"#)).await;
        let place = answer.prime().unwrap();
        drop(answer);
        assert!(!tell.is_closed(), "the client may come back, so the request goes on");
        tell.send(()).unwrap();
        tokio::task::yield_now().await;
        let mut again = host.listen(&session, None, Some(place)).await.unwrap();
        assert_eq!(text(&mut again).await, r#"{"jsonrpc":"2.0","id":1,"result":{"y":2}}"#);

        let (told_never, told) = oneshot::channel();
        tell = told_never;
        server.answer_in_place(Arc::new(Echo(Mutex::new(Some(told)))));
        drop(post(&host, &session, call("3", "later", "{}")).await);
        let params = Message::new(r#"{"requestId":3}"#);
        let method = crate::message::Subject::from_static("notifications/cancelled");
        let cancel = crate::proto::jsonrpc::Packet::Notification { method, message: params };
        host.post(&session, None, cancel).await.unwrap();
        tell.closed().await;
    }

    #[tokio::test]
    async fn an_item_over_the_limit_is_an_error() {
        let settings = SessionSettings { max_message_size: 40, ..SessionSettings::default() };
        let host = host_with(settings, Arc::new(RandomIds));
        let (session, server) = open(&host, None).await;
        server.answer_in_place(Arc::new(Echo::default()));
        let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(40));
        let mut answer = post(&host, &session, call("1", "echo", &long)).await;
        assert!(matches!(answer.next().await.unwrap().response, Some(Some(_))));
    }

    #[tokio::test]
    async fn a_session_that_is_over_lets_go_of_who_answered() {
        let host = host();
        let (session, server) = open(&host, None).await;
        let answerer = Arc::new(Echo::default());
        let held = Arc::downgrade(&answerer);
        server.answer_in_place(answerer);
        host.delete(&session, None).await.unwrap();
        assert!(held.upgrade().is_none());
        let late = Arc::new(Echo::default());
        let held = Arc::downgrade(&late);
        server.answer_in_place(late);
        assert!(held.upgrade().is_none());
    }
}
