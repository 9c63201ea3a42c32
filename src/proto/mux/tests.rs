// SPDX-License-Identifier: Apache-2.0
//! A pair of muxes, bytes carried by hand.

use std::task::Poll;

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::error::{Detail, Retry};
use crate::proto::frame::{Kind, StreamId};
use crate::proto::open::Open;
use crate::stream::{Arrivals, Event, Unended};

mod credit;
mod opening;
mod parcels;

struct Pair {
    a: Mux,
    b: Mux,
    now: Instant,
}

const SMALL: Prologue = Prologue { stream_window: 4096, link_window: 64 << 10, max_frame: 4096, max_streams: 64 };

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let limits = Limits {
            max_message: 100_000,
            heartbeat_interval: Duration::from_secs(30),
            silence_limit: Duration::from_secs(60),
        };
        Self {
            a: Mux::new(Role::Dialer, SMALL, SMALL, limits, now),
            b: Mux::new(Role::Acceptor, SMALL, SMALL, limits, now),
            now,
        }
    }

    /// Carries bytes both ways, `step` at a time, until neither side has any.
    fn run(&mut self, step: usize) {
        loop {
            let moved =
                carry(&mut self.a, &mut self.b, step, self.now) | carry(&mut self.b, &mut self.a, step, self.now);
            if !moved {
                return;
            }
        }
    }

    fn call(&mut self, body: impl Into<Bytes>) -> (Key, IncomingRequest) {
        let key = self.a.open_request(&request(), Message::new(body), false, Instant::now).unwrap();
        self.run(7);
        (key, self.incoming())
    }

    fn incoming(&mut self) -> IncomingRequest {
        match self.b.next_incoming() {
            Some(Incoming::Request(request)) => request,
            other => panic!("expected a request, got {other:?}"),
        }
    }

    fn is_empty(&self) -> bool {
        self.a.open_streams() == 0 && self.b.open_streams() == 0
    }
}

fn carry(from: &mut Mux, to: &mut Mux, step: usize, now: Instant) -> bool {
    let mut writing = VecDeque::new();
    from.take_output(&mut writing);
    let bytes: Vec<u8> = writing.iter().flat_map(|segment| segment.to_vec()).collect();
    from.wrote(bytes.len());
    let mut input = bytes::BytesMut::new();
    for piece in bytes.chunks(step) {
        input.extend_from_slice(piece);
        to.feed(&mut input, now).unwrap();
    }
    assert!(input.is_empty());
    !bytes.is_empty()
}

fn request() -> Open {
    Open::Request { subject: Subject::from_static("echo"), context: RequestContext::new(), reply_to: ReplyTo::Inline }
}

fn noop() -> std::task::Context<'static> {
    std::task::Context::from_waker(Waker::noop())
}

fn item(mux: &mut Mux, key: Key) -> Option<Result<Message>> {
    match mux.poll_recv(key, &mut noop()) {
        Poll::Ready(Some(Ok(Event::Item(message)))) => Some(Ok(message)),
        Poll::Ready(Some(Err(error))) => Some(Err(error)),
        Poll::Ready(None) => None,
        other => panic!("expected an item or an end, got {other:?}"),
    }
}

fn is_pending(mux: &mut Mux, key: Key) -> bool {
    mux.poll_recv(key, &mut noop()).is_pending()
}

#[test]
fn a_unary_exchange_leaves_nothing_behind() {
    let mut pair = Pair::new();
    let (key, incoming) = pair.call("hello");
    assert_eq!((&incoming.message.body[..], incoming.has_items), (&b"hello"[..], false));
    assert!(is_pending(&mut pair.a, key));
    pair.b.push(incoming.key, incoming.message).unwrap();
    pair.b.release_writer(incoming.key, Unended::Close);
    pair.run(3);
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "hello");
    assert!(item(&mut pair.a, key).is_none());
    pair.a.release_reader(key);
    assert!(pair.is_empty());
}

