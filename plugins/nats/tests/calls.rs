// SPDX-License-Identifier: Apache-2.0
//! Requests that arrive: who gets them, what crosses, what the handler's outcome looks like to the caller.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use biplane::plane::{Ack, ReplyTo};
use biplane::{
    Detail, DispatchLimits, ErrorKind, Message, PeerError, Request, ResponseSender, Retry, Subject, Target,
    TransportAddress, handler_fn,
};
use biplane_nats::group_address;
use biplane_nats::testing::NatsServer;
use support::{Answers, Node, echo, patiently, request, says};

#[tokio::test]
async fn an_answer_comes_on_the_response_plane() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let words = handler_fn(|request: Request, reply: ResponseSender| async move {
        for word in request.message.text()?.split(' ') {
            reply.send(word.to_owned()).await?;
        }
        Ok(())
    });
    let guard = worker.serve("demo.llm.words", words).await;
    assert_eq!(guard.address(), &TransportAddress::nats("biplane.rpc.demo%2Ellm%2Ewords.0000000000000001"));
    let items = caller.ask(guard.address(), request("demo.llm.words", "to be or not")).await.unwrap();
    assert_eq!(items, ["to", "be", "or", "not"]);
}

#[tokio::test]
async fn body_headers_and_context_cross_unchanged() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let context = handler_fn(|request: Request, reply: ResponseSender| async move {
        reply.send(format!("{} {:?}", request.context.id, request.context.deadline.is_some())).await?;
        reply.send(request.message).await
    });
    let guard = worker.serve("context", context).await;
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let sent = Message::new(body)
        .with_header("b", &b"\r\n\0\xff"[..])
        .with_header("a", "")
        .with_header("b", " spaces kept ")
        .with_header("nä=me", "x");
    let request = request("context", sent.clone()).with_timeout(Duration::from_secs(30));
    let id = request.context.id.clone();
    let mut stream = caller.call(guard.address(), request).await.unwrap();
    let first = patiently(stream.next()).await.unwrap().unwrap();
    assert_eq!(first.text().unwrap(), format!("{id} true"));
    assert_eq!(patiently(stream.next()).await.unwrap().unwrap(), sent);
    assert!(patiently(stream.next()).await.is_none());
}

#[tokio::test]
async fn the_group_shares_and_the_instance_does_not() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let caller = Node::at(server.url(), 9, &answers);
    let (one, two) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let first = one.serve("who", says("one")).await;
    let second = two.serve("who", says("two")).await;
    for _ in 0..10 {
        assert_eq!(caller.ask(first.address(), request("who", "")).await.unwrap(), ["one"]);
        assert_eq!(caller.ask(second.address(), request("who", "")).await.unwrap(), ["two"]);
    }
    let group = group_address(first.address()).unwrap();
    let mut seen = HashSet::new();
    // Exactly one item each time: one member of the group answers. The server draws at random, so 2^-199 that one is idle.
    for _ in 0..200 {
        let items = caller.ask(&group, request("who", "")).await.unwrap();
        assert_eq!(items.len(), 1);
        seen.extend(items);
    }
    assert_eq!(seen.len(), 2);
    let address = first.address().clone();
    drop(first);
    caller.until_gone(&address, "who").await;
    for _ in 0..20 {
        assert_eq!(caller.ask(&group, request("who", "")).await.unwrap(), ["two"]);
    }
}

#[tokio::test]
async fn a_url_names_the_group_at_our_server() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let _guard = worker.serve("echo", echo()).await;
    let url = |text: &str| Target::parse(text, |_| false).unwrap();
    let (address, subject) = caller.plane.client.locate(&url(&format!("{}/echo", server.url()))).unwrap();
    assert_eq!(subject.as_ref().map(Subject::as_str), Some("echo"));
    assert_eq!(caller.ask(&TransportAddress::nats(address), request("echo", "hi")).await.unwrap(), ["hi"]);
    let elsewhere = caller.plane.client.locate(&url("nats://198.51.100.1:4222/echo"));
    assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_thousand_requests_at_once_do_not_cross() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = worker.serve("echo", echo()).await;
    let calls = (0..1000).map(|number: u32| {
        let (caller, to) = (&caller, guard.address());
        async move {
            let items = caller.ask(to, request("echo", number.to_string())).await.unwrap();
            assert_eq!(items, [number.to_string()]);
        }
    });
    patiently(futures_util::future::join_all(calls)).await;
}

#[tokio::test]
async fn a_handlers_error_comes_with_the_answer() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let refusal = PeerError::new(42, "no such word").with_data(&b"{\"word\": \"x\"}"[..]);
    let fails = {
        let refusal = refusal.clone();
        handler_fn(move |_: Request, reply: ResponseSender| {
            let refusal = refusal.clone();
            async move {
                reply.send("one").await?;
                Err(refusal.into())
            }
        })
    };
    let guard = worker.serve("fails", fails).await;
    let mut stream = caller.call(guard.address(), request("fails", "")).await.unwrap();
    assert_eq!(patiently(stream.next()).await.unwrap().unwrap(), Message::new("one"));
    let error = patiently(stream.next()).await.unwrap().unwrap_err();
    assert_eq!(error.peer(), Some(&refusal));
}

