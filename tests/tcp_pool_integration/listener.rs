// SPDX-License-Identifier: Apache-2.0
//! What a listener does to newcomers: too many, in the wrong language, too late.

use std::time::Duration;

use biplane::proto::frame::{FIN, Header, Kind, StreamId};
use biplane::proto::open::Open;
use biplane::proto::prologue;
use biplane::{Connection, Detail, ErrorKind, RequestContext, Retry, Subject, TransportAddress};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Side, Worker, ask, drain, echo, raw_client, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_link_too_many_is_told_so_and_may_come_back() {
    within(async {
        let worker = Worker::start(&[("DYN_TCP_REQUEST_MAX_CONNECTIONS", "1")]).await;
        let (first, second) = (Side::new(&[]), Side::new(&[]));
        let (first, second) = (first.inline(&worker.address), second.inline(&worker.address));
        let mut place = first.open(ask("wait", "first")).unwrap();
        let taken = tokio::spawn(async move { (place.next().await, place) });
        until("the place is taken", || worker.running.load(std::sync::atomic::Ordering::SeqCst) == 1).await;

        let (_, error) = drain(&mut second.open(ask("echo", "")).unwrap()).await;
        let error = error.unwrap();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Safe), "{error:?}");
        assert!(error.to_string().contains("DYN_TCP_REQUEST_MAX_CONNECTIONS"), "{error}");

        worker.released.add_permits(1);
        assert_eq!(taken.await.unwrap().0.unwrap().unwrap().body, "first");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_closes_the_link_that_it_came_on_and_no_other() {
    within(async {
        let (worker, caller) = (Worker::start(&[]).await, Side::new(&[]));
        let connection = caller.inline(&worker.address);
        let mut bystander = connection.open(ask("wait", "patience")).unwrap();
        echo(&connection, "before").await;
        for garbage in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0xff; 4096], b"BPLN\x09\0", b"B"] {
            let mut socket = TcpStream::connect(worker.socket()).await.unwrap();
            socket.write_all(garbage).await.unwrap();
            socket.shutdown().await.unwrap();
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
        // Frames that are none, after a proper prologue: the reason comes, then the end.
        for garbage in [&[0xff; 64][..], &[0, 0, 0, 0x0f, 0, 0, 0, 0], &[0, 0, 0, 1, 9, 0, 0, 0x80]] {
            let mut socket = raw_client(worker.socket()).await;
            socket.write_all(garbage).await.unwrap();
            let mut said = Vec::new();
            let _ = socket.read_to_end(&mut said).await;
            assert_eq!(said.get(3).map(|byte| byte & 15), Some(Kind::GoAway as u8), "{garbage:?}");
        }
        echo(&connection, "after").await;
        worker.released.add_permits(1);
        assert_eq!(bystander.next().await.unwrap().unwrap().body, "patience");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_of_the_wire_is_named_on_both_sides() {
    within(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = TransportAddress::tcp(listener.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut theirs = prologue::Prologue::default().encode();
                theirs[4] = 9;
                let _ = socket.write_all(&theirs).await;
                let _ = socket.read_to_end(&mut Vec::new()).await;
            }
        });
        let caller = Side::new(&[]);
        let (_, error) = drain(&mut caller.inline(&address).open(ask("echo", "")).unwrap()).await;
        let error = error.unwrap();
        assert_eq!(error.detail(), Some(&Detail::UnsupportedVersion { theirs: 9, ours: 1 }), "{error:?}");
        assert_eq!(error.retry(), Retry::Safe);

        // The other way round, the newcomer learns our version before it is hung up on.
        let worker = Worker::start(&[]).await;
        let mut socket = TcpStream::connect(worker.socket()).await.unwrap();
        let mut theirs = prologue::Prologue::default().encode();
        theirs[4] = 9;
        socket.write_all(&theirs).await.unwrap();
        let mut said = Vec::new();
        let _ = socket.read_to_end(&mut said).await;
        assert_eq!(said, prologue::Prologue::default().encode());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_close_finishes_what_is_in_flight_and_takes_nothing_new() {
    within(async {
        let (worker, caller) = (Worker::start(&[]).await, Side::new(&[]));
        let connection = caller.inline(&worker.address);
        let mut running = connection.open(ask("wait", "in flight")).unwrap();
        let reading =
            tokio::spawn(async move { (running.next().await.unwrap().unwrap(), running.next().await.is_none()) });
        until("it runs", || worker.running.load(std::sync::atomic::Ordering::SeqCst) == 1).await;

        let server = worker.server.clone();
        let closing = tokio::spawn(async move { server.close(Duration::from_secs(30)).await });
        // What crosses the goodbye, what comes after it, and what dials anew are all told that they did not run.
        for number in 0..20 {
            let (seen, error) = drain(&mut connection.open(ask("echo", number.to_string())).unwrap()).await;
            match error {
                None => assert_eq!(seen, 1, "answered before the listener began to close"),
                Some(error) => assert_eq!((seen, error.retry()), (0, Retry::Safe), "{error:?}"),
            }
        }
        worker.released.add_permits(1);
        let (item, ended) = reading.await.unwrap();
        assert_eq!((&item.body[..], ended), (&b"in flight"[..], true));
        closing.await.unwrap().unwrap();
        assert!(TcpStream::connect(worker.socket()).await.is_err(), "the listener is gone when close returns");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_does_not_wait_for_a_peer_that_takes_no_bytes() {
    within(async {
        let worker = Worker::start(&[("BIPLANE_WRITE_TIMEOUT", "1h")]).await;
        let mut socket = raw_client(worker.socket()).await;
        // Enough floods to fill the sockets' buffers whatever their windows.
        let mut wire = BytesMut::new();
        for slot in 0..64 {
            let open = Open::Request {
                subject: Subject::from_static("flood"),
                context: RequestContext::new(),
                reply_to: biplane::plane::ReplyTo::Inline,
            };
            let mut payload = BytesMut::new();
            open.encode(std::time::Instant::now, &mut payload);
            Header { kind: Kind::Open, flags: FIN, stream: StreamId::new(slot, false), len: payload.len() }
                .encode(&mut wire);
            wire.extend_from_slice(&payload);
        }
        socket.write_all(&wire).await.unwrap();
        until("the floods run", || worker.running.load(std::sync::atomic::Ordering::SeqCst) == 64).await;
        worker.server.close(Duration::from_millis(100)).await.unwrap();
        until("the floods are over", || worker.running.load(std::sync::atomic::Ordering::SeqCst) == 0).await;
        drop(socket);
    })
    .await;
}
