// SPDX-License-Identifier: Apache-2.0
//! Requests that are not served: each gets a typed error that says whether it ran, and nobody else is harmed.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use biplane::plane::ReplyTo;
use biplane::stream::pipe;
use biplane::{Detail, ErrorKind, Phase, Request, Retry, Subject, TransportAddress};
use biplane_nats::testing::NatsServer;
use support::{Answers, Node, PATIENCE, echo, patiently, request, says};

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let Some(server) = NatsServer::start() else { return };
    let caller = Node::at(server.url(), 1, &Arc::default());
    let nobody = TransportAddress::nats("biplane.rpc.nobody.0000000000000001");
    // Within the acknowledgement timeout of 5 s, or the kind would be another.
    let error = caller.ask(&nobody, request("nobody", "")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::NoService, Retry::Safe));
    assert_eq!(error.detail(), Some(&Detail::NoResponders));
}

#[tokio::test]
async fn max_payload_is_honoured_to_the_byte() {
    let Some(server) = NatsServer::start_with("max_payload: 20000") else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = worker.serve("echo", echo()).await;
    let of_size = |size: usize| caller.ask(guard.address(), request("echo", vec![b'x'; size]));
    let error = of_size(20_000).await.unwrap_err();
    let Some(&Detail::TooLarge { limit: 20_000, got }) = error.detail() else { panic!("{error:?}") };
    assert!(error.to_string().contains("max_payload"), "{error}");
    assert!(error.to_string().contains("DYN_REQUEST_PLANE"), "{error}");
    // Ids and addresses have fixed lengths, so the headers do too.
    let headers = usize::try_from(got).unwrap() - 20_000;
    assert_eq!(of_size(20_000 - headers).await.unwrap()[0].len(), 20_000 - headers);
    assert_eq!(of_size(20_001 - headers).await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(of_size(1).await.unwrap(), ["x"]);
}

#[tokio::test]
async fn what_is_not_claimed_is_refused_before_anything_is_sent() {
    // No server listens here, and none is needed.
    let caller = Node::at("nats://127.0.0.1:1", 1, &Arc::default());
    let to = TransportAddress::nats("biplane.rpc.x.0000000000000001");
    let inline = caller.plane.client.send_request(&to, request("x", ""), &ReplyTo::Inline);
    assert_eq!(patiently(inline).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let (_sender, items) = pipe(1024, 1024);
    let streaming = Request::streaming(Subject::from_static("x"), "", items);
    let streaming = caller.plane.client.send_request(&to, streaming, &ReplyTo::Nothing);
    assert_eq!(patiently(streaming).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let tcp = TransportAddress::tcp("127.0.0.1:1");
    let foreign = caller.plane.client.send_request(&tcp, request("x", ""), &ReplyTo::Nothing);
    assert_eq!(patiently(foreign).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing() {
    let caller = Node::at("nats://127.0.0.1:1", 1, &Arc::default());
    let to = TransportAddress::nats("biplane.rpc.x.0000000000000001");
    let late = request("x", "").with_timeout(Duration::ZERO);
    let error = caller.ask(&to, late).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Safe));
}

#[tokio::test]
async fn the_deadline_bounds_the_acknowledgement() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = worker.serve("echo", echo()).await;
    answers.hold.send_replace(true);
    let hurried = request("echo", "").with_timeout(Duration::from_millis(100));
    let error = caller.ask(guard.address(), hurried).await.unwrap_err();
    // Whose clock runs out first is open: the responder's refusal is safe to repeat, our own is not.
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert_eq!(error.phase(), Some(Phase::Acknowledge));
}

#[tokio::test]
async fn a_silent_responder_is_a_timeout_that_names_the_limit() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let worker = Node::at(server.url(), 1, &answers);
    let caller = Node::new(2, &[("server", server.url()), ("ack_timeout", "100ms")], &answers).unwrap();
    let guard = worker.serve("echo", echo()).await;
    answers.hold.send_replace(true);
    let error = caller.ask(guard.address(), request("echo", "")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Never));
    assert!(error.to_string().contains("100ms"), "{error}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_opened_is_the_acknowledgements_error() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &Arc::default()));
    let guard = worker.serve("echo", echo()).await;
    // The worker's map knows nothing of the caller's reservation.
    let error = caller.ask(guard.address(), request("echo", "")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Refused, Retry::Safe));
    assert!(error.to_string().contains("nobody expects this answer"), "{error}");
}

