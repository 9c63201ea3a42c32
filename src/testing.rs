// SPDX-License-Identifier: Apache-2.0
//! Helpers for users' own tests.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::capability::{Exchange, Sharing, TransportCapabilities};
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, PeerError, Result, Retry};
use crate::io::messages::{self, Lines, Settings};
use crate::message::{ControlMessage, Message, Request, RequestContext, Subject};
use crate::stream::{Event, ResponseStream, Source};
use crate::target::TransportId;

/// Two connections that are each other's peer: JSON-RPC in memory, as [`messages`] has it. Must be called within a Tokio
/// runtime.
pub fn rpc_pair() -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    const LIMIT: usize = 16 << 20;
    let (near, far) = tokio::io::duplex(64 << 10);
    let end = |name: &str, stream, settings| {
        let (reader, writer) = tokio::io::split(stream);
        let info = ConnectionInfo::new(TransportId::MEM, name, messages::CLAIMS);
        messages::connection(Lines::new(reader, writer, LIMIT), info, settings)
    };
    (end("server", near, Settings::dialer(LIMIT)), end("client", far, Settings::listener(LIMIT)))
}

/// A [`Connection`] without a peer: it answers by a script and remembers what it was asked.
///
/// A subject that the script names more than once gets its answers in turn, and the last one from then on. One that it does
/// not name is refused, by name, so that a test fails where the surprise is. What is remembered is kept until the mock is
/// dropped.
///
/// ```
/// # use biplane::{Connection, ErrorKind, PeerError, Request, Subject, testing::{MockConnection, Response}};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> biplane::Result<()> {
/// let connection = MockConnection::new([
///     ("greet", Response::item("hello")),
///     ("count", Response::items(["one", "two"]).then_error(PeerError::new(3, "no more"))),
/// ]);
///
/// let hello = connection.request(Request::new(Subject::from_static("greet"), "ann")).await?;
/// assert_eq!(hello.text()?, "hello");
///
/// let mut count = connection.open(Request::new(Subject::from_static("count"), ""))?;
/// assert_eq!(count.next().await.transpose()?.map(|item| item.body), Some("one".into()));
///
/// let error = connection.request(Request::new(Subject::from_static("gret"), "")).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Refused);
///
/// assert_eq!(connection.requests()[0].message.text()?, "ann");
/// # Ok(())
/// # }
/// ```
pub struct MockConnection {
    info: ConnectionInfo,
    state: Arc<Mutex<State>>,
    inbound: Notify,
}

#[derive(Default)]
struct State {
    script: HashMap<String, VecDeque<Response>>,
    requests: Vec<Recorded>,
    notifications: Vec<(Subject, Message)>,
    inbound: VecDeque<Inbound>,
    closed: bool,
}

/// One scripted answer: items, then a clean end or an error.
#[derive(Clone, Debug, Default)]
pub struct Response {
    items: Vec<Message>,
    error: Option<PeerError>,
}

impl Response {
    /// One item.
    pub fn item(item: impl Into<Message>) -> Self {
        Self::items([item])
    }

    /// Items in order, or none.
    pub fn items<M: Into<Message>>(items: impl IntoIterator<Item = M>) -> Self {
        Self { items: items.into_iter().map(Into::into).collect(), error: None }
    }

    /// An error at once.
    pub fn error(error: impl Into<PeerError>) -> Self {
        Self { items: Vec::new(), error: Some(error.into()) }
    }

    /// An error in place of the clean end.
    pub fn then_error(mut self, error: impl Into<PeerError>) -> Self {
        self.error = Some(error.into());
        self
    }

    fn into_stream(self) -> ResponseStream {
        let items = self.items.into_iter().map(|item| Ok(Event::Item(item)));
        let events = items.chain(self.error.map(|error| Err(Error::from(error)))).collect();
        ResponseStream::new(Arc::new(Scripted(Mutex::new(events))), 0)
    }
}

impl<M: Into<Message>> From<M> for Response {
    fn from(item: M) -> Self {
        Self::item(item)
    }
}

