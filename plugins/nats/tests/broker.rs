// SPDX-License-Identifier: Apache-2.0
//! The connection to the broker: absent, refused, lost and found again.

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use biplane::{DispatchLimits, Error, ErrorKind, Phase, Retry, TransportAddress};
use biplane_nats::testing::NatsServer;
use support::{Answers, Node, echo, patiently, request};

/// Asks until it works; whatever fails meanwhile is a typed error of the connection.
async fn ask_until_it_works(caller: &Node, to: &TransportAddress) {
    let works = async {
        loop {
            match caller.ask(to, request("echo", "again")).await {
                Ok(items) => break assert_eq!(items, ["again"]),
                Err(error) => assert!(is_of_the_connection(&error), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently(works).await;
}

fn is_of_the_connection(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Connect | ErrorKind::Closed | ErrorKind::Timeout | ErrorKind::NoService)
}

#[tokio::test]
async fn an_unreachable_server_is_named_with_its_variable() {
    // Bound and dropped, so that nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("nats://127.0.0.1:{port}");
    let node = Node::at(&url, 1, &Arc::default());
    let to = TransportAddress::nats("biplane.rpc.x.0000000000000001");
    let asked = node.ask(&to, request("x", "")).await.unwrap_err();
    let served = node.register("x", echo(), DispatchLimits::default()).await.unwrap_err();
    for error in [asked, served] {
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains("NATS_SERVER"), "{text}");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe), "{error:?}");
        assert_eq!(error.phase(), Some(Phase::Connect));
    }
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let Some(mut server) = NatsServer::start() else { return };
    server.stop();
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    assert!(worker.register("echo", echo(), DispatchLimits::default()).await.is_err());
    assert!(caller.ask(&TransportAddress::nats("a"), request("echo", "")).await.is_err());
    server.restart();
    // The failed registration left nothing behind, and the failed attempt poisons nothing.
    let guard = worker.serve("echo", echo()).await;
    assert_eq!(caller.ask(guard.address(), request("echo", "hi")).await.unwrap(), ["hi"]);
}

#[tokio::test]
async fn a_restarted_server_finds_everyone_again() {
    let Some(mut server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = worker.serve("echo", echo()).await;
    for _ in 0..2 {
        ask_until_it_works(&caller, guard.address()).await;
        server.restart();
    }
    ask_until_it_works(&caller, guard.address()).await;
    let group = biplane_nats::group_address(guard.address()).unwrap();
    ask_until_it_works(&caller, &group).await;
}

#[tokio::test]
async fn what_is_in_flight_fails_when_the_server_dies() {
    let Some(mut server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let worker = Node::at(server.url(), 1, &answers);
    // Only the break can end the wait: the acknowledgement itself may take longer than the test.
    let caller = Node::new(2, &[("server", server.url()), ("ack_timeout", "10m")], &answers).unwrap();
    let guard = worker.serve("echo", echo()).await;
    answers.hold.send_replace(true);
    let (asked, ()) = tokio::join!(caller.ask(guard.address(), request("echo", "")), async {
        // The responder waits for the answer's stream: the request has arrived.
        while answers.hold.receiver_count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.stop();
    });
    let error = asked.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Never), "{error:?}");
    // While it is gone, requests fail before they are sent.
    let hurried = request("echo", "").with_timeout(Duration::from_millis(100));
    let error = caller.ask(guard.address(), hurried).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe), "{error:?}");
    assert!(error.to_string().contains(server.url()) && error.to_string().contains("NATS_SERVER"), "{error}");
}

#[tokio::test]
async fn refused_credentials_say_which_variables_to_check() {
    let Some(server) = NatsServer::start_with("authorization { user: bob, password: s3cret }") else { return };
    let answers = Arc::new(Answers::default());
    let url = server.url();
    for (section, part) in [
        (&[("server", url)][..], "NATS_AUTH_TOKEN"),
        (&[("server", url), ("username", "bob"), ("password", "guess")], "NATS_AUTH_PASSWORD"),
        (&[("server", url), ("token", "guess")], "check NATS_AUTH_TOKEN"),
        (&[("server", url), ("nkey", "guess")], "NATS_AUTH_NKEY"),
    ] {
        let node = Node::new(1, section, &answers).unwrap();
        let error = node.register("echo", echo(), DispatchLimits::default()).await.unwrap_err();
        let text = format!("{error}\n{error:?}");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Refused, Retry::Safe), "{text}");
        assert!(text.contains(part) && text.contains(url) && !text.contains("guess"), "{text}");
    }
    let node = Node::new(1, &[("server", url), ("credentials_file", "/nonexistent")], &answers).unwrap();
    let error = node.register("echo", echo(), DispatchLimits::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("NATS_AUTH_CREDENTIALS_FILE"), "{error}");
    let right = [("server", url), ("username", "bob"), ("password", "s3cret")];
    let guard = Node::new(1, &right, &answers).unwrap().serve("echo", echo()).await;
    let with_url = Node::at(&format!("nats://bob:s3cret@{}", server.authority()), 2, &answers);
    assert_eq!(with_url.ask(guard.address(), request("echo", "in")).await.unwrap(), ["in"]);
}

#[tokio::test]
async fn a_token_is_enough_where_a_token_is_asked_for() {
    let Some(server) = NatsServer::start_with("authorization { token: t0ken }") else { return };
    let answers = Arc::new(Answers::default());
    let node = Node::new(1, &[("server", server.url()), ("token", "t0ken")], &answers).unwrap();
    let guard = node.serve("echo", echo()).await;
    assert_eq!(node.ask(guard.address(), request("echo", "in")).await.unwrap(), ["in"]);
}

#[tokio::test]
async fn one_process_has_one_connection_and_two_runtimes_have_two() {
    let Some(server) = NatsServer::start_with("max_connections: 2") else { return };
    let answers = Arc::new(Answers::default());
    let (one, two) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = one.serve("echo", echo()).await;
    // Each of them calls and serves; a third connection would be refused.
    let calls = (0..20).map(|_| one.ask(guard.address(), request("echo", "x")));
    for outcome in patiently(futures_util::future::join_all(calls)).await {
        assert_eq!(outcome.unwrap(), ["x"]);
    }
    let other = two.serve("other", echo()).await;
    let calls = (0..20).map(|_| two.ask(other.address(), request("other", "x")));
    for outcome in patiently(futures_util::future::join_all(calls)).await {
        assert_eq!(outcome.unwrap(), ["x"]);
    }
    let third = Node::at(server.url(), 3, &answers).register("third", echo(), DispatchLimits::default()).await;
    assert_eq!(third.unwrap_err().kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn a_dropped_runtime_leaves_no_connection_behind() {
    let Some(server) = NatsServer::start_with("max_connections: 1") else { return };
    let answers = Arc::new(Answers::default());
    for instance in 1..4 {
        let node = Node::at(server.url(), instance, &answers);
        // The one before gives its place free in its own time.
        let guard = patiently(async {
            loop {
                match node.register("echo", echo(), DispatchLimits::default()).await {
                    Ok(guard) => break guard,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(node.ask(guard.address(), request("echo", "x")).await.unwrap(), ["x"]);
    }
}
