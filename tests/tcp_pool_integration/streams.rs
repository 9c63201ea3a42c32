// SPDX-License-Identifier: Apache-2.0
//! Many streams on one link: none may cross, stall or outlive another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use biplane::{Connection, Detail, ErrorKind, Request, Subject, Target, TransportId};
use tokio::net::TcpListener;

use crate::support::{Side, Worker, ask, drain, echo, shake_hands, until, within};

const ONE_LINK: &[(&str, &str)] =
    &[("DYN_TCP_POOL_ENABLED", "true"), ("DYN_TCP_POOL_MAX_PER_TARGET", "1"), ("DYN_TCP_POOL_MIN_IDLE", "0")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_never_cross() {
    within(async {
        let (worker, caller) = (Worker::start(&[]).await, Side::new(&[]));
        for connection in [caller.inline(&worker.address), caller.calling_home(&worker.address)] {
            let connection = Arc::new(connection);
            let calls: Vec<_> = (0..1000)
                .map(|number| {
                    let connection = connection.clone();
                    tokio::spawn(async move { echo(&*connection, &format!("{number} {}", "x".repeat(number))).await })
                })
                .collect();
            for call in calls {
                call.await.unwrap();
            }
        }
        assert_eq!(worker.running.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_stall_nobody_else_on_their_link() {
    within(async {
        let (worker, caller) = (Worker::start(ONE_LINK).await, Side::new(ONE_LINK));
        for connection in [caller.inline(&worker.address), caller.calling_home(&worker.address)] {
            let mut stalled = Vec::new();
            for _ in 0..200 {
                let mut stream = connection.open(ask("flood", "")).unwrap();
                assert!(stream.next().await.unwrap().is_ok());
                stalled.push(stream);
            }
            for number in 0..100 {
                echo(&connection, &number.to_string()).await;
            }
            for stream in &mut stalled {
                for _ in 0..8 {
                    assert_eq!(stream.next().await.unwrap().unwrap().body.len(), 64 << 10);
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_cancels_its_handler() {
    within(async {
        let (worker, caller) = (Worker::start(&[]).await, Side::new(&[]));
        for connection in [caller.inline(&worker.address), caller.calling_home(&worker.address)] {
            for subject in ["hang", "flood"] {
                let mut stream = connection.open(ask(subject, "")).unwrap();
                let started = async { until("the handler started", || worker.running.load(Ordering::SeqCst) == 1).await };
                tokio::select! {
                    () = started => {}
                    // Reading is what sends a request of a pair.
                    _ = async { while stream.next().await.is_some_and(|item| item.is_ok()) {} } => panic!("{subject} ended"),
                }
                drop(stream);
                until("the handler ended", || worker.running.load(Ordering::SeqCst) == 0).await;
            }
            echo(&connection, "still there").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversize_message_is_an_error_of_its_own_stream() {
    within(async {
        let limit = [("BIPLANE_MAX_MESSAGE_SIZE", "100000"), ONE_LINK[0], ONE_LINK[1], ONE_LINK[2]];
        let (worker, caller) = (Worker::start(&limit).await, Side::new(&limit));
        // The responder permits more than this caller does: what comes is too large only here.
        let generous = Worker::start(&[]).await;
        for connect in [Side::inline, Side::calling_home] {
            let connection = connect(&caller, &worker.address);
            let mut bystander = connection.open(ask("wait", "patience")).unwrap();

            let error = connection.request(ask("echo", vec![7; 100_001])).await.unwrap_err();
            assert!(matches!(error.detail(), Some(Detail::TooLarge { limit: 100_000, .. })), "{error:?}");
            let outcome = connection.request(ask("sizes", "100001")).await.unwrap();
            assert_eq!(outcome.text().unwrap(), "Err(TooLarge)", "the stream goes on after the refused item");

            let connection = connect(&caller, &generous.address);
            for size in ["100001", "128000", "131072", "131073", "1000000"] {
                let (seen, error) = drain(&mut connection.open(ask("sizes", size)).unwrap()).await;
                let error = error.unwrap();
                assert_eq!((seen, error.kind()), (0, ErrorKind::TooLarge), "{size}: {error:?}");
                echo(&connection, "the link lives").await;
            }
            worker.released.add_permits(1);
            assert_eq!(bystander.next().await.unwrap().unwrap().body, "patience");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_holds_while_the_peer_takes_no_bytes() {
    within(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let deaf = tokio::spawn(async move { shake_hands(listener.accept().await.unwrap().0).await });
        let caller = Side::new(&[
            ("BIPLANE_WRITE_TIMEOUT", "1h"),
            ("DYN_TCP_REQUEST_HEARTBEAT_INTERVAL_SECS", "3600"),
            ("DYN_TCP_REQUEST_CONNECTION_TIMEOUT_SECS", "7200"),
        ]);
        let transport = caller.registry.get_transport(&TransportId::TCP).unwrap();
        let connection = transport.connect(&Target::parse(&url, |_| false).unwrap()).await.unwrap();
        // More than the sockets' buffers hold, on one link.
        let request = || Request::new(Subject::from_static("deaf"), vec![7; 384 << 10]);
        let mut streams: Vec<_> =
            (0..200).map(|_| connection.open(request().with_timeout(Duration::from_millis(500))).unwrap()).collect();
        for stream in &mut streams {
            let (seen, error) = drain(stream).await;
            assert_eq!((seen, error.unwrap().kind()), (0, ErrorKind::Timeout));
        }
        drop(deaf.await.unwrap());
    })
    .await;
}
