// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::capability::TransportCapabilities;
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{ErrorKind, PeerError};
use crate::io::Principal;
use crate::io::messages::PRINCIPAL;
use crate::message::{ControlMessage, Message, Request, SessionId, Subject};
use crate::proto::json;
use crate::proto::jsonrpc::{Id, Packet};
use crate::stream::{Event, ResponseSender};

pub(super) fn host_with(settings: SessionSettings, ids: Arc<dyn SessionIds>) -> Sessions {
    Sessions::new(ConnectionInfo::new("http", "test", TransportCapabilities::UNARY), settings, ids)
}

pub(super) fn host() -> Sessions {
    host_with(SessionSettings::default(), Arc::new(RandomIds))
}

fn packet(text: &str) -> Packet {
    Packet::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

pub(super) fn call(id: &str, method: &str, params: &str) -> Packet {
    packet(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#))
}

fn answer(posted: Posted) -> Answer {
    match posted {
        Posted::Answer(answer) => answer,
        Posted::Accepted => panic!("no answer"),
    }
}

pub(super) async fn text(answer: &mut Answer) -> String {
    String::from_utf8(answer.next().await.unwrap().text.to_vec()).unwrap()
}

pub(super) async fn request(connection: &dyn Connection) -> (Request, ResponseSender) {
    match connection.receive().await.unwrap().unwrap() {
        Inbound::Request(request, reply) => (request, reply),
        Inbound::Notification(method, _) => panic!("a notification {method}"),
    }
}

/// A session with its client's name and the other side's connection.
pub(super) async fn open(host: &Sessions, principal: Option<&Principal>) -> (SessionId, Arc<dyn Connection>) {
    let mut answer = host.initialize(principal, Id::number(0), Message::new("{}")).unwrap();
    let connection = loop {
        let connection = host.accept().await.unwrap();
        if connection.session_id().is_some() {
            break connection;
        }
    };
    let (initialize, reply) = request(&*connection).await;
    assert_eq!(initialize.subject.as_str(), "initialize");
    reply.send(r#"{"protocolVersion":"2025-11-25"}"#).await.unwrap();
    reply.close();
    assert_eq!(text(&mut answer).await, r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}"#);
    assert!(answer.next().await.is_none());
    assert_eq!(answer.revision(), Some("2025-11-25"));
    (answer.session().unwrap().clone(), connection)
}

pub(super) async fn post(host: &Sessions, session: &SessionId, packet: Packet) -> Answer {
    answer(host.post(session, None, packet).await.unwrap())
}

#[tokio::test]
async fn a_request_is_answered_with_what_belongs_to_it() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answer = post(&host, &session, call(r#""a""#, "tools/call", r#"{"x":1}"#)).await;
    let (request, reply) = request(&*server).await;
    assert_eq!((request.subject.as_str(), &request.message.body[..]), ("tools/call", &br#"{"x":1}"#[..]));
    let told = Inbound::Notification(Subject::from_static("notifications/progress"), Message::new(r#"{"p":1}"#));
    reply.send_inbound(told).await.unwrap();
    reply.send("{}").await.unwrap();
    let first = answer.next().await.unwrap();
    assert_eq!(first.text, r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"p":1}}"#);
    assert_eq!(first.response, None);
    let last = answer.next().await.unwrap();
    assert_eq!((&last.text[..], last.response), (&br#"{"jsonrpc":"2.0","id":"a","result":{}}"#[..], Some(None)));
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn a_failed_handshake_opens_no_session() {
    let host = host();
    let mut answer = host.initialize(None, Id::number(0), Message::new("{}")).unwrap();
    assert!(answer.opened().is_some(), "it is under way");
    let _stateless = host.accept().await.unwrap();
    let server = host.accept().await.unwrap();
    request(&*server).await.1.fail(PeerError::new(-32602, "no"));
    assert_eq!(answer.next().await.unwrap().response, Some(Some(-32602)));
    assert_eq!((answer.opened(), host.len()), (None, 0));
}

#[tokio::test]
async fn equal_ids_at_once_get_their_own_answers() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answers = Vec::new();
    for n in 0..8 {
        answers.push(post(&host, &session, call("1", "echo", &format!(r#"{{"n":{n}}}"#))).await);
    }
    let mut replies = Vec::new();
    for _ in 0..8 {
        replies.push(request(&*server).await);
    }
    for (request, reply) in replies.into_iter().rev() {
        reply.send(request.message.body).await.unwrap();
        reply.close();
    }
    for (n, mut answer) in answers.into_iter().enumerate() {
        assert_eq!(text(&mut answer).await, format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"n":{n}}}}}"#));
    }
}

#[tokio::test]
async fn an_error_is_passed_on_with_its_code_and_data() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answer = post(&host, &session, call("1", "x", "{}")).await;
    request(&*server).await.1.fail(PeerError::new(-32602, "bad").with_data("[1]"));
    let outgoing = answer.next().await.unwrap();
    assert_eq!(outgoing.response, Some(Some(-32602)));
    assert_eq!(json::get(&outgoing.text, &["error", "data"]).unwrap(), "[1]");
}

#[tokio::test]
async fn a_question_on_a_request_s_stream_is_answered_by_a_post() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answer = post(&host, &session, call("1", "tools/call", "{}")).await;
    let (_, reply) = request(&*server).await;
    let (asked, mut said) = crate::stream::pipe(1000, 1000);
    let params = r#"{"_meta":{"progressToken":"mine"}}"#;
    let question = Request::new(Subject::from_static("sampling/createMessage"), params);
    reply.send_inbound(Inbound::Request(question, asked)).await.unwrap();
    let question = answer.next().await.unwrap().text;
    let id = json::get(&question, &["id"]).unwrap();
    assert_eq!(json::get(&question, &["params", "_meta", "progressToken"]).unwrap(), id);

    let id = std::str::from_utf8(&id).unwrap();
    let progress =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id}}}}}"#);
    assert!(matches!(host.post(&session, None, packet(&progress)).await, Ok(Posted::Accepted)));
    let response = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"role":"user"}}}}"#);
    assert!(matches!(host.post(&session, None, packet(&response)).await, Ok(Posted::Accepted)));
    match said.next_event().await.unwrap().unwrap() {
        Event::Inbound(Inbound::Notification(_, told)) => assert_eq!(told.body, r#"{"progressToken":"mine"}"#),
        other => panic!("{other:?}"),
    }
    assert_eq!(said.next().await.unwrap().unwrap().body, r#"{"role":"user"}"#);
    assert!(said.next().await.is_none());
    // A second answer to the same question has nobody to go to.
    assert!(matches!(host.post(&session, None, packet(&response)).await, Ok(Posted::Accepted)));
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_is_taken_back() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answer = post(&host, &session, call("1", "tools/call", "{}")).await;
    let (_, reply) = request(&*server).await;
    let (asked, said) = crate::stream::pipe(1000, 1000);
    let question = Request::new(Subject::from_static("elicitation/create"), "{}");
    reply.send_inbound(Inbound::Request(question, asked)).await.unwrap();
    let id = json::get(&answer.next().await.unwrap().text, &["id"]).unwrap();
    drop(said);
    let taken_back = answer.next().await.unwrap().text;
    assert_eq!(json::get(&taken_back, &["method"]).unwrap(), r#""notifications/cancelled""#);
    assert_eq!(json::get(&taken_back, &["params", "requestId"]).unwrap(), id);
}

#[tokio::test]
async fn a_cancellation_stops_the_request_and_never_surfaces() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answer = post(&host, &session, call("7", "slow", "{}")).await;
    let (_, reply) = request(&*server).await;
    let cancel = packet(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
    host.post(&session, None, cancel).await.unwrap();
    assert_eq!(reply.stopped().await, ControlMessage::Kill);
    assert!(answer.next().await.is_none());
    host.post(&session, None, packet(r#"{"jsonrpc":"2.0","method":"later"}"#)).await.unwrap();
    assert!(matches!(server.receive().await, Ok(Some(Inbound::Notification(method, _))) if method.as_str() == "later"));
}

#[tokio::test]
async fn what_is_unasked_goes_to_one_stream() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let told = |n: u32| Message::new(format!(r#"{{"n":{n}}}"#));
    let method = Subject::from_static("notifications/message");
    server.notify(&method, told(1)).await.unwrap();
    let mut first = host.listen(&session, None, None).await.unwrap();
    assert!(text(&mut first).await.contains(r#"{"n":1}"#));
    let mut second = host.listen(&session, None, None).await.unwrap();
    server.notify(&method, told(2)).await.unwrap();
    assert!(text(&mut second).await.contains(r#"{"n":2}"#));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(first.poll_next(&mut cx).is_pending());
    drop(second);
    server.notify(&method, told(3)).await.unwrap();
    assert!(text(&mut first).await.contains(r#"{"n":3}"#));

    let mut roots = server.open(Request::new(Subject::from_static("roots/list"), "")).unwrap();
    let asked = first.next().await.unwrap().text;
    let id = String::from_utf8(json::get(&asked, &["id"]).unwrap().to_vec()).unwrap();
    let response = packet(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"no"}}}}"#));
    host.post(&session, None, response).await.unwrap();
    assert_eq!(roots.next().await.unwrap().unwrap_err().peer().unwrap().code, -1);
}

#[tokio::test]
async fn a_queue_that_nobody_reads_is_bounded() {
    let host = host_with(SessionSettings { max_queued: 2, ..Default::default() }, Arc::new(RandomIds));
    let (session, server) = open(&host, None).await;
    let method = Subject::from_static("notifications/message");
    for _ in 0..2 {
        server.notify(&method, Message::default()).await.unwrap();
    }
    assert_eq!(server.notify(&method, Message::default()).await.unwrap_err().kind(), ErrorKind::Overloaded);
    let mut stream = host.listen(&session, None, None).await.unwrap();
    // With a reader the third waits for room.
    let (sent, _) = tokio::join!(server.notify(&method, Message::default()), stream.next());
    sent.unwrap();
}

#[tokio::test]
async fn a_reader_who_comes_back_gets_what_it_missed_and_nothing_twice() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answer = post(&host, &session, call("1", "tools/call", "{}")).await;
    let (_, reply) = request(&*server).await;
    let tell = async |n: u32| {
        let message = Message::new(format!(r#"{{"n":{n}}}"#));
        reply.send_inbound(Inbound::Notification(Subject::from_static("n"), message)).await.unwrap();
    };
    tell(1).await;
    tell(2).await;
    let first = answer.next().await.unwrap();
    answer.next().await.unwrap();
    drop(answer);
    tell(3).await;
    let mut rest = host.listen(&session, None, first.id).await.unwrap();
    assert!(text(&mut rest).await.contains(r#"{"n":2}"#));
    assert!(text(&mut rest).await.contains(r#"{"n":3}"#));
    // Nobody noticed that this reader is gone: the next one takes its place.
    let mut other = host.listen(&session, None, first.id).await.unwrap();
    assert!(rest.next().await.is_none());
    drop(rest);
    reply.send("{}").await.unwrap();
    for part in [r#"{"n":2}"#, r#"{"n":3}"#, r#""result""#] {
        assert!(text(&mut other).await.contains(part));
    }
    let end = other.next().await;
    assert!(end.is_none());
    drop(other);
    // The end may have been lost on the way.
    let mut last = host.listen(&session, None, Some(EventId { at: 3, ..first.id.unwrap() })).await.unwrap();
    assert!(text(&mut last).await.contains(r#""result""#));
}

#[tokio::test]
async fn dropping_an_answer_is_no_cancel_in_a_session_and_one_without() {
    let host = host();
    let (session, server) = open(&host, None).await;
    drop(post(&host, &session, call("1", "slow", "{}")).await);
    let (_, reply) = request(&*server).await;
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(reply.stopped()).as_mut().poll(&mut cx).is_pending());
    reply.send("{}").await.unwrap();

    let host = self::host();
    let stateless = host.accept().await.unwrap();
    assert_eq!(stateless.session_id(), None);
    let answered = answer(host.post_stateless(None, call("1", "slow", "{}")).unwrap());
    let (_, reply) = request(&*stateless).await;
    drop(answered);
    assert_eq!(reply.stopped().await, ControlMessage::Kill);
}

#[tokio::test]
async fn a_listen_request_names_its_notifications() {
    let host = host();
    let stateless = host.accept().await.unwrap();
    let mut listened = answer(host.post_stateless(None, call(r#""s-1""#, "subscriptions/listen", "{}")).unwrap());
    let (request, reply) = request(&*stateless).await;
    assert_eq!(request.context.deadline, None);
    let acknowledged = Subject::from_static("notifications/subscriptions/acknowledged");
    reply
        .send_inbound(Inbound::Notification(
            acknowledged,
            Message::new(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":9}}"#),
        ))
        .await
        .unwrap();
    let path = ["params", "_meta", "io.modelcontextprotocol/subscriptionId"];
    assert_eq!(json::get(&listened.next().await.unwrap().text, &path).unwrap(), r#""s-1""#);
}

#[tokio::test]
async fn a_session_belongs_to_its_principal() {
    let host = host();
    let (alice, bob) = (Principal::new("alice"), Principal::new("bob"));
    let (session, server) = open(&host, Some(&alice)).await;
    let reason = |refused: Refused| refused.reason;
    for stranger in [None, Some(&bob)] {
        assert_eq!(
            host.post(&session, stranger, call("1", "x", "{}")).await.map_err(reason).unwrap_err(),
            Reason::UnknownSession
        );
        assert_eq!(host.delete(&session, stranger).await.map_err(reason), Err(Reason::UnknownSession));
        assert_eq!(host.listen(&session, stranger, None).await.map_err(reason).unwrap_err(), Reason::UnknownSession);
    }
    let _answer = host.post(&session, Some(&alice), call("1", "x", "{}")).await.unwrap();
    let (request, _reply) = request(&*server).await;
    assert_eq!(request.message.headers.get_str(PRINCIPAL), Some("alice"));
}

#[tokio::test]
async fn a_deleted_session_is_over_for_both_sides_and_gives_everything_back() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut running = post(&host, &session, call("1", "slow", "{}")).await;
    let mut listening = host.listen(&session, None, None).await.unwrap();
    let (_, reply) = request(&*server).await;
    let mut asked = server.open(Request::new(Subject::from_static("roots/list"), "")).unwrap();
    host.delete(&session, None).await.unwrap();
    assert!(server.receive().await.unwrap().is_none());
    assert_eq!(reply.stopped().await, ControlMessage::Kill);
    assert!(running.next().await.is_none());
    assert!(listening.next().await.is_none());
    assert_eq!(asked.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(host.len(), 0);
    let refused = host.post(&session, None, call("1", "x", "{}")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::UnknownSession);
}

#[tokio::test]
async fn a_session_ends_with_its_connection_and_with_a_failed_handshake() {
    let host = host();
    let (session, server) = open(&host, None).await;
    drop(server);
    assert_eq!(host.post(&session, None, call("1", "x", "{}")).await.unwrap_err().reason, Reason::UnknownSession);

    let mut answer = host.initialize(None, Id::number(1), Message::default()).unwrap();
    let server = host.accept().await.unwrap();
    request(&*server).await.1.fail(PeerError::new(-32602, "no such version"));
    assert_eq!(answer.next().await.unwrap().response, Some(Some(-32602)));
    assert_eq!(host.len(), 0);

    drop(host.initialize(None, Id::number(1), Message::default()).unwrap());
    assert_eq!(host.len(), 0, "its client never learned the name");
}

#[tokio::test]
async fn there_are_as_many_sessions_as_there_may_be() {
    let settings = SessionSettings { max_sessions: 3, max_sessions_per_principal: Some(2), ..Default::default() };
    let host = host_with(settings, Arc::new(RandomIds));
    let (alice, bob) = (Principal::new("alice"), Principal::new("bob"));
    let mut kept = vec![open(&host, Some(&alice)).await, open(&host, Some(&alice)).await];
    let refused =
        |who| host.initialize(Some(who), Id::number(1), Message::default()).map(drop).map_err(|refused| refused.reason);
    assert_eq!(refused(&alice), Err(Reason::TooManySessions));
    kept.push(open(&host, Some(&bob)).await);
    assert_eq!(refused(&bob), Err(Reason::TooManySessions));
    kept.pop();
    assert_eq!(refused(&bob), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_and_a_busy_one_does_not() {
    // The clock of sessions is the system's: the time to live is short, and the wait is for an event.
    let settings = SessionSettings { idle_ttl: Duration::ZERO, ..Default::default() };
    let host = host_with(settings, Arc::new(RandomIds));
    let mut answer = host.initialize(None, Id::number(1), Message::default()).unwrap();
    let _stateless = host.accept().await.unwrap();
    let server = host.accept().await.unwrap();
    let (_, reply) = request(&*server).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.len(), 1);
    reply.send("{}").await.unwrap();
    answer.next().await.unwrap();
    let listening = host.listen(&answer.session().unwrap().clone(), None, None).await.unwrap();
    drop(answer);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.len(), 1, "a client that listens is not idle");
    drop(listening);
    assert!(server.receive().await.unwrap().is_none());
    assert_eq!(host.len(), 0);
}

/// Names that say what the client said, as a signed name would.
struct Telling;

impl SessionIds for Telling {
    fn mint(&self, _initialize: &Bytes, _principal: Option<&Principal>) -> SessionId {
        SessionId::new("told")
    }

    fn revive(&self, id: &SessionId, principal: Option<&Principal>) -> Option<Bytes> {
        let known = id.as_str().starts_with("told") && principal.is_none();
        known.then(|| Bytes::from_static(br#"{"protocolVersion":"2025-06-18"}"#))
    }
}

#[tokio::test]
async fn a_session_from_elsewhere_is_opened_before_its_message() {
    let host = Arc::new(host_with(SessionSettings::default(), Arc::new(Telling)));
    let session = SessionId::new("told");
    let posted = |id: &'static str| {
        let (host, session) = (host.clone(), session.clone());
        tokio::spawn(async move { answer(host.post(&session, None, call(id, "x", "{}")).await.unwrap()) })
    };
    let (one, two) = (posted("1"), posted("2"));
    let _stateless = host.accept().await.unwrap();
    let server = host.accept().await.unwrap();
    let (initialize, reply) = request(&*server).await;
    assert_eq!(initialize.message.body, r#"{"protocolVersion":"2025-06-18"}"#);
    reply.send(r#"{"protocolVersion":"2025-03-26"}"#).await.unwrap();
    reply.close();
    assert!(
        matches!(server.receive().await, Ok(Some(Inbound::Notification(method, _))) if method.as_str() == "notifications/initialized")
    );
    for _ in 0..2 {
        request(&*server).await.1.send("{}").await.unwrap();
    }
    let (mut one, mut two) = (one.await.unwrap(), two.await.unwrap());
    assert!(text(&mut one).await.contains(r#""id":1"#) && text(&mut two).await.contains(r#""id":2"#));
    assert_eq!((one.revision(), host.len()), (Some("2025-03-26"), 1));

    // What its client ended stays ended, though the name would still hold.
    host.delete(&session, None).await.unwrap();
    assert_eq!(host.post(&session, None, call("3", "x", "{}")).await.unwrap_err().reason, Reason::UnknownSession);
}

#[tokio::test]
async fn a_session_from_elsewhere_that_cannot_be_opened_is_unknown() {
    let host = Arc::new(host_with(SessionSettings::default(), Arc::new(Telling)));
    let posting = {
        let host = host.clone();
        tokio::spawn(async move { host.post(&SessionId::new("told"), None, call("1", "x", "{}")).await.map(drop) })
    };
    let _stateless = host.accept().await.unwrap();
    let server = host.accept().await.unwrap();
    request(&*server).await.1.fail(PeerError::new(-32000, "no"));
    assert_eq!(posting.await.unwrap().unwrap_err().reason, Reason::UnknownSession);
    assert_eq!(host.len(), 0);
}

#[tokio::test]
async fn closing_lets_what_runs_finish() {
    let host = host();
    let (session, server) = open(&host, None).await;
    let mut answer = post(&host, &session, call("1", "slow", "{}")).await;
    let (_, reply) = request(&*server).await;
    let finish = async {
        let refused = host.post(&session, None, call("2", "x", "{}")).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Closed);
        reply.send("{}").await.unwrap();
        assert!(text(&mut answer).await.contains("result"));
        drop(answer);
    };
    tokio::join!(server.close(Duration::from_secs(60)), async {
        tokio::task::yield_now().await;
        finish.await;
    })
    .0
    .unwrap();
    assert!(server.receive().await.unwrap().is_none());
    host.close(Duration::ZERO).await;
    assert!(host.accept().await.is_none());
}