#[test]
fn a_request_larger_than_a_frame_arrives_whole_and_without_items() {
    let mut pair = Pair::new();
    let body = vec![7; 50_000];
    let (key, incoming) = pair.call(body.clone());
    assert_eq!((incoming.message.body.len(), incoming.has_items), (50_000, false));
    pair.b.push(incoming.key, Message::new(body)).unwrap();
    pair.b.end(incoming.key, Ok(()));
    pair.b.release_writer(incoming.key, Unended::Abandon);
    pair.run(1000);
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body.len(), 50_000);
    assert!(item(&mut pair.a, key).is_none());
    pair.a.release_reader(key);
    assert!(pair.is_empty());
}

#[test]
fn an_error_comes_after_the_items() {
    let mut pair = Pair::new();
    let (key, incoming) = pair.call("x");
    pair.b.push(incoming.key, Message::new("one")).unwrap();
    pair.b.end(incoming.key, Err(PeerError::new(-5, "broken")));
    pair.b.release_writer(incoming.key, Unended::Close);
    pair.run(64);
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "one");
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap_err().peer().unwrap().code, -5);
    pair.a.release_reader(key);
    assert!(pair.is_empty());
}

#[test]
fn a_dropped_reader_kills_the_responder_and_the_number_is_free_only_then() {
    let mut pair = Pair::new();
    let (key, incoming) = pair.call("x");
    pair.a.release_reader(key);
    assert_eq!(pair.a.open_streams(), 1, "the peer has not confirmed yet");
    pair.run(64);
    assert_eq!(pair.a.open_streams(), 0);
    assert!(pair.b.poll_killed(incoming.key, &mut noop()).is_ready());
    assert!(pair.b.push(incoming.key, Message::new("late")).is_err());
    let (again, second) = pair.call("y");
    assert_eq!(again, key, "the number is used again");
    assert_ne!(second.key, incoming.key, "the old handler still holds its own slot");
    pair.b.release_writer(incoming.key, Unended::Abandon);
    pair.b.release_writer(second.key, Unended::Close);
    pair.run(64);
    assert!(item(&mut pair.a, again).is_none());
    pair.a.release_reader(again);
    assert!(pair.is_empty());
}

#[test]
fn call_home_streams_flow_from_their_opener() {
    let mut pair = Pair::new();
    let sender = pair.b.open_call_home([9; 16]).unwrap();
    pair.b.push(sender, Message::new("early")).unwrap();
    pair.run(5);
    let Some(Incoming::CallHome { key, token }) = pair.a.next_incoming() else { panic!() };
    assert_eq!(token, [9; 16]);
    pair.a.claim(key, None);
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "early");
    pair.b.release_writer(sender, Unended::Close);
    pair.run(5);
    assert!(item(&mut pair.a, key).is_none());
    pair.a.release_reader(key);
    assert!(pair.is_empty());
}

#[test]
fn a_refused_call_home_fails_its_sender_with_the_reason() {
    let mut pair = Pair::new();
    let sender = pair.b.open_call_home([9; 16]).unwrap();
    pair.run(64);
    let Some(Incoming::CallHome { key, .. }) = pair.a.next_incoming() else { panic!() };
    pair.a.refuse(key, &PeerError::from(Error::refused("no such token")));
    pair.run(64);
    assert_eq!(pair.b.push(sender, Message::new("x")).unwrap_err().kind(), ErrorKind::Refused);
    pair.b.release_writer(sender, Unended::Close);
    assert!(pair.is_empty());
}

#[test]
fn silence_kills_the_link_and_every_stream_once() {
    let mut pair = Pair::new();
    let (key, _) = pair.call("x");
    let later = pair.now + Duration::from_secs(31);
    pair.a.handle_timeout(later);
    assert!(pair.a.has_output(), "a ping is due");
    pair.a.handle_timeout(pair.now + Duration::from_secs(61));
    let error = item(&mut pair.a, key).unwrap().unwrap_err();
    assert!(matches!(error.detail(), Some(Detail::PeerTimeout { .. })), "{error:?}");
    assert_eq!(error.retry(), Retry::Never);
    pair.a.release_reader(key);
    assert_eq!(pair.a.open_streams(), 0);
    assert_eq!(
        pair.a.open_request(&request(), Message::new(""), false, Instant::now).unwrap_err().retry(),
        Retry::Safe
    );
}

