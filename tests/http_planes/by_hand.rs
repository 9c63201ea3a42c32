// SPDX-License-Identifier: Apache-2.0
//! Requests written by hand, and by curl.

use std::process::Stdio;

use biplane::config::Port;
use biplane::plane::EndpointGuard;
use biplane::{Request, ResponseSender, handler_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::*;

/// A response, read as text.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One HTTP/1.1 exchange on a link of its own. `headers` end with CRLF each.
pub(crate) async fn http(authority: &str, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    raw(authority, text.as_bytes()).await
}

/// Sends `bytes` and reads until the server closes.
pub(crate) async fn raw(authority: &str, bytes: &[u8]) -> Response {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut response = Vec::new();
    soon(stream.read_to_end(&mut response)).await.unwrap();
    let response = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Response { status, head: head.to_owned(), body: body.to_owned() }
}

/// A response that is read bit by bit.
pub(crate) struct Reply {
    stream: TcpStream,
    seen: String,
}

impl Reply {
    pub(crate) async fn open(authority: &str, request: &str) -> Self {
        let mut stream = TcpStream::connect(authority).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, seen: String::new() }
    }

    /// Reads until `text` has come; returns everything.
    pub(crate) async fn read_until(&mut self, text: &str) -> &str {
        while !self.seen.contains(text) {
            let mut chunk = [0; 4096];
            let read = soon(self.stream.read(&mut chunk)).await.unwrap();
            assert_ne!(read, 0, "the server closed after {:?}", self.seen);
            self.seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
        &self.seen
    }
}

pub(crate) fn authority(guard: &EndpointGuard) -> &str {
    guard.address().address.strip_prefix("http://").unwrap().split('/').next().unwrap()
}

#[tokio::test]
async fn bad_requests_get_the_status_that_says_what_is_wrong() {
    let world = World::new(config(|_| {}));
    let guard = world.serve("words", words()).await;
    let at = authority(&guard);
    let reply_to = "x-biplane-reply-to: {\"address\":{\"transport\":\"carrier-pigeon\",\"address\":\"\"},\"context_id\":\"1\"}\r\n";
    for (method, path, headers, body, status, says) in [
        ("POST", "/v1/rpc/nothing", "", "", 404, "no endpoint nothing is registered here"),
        ("POST", "/v1/rpc/", "", "", 404, "biplane services"),
        ("POST", "/elsewhere", "", "", 404, "post to /v1/rpc/SUBJECT"),
        ("POST", "/v1/rpc/%ff", "", "", 400, "not UTF-8"),
        ("POST", "/v1/rpc/words", "x-biplane-deadline-ms: soon\r\n", "", 400, "x-biplane-deadline-ms"),
        ("POST", "/v1/rpc/words", "x-biplane-headers: {}\r\n", "", 400, "x-biplane-headers"),
        ("POST", "/v1/rpc/words", "x-biplane-reply-to: here\r\n", "", 400, "reply-to"),
        ("POST", "/v1/rpc/words", reply_to, "", 501, "carrier-pigeon"),
        ("POST", "/v1/rpc/words", "accept: text/html\r\n", "", 406, "application/x-ndjson"),
        ("GET", "/v1/rpc/words", "", "", 405, "POST"),
        ("PUT", "/v1/rpc/response/00000000000000000000000000000000", "", "", 405, "DELETE, POST"),
        ("DELETE", "/v1/rpc/response/00000000000000000000000000000000", "", "", 404, "no live answer"),
    ] {
        let response = http(at, method, path, headers, body).await;
        assert_eq!(response.status, status, "{method} {path} {headers}: {response:?}");
        assert!(response.body.contains(says), "{method} {path}: {}", response.body);
        assert!(response.body.contains("\"code\":"), "{}", response.body);
        if status == 405 {
            assert!(response.head.contains(&format!("allow: {says}")), "{}", response.head);
        }
    }
    let oversize = http(at, "POST", "/v1/rpc/words", "", &"x".repeat((1 << 20) + 1)).await;
    assert_eq!(oversize.status, 413, "{oversize:?}");
    let lying = raw(at, b"POST /v1/rpc/words HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert_eq!(lying.status, 413, "{lying:?}");
    let headers = "a: b\r\n".repeat(101);
    assert_eq!(http(at, "POST", "/v1/rpc/words", &headers, "").await.status, 431);
    let long = format!("a: {}\r\n", "b".repeat(33 << 10));
    assert_eq!(http(at, "POST", "/v1/rpc/words", &long, "").await.status, 431);
    assert_eq!(raw(at, b"\x16\x03\x01 no HTTP at all\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn overload_is_503_with_retry_after() {
    let world = World::new(config(|config| config.limits.max_in_flight = 1));
    let (dropped, _gone) = tokio::sync::mpsc::unbounded_channel();
    let guard = world.serve("busy", endless(0, dropped)).await;
    let _first = world.inline(guard.address(), request("")).await.unwrap();
    let response = http(authority(&guard), "POST", "/v1/rpc/busy", "", "").await;
    assert_eq!(response.status, 503);
    assert!(response.head.contains("retry-after: 1"), "{}", response.head);
    for fetched in [false, true] {
        let error = world.call(fetched, guard.address(), request("")).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (biplane::ErrorKind::Overloaded, biplane::Retry::Safe));
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_link() {
    let world = World::new(config(|_| {}));
    let guard = world.serve("words", words()).await;
    for part in [&b""[..], b"PRI * HTTP/2.0\r\n", b"POST /v1/rpc/words HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(authority(&guard)).await.unwrap();
        stream.write_all(part).await.unwrap();
        let mut end = Vec::new();
        soon(stream.read_to_end(&mut end)).await.unwrap();
        assert!(end.is_empty());
    }
}

#[tokio::test]
async fn an_idle_http1_link_takes_the_next_request() {
    let world = World::new(config(|_| {}));
    let guard = world.serve("words", words()).await;
    let request = "POST /v1/rpc/words HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n";
    let mut link = Reply::open(authority(&guard), &format!("{request}a")).await;
    link.read_until("event: done").await;
    // Longer than a head may take.
    tokio::time::sleep(std::time::Duration::from_millis(5500)).await;
    link.stream.write_all(format!("{request}b").as_bytes()).await.unwrap();
    link.read_until("data: b").await;
}

/// What curl prints, or `None` where it is not installed.
async fn curl(arguments: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-sS", "--max-time", "20"]).args(arguments).stderr(Stdio::inherit()).kill_on_drop(true);
    match command.output().await {
        Ok(output) => {
            assert!(output.status.success(), "{arguments:?}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("curl is not installed ({error}): skipped");
            None
        }
    }
}

#[tokio::test]
async fn curl_shows_every_format() {
    let world = World::new(config(|_| {}));
    let guard = world.serve("words", words()).await;
    let url = &guard.address().address;
    let sse = "data: to\n\ndata: be\n\nevent: done\ndata: {}\n\n";
    let ndjson = "{\"text\":\"to\"}\n{\"text\":\"be\"}\n{\"done\":true}\n";
    let binary = "\0\0\0\0\x02to\0\0\0\0\x02be\x04\0\0\0\0";
    for (accept, expected) in [
        ("text/event-stream", sse),
        ("application/x-ndjson", ndjson),
        ("application/octet-stream", binary),
        ("*/*", sse),
    ] {
        let accept = format!("accept: {accept}");
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let Some(body) = curl(&["-N", version, "-H", &accept, "-d", "to be", url]).await else { return };
            assert_eq!(body, expected, "{accept} {version}");
        }
    }
}

#[tokio::test]
async fn curl_fetches_and_controls_what_was_sent_elsewhere() {
    let world = World::new(config(|_| {}));
    let handler = handler_fn(|_: Request, reply: ResponseSender| async move {
        reply.send("first").await?;
        reply.stopped().await;
        reply.send("last").await
    });
    let guard = world.serve("stops", handler).await;
    let reply_to = "x-biplane-reply-to: {\"address\":{\"transport\":\"http\",\"address\":\"\"},\"context_id\":\"1\"}";
    let Some(ack) = curl(&["-H", reply_to, "-d", "x", &guard.address().address]).await else { return };
    let at = ack.find("http://").unwrap();
    let url = ack[at..].split('"').next().unwrap();
    let stop = format!("{url}?how=stop");
    let delete = ["-X", "DELETE", &stop];
    let fetch = ["-N", "-H", "accept: application/x-ndjson", url];
    let (body, _) = tokio::join!(curl(&fetch), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        curl(&delete).await
    });
    assert_eq!(body.unwrap(), "{\"text\":\"first\"}\n{\"text\":\"last\"}\n{\"done\":true}\n");
}

#[tokio::test]
async fn an_inline_answer_names_the_path_that_controls_it() {
    let world = World::new(config(|_| {}));
    let handler = handler_fn(|_: Request, reply: ResponseSender| async move {
        reply.stopped().await;
        reply.send("stopped").await
    });
    let guard = world.serve("stops", handler).await;
    let at = authority(&guard);
    let request = format!("POST /v1/rpc/stops HTTP/1.1\r\nhost: {at}\r\nx-request-id: r1\r\ncontent-length: 0\r\n\r\n");
    let mut reply = Reply::open(at, &request).await;
    let head = reply.read_until("\r\n\r\n").await.to_owned();
    for line in
        ["x-accel-buffering: no", "cache-control: no-store", "content-type: text/event-stream", "x-request-id: r1"]
    {
        assert!(head.contains(line), "{head}");
    }
    let path = head.lines().find_map(|line| line.strip_prefix("x-biplane-stream: ")).unwrap();
    assert_eq!(http(at, "DELETE", &format!("{path}?how=stop"), "", "").await.status, 204);
    reply.read_until("data: stopped").await;
}

#[tokio::test]
async fn an_endpoint_is_published_reachable_and_unregistered_with_its_guard() {
    let world = World::new(config(|config| config.http.request.host = "0.0.0.0".into()));
    let guard = world.serve("words", words()).await;
    let at = authority(&guard).to_owned();
    assert!(at.starts_with("127.0.0.1:"), "{at}");
    assert_eq!(http(&at, "POST", "/v1/rpc/words", "", "x").await.status, 200);
    drop(guard);
    assert_eq!(http(&at, "POST", "/v1/rpc/words", "", "x").await.status, 404);

    let port: u16 = at.rsplit(':').next().unwrap().parse().unwrap();
    let taken = World::new(config(|config| config.http.response.port = Port::Set(port)));
    let context = request("").context;
    let info = biplane::plane::ResponseConnectionInfo::new(biplane::TransportAddress::http(""), &context);
    let error = taken.response.create_response_stream(&context, &info).await.unwrap_err();
    assert!(error.to_string().contains("DYN_HTTP_RESPONSE_PORT"), "{error}");
    let gives_way = World::new(config(|config| config.http.response.port = Port::Default(port)));
    let opened = gives_way.response.create_response_stream(&context, &info).await.unwrap();
    assert!(!opened.located.unwrap().address.address.contains(&format!(":{port}/")));
}