/// What was asked of a [`MockConnection`].
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Where to.
    pub subject: Subject,
    /// Id, deadline, trace.
    pub context: RequestContext,
    /// The body, or the first item.
    pub message: Message,
    /// The further items of a streaming request, as far as they have come.
    pub items: Vec<Message>,
}

impl MockConnection {
    /// Answers `responses`, by subject.
    pub fn new<S: Into<String>, R: Into<Response>>(responses: impl IntoIterator<Item = (S, R)>) -> Self {
        let mut state = State::default();
        for (subject, response) in responses {
            state.script.entry(subject.into()).or_default().push_back(response.into());
        }
        let capabilities = TransportCapabilities {
            exchange: Exchange::Duplex,
            sharing: Sharing::Any,
            persistent_connections: true,
            server_push: true,
            ..TransportCapabilities::UNARY
        };
        Self {
            info: ConnectionInfo::new("mock", "a script", capabilities),
            state: Arc::new(Mutex::new(state)),
            inbound: Notify::new(),
        }
    }

    /// Claims `capabilities` in place of all.
    pub fn with_capabilities(mut self, capabilities: TransportCapabilities) -> Self {
        self.info.capabilities = capabilities;
        self
    }

    /// What was asked so far, in order, refused requests included.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.state).requests.clone()
    }

    /// What was notified so far, in order.
    pub fn notifications(&self) -> Vec<(Subject, Message)> {
        lock(&self.state).notifications.clone()
    }

    /// Lets the peer say something unasked: the next [`receive`](Connection::receive) gets it.
    pub fn push_inbound(&self, inbound: Inbound) {
        lock(&self.state).inbound.push_back(inbound);
        self.inbound.notify_one();
    }

    fn check_open(state: &State) -> Result<()> {
        match state.closed {
            true => Err(Error::closed("the mock connection was closed").with_retry(Retry::Safe)),
            false => Ok(()),
        }
    }
}

impl State {
    fn answer(&mut self, subject: &Subject) -> Result<Response> {
        let found = self.script.get_mut(Borrow::<str>::borrow(subject)).and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        found.ok_or_else(|| {
            let mut known: Vec<_> = self.script.keys().map(String::as_str).collect();
            known.sort_unstable();
            Error::refused(format!("no response is scripted for the subject {subject:?}"))
                .with_hint(format!("the script has {known:?}"))
        })
    }
}

#[async_trait]
impl Connection for MockConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// A streaming request is read to its end before it is answered; an error among its items becomes the answer.
    fn open(&self, request: Request) -> Result<ResponseStream> {
        let Request { subject, context, message, items } = request;
        let mut state = lock(&self.state);
        Self::check_open(&state)?;
        let answer = state.answer(&subject);
        let place = state.requests.len();
        state.requests.push(Recorded { subject, context, message, items: Vec::new() });
        let answer = answer?;
        let Some(mut items) = items else { return Ok(answer.into_stream()) };
        let shared = self.state.clone();
        Ok(ResponseStream::deferred(async move {
            while let Some(item) = items.next().await.transpose()? {
                if let Some(recorded) = lock(&shared).requests.get_mut(place) {
                    recorded.items.push(item);
                }
            }
            Ok(answer.into_stream())
        }))
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        let mut state = lock(&self.state);
        Self::check_open(&state)?;
        state.notifications.push((subject.clone(), message));
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(inbound) = state.inbound.pop_front() {
                    return Ok(Some(inbound));
                }
                if state.closed {
                    // Said again to whoever asks again.
                    self.inbound.notify_one();
                    return Ok(None);
                }
            }
            // A notification between the look and the wait is kept for the wait.
            self.inbound.notified().await;
        }
    }

    async fn close(&self, _grace: Duration) -> Result<()> {
        lock(&self.state).closed = true;
        self.inbound.notify_one();
        Ok(())
    }
}

impl fmt::Debug for MockConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        write!(f, "MockConnection({} subjects, {} requests)", state.script.len(), state.requests.len())
    }
}

