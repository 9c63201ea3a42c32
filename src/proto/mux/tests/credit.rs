// SPDX-License-Identifier: Apache-2.0
//! What credit stops, what it does not, and that it comes back.

use super::*;

#[test]
fn a_stalled_reader_stops_its_sender_and_nobody_else() {
    let mut pair = Pair::new();
    let (stalled, first) = pair.call("a");
    let (quick, second) = pair.call("b");
    let mut sent = 0;
    while pair.b.poll_ready(first.key, &mut noop()).is_ready() {
        pair.b.push(first.key, Message::new(vec![1; 500])).unwrap();
        sent += 1;
        pair.run(1000);
        assert!(sent < 100, "credit must run out");
    }
    for _ in 0..100 {
        assert!(pair.b.poll_ready(second.key, &mut noop()).is_ready());
        pair.b.push(second.key, Message::new(vec![2; 500])).unwrap();
        pair.run(1000);
        assert_eq!(item(&mut pair.a, quick).unwrap().unwrap().body.len(), 500);
    }
    for _ in 0..sent {
        item(&mut pair.a, stalled).unwrap().unwrap();
        // The last of them waits for credit in the middle.
        pair.run(1000);
    }
    assert!(pair.b.poll_ready(first.key, &mut noop()).is_ready());
}

#[test]
fn stalled_readers_take_no_more_than_their_windows() {
    let mut pair = Pair::new();
    // As many windows as the link has, less one: what that one needs must be there.
    let count = (SMALL.link_window / SMALL.stream_window - 1) as usize;
    let stalled: Vec<Key> = (0..count).map(|_| pair.call("a").1.key).collect();
    for &key in &stalled {
        pair.b.push(key, Message::new(vec![1; 90_000])).unwrap();
    }
    pair.run(10_000);
    let (quick, incoming) = pair.call("b");
    for _ in 0..50 {
        assert!(pair.b.poll_ready(incoming.key, &mut noop()).is_ready());
        pair.b.push(incoming.key, Message::new(vec![2; 500])).unwrap();
        pair.run(1000);
        assert_eq!(item(&mut pair.a, quick).unwrap().unwrap().body.len(), 500);
    }
}

#[test]
fn what_a_lagging_reader_leaves_holds_no_read_of_the_link() {
    let mut pair = Pair::new();
    let (key, request) = pair.call("x");
    let mut input = bytes::BytesMut::with_capacity(64 << 10);
    let memory = input.as_ptr() as usize..input.as_ptr() as usize + input.capacity();
    for _ in 0..30 {
        pair.b.push(request.key, Message::new("item")).unwrap();
        let mut writing = VecDeque::new();
        pair.b.take_output(&mut writing);
        writing.iter().for_each(|segment| input.extend_from_slice(segment));
        pair.a.feed(&mut input, pair.now).unwrap();
    }
    let bodies: Vec<Bytes> = (0..30).map(|_| item(&mut pair.a, key).unwrap().unwrap().body).collect();
    assert!(bodies.iter().all(|body| body == "item"));
    assert_eq!(bodies.iter().filter(|body| memory.contains(&(body.as_ptr() as usize))).count(), 9);
}

#[test]
fn the_credit_of_items_that_are_taken_with_their_end_comes_back() {
    let mut pair = Pair::new();
    // Ten times what the link has, a stream's window at a time.
    for _ in 0..200 {
        let (key, request) = pair.call("x");
        for _ in 0..30 {
            assert!(pair.b.poll_ready(request.key, &mut noop()).is_ready());
            pair.b.push(request.key, Message::new(vec![1; 100])).unwrap();
        }
        pair.b.release_writer(request.key, Unended::Close);
        pair.run(1000);
        let mut rest = Arrivals::default();
        let taken = pair.a.poll_arrivals(key, &mut rest, &mut noop());
        assert!(matches!(taken, Poll::Ready(Some(Ok((_, Some(_)))))), "the end is known with the items");
        pair.run(1000);
    }
    assert!(pair.is_empty());
}