#[test]
fn a_request_that_was_never_written_is_safe_to_repeat() {
    let mut pair = Pair::new();
    let key = pair.a.open_request(&request(), Message::new("x"), false, Instant::now).unwrap();
    pair.a.fail(Error::peer_closed(0, false));
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap_err().retry(), Retry::Safe);
}

#[test]
fn deadlines_fail_the_reader_and_stop_the_peer() {
    let mut pair = Pair::new();
    let mut context = RequestContext::new();
    context.deadline = Some(pair.now + Duration::from_secs(5));
    let open = Open::Request { subject: Subject::from_static("slow"), context, reply_to: ReplyTo::Inline };
    let key = pair.a.open_request(&open, Message::new("x"), false, || pair.now).unwrap();
    pair.run(64);
    let incoming = pair.incoming();
    assert_eq!(incoming.context.deadline, Some(pair.now + Duration::from_secs(5)));
    assert_eq!(pair.a.poll_timeout(), Some(pair.now + Duration::from_secs(5)));
    pair.a.handle_timeout(pair.now + Duration::from_secs(5));
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    pair.run(64);
    assert!(pair.b.poll_killed(incoming.key, &mut noop()).is_ready());
}

#[test]
fn crafted_frames_are_refused() {
    let data = |slot, by_acceptor, flags| {
        let mut wire = bytes::BytesMut::new();
        frame::Header { kind: Kind::Data, flags, stream: StreamId::new(slot, by_acceptor), len: 0 }.encode(&mut wire);
        wire
    };
    // Data from the acceptor for a stream that the dialer never opened.
    let mut pair = Pair::new();
    assert_eq!(pair.a.feed(&mut data(3, false, 0), pair.now).unwrap_err().kind(), ErrorKind::Protocol);
    // A frame of the peer's own that is over: ignored.
    let mut pair = Pair::new();
    pair.b.feed(&mut data(3, false, 0), pair.now).unwrap();
    // Data after the end.
    let mut pair = Pair::new();
    let (_, incoming) = pair.call("x");
    let error = pair.b.feed(&mut data(0, false, 0), pair.now).unwrap_err();
    assert!(error.to_string().contains("after the end"), "{error}");
    // A second OPEN of a live number.
    let mut wire = bytes::BytesMut::new();
    let mut payload = bytes::BytesMut::new();
    request().encode(Instant::now, &mut payload);
    frame::Header { kind: Kind::Open, flags: 0, stream: StreamId::new(0, false), len: payload.len() }.encode(&mut wire);
    wire.extend_from_slice(&payload);
    assert!(pair.b.feed(&mut wire, pair.now).is_err());
    drop(incoming);
}

#[test]
fn an_answer_that_comes_whole_before_it_is_claimed_is_not_lost() {
    let mut pair = Pair::new();
    let sender = pair.b.open_call_home([9; 16]).unwrap();
    pair.b.push(sender, Message::new("all of it")).unwrap();
    pair.b.release_writer(sender, Unended::Close);
    pair.run(1000);
    assert_eq!(pair.b.open_streams(), 1, "nobody has confirmed it yet");
    let Some(Incoming::CallHome { key, .. }) = pair.a.next_incoming() else { panic!() };
    pair.a.claim(key, None);
    pair.run(1000);
    assert_eq!(pair.b.open_streams(), 0);
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "all of it");
    assert!(item(&mut pair.a, key).is_none());
    pair.a.release_reader(key);
    assert!(pair.is_empty());
}

#[test]
fn an_answer_that_came_whole_can_still_be_refused() {
    let mut pair = Pair::new();
    let sender = pair.b.open_call_home([9; 16]).unwrap();
    pair.b.push(sender, Message::new("all of it")).unwrap();
    pair.b.end(sender, Ok(()));
    pair.run(1000);
    let Some(Incoming::CallHome { key, .. }) = pair.a.next_incoming() else { panic!() };
    pair.a.refuse(key, &PeerError::from(Error::refused("no such token")));
    pair.run(1000);
    assert!(pair.b.poll_killed(sender, &mut noop()).is_ready());
    pair.b.release_writer(sender, Unended::Close);
    assert!(pair.is_empty());
}

