// SPDX-License-Identifier: Apache-2.0
//! A client that writes HTTP/1.1 by hand, so that a test says exactly what is sent.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here takes: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// One link.
pub(crate) struct Link(BufReader<TcpStream>);

/// A response, whose body may still be coming.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// A body that is read as it comes.
pub(crate) struct Body {
    link: Link,
    length: Option<usize>,
    text: String,
    over: bool,
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) data: String,
}

impl Link {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Sends a request as it stands; `Host` and `Content-Length` are added where they are not given.
    pub(crate) async fn send(
        mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Response {
        let body = body.as_ref();
        let given = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let address = self.0.get_ref().peer_addr().unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !given("host") {
            head.push_str(&format!("Host: {address}\r\n"));
        }
        if !given("content-length") && (!body.is_empty() || method == "POST") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.0.get_mut().write_all(head.as_bytes()).await.unwrap();
        // A server that has answered already may not read the rest.
        let _ = self.0.get_mut().write_all(body).await;
        self.receive().await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// Reads the head of a response.
    pub(crate) async fn receive(mut self) -> Response {
        let first = self.line().await;
        let status = first.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {first:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let over = length == Some(0) || (length.is_none() && !chunked);
        Response { status, headers, body: Body { link: self, length, text: String::new(), over } }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }

    /// Whether the server closed the link.
    pub(crate) async fn is_closed(&mut self) -> bool {
        matches!(timeout(PATIENCE, self.0.read_u8()).await, Ok(Err(_)))
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.header("content-type") == Some("text/event-stream")
    }

    /// The whole body, and the link for the next request.
    pub(crate) async fn whole(mut self) -> (String, Link) {
        while self.body.more().await {}
        (self.body.text, self.body.link)
    }

    /// The body as JSON.
    pub(crate) async fn json(self) -> serde_json::Value {
        let (text, _) = self.whole().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}

impl Body {
    /// Reads the next part; false at the end.
    async fn more(&mut self) -> bool {
        if self.over {
            return false;
        }
        let mut part = match self.length {
            Some(length) => vec![0; length],
            None => {
                let line = self.link.line().await;
                vec![0; usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no chunk: {line:?}"))]
            }
        };
        timeout(PATIENCE, self.link.0.read_exact(&mut part)).await.unwrap().unwrap();
        if self.length.is_none() {
            self.link.line().await;
        }
        self.over = self.length.is_some() || part.is_empty();
        self.text.push_str(std::str::from_utf8(&part).unwrap());
        !part.is_empty()
    }

    /// The next event; comments are skipped. `None` at the end.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                let mut lines = Vec::new();
                for line in block.lines() {
                    match line.split_once(": ").unwrap_or((line, "")) {
                        ("id", value) => event.id = Some(value.to_owned()),
                        ("event", value) => event.kind = Some(value.to_owned()),
                        ("retry", value) => event.retry = Some(value.to_owned()),
                        ("data", value) => lines.push(value.to_owned()),
                        _ => {}
                    }
                }
                event.data = lines.join("\n");
                let is_comment = block.starts_with(':');
                self.text = rest.to_owned();
                if !is_comment {
                    return Some(event);
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads on until a comment comes, and takes it.
    pub(crate) async fn sign_of_life(&mut self) {
        while !self.text.contains(":\n\n") {
            assert!(self.more().await, "the stream ended");
        }
        self.text = self.text.replacen(":\n\n", "", 1);
    }

    /// The link, once the body was read to its end.
    pub(crate) fn into_link(self) -> Link {
        assert!(self.over, "there is more to read");
        self.link
    }
}
