// SPDX-License-Identifier: Apache-2.0
//! HTTP/1.1 by hand: what is sent is exactly what a test wrote, and what comes back is looked at as it comes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use crate::support::PATIENCE;

/// A request; its `Host` and length are added unless they are there.
pub(crate) struct Request {
    method: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer whose body has not been read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

struct Body {
    stream: BufReader<TcpStream>,
    left: Left,
}

enum Left {
    Counted(usize),
    /// Bytes left of the chunk at hand.
    Chunked(usize),
    ToTheEnd,
    Nothing,
}

impl Request {
    pub(crate) fn new(method: &'static str) -> Self {
        Self { method, headers: Vec::new(), body: Vec::new() }
    }

    /// A POST as a client of MCP makes it.
    pub(crate) fn post(body: impl Into<Vec<u8>>) -> Self {
        let post = Self { method: "POST", headers: Vec::new(), body: body.into() };
        post.header("Content-Type", "application/json").header("Accept", "application/json, text/event-stream")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it on a connection of its own to `port`, and reads the head of the answer.
    pub(crate) fn send(self, port: u16) -> Answer {
        Answer::read(self.write(port))
    }

    /// Sends it, and goes away before the answer.
    pub(crate) fn abandon(self, port: u16) {
        drop(self.write(port));
    }

    fn write(self, port: u16) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut head = format!("{} /mcp HTTP/1.1\r\n", self.method);
        let has = |name: &str| self.headers.iter().any(|(one, _)| one.eq_ignore_ascii_case(name));
        if !has("host") {
            head.push_str(&format!("Host: 127.0.0.1:{port}\r\n"));
        }
        if self.method == "POST" && !has("content-length") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too long may be refused before it has been read.
        let _ = stream.write_all(&self.body);
        stream
    }
}

impl Answer {
    fn read(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let first = line(&mut stream);
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = line(&mut stream);
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let find = |name: &str| headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
        let left = match (find("transfer-encoding"), find("content-length")) {
            (Some("chunked"), _) => Left::Chunked(0),
            (_, Some(length)) => Left::Counted(length.parse().unwrap()),
            _ if status == 202 || status == 204 => Left::Nothing,
            _ => Left::ToTheEnd,
        };
        Self { status, headers, body: Body { stream, left } }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The whole body.
    pub(crate) fn text(mut self) -> String {
        let mut text = Vec::new();
        self.body.read_to_end(&mut text).expect("the body ends");
        String::from_utf8(text).unwrap()
    }

    /// The one JSON-RPC answer in the body, be it plain or the last event of a stream.
    pub(crate) fn json(self) -> Value {
        let is_stream = self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let status = self.status;
        let text = self.text();
        let json = if is_stream {
            let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
            data.map(str::trim).rfind(|data| !data.is_empty()).unwrap_or_default()
        } else {
            &text
        };
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in the answer {status}: {text:?}"))
    }

    /// The lines of a stream, as they come.
    pub(crate) fn lines(self) -> impl Iterator<Item = String> {
        BufReader::new(self.body).lines().map_while(Result::ok)
    }

    /// Goes away without a word.
    pub(crate) fn vanish(self) {
        let _ = self.body.stream.get_ref().shutdown(Shutdown::Both);
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if matches!(self.left, Left::Chunked(0)) {
            let size = line(&mut self.stream);
            let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
            self.left = if size == 0 { Left::Nothing } else { Left::Chunked(size) };
        }
        let most = match self.left {
            Left::Nothing => 0,
            Left::ToTheEnd => buffer.len(),
            Left::Counted(left) | Left::Chunked(left) => left.min(buffer.len()),
        };
        if most == 0 {
            return Ok(0);
        }
        let read = self.stream.read(&mut buffer[..most])?;
        match &mut self.left {
            Left::Counted(left) => *left -= read,
            Left::Chunked(left) => {
                *left -= read;
                if *left == 0 {
                    line(&mut self.stream);
                }
            }
            Left::ToTheEnd | Left::Nothing => {}
        }
        Ok(read)
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("the gateway answers");
    line.trim_end().to_owned()
}
