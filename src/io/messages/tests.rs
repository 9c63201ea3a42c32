// SPDX-License-Identifier: Apache-2.0

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};

use super::*;
use crate::Inbound;
use crate::error::{ErrorKind, PeerError};
use crate::message::{ControlMessage, Message, Request, Subject};
use crate::stream::{Event, ResponseSender};
use crate::target::TransportId;
use crate::testing::rpc_pair;

fn request(method: &'static str, params: &'static str) -> Request {
    Request::new(Subject::from_static(method), params)
}

async fn asked(connection: &Arc<dyn Connection>) -> (Request, ResponseSender) {
    match connection.receive().await.unwrap().unwrap() {
        Inbound::Request(request, reply) => (request, reply),
        other => panic!("{other:?}"),
    }
}

/// The far end as raw text.
struct Raw {
    lines: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    writer: WriteHalf<DuplexStream>,
}

impl Raw {
    fn pair(settings: Settings) -> (Self, Arc<dyn Connection>) {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (reader, writer) = tokio::io::split(near);
        let info = ConnectionInfo::new(TransportId::MEM, "raw", CLAIMS);
        let connection = connection(Lines::new(reader, writer, settings.max_message), info, settings);
        let (reader, writer) = tokio::io::split(far);
        (Self { lines: BufReader::new(reader).lines(), writer }, connection)
    }