#[tokio::test]
async fn a_one_way_request_is_acknowledged_and_run() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let notes = handler_fn(move |request: Request, _: ResponseSender| {
        let ran = ran.clone();
        async move {
            let _ = ran.send(request.message.text()?.to_owned());
            Ok(())
        }
    });
    let guard = worker.serve("notes", notes).await;
    let sent = caller.plane.client.send_request(guard.address(), request("notes", "hello"), &ReplyTo::Nothing);
    assert!(matches!(patiently(sent).await.unwrap(), Ack::Accepted));
    assert_eq!(patiently(runs.recv()).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_responder_that_is_full_says_so() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let waits = handler_fn(|_: Request, reply: ResponseSender| async move {
        reply.stopped().await;
        Ok(())
    });
    let limits = DispatchLimits { max_in_flight: 1, ..DispatchLimits::default() };
    let guard = worker.register("waits", waits, limits).await.unwrap();
    let _running = caller.call(guard.address(), request("waits", "")).await.unwrap();
    let error = caller.call(guard.address(), request("waits", "")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Safe));
}

#[tokio::test]
async fn what_waits_for_its_stream_holds_up_nobody_and_is_bounded() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let worker = Node::new(1, &[("server", server.url()), ("max_accepting", "2")], &answers).unwrap();
    let caller = Node::at(server.url(), 2, &answers);
    let guard = worker.serve("echo", echo()).await;
    answers.hold.send_replace(true);
    let held = || caller.ask(guard.address(), request("echo", "held"));
    let both = async { tokio::join!(held(), held()) };
    let third = async {
        // One-way requests open no stream: they pass the two that wait, until the bound refuses the next.
        loop {
            let sent = caller.plane.client.send_request(guard.address(), request("echo", ""), &ReplyTo::Nothing);
            match patiently(sent).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    };
    let (both, error) = patiently(async {
        tokio::join!(both, async {
            let error = third.await;
            answers.hold.send_replace(false);
            error
        })
    })
    .await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Safe));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (vec!["held".to_owned()], vec!["held".to_owned()]));
}

#[tokio::test]
async fn a_subject_is_served_once_and_free_again_after_its_guard() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let first = worker.serve("who", says("first")).await;
    let error = worker.register("who", says("second"), DispatchLimits::default()).await.unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::AlreadyRegistered));
    assert_eq!(caller.ask(first.address(), request("who", "")).await.unwrap(), ["first"]);
    let address = first.address().clone();
    drop(first);
    caller.until_gone(&address, "who").await;
    let second = worker.serve("who", says("second")).await;
    assert_eq!(caller.ask(second.address(), request("who", "")).await.unwrap(), ["second"]);
}

#[tokio::test]
async fn close_finishes_what_runs_and_refuses_what_comes() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let (finish, gate) = tokio::sync::watch::channel(false);
    let slow = handler_fn(move |_: Request, reply: ResponseSender| {
        let mut gate = gate.clone();
        async move {
            let _ = gate.wait_for(|open| *open).await;
            reply.send("done").await
        }
    });
    let guard = worker.serve("slow", slow).await;
    let mut stream = caller.call(guard.address(), request("slow", "")).await.unwrap();
    let closing = worker.plane.server.close(Duration::from_secs(30));
    let (closed, ()) = tokio::join!(closing, async {
        // Until the endpoint has gone; what still arrives is taken, and ended with the others.
        while let Ok(stream) = caller.call(guard.address(), request("slow", "")).await {
            drop(stream);
        }
        finish.send_replace(true);
    });
    closed.unwrap();
    assert_eq!(patiently(stream.next()).await.unwrap().unwrap(), Message::new("done"));
    let error = worker.register("other", echo(), DispatchLimits::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    patiently(worker.plane.server.close(Duration::ZERO)).await.unwrap();
}

#[tokio::test]
async fn what_reaches_no_handler_is_counted_by_the_responder() {
    let Some(server) = NatsServer::start() else { return };
    let answers = Arc::new(Answers::default());
    let (worker, caller) = (Node::at(server.url(), 1, &answers), Node::at(server.url(), 2, &answers));
    let guard = worker.serve("echo", echo()).await;
    caller.ask(guard.address(), request("echo", "x")).await.unwrap();
    caller.ask(guard.address(), request("other", "x")).await.unwrap_err();
    let text = worker.telemetry.render();
    let mut errors = text.lines().filter(|line| line.starts_with("transport_errors_total{"));
    let of_nats = |line: &&str| line.contains("transport=\"nats\"") && line.contains("error_type=\"no_route\"");
    assert!(errors.find(of_nats).is_some_and(|line| line.ends_with(" 1")), "{text}");
}
