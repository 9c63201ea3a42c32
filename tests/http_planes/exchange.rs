// SPDX-License-Identifier: Apache-2.0
//! What is asked is answered, whatever the version, the format and the way of the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use biplane::config::HttpVersion;
use biplane::plane::{Ack, ReplyTo};
use biplane::{
    Connection, ControlMessage, Detail, Error, ErrorKind, Event, Inbound, Message, PeerError, Request, ResponseSender,
    Retry, Subject, TransportAddress, handler_fn,
};
use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::world::*;

#[tokio::test]
async fn items_come_back_byte_for_byte_in_every_version_format_and_way() {
    let items = || {
        [
            Message::new("text"),
            Message::new(""),
            Message::new("two\nlines\n"),
            Message::new("\rcarriage"),
            Message::new(" leading: blank"),
            Message::new((0..=255).collect::<Vec<u8>>()),
            Message::new("with headers").with_header("Name", "value").with_header("Name", &b"\xff\n"[..]),
            Message::new(vec![7; 1 << 18]),
        ]
    };
    for version in VERSIONS {
        for format in FORMATS {
            for fetched in [false, true] {
                let world = World::new(speaking(version, format));
                let handler = handler_fn(move |request: Request, reply: ResponseSender| async move {
                    assert_eq!(request.message, Message::new(&b"\0\xff"[..]).with_header("K", "v"));
                    for item in items() {
                        reply.send(item).await?;
                    }
                    Ok(())
                });
                let guard = world.serve("items", handler).await;
                let request = request(Message::new(&b"\0\xff"[..]).with_header("K", "v"));
                let stream = world.call(fetched, guard.address(), request).await.unwrap();
                assert_eq!(collect(stream).await.unwrap(), items(), "{version:?} {format:?} fetched: {fetched}");
            }
        }
    }
}

#[tokio::test]
async fn errors_keep_their_code_message_and_data() {
    for version in VERSIONS {
        for format in FORMATS {
            for fetched in [false, true] {
                let world = World::new(speaking(version, format));
                let handler = handler_fn(|_: Request, reply: ResponseSender| async move {
                    reply.send("one").await?;
                    Err(Error::from(PeerError::new(-32602, "bad \"x\"").with_data("{\n \"a\": 1.0}")))
                });
                let guard = world.serve("fails", handler).await;
                let mut stream = world.call(fetched, guard.address(), request("")).await.unwrap();
                assert_eq!(soon(stream.next()).await.unwrap().unwrap(), Message::new("one"));
                let error = soon(stream.next()).await.unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Peer);
                let expected = PeerError::new(-32602, "bad \"x\"").with_data("{\n \"a\": 1.0}");
                assert_eq!(error.peer(), Some(&expected));
                assert!(soon(stream.next()).await.is_none());
            }
        }
    }
}

#[tokio::test]
async fn a_thousand_requests_at_once_do_not_cross_talk_and_links_are_shared() {
    for version in VERSIONS {
        let world = Arc::new(World::new(speaking(version, Default::default())));
        let guard = world.serve("echo", echo()).await;
        let mut calls = tokio::task::JoinSet::new();
        // HTTP/1.1 has a link per request at work, of which the pool permits 100.
        let lanes = if version == HttpVersion::Http1 { 50 } else { 1000 };
        for lane in 0..lanes {
            let (world, to) = (world.clone(), guard.address().clone());
            calls.spawn(async move {
                for round in 0..1000 / lanes {
                    let body = format!("{lane}-{round}");
                    let stream = world.inline(&to, request(body.clone())).await.unwrap();
                    assert_eq!(texts(stream).await, [body]);
                }
            });
        }
        while let Some(done) = soon(calls.join_next()).await {
            done.unwrap();
        }
    }
}

#[tokio::test]
async fn one_way_requests_run_and_are_acknowledged() {
    let world = World::new(config(|_| {}));
    let (ran, mut run) = tokio::sync::mpsc::unbounded_channel();
    let handler = handler_fn(move |request: Request, reply: ResponseSender| {
        let ran = ran.clone();
        async move {
            reply.send("nobody reads this").await?;
            ran.send(request.message.body).map_err(|_| Error::closed("gone"))
        }
    });
    let guard = world.serve("log", handler).await;
    let ack = world.request.client.send_request(guard.address(), request("line"), &ReplyTo::Nothing).await;
    assert!(matches!(ack, Ok(Ack::Accepted)));
    assert_eq!(soon(run.recv()).await.unwrap(), Bytes::from("line"));
    let connection = world.connection(guard.address());
    connection.notify(&Subject::from_static("log"), Message::new("other")).await.unwrap();
    assert_eq!(soon(run.recv()).await.unwrap(), Bytes::from("other"));
}

