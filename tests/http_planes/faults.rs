// SPDX-License-Identifier: Apache-2.0
//! Peers that die, cut, stall and lie.

use std::time::Duration;

use biplane::config::{HttpVersion, StreamFormat};
use biplane::{Detail, ErrorKind, Retry, TransportAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::by_hand::authority;
use crate::world::*;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// How a scripted responder leaves.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Fin,
    Reset,
    Stay,
}

/// A responder that says `script` to its first request and leaves.
async fn scripted(script: String, exit: Exit) -> TransportAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(script.as_bytes()).await.unwrap();
        match exit {
            Exit::Fin => stream.shutdown().await.unwrap(),
            Exit::Reset => {
                // What was said must have arrived: a reset takes back what is still under way.
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.set_zero_linger().unwrap();
                return;
            }
            Exit::Stay => {}
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    TransportAddress::http(format!("http://{address}/v1/rpc/x"))
}

async fn read_head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.unwrap());
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn a_cut_answer_is_never_a_clean_end_and_says_how_far_it_came() {
    let items = chunk("data: a\n\n") + &chunk("data: b\n\n");
    let half = "1f\r\ndata: half of an i";
    for (rest, exit, expected) in [
        // The connection ends in order, at a frame's border and within one.
        ("", Exit::Fin, Detail::Truncated { items_seen: 2 }),
        (half, Exit::Fin, Detail::Truncated { items_seen: 2 }),
        // The HTTP message is whole, the answer is not.
        ("0\r\n\r\n", Exit::Stay, Detail::Truncated { items_seen: 2 }),
        (half, Exit::Reset, Detail::PeerClosed { items_seen: 2 }),
    ] {
        let to = scripted(format!("{HEAD}{items}{rest}"), exit).await;
        let world = World::new(speaking(HttpVersion::Http1, StreamFormat::Sse));
        let mut stream = world.inline(&to, request("")).await.unwrap();
        for item in ["a", "b"] {
            assert_eq!(soon(stream.next()).await.unwrap().unwrap().text().unwrap(), item);
        }
        let error = soon(stream.next()).await.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.detail()),
            (ErrorKind::Closed, Some(&expected)),
            "{exit:?} {rest:?}: {error:?}"
        );
        assert_eq!(error.retry(), Retry::Never);
        assert!(soon(stream.next()).await.is_none());
    }
}

#[tokio::test]
async fn a_cut_at_every_byte_is_noticed() {
    let body = chunk("data: a\n\n") + &chunk("event: done\ndata: {}\n\n") + "0\r\n\r\n";
    let done = body.find("{}\n\n").unwrap() + 4;
    for cut in 0..done {
        let to = scripted(format!("{HEAD}{}", &body[..cut]), Exit::Fin).await;
        let world = World::new(speaking(HttpVersion::Http1, StreamFormat::Sse));
        let outcome = match world.inline(&to, request("")).await {
            Ok(stream) => collect(stream).await,
            Err(error) => Err(error),
        };
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Closed, "cut at {cut}");
    }
    let to = scripted(format!("{HEAD}{}", &body[..done]), Exit::Fin).await;
    let world = World::new(speaking(HttpVersion::Http1, StreamFormat::Sse));
    assert_eq!(texts(world.inline(&to, request("")).await.unwrap()).await, ["a"]);
}