    async fn read(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn write(&mut self, text: impl AsRef<str>) {
        self.writer.write_all(format!("{}\n", text.as_ref()).as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn answers_find_their_calls_out_of_order() {
    let (client, server) = rpc_pair();
    let one = client.open(request("a", r#"{"n":1}"#)).unwrap();
    let two = client.open(request("b", "")).unwrap();
    let (first, reply_one) = asked(&server).await;
    let (second, reply_two) = asked(&server).await;
    assert_eq!((first.subject.as_str(), &first.message.body[..]), ("a", &br#"{"n":1}"#[..]));
    assert_eq!((second.subject.as_str(), second.message.body.len()), ("b", 0));
    reply_two.send(r#"{"two":2}"#).await.unwrap();
    reply_two.close();
    reply_one.fail(PeerError::new(-32602, "no").with_data(r#"{"why": 1}"#));
    for (mut stream, expected) in [(two, Ok(r#"{"two":2}"#)), (one, Err(-32602))] {
        match (stream.next().await.unwrap(), expected) {
            (Ok(item), Ok(text)) => assert_eq!(item.body, text),
            (Err(error), Err(code)) => assert_eq!(error.peer().unwrap().code, code),
            other => panic!("{other:?}"),
        }
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn progress_comes_on_its_call_with_its_own_token() {
    let (client, server) = rpc_pair();
    let params = r#"{"_meta":{"progressToken":"mine"}}"#;
    let mut streams = [client.open(request("a", params)).unwrap(), client.open(request("a", params)).unwrap()];
    let mut replies = Vec::new();
    for _ in 0..2 {
        let (request, reply) = asked(&server).await;
        let token = crate::proto::jsonrpc::ids::requested_token(&request.message.body).unwrap();
        let progress =
            format!(r#"{{"progressToken":{},"progress":{}}}"#, String::from_utf8_lossy(&token), replies.len());
        let subject = Subject::from_static("notifications/progress");
        reply.send_inbound(Inbound::Notification(subject, Message::new(progress))).await.unwrap();
        replies.push(reply);
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        let Some(Ok(Event::Inbound(Inbound::Notification(_, message)))) = stream.next_event().await else { panic!() };
        assert_eq!(message.body, format!(r#"{{"progressToken":"mine","progress":{at}}}"#));
    }
}

#[tokio::test]
async fn a_dropped_call_is_told_to_the_peer_and_its_late_answer_meets_nobody() {
    let (mut raw, client) = Raw::pair(Settings::dialer(1 << 20));
    let stream = client.open(request("slow", "")).unwrap();
    let first = raw.read().await["id"].clone();
    drop(stream);
    let cancelled = raw.read().await;
    assert_eq!(
        (cancelled["method"].as_str(), &cancelled["params"]["requestId"]),
        (Some("notifications/cancelled"), &first)
    );
    let mut next = client.open(request("next", "")).unwrap();
    let second = raw.read().await["id"].clone();
    raw.write(format!(r#"{{"jsonrpc":"2.0","id":{first},"result":{{"of":1}}}}"#)).await;
    raw.write(format!(r#"{{"jsonrpc":"2.0","id":{second},"result":{{"of":2}}}}"#)).await;
    assert_eq!(next.next().await.unwrap().unwrap().body, r#"{"of":2}"#);
}

#[tokio::test]
async fn a_cancelled_request_stops_its_handler_and_gets_no_answer() {
    let (mut raw, server) = Raw::pair(Settings::listener(1 << 20));
    raw.write(r#"{"jsonrpc":"2.0","id":"x","method":"slow"}"#).await;
    let (_, reply) = asked(&server).await;
    raw.write(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#).await;
    assert_eq!(reply.stopped().await, ControlMessage::Kill);
    reply.fail(PeerError::new(1, "late"));
    raw.write(r#"{"jsonrpc":"2.0","id":"y","method":"ping"}"#).await;
    let (_, reply) = asked(&server).await;
    reply.send("{}").await.unwrap();
    assert_eq!(raw.read().await["id"], "y");
}

#[tokio::test]
async fn the_same_id_twice_gets_two_answers() {
    let (mut raw, server) = Raw::pair(Settings::listener(1 << 20));
    for n in 0..2 {
        raw.write(format!(r#"{{"jsonrpc":"2.0","id":7,"method":"echo","params":{{"n":{n}}}}}"#)).await;
    }
    for _ in 0..2 {
        let (request, reply) = asked(&server).await;
        reply.send(request.message).await.unwrap();
    }
    for n in 0..2 {
        let answer = raw.read().await;
        assert_eq!((&answer["id"], &answer["result"]["n"]), (&7.into(), &n.into()));
    }
}

#[tokio::test]
async fn a_question_back_comes_on_the_receiver_and_its_answer_goes_back() {
    let (client, server) = rpc_pair();
    let mut call = client.open(request("tools/call", "")).unwrap();
    let (_, reply) = asked(&server).await;
    let (question_reply, mut answer) = crate::stream::pipe(1024, 1024);
    reply.send_inbound(Inbound::Request(request("roots/list", "{}"), question_reply)).await.unwrap();
    let (question, answer_to) = asked(&client).await;
    assert_eq!(question.subject.as_str(), "roots/list");
    answer_to.send(r#"{"roots":[]}"#).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap().body, r#"{"roots":[]}"#);
    reply.send("{}").await.unwrap();
    assert!(call.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn subscriptions_carry_the_listeners_own_id() {
    let (mut raw, server) = Raw::pair(Settings::listener(1 << 20));
    raw.write(r#"{"jsonrpc":"2.0","id":"L","method":"subscriptions/listen"}"#).await;
    let (_, reply) = asked(&server).await;
    let subject = Subject::from_static("notifications/tools/list_changed");
    reply.send_inbound(Inbound::Notification(subject, Message::default())).await.unwrap();
    let told = raw.read().await;
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "L");
    reply.send(r#"{"resultType":"complete"}"#).await.unwrap();
    reply.close();
    assert_eq!(raw.read().await["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "L");
}

#[tokio::test]
async fn garbage_is_answered_by_a_server_and_passed_over_by_a_client() {
    let (mut raw, _server) = Raw::pair(Settings::listener(1 << 20));
    raw.write("{nonsense").await;
    let answer = raw.read().await;
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&(-32700).into(), &serde_json::Value::Null));

    let (mut raw, client) = Raw::pair(Settings::dialer(1 << 20));
    raw.write("Server listening on stdio").await;
    let mut stream = client.open(request("ping", "")).unwrap();
    let id = raw.read().await["id"].clone();
    raw.write(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).await;
    assert!(stream.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn an_answer_over_the_limit_fails_its_own_call_only() {
    let (mut raw, client) = Raw::pair(Settings::dialer(1000));
    for is_first in [true, false] {
        let mut large = client.open(request("large", "")).unwrap();
        let mut small = client.open(request("small", "")).unwrap();
        let ids = [raw.read().await["id"].clone(), raw.read().await["id"].clone()];
        let (id, pad) = (&ids[0], "x".repeat(5000));
        raw.write(match is_first {
            true => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"pad":"{pad}"}}}}"#),
            false => format!(r#"{{"result":{{"pad":"{pad}"}},"jsonrpc":"2.0","id":{id}}}"#),
        })
        .await;
        raw.write(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, ids[1])).await;
        assert_eq!(large.next().await.unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(small.next().await.unwrap().is_ok());
    }
    assert_eq!(
        client.open(Request::new(Subject::from_static("x"), "y".repeat(1001))).unwrap_err().kind(),
        ErrorKind::TooLarge
    );
}

#[tokio::test]
async fn the_end_of_the_link_ends_everything_on_it() {
    let (raw, client) = Raw::pair(Settings::dialer(1 << 20));
    let mut call = client.open(request("a", "")).unwrap();
    drop(raw);
    assert_eq!(call.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(client.receive().await.unwrap().is_none());
    let refused = client.open(request("a", "")).unwrap_err();
    assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Closed, crate::Retry::Safe));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_call_and_is_told_to_the_peer() {
    let (mut raw, client) = Raw::pair(Settings::dialer(1 << 20));
    let mut long = client.open(request("a", "").with_timeout(Duration::from_secs(60))).unwrap();
    let mut short = client.open(request("a", "").with_timeout(Duration::from_millis(30))).unwrap();
    assert_eq!(short.next().await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    raw.read().await;
    raw.read().await;
    assert_eq!(raw.read().await["method"], "notifications/cancelled");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(long.poll_item(&mut cx).is_pending());
}

#[tokio::test]
async fn closing_finishes_what_is_in_flight_and_refuses_the_rest() {
    let (client, server) = rpc_pair();
    let mut call = client.open(request("a", "")).unwrap();
    let (_, reply) = asked(&server).await;
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close(Duration::from_secs(30)).await }
    });
    while client.open(request("late", "")).is_ok() {
        tokio::task::yield_now().await;
    }
    reply.send("{}").await.unwrap();
    reply.close();
    assert!(call.next().await.unwrap().is_ok());
    drop(call);
    drop(server);
    closing.await.unwrap().unwrap();
    assert!(client.receive().await.unwrap().is_none());
}

#[tokio::test]
async fn a_peer_that_does_not_read_cannot_hold_up_the_close() {
    let (_raw, client) = Raw::pair(Settings::dialer(1 << 20));
    let mut calls = Vec::new();
    while let Ok(call) =
        client.open(Request::new(Subject::from_static("x"), format!(r#"{{"x":"{}"}}"#, "y".repeat(60_000))))
    {
        calls.push(call);
    }
    client.close(Duration::ZERO).await.unwrap();
    assert_eq!(calls[0].next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn unreceived_notifications_push_out_the_oldest() {
    let (mut raw, client) = Raw::pair(Settings::dialer(1 << 20));
    for n in 0..1100 {
        raw.write(format!(r#"{{"jsonrpc":"2.0","method":"n","params":{{"n":{n}}}}}"#)).await;
    }
    let mut call = client.open(request("a", "")).unwrap();
    let id = raw.read().await["id"].clone();
    raw.write(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).await;
    assert!(call.next().await.unwrap().is_ok());
    let Some(Inbound::Notification(_, first)) = client.receive().await.unwrap() else { panic!() };
    assert_eq!(first.body, r#"{"n":76}"#);
}

/// Counts the writes of another one.
struct Counted<W>(W, Arc<AtomicUsize>);

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_is_said_in_one_turn_goes_in_one_write() {
    let writes = Arc::new(AtomicUsize::new(0));
    let (near, far) = tokio::io::duplex(64 << 10);
    let (reader, writer) = tokio::io::split(near);
    let settings = Settings::dialer(1 << 20);
    let wire = Lines::new(reader, Counted(writer, writes.clone()), settings.max_message);
    let client = connection(wire, ConnectionInfo::new(TransportId::MEM, "counted", CLAIMS), settings);
    let (reader, writer) = tokio::io::split(far);
    let wire = Lines::new(reader, writer, settings.max_message);
    let server = connection(wire, ConnectionInfo::new(TransportId::MEM, "far", CLAIMS), Settings::listener(1 << 20));
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.request(request("a", "{}")).await })
        })
        .collect();
    for _ in 0..64 {
        let (_, reply) = asked(&server).await;
        reply.send("{}").await.unwrap();
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}
