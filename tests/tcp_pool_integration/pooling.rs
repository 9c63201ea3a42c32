// SPDX-License-Identifier: Apache-2.0
//! Answers that call home, and the links that they come on.

use std::time::Duration;

use biplane::plane::{Opened, PendingResponse, ResponseConnectionInfo, ResponsePlane};
use biplane::{Connection, ErrorKind, RequestContext, TransportAddress};

use crate::support::{Side, Worker, ask, drain, echo, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_inline_and_by_call_home() {
    within(async {
        let (worker, caller) = (Worker::start(&[]).await, Side::new(&[]));
        for connection in [caller.inline(&worker.address), caller.calling_home(&worker.address)] {
            echo(&connection, "hello").await;
            let mut stream = connection.open(ask("count", "100")).unwrap();
            for number in 0_u64..100 {
                assert_eq!(stream.next().await.unwrap().unwrap().body[..], number.to_be_bytes());
            }
            assert!(stream.next().await.is_none());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_answers_come_on_one_link() {
    within(async {
        let worker = Worker::start(&[("DYN_TCP_POOL_ENABLED", "true"), ("DYN_TCP_POOL_MIN_IDLE", "0")]).await;
        let caller = Side::new(&[]);
        let connection = caller.calling_home(&worker.address);
        for number in 0..1000 {
            echo(&connection, &number.to_string()).await;
        }
        let (created, reused) = (worker.side.pool_created(), worker.side.pool_reused());
        assert_eq!(created, 1.0);
        assert!(reused / (created + reused) > 0.99, "{reused} of {} leases were reused", created + reused);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_pool_every_answer_has_a_fresh_link() {
    within(async {
        let worker = Worker::start(&[("DYN_TCP_POOL_ENABLED", "false")]).await;
        let caller = Side::new(&[]);
        let connection = caller.calling_home(&worker.address);
        for number in 0..20 {
            echo(&connection, &number.to_string()).await;
        }
        assert_eq!((worker.side.pool_created(), worker.side.pool_reused()), (20.0, 0.0));
        until("every link closed", || worker.side.metric("tcp_pool_active_connections") == 0.0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_or_used_token_is_refused_and_the_true_stream_is_unharmed() {
    within(async {
        let (caller, responder) = (Side::new(&[]), Side::new(&[]));
        let (caller, responder) = (caller.response_plane(), responder.response_plane());
        let context = RequestContext::new();
        let anywhere = TransportAddress::tcp("127.0.0.1:1");
        let PendingResponse { reply_to, pending } = caller.expect(&context, &anywhere).await.unwrap();

        let mut forged = reply_to.clone();
        forged.metadata.insert("token".to_owned(), "00".repeat(16));
        refused(&*responder, &context, &forged).await;
        for token in ["", "xyz", "00"] {
            forged.metadata.insert("token".to_owned(), token.to_owned());
            let error = responder.create_response_stream(&context, &forged).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{token:?}");
        }

        let Opened { sender, .. } = responder.create_response_stream(&context, &reply_to).await.unwrap();
        sender.send("one").await.unwrap();
        sender.flush().await.unwrap();
        let mut stream = pending.resolve(None).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().body, "one");
        refused(&*responder, &context, &reply_to).await;
        sender.send("two").await.unwrap();
        sender.close();
        assert_eq!(stream.next().await.unwrap().unwrap().body, "two");
        assert!(stream.next().await.is_none());
    })
    .await;
}

/// The stream can be opened, since the answer to that is not waited for, but nothing can be said on it.
async fn refused(plane: &dyn ResponsePlane, context: &RequestContext, info: &ResponseConnectionInfo) {
    let Opened { sender, .. } = plane.create_response_stream(context, info).await.unwrap();
    sender.stopped().await;
    let error = sender.send("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooled_link_that_died_is_replaced_unnoticed() {
    within(async {
        let (worker, first) = (Worker::start(&[]).await, Side::new(&[]));
        let home = first.response_plane();
        echo(&first.calling_home(&worker.address), "before").await;
        home.close(Duration::from_secs(5)).await.unwrap();
        // Another runtime of the same host calls: its own link, whatever became of the first's.
        let second = Side::new(&[]);
        for number in 0..10 {
            echo(&second.calling_home(&worker.address), &number.to_string()).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_calls_home_ends_with_the_deadline() {
    within(async {
        let caller = Side::new(&[("BIPLANE_CALL_HOME_TIMEOUT", "1h")]);
        let deadline = std::time::Instant::now().checked_add(Duration::from_millis(200));
        let context = RequestContext { deadline, ..RequestContext::new() };
        let anywhere = TransportAddress::tcp("127.0.0.1:1");
        let expected = caller.response_plane().expect(&context, &anywhere).await.unwrap();
        let (seen, error) = drain(&mut expected.pending.resolve(None).unwrap()).await;
        assert_eq!((seen, error.unwrap().kind()), (0, ErrorKind::Timeout));
    })
    .await;
}