/// What is left of an answer.
struct Scripted(Mutex<VecDeque<Result<Event>>>);

impl Source for Scripted {
    fn poll_next(&self, _key: u64, _cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        Poll::Ready(lock(&self.0).pop_front())
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        // All of it has been sent long ago, so `Stop` stops nothing; `Kill` does not wait for what was sent.
        if message == ControlMessage::Kill {
            *lock(&self.0) = VecDeque::from([Err(Error::cancelled("the caller said kill"))]);
        }
    }

    fn release(&self, _key: u64) {
        lock(&self.0).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::stream::pipe;

    fn request(subject: &'static str) -> Request {
        Request::new(Subject::from_static(subject), "body")
    }

    #[tokio::test]
    async fn answers_come_in_turn_and_the_last_one_stays() {
        let connection = MockConnection::new([("a", "1"), ("a", "2"), ("b", "3")]);
        let mut seen = Vec::new();
        for subject in ["a", "b", "a", "a"] {
            seen.push(connection.request(request(subject)).await.unwrap().text().unwrap().to_owned());
        }
        assert_eq!(seen, ["1", "3", "2", "2"]);
        let asked: Vec<_> = connection.requests().iter().map(|asked| asked.subject.to_string()).collect();
        assert_eq!(asked, ["a", "b", "a", "a"]);
    }

    #[tokio::test]
    async fn what_is_not_scripted_is_refused_by_name() {
        let connection = MockConnection::new([("known", "")]);
        let error = connection.open(request("unknown")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("unknown") && error.hint().unwrap().contains("known"), "{error}");
        assert_eq!(connection.requests().len(), 1);
    }

    #[tokio::test]
    async fn errors_come_after_the_items() {
        let script = Response::items(["x", "y"]).then_error(PeerError::new(5, "broken"));
        let connection = MockConnection::new([("s", script)]);
        let mut stream = connection.open(request("s")).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), Message::new("x"));
        assert_eq!(stream.next().await.unwrap().unwrap(), Message::new("y"));
        assert_eq!(stream.next().await.unwrap().unwrap_err().peer().unwrap().code, 5);
        assert!(stream.next().await.is_none());

        let mut killed = connection.open(request("s")).unwrap();
        killed.control(ControlMessage::Kill);
        assert_eq!(killed.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[tokio::test]
    async fn the_items_of_a_streaming_request_are_remembered() {
        let connection = MockConnection::new([("sum", "3")]);
        let (sender, items) = pipe(1024, 100);
        sender.send("1").await.unwrap();
        sender.send("2").await.unwrap();
        sender.close();
        let streaming = Request::streaming(Subject::from_static("sum"), "", items);
        assert_eq!(connection.request(streaming).await.unwrap(), Message::new("3"));
        assert_eq!(connection.requests()[0].items, [Message::new("1"), Message::new("2")]);
    }

    #[tokio::test]
    async fn the_peer_speaks_until_the_connection_is_closed() {
        let connection = Arc::new(MockConnection::new([("a", "1")]));
        let waiting = tokio::spawn({
            let connection = connection.clone();
            async move { connection.receive().await.unwrap() }
        });
        tokio::task::yield_now().await;
        connection.push_inbound(Inbound::Notification(Subject::from_static("news"), Message::new("x")));
        assert!(
            matches!(waiting.await.unwrap(), Some(Inbound::Notification(subject, _)) if subject.as_str() == "news")
        );

        connection.notify(&Subject::from_static("seen"), Message::new("y")).await.unwrap();
        assert_eq!(connection.notifications(), [(Subject::from_static("seen"), Message::new("y"))]);

        connection.close(Duration::ZERO).await.unwrap();
        connection.close(Duration::ZERO).await.unwrap();
        assert!(connection.receive().await.unwrap().is_none());
        assert!(connection.receive().await.unwrap().is_none());
        assert_eq!(connection.open(request("a")).unwrap_err().kind(), ErrorKind::Closed);
    }
}
