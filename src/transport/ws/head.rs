// SPDX-License-Identifier: Apache-2.0
//! The request that asks for a WebSocket, read within limits, and a refusal of it.

use std::io;

use http::{Method, Request, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of a head.
const MAX_HEAD: usize = 32 << 10;

/// Headers of a head.
const MAX_HEADERS: usize = 100;

/// Why there is no WebSocket, as the client is told.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Tells the client, then reads what it still sends, so that the words are not lost with a reset. The caller bounds
    /// the time.
    pub(super) async fn tell(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-type: text/plain\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{}\n", self.reason.len() + 1, self.reason));
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        let mut scratch = [0; 1024];
        while stream.read(&mut scratch).await? > 0 {}
        Ok(())
    }
}

/// Reads a head. The outer error is a client that is gone, the inner one is told to the client.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<Request<()>, Refusal>> {
    let mut input = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&input) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Ok(None) if input.len() < MAX_HEAD => {}
            Ok(None) => return Ok(Err(too_large())),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
}

/// `None` as long as its end has not come.
fn parse(input: &[u8]) -> Result<Option<Request<()>>, Refusal> {
    let bad = |what: &str| Refusal::new(StatusCode::BAD_REQUEST, format!("malformed request: {what}"));
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => return Err(bad(&error.to_string())),
    };
    if length != input.len() {
        // Whoever sends on before we agreed means something else by it than we do.
        return Err(bad("bytes behind the head, before the upgrade"));
    }
    let method = Method::from_bytes(head.method.unwrap_or_default().as_bytes()).map_err(|_| bad("method"))?;
    let uri: Uri = head.path.unwrap_or_default().parse().map_err(|_| bad("address"))?;
    let version = if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut request = Request::builder().method(method).uri(uri).version(version);
    for header in head.headers.iter() {
        request = request.header(header.name, header.value);
    }
    request.body(()).map(Some).map_err(|_| bad("header"))
}

fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        format!("a head has at most {MAX_HEADERS} headers and {MAX_HEAD} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_from(bytes: &[u8]) -> io::Result<Result<Request<()>, Refusal>> {
        read(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn heads_are_bounded_and_whole() {
        let good = b"GET /mcp?x=1 HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
        let request = read_from(good).await.unwrap().unwrap();
        assert_eq!((request.uri().path(), request.headers().len()), ("/mcp", 2));
        let status = |outcome: io::Result<Result<Request<()>, Refusal>>| outcome.unwrap().unwrap_err().status.as_u16();
        assert_eq!(status(read_from(&[&good[..], b"more"].concat()).await), 400);
        assert_eq!(status(read_from(b"\x16\x03\x01\x02\x00\x01").await), 400);
        assert_eq!(status(read_from(format!("GET /{} ", "x".repeat(MAX_HEAD)).as_bytes()).await), 431);
        let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
        assert_eq!(status(read_from(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).await), 431);
        assert!(read_from(b"GET / HT").await.is_err());
    }
}