#[tokio::test]
async fn context_reaches_the_handler() {
    let world = World::new(config(|_| {}));
    let handler = handler_fn(|request: Request, reply: ResponseSender| async move {
        let context = &request.context;
        let remaining = context.remaining(std::time::Instant::now()).unwrap();
        assert!(remaining <= Duration::from_secs(60) && remaining > Duration::ZERO);
        reply.send(format!("{} {} {}", request.subject, context.id, context.trace.unwrap())).await
    });
    let guard = world.serve("tools/call", handler).await;
    assert!(guard.address().address.ends_with("/v1/rpc/tools%2Fcall"), "{}", guard.address());
    let mut request = request("").with_timeout(Duration::from_secs(60));
    request.context.trace = biplane::TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let id = request.context.id.clone();
    let stream = world.inline(guard.address(), request).await.unwrap();
    let expected = format!("tools/call {id} 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(texts(stream).await, [expected]);
}

#[tokio::test]
async fn the_version_on_the_wire_is_the_configured_one() {
    for (version, first_line) in
        [(HttpVersion::Http2, "PRI * HTTP/2.0\r\n"), (HttpVersion::Http1, "POST /v1/rpc/x HTTP/1.1\r\n")]
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = biplane::TransportAddress::http(format!("http://{}/v1/rpc/x", listener.local_addr().unwrap()));
        let world = World::new(speaking(version, Default::default()));
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; first_line.len()];
            stream.read_exact(&mut seen).await.unwrap();
            assert_eq!(String::from_utf8(seen).unwrap(), first_line);
        };
        // The link ends without an answer: what the caller says of it is another test's.
        let (_, answer) = soon(async { tokio::join!(server, world.inline(&to, request(""))) }).await;
        assert!(answer.is_err());
    }
}

