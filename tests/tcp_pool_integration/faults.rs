// SPDX-License-Identifier: Apache-2.0
//! Links that are cut, end, or fall silent while answers are on them.

use std::time::Duration;

use biplane::conformance::proxy::{Action, FaultProxy, Plan};
use biplane::plane::{Ack, ReplyTo};
use biplane::{Connection, Detail, ErrorKind, ResponseStream, TransportAddress, TransportId};
use tokio::net::TcpListener;

use crate::support::{Side, Worker, ask, drain, echo, raw_client, shake_hands, within};

/// So much of an answer of "count" passes before the fault.
const AT: u64 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_mid_answer_says_how_much_was_seen() {
    within(async {
        for is_home in [false, true] {
            let (mut stream, _parts) = answer_with_fault(is_home, Action::Reset).await;
            let (seen, error) = drain(&mut stream).await;
            let error = error.expect("a cut is no clean end");
            assert_eq!(error.kind(), ErrorKind::Closed);
            assert_eq!(error.detail(), Some(&Detail::PeerClosed { items_seen: seen }), "home: {is_home}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_in_mid_answer_is_a_truncation() {
    within(async {
        for is_home in [false, true] {
            let (mut stream, _parts) = answer_with_fault(is_home, Action::Cut).await;
            let (seen, error) = drain(&mut stream).await;
            assert!(seen > 0);
            let detail = error.expect("a cut is no clean end").detail().cloned();
            assert_eq!(detail, Some(Detail::Truncated { items_seen: seen }), "home: {is_home}");
        }
    })
    .await;
}

/// A long answer on a link that the proxy harms: the request's own, or the one that calls home.
async fn answer_with_fault(is_home: bool, action: Action) -> (ResponseStream, (Worker, Side, FaultProxy)) {
    let (worker, caller) = (Worker::start(&[]).await, Side::new(&[]));
    let request = ask("count", "100000");
    if !is_home {
        let proxy = FaultProxy::start(worker.socket(), Plan::new().to_caller(AT, action)).await.unwrap();
        let address = TransportAddress::tcp(proxy.local_addr().to_string());
        return (caller.inline(&address).open(request).unwrap(), (worker, caller, proxy));
    }
    let pending = caller.response_plane().expect(&request.context, &worker.address).await.unwrap();
    let mut reply_to = pending.reply_to.clone();
    // The responder dials home: what it says goes to the target.
    let proxy = FaultProxy::start(reply_to.address.address.parse().unwrap(), Plan::new().to_target(AT, action));
    let proxy = proxy.await.unwrap();
    reply_to.address.address = proxy.local_addr().to_string();
    let client = caller.registry.get_request_client(&TransportId::TCP).unwrap();
    let ack = client.send_request(&worker.address, request, &ReplyTo::To(Box::new(reply_to))).await.unwrap();
    assert!(matches!(ack, Ack::Accepted), "{ack:?}");
    (pending.pending.resolve(None).unwrap(), (worker, caller, proxy))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_request_finds_another_link() {
    within(async {
        let (worker, caller) = (Worker::start(&[]).await, Side::new(&[]));
        let proxy = FaultProxy::start(worker.socket(), Plan::new().to_caller(AT, Action::Reset)).await.unwrap();
        let connection = caller.inline(&TransportAddress::tcp(proxy.local_addr().to_string()));
        let (_, error) = drain(&mut connection.open(ask("count", "100000")).unwrap()).await;
        assert!(error.is_some());
        proxy.set_plan(Plan::new());
        echo(&connection, "on a fresh link").await;
        assert!(proxy.accepted() >= 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_dead_after_the_silence_limit() {
    within(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = TransportAddress::tcp(listener.local_addr().unwrap().to_string());
        let mute = tokio::spawn(async move { shake_hands(listener.accept().await.unwrap().0).await });
        let hasty =
            [("DYN_TCP_REQUEST_HEARTBEAT_INTERVAL_SECS", "1"), ("DYN_TCP_REQUEST_CONNECTION_TIMEOUT_SECS", "2")];
        let caller = Side::new(&hasty);
        let (seen, error) = drain(&mut caller.inline(&address).open(ask("echo", "")).unwrap()).await;
        let error = error.unwrap();
        assert_eq!(seen, 0);
        assert!(
            matches!(error.detail(), Some(Detail::PeerTimeout { silent_for }) if *silent_for >= Duration::from_secs(2)),
            "{error:?}"
        );
        drop(mute.await.unwrap());

        // A slow answer is no silence: the other end's driver answers the pings.
        let worker = Worker::start(&[]).await;
        let connection = caller.inline(&worker.address);
        let mut waiting = connection.open(ask("wait", "slow")).unwrap();
        let released = worker.released.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            released.add_permits(1);
        });
        assert_eq!(waiting.next().await.unwrap().unwrap().body, "slow");

        // And a listener lets go of a client that fell silent.
        let worker = Worker::start(&hasty).await;
        let mut client = raw_client(worker.socket()).await;
        let mut said = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut said).await;
    })
    .await;
}