#[test]
fn an_empty_answer_in_one_frame_ends() {
    let mut pair = Pair::new();
    let mut wire = bytes::BytesMut::new();
    frame::Header { kind: Kind::Open, flags: frame::FIN, stream: StreamId::new(0, true), len: 17 }.encode(&mut wire);
    open::encode_call_home(&[9; 16], &mut wire);
    pair.a.feed(&mut wire, pair.now).unwrap();
    let Some(Incoming::CallHome { key, .. }) = pair.a.next_incoming() else { panic!() };
    pair.a.claim(key, None);
    assert!(item(&mut pair.a, key).is_none());
    pair.a.release_reader(key);
    assert_eq!(pair.a.open_streams(), 0);
}

#[test]
fn an_oversize_last_part_leaves_no_slot_behind() {
    let mut pair = Pair::new();
    pair.b.limits.max_message = 1 << 20;
    let (key, incoming) = pair.call("x");
    // One part less than the limit, so that it is the very last frame of the stream that goes over it.
    pair.b.push(incoming.key, Message::new(vec![1; 100_001])).unwrap();
    pair.b.end(incoming.key, Ok(()));
    pair.b.release_writer(incoming.key, Unended::Close);
    pair.run(1000);
    let error = item(&mut pair.a, key).unwrap().unwrap_err();
    assert!(matches!(error.detail(), Some(Detail::TooLarge { limit: 100_000, .. })), "{error:?}");
    pair.a.release_reader(key);
    pair.run(1000);
    assert!(pair.is_empty());
}

#[test]
fn what_fits_into_a_frame_is_not_exempt_from_the_limit() {
    let mut pair = Pair::new();
    pair.a.limits.max_message = 1000;
    pair.b.limits.max_message = 2000;
    let (key, incoming) = pair.call(vec![1; 1000]);
    pair.b.push(incoming.key, Message::new(vec![1; 1001])).unwrap();
    pair.run(100);
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
    pair.a.release_reader(key);
    pair.a.limits.max_message = 9000;
    for size in [2001, 8001] {
        let key = pair.a.open_request(&request(), Message::new(vec![1; size]), false, Instant::now).unwrap();
        pair.run(100);
        assert_eq!(item(&mut pair.a, key).unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
        pair.a.release_reader(key);
    }
    pair.b.release_writer(incoming.key, Unended::Close);
    pair.run(100);
    assert!(pair.is_empty() && pair.b.next_incoming().is_none());
}

#[test]
fn a_stream_that_ends_within_a_message_is_no_clean_end() {
    let mut pair = Pair::new();
    let (key, incoming) = pair.call("x");
    let mut wire = bytes::BytesMut::new();
    for (kind, flags, body) in [(Kind::Data, frame::MORE, &b"half"[..]), (Kind::End, 0, b"")] {
        frame::Header { kind, flags, stream: StreamId::new(0, false), len: body.len() }.encode(&mut wire);
        wire.extend_from_slice(body);
    }
    pair.a.feed(&mut wire, pair.now).unwrap();
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap_err().kind(), ErrorKind::Protocol);
    drop(incoming);
}

#[test]
fn the_peers_streams_take_none_of_our_numbers() {
    let mut pair = Pair::new();
    let theirs: Vec<Key> = (0..SMALL.max_streams)
        .map(|_| pair.a.open_request(&request(), Message::new(""), false, Instant::now).unwrap())
        .collect();
    assert_eq!(
        pair.a.open_request(&request(), Message::new(""), false, Instant::now).unwrap_err().kind(),
        ErrorKind::Overloaded
    );
    pair.run(1000);
    let ours = pair.b.open_request(&request(), Message::new("back"), false, Instant::now).unwrap();
    pair.run(1000);
    let Some(Incoming::Request(incoming)) = pair.a.next_incoming() else { panic!("the link should have lived") };
    assert_eq!(incoming.message.body, "back");
    assert_eq!((theirs.len(), pair.a.dead().is_none()), (64, true));
    let _ = ours;
}