#[tokio::test]
async fn a_responder_that_goes_in_mid_answer_is_noticed_in_both_versions() {
    for version in VERSIONS {
        for fetched in [false, true] {
            let world = World::new(speaking(version, StreamFormat::Sse));
            let responder = World::new(config(|_| {}));
            let (dropped, _gone) = tokio::sync::mpsc::unbounded_channel();
            let guard = responder.serve("endless", endless(3, dropped)).await;
            let mut stream = world.call(fetched, guard.address(), request("")).await.unwrap();
            for _ in 0..3 {
                soon(stream.next()).await.unwrap().unwrap();
            }
            responder.request.server.close(Duration::ZERO).await.unwrap();
            responder.response.close(Duration::ZERO).await.unwrap();
            let error = soon(stream.next()).await.unwrap().unwrap_err();
            assert_eq!((error.kind(), error.items_seen()), (ErrorKind::Closed, Some(3)), "{version:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_of_ours_is_a_typed_error() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (response, kind) in [
        (format!("{ok}content-type: text/html\r\ncontent-length: 2\r\n\r\nhi"), ErrorKind::Protocol),
        (format!("{HEAD}{}", chunk("event: item64\ndata: ***\n\n")), ErrorKind::Protocol),
        (format!("{HEAD}zz\r\n"), ErrorKind::Closed),
        (format!("{HEAD}{}", chunk(&format!("data: {}\n\n", "x".repeat((1 << 20) + 1)))), ErrorKind::TooLarge),
        ("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".into(), ErrorKind::Protocol),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(), ErrorKind::NoService),
        ("HTTP/1.1 503 Busy\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nbusy".into(), ErrorKind::Overloaded),
        ("HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n".into(), ErrorKind::TooLarge),
        ("HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n".into(), ErrorKind::Protocol),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".into(), ErrorKind::Protocol),
        ("garbage\r\n\r\n".into(), ErrorKind::Closed),
    ] {
        let to = scripted(response.clone(), Exit::Stay).await;
        let world = World::new(speaking(HttpVersion::Http1, StreamFormat::Sse));
        let outcome = match soon(world.inline(&to, request(""))).await {
            Ok(stream) => collect(stream).await,
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {error:?}", &response[..60.min(response.len())]);
    }
}

#[tokio::test]
async fn silence_ends_at_the_acknowledgement_timeout() {
    for version in VERSIONS {
        let to = scripted(String::new(), Exit::Stay).await;
        let world = World::new(config(|config| {
            config.http.version = version;
            config.http.request_timeout = Duration::from_millis(200);
        }));
        let error = soon(world.inline(&to, request(""))).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Never));
        let to = scripted(String::new(), Exit::Stay).await;
        let hasty = request("").with_timeout(Duration::from_millis(100));
        let error = soon(World::new(config(|_| {})).inline(&to, hasty)).await.unwrap_err();
        assert_eq!(error.detail(), Some(&Detail::DeadlineExceeded { items_seen: 0 }));
    }
}

#[tokio::test]
async fn nobody_there_is_a_connect_error_that_is_safe_to_repeat_elsewhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = TransportAddress::http(format!("http://{}/v1/rpc/x", listener.local_addr().unwrap()));
    drop(listener);
    for version in VERSIONS {
        let world = World::new(speaking(version, StreamFormat::Sse));
        let error = soon(world.inline(&to, request(""))).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe));
    }
}

#[tokio::test]
async fn a_link_that_died_while_idle_is_replaced_without_a_word() {
    for version in VERSIONS {
        let world = World::new(speaking(version, StreamFormat::Sse));
        let first = World::new(config(|_| {}));
        let guard = first.serve("words", words()).await;
        let to = guard.address().clone();
        let port = authority(&guard).rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(texts(world.inline(&to, request("a")).await.unwrap()).await, ["a"]);
        first.request.server.close(Duration::ZERO).await.unwrap();
        let second = World::new(config(|config| config.http.request.port = biplane::config::Port::Set(port)));
        let _guard = second.serve("words", words()).await;
        for _ in 0..3 {
            assert_eq!(texts(soon(world.inline(&to, request("b"))).await.unwrap()).await, ["b"]);
        }
    }
}

#[tokio::test]
async fn a_graceful_close_finishes_what_is_in_flight_and_refuses_new() {
    for version in VERSIONS {
        let world = World::new(speaking(version, StreamFormat::Sse));
        let (go, gate) = tokio::sync::watch::channel(false);
        let handler = biplane::handler_fn(move |_: biplane::Request, reply: biplane::ResponseSender| {
            let mut gate = gate.clone();
            async move {
                reply.send("first").await?;
                let _ = gate.wait_for(|open| *open).await;
                reply.send("last").await
            }
        });
        let guard = world.serve("gated", handler).await;
        let mut stream = world.inline(guard.address(), request("")).await.unwrap();
        assert!(soon(stream.next()).await.unwrap().is_ok());
        let server = world.request.server.clone();
        let closing = tokio::spawn(async move { server.close(PATIENCE).await });
        // New callers are refused as soon as the listener is gone.
        soon(async {
            while TcpStream::connect(authority(&guard)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        go.send(true).unwrap();
        assert_eq!(texts(stream).await, ["last"]);
        soon(closing).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_storm_of_dropped_requests_leaves_the_link_usable() {
    let world = World::new(config(|_| {}));
    let (dropped, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let endless = world.serve("endless", endless(1, dropped)).await;
    let guard = world.serve("words", words()).await;
    for round in 0..10 {
        let calls = (0..200).map(|_| world.inline(endless.address(), request("")));
        let mut streams = futures_util::future::join_all(calls).await;
        streams.retain(|stream| stream.is_ok());
        assert_eq!(streams.len(), 200, "round {round}");
        drop(streams);
        for _ in 0..200 {
            soon(gone.recv()).await.unwrap();
        }
        assert_eq!(texts(world.inline(guard.address(), request("a b")).await.unwrap()).await, ["a", "b"]);
    }
}
