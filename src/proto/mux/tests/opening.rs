// SPDX-License-Identifier: Apache-2.0
//! Requests that come together, and what becomes of them at both ends.

use std::sync::Arc;

use bytes::BytesMut;

use super::*;

/// Opens a request for each of `subjects`.
fn ask_all(pair: &mut Pair, subjects: &[&'static str]) -> Vec<Key> {
    let open = |subject| Open::Request {
        subject: Subject::from_static(subject),
        context: RequestContext::new(),
        reply_to: ReplyTo::Inline,
    };
    let now = pair.now;
    let mut ask = |subject: &&'static str| pair.a.open_request(&open(subject), Message::new(*subject), false, || now);
    subjects.iter().map(|subject| ask(subject).unwrap()).collect()
}

/// What one end has to say, in one piece.
fn said(mux: &mut Mux) -> BytesMut {
    let mut writing = VecDeque::new();
    mux.take_output(&mut writing);
    writing.iter().flat_map(|segment| segment.to_vec()).collect()
}

#[test]
fn each_request_of_a_read_has_its_own_subject() {
    let mut pair = Pair::new();
    let subjects = ["one", "one", "two", "one", "three", "three"];
    ask_all(&mut pair, &subjects);
    let mut wire = said(&mut pair.a);
    pair.b.feed(&mut wire, pair.now).unwrap();
    for subject in subjects {
        let request = pair.incoming();
        assert_eq!((request.subject.as_str(), &request.message.body[..]), (subject, subject.as_bytes()));
    }
    assert!(pair.b.next_incoming().is_none());
}

#[test]
fn a_read_with_many_requests_is_taken_in_by_portions_and_slots_are_used_again() {
    let mut pair = Pair::new();
    let keys = ask_all(&mut pair, &["x"; 60]);
    let mut wire = said(&mut pair.a);
    let mut intake = pair.b.take_in(&mut wire, pair.now);
    let mut slots = std::collections::BTreeSet::new();
    let (mut seen, mut portions, mut has_more) = (0, 0, true);
    while has_more {
        has_more = pair.b.feed_some(&mut intake).unwrap();
        portions += 1;
        while let Some(Incoming::Request(request)) = pair.b.next_incoming() {
            pair.b.push(request.key, request.message).unwrap();
            pair.b.release_writer(request.key, Unended::Close);
            slots.insert(request.key);
            seen += 1;
        }
    }
    assert_eq!(seen, 60);
    assert!(portions > 1 && slots.len() < 60, "{portions} portions, {} slots", slots.len());
    pair.run(1000);
    for key in keys {
        assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "x");
        pair.a.release_reader(key);
    }
    assert!(pair.is_empty());
}

#[test]
fn a_link_that_dies_between_portions_takes_in_no_more() {
    let mut pair = Pair::new();
    ask_all(&mut pair, &["x"; 60]);
    let mut wire = said(&mut pair.a);
    let mut intake = pair.b.take_in(&mut wire, pair.now);
    assert!(pair.b.feed_some(&mut intake).unwrap());
    pair.b.fail(Error::closed("enough"));
    assert!(!pair.b.feed_some(&mut intake).unwrap());
    assert!(pair.b.next_incoming().is_none());
}

#[test]
fn a_bad_header_behind_a_portion_is_found() {
    let mut pair = Pair::new();
    ask_all(&mut pair, &["x"; 60]);
    let mut wire = said(&mut pair.a);
    wire.extend_from_slice(&[0xff, 0xff, 0xff, 1, 0, 0, 0, 0]);
    assert!(pair.b.feed(&mut wire, pair.now).is_err());
    assert_eq!(std::iter::from_fn(|| pair.b.next_incoming()).count(), 60, "what came before it counts");
}

#[test]
fn a_whole_answer_frees_its_slot_and_what_is_attached_to_it() {
    let mut pair = Pair::new();
    let (key, incoming) = pair.call("hello");
    let lease = Arc::new(());
    pair.a.attach(key, Box::new(lease.clone()));
    pair.b.push(incoming.key, incoming.message).unwrap();
    pair.b.release_writer(incoming.key, Unended::Close);
    pair.run(1000);
    let mut queue = Arrivals::default();
    let taken = pair.a.poll_arrivals(key, &mut queue, &mut noop());
    assert!(matches!(taken, Poll::Ready(Some(Ok((_, Some(_)))))), "the last of it");
    assert!(pair.is_empty());
    pair.a.take_after().run();
    assert_eq!(Arc::strong_count(&lease), 1);
}