#[tokio::test]
async fn a_stale_address_is_not_served_by_who_is_there_now() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = worker.serve("who", says("who")).await;
    let error = caller.ask(guard.address(), request("admin", "")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::NoService, Retry::Safe));
}

/// A client that writes what it likes.
struct Raw(TcpStream);

impl Raw {
    fn connect(server: &NatsServer) -> Self {
        let mut socket = TcpStream::connect(server.authority()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n").unwrap();
        Self(socket)
    }

    /// Returns what came meanwhile.
    fn publish(&mut self, subject: &str, reply: &str, headers: &[u8], payload: &[u8]) -> String {
        let line = format!("HPUB {subject} {reply} {} {}\r\n", headers.len(), headers.len() + payload.len());
        self.0.write_all(&[line.as_bytes(), headers, payload, b"\r\n"].concat()).unwrap();
        self.round_trip()
    }

    /// Returns what came, once the server has worked through what was sent.
    fn round_trip(&mut self) -> String {
        self.0.write_all(b"PING\r\n").unwrap();
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while !seen.windows(6).any(|window| window == b"PONG\r\n") {
            let read = self.0.read(&mut chunk).unwrap();
            assert!(read > 0, "the server hung up: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_gets_an_answer_and_harms_nobody() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = worker.serve("echo", echo()).await;
    let to = guard.address().address.clone();
    let mut raw = Raw::connect(&server);
    raw.0.write_all(b"SUB back.* 1\r\n").unwrap();
    raw.round_trip();
    for (headers, code) in [
        (&b"NATS/1.0\r\nx-biplane-reply-to: {\r\n\r\n"[..], "-31004"),
        (b"NATS/1.0\r\nx-biplane-reply-to: none\r\nx-biplane-deadline-ms: never\r\n\r\n", "-31004"),
        (b"NATS/1.0\r\nx-biplane-reply-to: none\r\nx-biplane-header: x\r\n\r\n", "-31004"),
        (b"NATS/1.0\r\nx-biplane-reply-to: none\r\nx-biplane-subject: %ff\r\n\r\n", "-31059"),
        (b"NATS/1.0\r\n\r\n", "-31008"),
    ] {
        let mut seen = raw.publish(&to, "back.x", headers, b"\xff\xfe");
        let started = Instant::now();
        while !seen.contains("x-biplane-ack: error") || !seen.contains(code) {
            assert!(started.elapsed() < PATIENCE, "no refusal with {code} in {seen}");
            tokio::time::sleep(Duration::from_millis(1)).await;
            seen += &raw.round_trip();
        }
    }
    assert_eq!(caller.ask(guard.address(), request("echo", "alive")).await.unwrap(), ["alive"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_the_client_library_does_not_kill_the_endpoint() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let worker = Node::at(server.url(), 1, &answers);
    // A request on the dying connection is lost; its caller asks again soon.
    let caller = Node::new(2, &[("server", server.url()), ("ack_timeout", "200ms")], &answers).unwrap();
    let guard = worker.serve("echo", echo()).await;
    let to = guard.address().address.clone();
    for headers in [
        // No UTF-8, no status, no header: the library takes the connection for broken and makes another.
        &b"NATS/1.0\r\nname: \xff\r\n\r\n"[..],
        b"NATS/1.0 what\r\n\r\n",
        b"no header at all\r\n\r\n",
        // A lone carriage return: the library panics.
        b"NATS/1.0\r\nname: a\rb\r\n\r\n",
    ] {
        Raw::connect(&server).publish(&to, "back.x", headers, b"x");
        let started = Instant::now();
        // Until the endpoint is subscribed again, nobody is there, and the server says so.
        let items = loop {
            assert!(started.elapsed() < PATIENCE, "{} ended the endpoint", String::from_utf8_lossy(headers));
            match caller.ask(guard.address(), request("echo", "alive")).await {
                Ok(items) => break items,
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::NoService | ErrorKind::Timeout),
                    "{}: {error:?}",
                    String::from_utf8_lossy(headers)
                ),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(items, ["alive"]);
    }
}
