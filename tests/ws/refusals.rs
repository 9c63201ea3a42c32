// SPDX-License-Identifier: Apache-2.0
//! Who is not let in, and how each is told.

use biplane::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{echo, plain, within};

/// Sends `head` as it is and reads to the end.
async fn said(url: &str, head: &str) -> String {
    let place = url.split('/').nth(2).unwrap();
    let mut stream = TcpStream::connect(place).await.unwrap();
    stream.write_all(head.replace("PLACE", place).as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

const UPGRADE: &str = "Host: PLACE\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn each_is_told_in_http() {
    let server = plain();
    let url = echo(&server, "ws://127.0.0.1:0/mcp").await;
    for (head, status, told) in [
        (format!("GET /mcp HTTP/1.1\r\n{UPGRADE}Origin: https://evil.example\r\n\r\n"), "403 ", "origin"),
        (format!("GET /mcp HTTP/1.1\r\n{}\r\n", UPGRADE.replace("PLACE", "evil.example")), "403 ", "host"),
        (format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n"), "404 ", "path"),
        (format!("GET /mcp HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: chat\r\n\r\n"), "400 ", "subprotocol mcp"),
        ("GET /mcp HTTP/1.1\r\nHost: PLACE\r\n\r\n".to_owned(), "426 ", "sec-websocket-version: 13"),
        ("POST /mcp HTTP/1.1\r\nHost: PLACE\r\nContent-Length: 0\r\n\r\n".to_owned(), "405 ", "allow: GET"),
        ("hello\r\n\r\n".to_owned(), "400 ", "malformed"),
    ] {
        let answer = said(&url, &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(told), "{head}{answer}");
    }
}

#[tokio::test]
async fn our_dialler_says_what_the_server_said() {
    let server = plain();
    let url = echo(&server, "ws://127.0.0.1:0/mcp").await;
    let error = within(plain().connect(&url.replace("/mcp", "/other"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("404") && error.to_string().contains("check the path"), "{error}");
    let error = within(plain().connect(&url.replace("ws://", "ws://bob:s3cret@"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!format!("{error:?}").contains("s3cret"));
}

/// A server of another kind, which answers the upgrade with `answer`.
async fn answered(answer: &'static str) -> biplane::Error {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/x", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    within(plain().connect(&url)).await.unwrap_err()
}

#[tokio::test]
async fn servers_of_another_kind_are_recognised() {
    let error = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    assert!(error.to_string().contains("answered 200 OK") && error.to_string().contains("hello"), "{error}");
    let error = answered("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let error = answered("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
    let error = answered("").await;
    assert!(matches!(error.kind(), ErrorKind::Connect | ErrorKind::Protocol), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_a_typed_error() {
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = within(plain().connect(&format!("ws://{place}/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("nobody listens there"), "{error}");
}
