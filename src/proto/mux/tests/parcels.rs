// SPDX-License-Identifier: Apache-2.0
//! Credit that is lent, and what comes of it.

use super::*;
use crate::proto::parcel::Parcel;

fn filled(mux: &mut Mux, key: Key, items: usize) -> Parcel {
    let mut parcel = Parcel::EMPTY;
    mux.lend(key, &mut parcel);
    for item in 0..items {
        assert!(parcel.add(&Message::new(item.to_string())));
    }
    parcel
}

fn credit(mux: &Mux, key: Key) -> (i64, i64) {
    (mux.streams.get(key).unwrap().send.credit, mux.link_credit)
}

#[test]
fn what_was_not_used_is_not_taken() {
    let mut pair = Pair::new();
    let (_, request) = pair.call("x");
    let (stream, link) = credit(&pair.b, request.key);
    let mut parcel = filled(&mut pair.b, request.key, 3);
    assert!(credit(&pair.b, request.key).0 < stream - 27);
    pair.b.take_back(request.key, &mut parcel);
    assert_eq!(credit(&pair.b, request.key), (stream - 27, link - 27));
    // A second time is nothing.
    pair.b.take_back(request.key, &mut parcel);
    assert_eq!(credit(&pair.b, request.key), (stream - 27, link - 27));
}

#[test]
fn a_parcel_ends_with_its_credit() {
    let mut pair = Pair::new();
    let (key, request) = pair.call("x");
    let mut sent = 0;
    loop {
        let mut parcel = Parcel::EMPTY;
        pair.b.lend(request.key, &mut parcel);
        if !parcel.is_lent() {
            break;
        }
        while parcel.add(&Message::new(vec![1; 92])) {
            sent += 1;
        }
        pair.b.take_back(request.key, &mut parcel);
        pair.run(1000);
    }
    // What is left is for items one by one.
    assert!(sent >= 30 && sent <= SMALL.stream_window as usize / 100, "{sent} items");
    (0..sent).for_each(|_| assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body.len(), 92));
}

#[test]
fn others_wait_until_it_is_back() {
    let mut pair = Pair::new();
    let (key, request) = pair.call("x");
    let mut parcel = filled(&mut pair.b, request.key, 2);
    assert!(pair.b.poll_ready(request.key, &mut noop()).is_pending());
    assert!(!pair.b.push_plain(request.key, &mut Message::new("2")));
    assert!(!pair.b.is_stream_flushed(request.key));
    pair.b.push(request.key, Message::new("2")).unwrap();
    pair.b.end(request.key, Ok(()));
    pair.run(1000);
    assert!(pair.b.streams.get(request.key).is_some());
    pair.b.take_back(request.key, &mut parcel);
    pair.run(1000);
    for wanted in ["0", "1", "2"] {
        assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, wanted);
    }
    assert!(item(&mut pair.a, key).is_none());
    pair.b.release_writer(request.key, Unended::Close);
    pair.run(1000);
    assert_eq!(pair.b.open_streams(), 0);
}

#[test]
fn an_end_behind_it_goes_with_its_last_item() {
    let mut pair = Pair::new();
    let (key, request) = pair.call("x");
    let mut parcel = filled(&mut pair.b, request.key, 2);
    pair.b.end(request.key, Ok(()));
    pair.b.take_back(request.key, &mut parcel);
    let before = pair.b.out.position();
    // Two frames, the second of which is the last of the stream.
    assert_eq!(before, 18);
    pair.run(1000);
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "0");
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "1");
    assert!(item(&mut pair.a, key).is_none());
}

#[test]
fn a_stream_that_is_over_by_then_takes_nothing() {
    let mut pair = Pair::new();
    let (key, request) = pair.call("x");
    let (_, link) = credit(&pair.b, request.key);
    let mut parcel = filled(&mut pair.b, request.key, 2);
    pair.a.release_reader(key);
    pair.run(1000);
    let before = pair.b.out.position();
    pair.b.take_back(request.key, &mut parcel);
    assert_eq!((pair.b.out.position(), pair.b.link_credit), (before, link));
    let mut parcel = Parcel::EMPTY;
    pair.b.lend(request.key, &mut parcel);
    assert!(!parcel.is_lent());
    pair.b.release_writer(request.key, Unended::Abandon);
    pair.run(1000);
    assert!(pair.is_empty());
}

#[test]
fn a_dead_link_takes_nothing() {
    let mut pair = Pair::new();
    let (_, request) = pair.call("x");
    let mut parcel = filled(&mut pair.b, request.key, 2);
    pair.b.fail(Error::closed("gone"));
    pair.b.take_back(request.key, &mut parcel);
    assert!(!parcel.is_lent() && !pair.b.has_output());
}
