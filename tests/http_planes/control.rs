// SPDX-License-Identifier: Apache-2.0
//! Cancelling, controlling, and the rights that a token gives.

use std::time::Duration;

use biplane::plane::{Ack, ReplyTo};
use biplane::{ControlMessage, ErrorKind, Retry};
use tokio::sync::mpsc::unbounded_channel;

use crate::by_hand::{Reply, http};
use crate::world::*;

#[tokio::test]
async fn a_dropped_or_killed_stream_ends_the_handler() {
    for version in VERSIONS {
        for fetched in [false, true] {
            for kill in [false, true] {
                let world = World::new(speaking(version, Default::default()));
                let (dropped, mut gone) = unbounded_channel();
                let guard = world.serve("endless", endless(1, dropped)).await;
                let mut stream = world.call(fetched, guard.address(), request("")).await.unwrap();
                assert!(soon(stream.next()).await.unwrap().is_ok());
                if kill {
                    stream.control(ControlMessage::Kill);
                    let error = soon(stream.next()).await.unwrap().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Cancelled);
                }
                drop(stream);
                soon(gone.recv()).await.unwrap();
            }
        }
    }
}

/// An answer that waits to be fetched: its URL, host, port and path.
async fn located(world: &World, to: &biplane::TransportAddress) -> (String, String) {
    let reserved = world.response.expect(&request("").context, to).await.unwrap();
    let ack =
        world.request.client.send_request(to, request(""), &ReplyTo::To(Box::new(reserved.reply_to))).await.unwrap();
    let Ack::Located(info) = ack else { panic!("{ack:?}") };
    let rest = info.address.address.strip_prefix("http://").unwrap().to_owned();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    (authority.to_owned(), path.to_owned())
}

#[tokio::test]
async fn an_answer_is_fetched_once_and_controlled_by_its_token() {
    for (how, last) in [("stop", "event: error"), ("kill", "event: error")] {
        let world = World::new(config(|_| {}));
        let (dropped, mut gone) = unbounded_channel();
        let guard = world.serve("endless", endless(1, dropped)).await;
        let (authority, path) = located(&world, guard.address()).await;
        let mut reader = Reply::open(&authority, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(reader.read_until("data: 0\n\n").await.starts_with("HTTP/1.1 200"));
        let second = http(&authority, "GET", &path, "", "").await;
        assert_eq!(second.status, 409, "{}", second.body);
        let bad = http(&authority, "DELETE", &format!("{path}?how=gently"), "", "").await;
        assert_eq!(bad.status, 400, "{}", bad.body);
        assert_eq!(http(&authority, "PUT", &path, "", "").await.status, 405);
        assert_eq!(http(&authority, "DELETE", &format!("{path}?how={how}"), "", "").await.status, 204);
        if how == "stop" {
            // This handler does not listen to a stop: it goes on until it is killed.
            assert_eq!(http(&authority, "DELETE", &path, "", "").await.status, 204);
        }
        reader.read_until(last).await;
        soon(gone.recv()).await.unwrap();
        let late = http(&authority, "GET", &path, "", "").await;
        assert_eq!(late.status, 404);
        assert!(late.body.contains("such URLs come from a responder"), "{}", late.body);
    }
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_the_real_stream_is_unharmed() {
    let world = World::new(config(|_| {}));
    let guard = world.serve("words", words()).await;
    let reserved = world.response.expect(&request("").context, guard.address()).await.unwrap();
    let reply_to = ReplyTo::To(Box::new(reserved.reply_to));
    let ack = world.request.client.send_request(guard.address(), request("a b"), &reply_to).await.unwrap();
    let Ack::Located(info) = ack else { panic!("{ack:?}") };
    let url = &info.address.address;
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let last = path.chars().last().unwrap();
    let off_by_one = format!("/{}{}", &path[..path.len() - 1], if last == '0' { '1' } else { '0' });
    for wrong in [&off_by_one, "/v1/rpc/response/", "/v1/rpc/response/xyz", "/", "/v1/rpc/response"] {
        for method in ["GET", "DELETE"] {
            assert_eq!(http(authority, method, wrong, "", "").await.status, 404, "{method} {wrong}");
        }
    }
    // A caller with a wrong token gets a typed error, which is no licence to send the request again.
    let mut forged = info.clone();
    forged.address.address = format!("http://{authority}{off_by_one}");
    let other = world.response.expect(&request("").context, guard.address()).await.unwrap();
    let error = soon(other.pending.resolve(Some(forged)).unwrap().next()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Refused, Retry::Never));

    assert_eq!(texts(reserved.pending.resolve(Some(info)).unwrap()).await, ["a", "b"]);
}

#[tokio::test]
async fn an_answer_that_nobody_fetches_is_cancelled() {
    let world = World::new(config(|config| config.limits.call_home_timeout = Duration::from_millis(100)));
    let (dropped, mut gone) = unbounded_channel();
    let guard = world.serve("endless", endless(1, dropped)).await;
    let (authority, path) = located(&world, guard.address()).await;
    soon(gone.recv()).await.unwrap();
    assert_eq!(http(&authority, "GET", &path, "", "").await.status, 404);
}

#[tokio::test]
async fn an_acknowledgement_without_a_place_is_a_protocol_error() {
    let world = World::new(config(|_| {}));
    let to = biplane::TransportAddress::nats("x");
    let reserved = world.response.expect(&request("").context, &to).await.unwrap();
    assert_eq!(reserved.pending.resolve(None).unwrap_err().kind(), ErrorKind::Protocol);
}