#[test]
fn who_says_goodbye_waits_for_what_crossed_it() {
    let mut pair = Pair::new();
    let crossing = pair.a.open_request(&request(), Message::new("x"), false, Instant::now).unwrap();
    pair.b.go_away(&PeerError::from(Error::closed("restarting")));
    assert!(!pair.b.is_drained());
    pair.run(3);
    assert!(pair.b.is_drained(), "the pong has come, and nothing is open");
    let error = item(&mut pair.a, crossing).unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Safe));
    let error = pair.a.open_request(&request(), Message::new("x"), false, Instant::now).unwrap_err();
    assert_eq!(error.retry(), Retry::Safe);
    assert!(error.to_string().contains("restarting"), "{error}");
}

#[test]
fn what_runs_when_goodbye_is_said_is_finished() {
    let mut pair = Pair::new();
    let (key, incoming) = pair.call("x");
    pair.b.go_away(&PeerError::from(Error::closed("restarting")));
    pair.run(64);
    assert!(!pair.b.is_drained());
    pair.b.push(incoming.key, incoming.message).unwrap();
    pair.b.release_writer(incoming.key, Unended::Close);
    pair.run(64);
    assert!(pair.b.is_drained());
    assert_eq!(item(&mut pair.a, key).unwrap().unwrap().body, "x");
    assert!(item(&mut pair.a, key).is_none());
}

#[test]
fn incomplete_requests_are_bounded() {
    let mut pair = Pair::new();
    let limits = pair.b.limits;
    pair.b.ours.link_window = 0;
    let mut wire = bytes::BytesMut::new();
    for slot in 0..3 {
        let mut payload = bytes::BytesMut::new();
        request().encode(Instant::now, &mut payload);
        payload.resize(payload.len() + limits.max_message / 2, 7);
        let stream = StreamId::new(slot, false);
        frame::Header { kind: Kind::Open, flags: frame::MORE, stream, len: payload.len() }.encode(&mut wire);
        wire.extend_from_slice(&payload);
    }
    pair.b.ours.max_frame = 1 << 20;
    pair.b.feed(&mut wire, pair.now).unwrap();
    assert_eq!(pair.b.open_streams(), 2, "the third is turned away");
    assert!(pair.b.next_incoming().is_none());
}

#[test]
fn a_flush_waits_for_its_own_stream_only() {
    let mut pair = Pair::new();
    let (_, first) = pair.call("a");
    let (_, second) = pair.call("b");
    pair.b.push(first.key, Message::new("x")).unwrap();
    let mut writing = VecDeque::new();
    pair.b.take_output(&mut writing);
    let bytes: usize = writing.iter().map(Bytes::len).sum();
    pair.b.push(second.key, Message::new("y")).unwrap();
    assert!(!pair.b.is_stream_flushed(first.key));
    pair.b.wrote(bytes);
    assert!(pair.b.is_stream_flushed(first.key) && !pair.b.is_stream_flushed(second.key));
}

#[test]
fn bytes_that_are_written_after_the_end_do_no_harm() {
    let mut pair = Pair::new();
    let _ = pair.call("x");
    pair.a.ping(pair.now);
    pair.a.fail(Error::peer_closed(0, false));
    for _ in 0..3 {
        pair.a.wrote(100);
        assert!(!pair.a.has_room() || pair.a.is_flushed());
    }
}

/// The next item, and whether the reader is released with it; `at_once`: and in `rest` what came behind it.
fn take(mux: &mut Mux, key: Key, at_once: bool, rest: &mut Arrivals) -> Option<(Message, bool)> {
    if at_once {
        let Poll::Ready(taken) = mux.poll_arrivals(key, rest, &mut noop()) else { return None };
        taken.map(Result::unwrap).map(|(first, arrived)| (body(first.into()), arrived.is_some()))
    } else {
        let Poll::Ready(event) = mux.poll_recv(key, &mut noop()) else { return None };
        event.map(|event| (body(event.unwrap()), false))
    }
}