#[tokio::test]
async fn a_slow_reader_does_not_stall_its_neighbours() {
    for fetched in [false, true] {
        let world = World::new(config(|_| {}));
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let flood = handler_fn(move |_: Request, reply: ResponseSender| {
            let count = count.clone();
            async move {
                loop {
                    reply.send(vec![b'x'; 64 << 10]).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let flooding = world.serve("flood", flood).await;
        let echoing = world.serve("echo", echo()).await;
        let mut slow = world.call(fetched, flooding.address(), request("")).await.unwrap();
        assert!(soon(slow.next()).await.unwrap().is_ok());
        // The sender comes to a halt: credit and windows are finite.
        let mut before = 0;
        soon(async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let now = sent.load(Ordering::Relaxed);
                if now == std::mem::replace(&mut before, now) {
                    break;
                }
            }
        })
        .await;
        assert!(before < 400, "{before} items of 64 KiB were taken without a reader");
        for round in 0..100 {
            let stream = world.call(fetched, echoing.address(), request(format!("{round}"))).await.unwrap();
            assert_eq!(texts(stream).await, [format!("{round}")]);
        }
        assert!(soon(slow.next()).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn the_head_comes_before_the_first_item() {
    for version in VERSIONS {
        let world = World::new(speaking(version, Default::default()));
        let (dropped, mut gone) = tokio::sync::mpsc::unbounded_channel();
        let guard = world.serve("silent", endless(0, dropped)).await;
        // `inline` returns when the head is there.
        let stream = soon(world.inline(guard.address(), request(""))).await.unwrap();
        drop(stream);
        soon(gone.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn deadlines_end_the_answer_at_both_ends() {
    for version in VERSIONS {
        for fetched in [false, true] {
            let world = World::new(speaking(version, Default::default()));
            let (dropped, mut gone) = tokio::sync::mpsc::unbounded_channel();
            let guard = world.serve("late", endless(2, dropped)).await;
            let request = request("").with_timeout(Duration::from_millis(300));
            let mut stream = world.call(fetched, guard.address(), request).await.unwrap();
            for _ in 0..2 {
                soon(stream.next()).await.unwrap().unwrap();
            }
            let error = soon(stream.next()).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
            soon(gone.recv()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_connection_answers_by_subject_and_closes_with_grace() {
    let world = World::new(config(|_| {}));
    let guard = world.serve("echo", echo()).await;
    let (dropped, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let _endless = world.serve("endless", endless(1, dropped)).await;
    let origin = guard.address().address.replace("/v1/rpc/echo", "");
    let connection = std::sync::Arc::new(world.connection(&TransportAddress::http(origin)));
    assert!(connection.is_multiplexed());
    let to = |subject| Request::new(Subject::from_static(subject), "x");
    assert_eq!(connection.request(to("echo")).await.unwrap(), Message::new("x"));
    let error = connection.request(to("nothing")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::NoService, Retry::Safe));

    let mut open = connection.open(to("endless")).unwrap();
    assert!(soon(open.next()).await.unwrap().is_ok());
    let receiving = tokio::spawn({
        let connection = connection.clone();
        async move { connection.receive().await }
    });
    connection.close(Duration::from_millis(50)).await.unwrap();
    let error = soon(open.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    soon(gone.recv()).await.unwrap();
    assert!(soon(receiving).await.unwrap().unwrap().is_none());
    assert_eq!(connection.open(to("echo")).unwrap_err().kind(), ErrorKind::Closed);
    connection.close(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn what_http_does_not_do_is_unsupported_at_once() {
    let world = World::new(config(|_| {}));
    let guard = world.serve("echo", echo()).await;
    let (_sender, items) = biplane::stream::pipe(100, 100);
    let streaming = Request::streaming(Subject::from_static("echo"), "x", items);
    let error = world.inline(guard.address(), streaming).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_a_handler_tells_beside_its_items_comes_in_order() {
    for format in FORMATS {
        let world = World::new(speaking(HttpVersion::Http2, format));
        let handler = handler_fn(|_: Request, reply: ResponseSender| async move {
            reply.send("one").await?;
            let subject = Subject::from_static("progress");
            reply.send_inbound(Inbound::Notification(subject, Message::new("half"))).await?;
            reply.send("two").await
        });
        let guard = world.serve("tells", handler).await;
        let mut stream = world.inline(guard.address(), request("")).await.unwrap();
        let mut seen = Vec::new();
        while let Some(event) = soon(stream.next_event()).await {
            seen.push(match event.unwrap() {
                Event::Item(item) => item.text().unwrap().to_owned(),
                Event::Inbound(Inbound::Notification(subject, message)) => {
                    format!("{subject}: {}", message.text().unwrap())
                }
                Event::Inbound(other) => panic!("{other:?}"),
            });
        }
        assert_eq!(seen, ["one", "progress: half", "two"]);
    }
}

#[tokio::test]
async fn sizes_at_the_limit_pass_and_above_it_are_typed_and_the_link_lives() {
    for version in VERSIONS {
        let world = World::new(speaking(version, Default::default()));
        let guard = world.serve("echo", echo()).await;
        for size in [0, 1, (64 << 10) - 1, (64 << 10) + 1, 1 << 20] {
            let body = vec![b'y'; size];
            let stream = world.inline(guard.address(), request(body.clone())).await.unwrap();
            assert_eq!(collect(stream).await.unwrap(), [Message::new(body)]);
        }
        let error = world.inline(guard.address(), request(vec![0; (1 << 20) + 1])).await.unwrap_err();
        assert_eq!(error.detail(), Some(&Detail::TooLarge { limit: 1 << 20, got: (1 << 20) + 1 }));
        // A caller with a larger limit is told by the responder.
        let generous = World::new(config(|config| {
            config.http.version = version;
            config.limits.max_message_size = 1 << 24;
        }));
        for excess in [1, 4 << 20] {
            let error = generous.inline(guard.address(), request(vec![0; (1 << 20) + excess])).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
            let stream = generous.inline(guard.address(), request("still here")).await.unwrap();
            assert_eq!(texts(stream).await, ["still here"]);
        }
    }
}

#[tokio::test]
async fn a_stopped_handler_ends_in_order() {
    for version in VERSIONS {
        for fetched in [false, true] {
            let world = World::new(speaking(version, Default::default()));
            let handler = handler_fn(|_: Request, reply: ResponseSender| async move {
                reply.send("first").await?;
                assert_eq!(reply.stopped().await, ControlMessage::Stop);
                reply.send("last").await
            });
            let guard = world.serve("stops", handler).await;
            let mut stream = world.call(fetched, guard.address(), request("")).await.unwrap();
            assert_eq!(soon(stream.next()).await.unwrap().unwrap(), Message::new("first"));
            stream.control(ControlMessage::Stop);
            assert_eq!(texts(stream).await, ["last"]);
        }
    }
}