fn body(event: Event) -> Message {
    let Event::Item(message) = event else { panic!("expected an item, got {event:?}") };
    message
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the order of calls, answers, cancellations and deliveries: every answer reaches its own caller complete
    /// and in order, nothing is left, and the link has all its credit again.
    #[test]
    fn nothing_is_lost_crossed_or_left(ops in prop::collection::vec((0_u8..6, 0_usize..8, 0_usize..9000, 1_usize..5000), 1..120)) {
        let mut pair = Pair::new();
        // (caller's key, the mark of its items, items read)
        let mut callers: Vec<(Key, u8, usize)> = Vec::new();
        // (responder's key, mark, items sent)
        let mut handlers: Vec<(Key, u8, usize)> = Vec::new();
        let mut mark = 0_u8;
        for (op, which, size, step) in ops {
            match op {
                0 if callers.len() < 20 => {
                    mark = mark.wrapping_add(1);
                    let key = pair.a.open_request(&request(), Message::new(vec![mark; 1 + size]), false, Instant::now).unwrap();
                    callers.push((key, mark, 0));
                }
                1 if !handlers.is_empty() => {
                    let at = which % handlers.len();
                    let (key, mark, sent) = &mut handlers[at];
                    for _ in 0..1 + step % 3 {
                        if !matches!(pair.b.poll_ready(*key, &mut noop()), Poll::Ready(Ok(()))) {
                            break;
                        }
                        let mut body = vec![*mark; 9 + size];
                        body[1..9].copy_from_slice(&(*sent as u64).to_le_bytes());
                        pair.b.push(*key, Message::new(body)).unwrap();
                        *sent += 1;
                    }
                }
                2 if !handlers.is_empty() => {
                    let at = which % handlers.len();
                    let (key, _, _) = handlers.swap_remove(at);
                    pair.b.release_writer(key, Unended::Close);
                }
                3 if !callers.is_empty() => {
                    let at = which % callers.len();
                    let (key, mark, read) = &mut callers[at];
                    let mut rest = Arrivals::default();
                    let Some((first, is_last)) = take(&mut pair.a, *key, size % 2 == 1, &mut rest) else { continue };
                    let others = std::iter::from_fn(|| rest.pop()).map(|arrival| body(arrival.into()));
                    for message in std::iter::once(first).chain(others) {
                        prop_assert_eq!(message.body[0], *mark);
                        prop_assert_eq!(&message.body[1..9], &(*read as u64).to_le_bytes());
                        *read += 1;
                    }
                    let owed = rest.take_owed();
                    if is_last {
                        prop_assert_eq!(owed, 0);
                        callers.swap_remove(at);
                    } else {
                        pair.a.give_back_read(*key, owed);
                    }
                }
                4 if !callers.is_empty() => {
                    let (key, _, _) = callers.swap_remove(which % callers.len());
                    let mut unread = Arrivals::default();
                    if !take(&mut pair.a, key, size % 2 == 1, &mut unread).is_some_and(|(_, is_last)| is_last) {
                        pair.a.give_back_read(key, unread.discard());
                        pair.a.release_reader(key);
                    }
                }
                _ => pair.run(step),
            }
            while let Some(Incoming::Request(request)) = pair.b.next_incoming() {
                prop_assert!(!request.has_items);
                handlers.push((request.key, request.message.body[0], 0));
            }
        }
        for (key, _, _) in handlers.drain(..) {
            pair.b.release_writer(key, Unended::Close);
        }
        for (key, _, _) in callers.drain(..) {
            pair.a.release_reader(key);
        }
        pair.run(100);
        while let Some(Incoming::Request(request)) = pair.b.next_incoming() {
            pair.b.release_writer(request.key, Unended::Close);
        }
        pair.run(100);
        prop_assert!(pair.is_empty(), "{} and {} streams are left", pair.a.open_streams(), pair.b.open_streams());
        for side in [&pair.a, &pair.b] {
            prop_assert_eq!(side.link_recv_credit + i64::from(side.link_owed), i64::from(SMALL.link_window));
        }
    }
}
