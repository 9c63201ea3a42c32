// SPDX-License-Identifier: Apache-2.0
//! Parts by themselves.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use biplane::config::Config;
use biplane::plane::ReplyTo;
use biplane::pool::{Link, Pool, PoolKey, PoolSettings};
use biplane::proto::frame::{self, Header, Kind, StreamId};
use biplane::proto::jsonrpc::{Id, Packet};
use biplane::proto::mux::{Batch, Incoming, Limits, Mux, Role};
use biplane::proto::open::Open;
use biplane::proto::prologue::Prologue;
use biplane::stream::Unended;
use biplane::telemetry::{PoolFamily, Telemetry};
use biplane::{Message, RequestContext, Subject, TransportId};
use bytes::{Bytes, BytesMut};

use super::call::Pair;
use super::{Rounds, awaited, repeated, runtime};

/// A frame of 128 bytes written and read.
pub(super) fn frame(rounds: Rounds) -> f64 {
    let payload = [7; 128];
    let mut wire = BytesMut::with_capacity(1 << 20);
    let header = Header { kind: Kind::Data, flags: frame::FIN, stream: StreamId::new(5, false), len: payload.len() };
    repeated(rounds, || {
        wire.clear();
        wire.reserve(1 << 12);
        header.encode(&mut wire);
        wire.extend_from_slice(&payload);
        let read = frame::decode(&mut wire, frame::MAX_PAYLOAD).expect("the frame is good");
        assert!(read.is_some_and(|(header, body)| header.len == body.len()));
    })
}

/// A request and its answer through the state machines of both ends; the bytes are handed over as they are.
pub(super) fn mux(rounds: Rounds) -> f64 {
    let now = Instant::now();
    let limits = Limits {
        max_message: 16 << 20,
        heartbeat_interval: Duration::from_secs(30),
        silence_limit: Duration::from_secs(60),
    };
    let end = |role| Mux::new(role, Prologue::default(), Prologue::default(), limits, now);
    let (mut caller, mut responder) = (end(Role::Dialer), end(Role::Acceptor));
    let (mut batch, mut input) = (Batch::default(), BytesMut::with_capacity(1 << 20));
    let mut carry = move |from: &mut Mux, to: &mut Mux| {
        from.swap_output(&mut batch);
        // A socket copies too; what both ends keep of it is theirs.
        input.reserve(1 << 12);
        let before = input.len();
        batch.pieces().for_each(|piece| input.extend_from_slice(piece));
        from.wrote(input.len() - before);
        batch.clear();
        to.feed(&mut input, now).expect("the peer keeps the rules");
    };
    let (subject, body) = (Subject::from_static("bench.echo"), Bytes::from_static(&[7; 128]));
    let deadline = now.checked_add(Duration::from_secs(3600));
    let mut cx = Context::from_waker(Waker::noop());
    repeated(rounds, move || {
        let context = RequestContext { deadline, ..RequestContext::new() };
        let open = Open::Request { subject: subject.clone(), context, reply_to: ReplyTo::Inline };
        let key = caller.open_request(&open, Message::new(body.clone()), false, || now).expect("there is room");
        carry(&mut caller, &mut responder);
        let Some(Incoming::Request(request)) = responder.next_incoming() else { panic!("no request came") };
        assert!(responder.poll_ready(request.key, &mut cx).is_ready());
        responder.push(request.key, request.message).expect("there is credit");
        responder.release_writer(request.key, Unended::Close);
        carry(&mut responder, &mut caller);
        assert!(caller.poll_recv(key, &mut cx).is_ready());
        assert!(caller.poll_recv(key, &mut cx).is_ready());
        caller.release_reader(key);
        caller.take_after().run();
        responder.take_after().run();
    })
}

struct Idle;

impl Link for Idle {
    fn is_usable(&self) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        true
    }

    fn close(&self) {}
}

fn links(telemetry: &Telemetry, leases_per_link: usize) -> (Pool<Idle>, PoolKey) {
    let telemetry = telemetry.clone();
    let settings = PoolSettings {
        config: Config::defaults().expect("the defaults are good").tcp.pool,
        leases_per_link,
        connect_timeout: Duration::from_secs(5),
        exhausted_hint: "",
    };
    let metrics = move |key: &PoolKey| telemetry.pool(PoolFamily::Tcp, &key.transport, &key.authority);
    let pool = Pool::new(settings, metrics, |_| Box::pin(async { Ok(Idle) }));
    let key = PoolKey {
        transport: TransportId::TCP,
        authority: "responder.example:40123".to_owned(),
        security: String::new(),
        affinity: None,
    };
    (pool, key)
}

/// A lease taken and given back, by one who keeps the target.
pub(super) fn pool(rounds: Rounds) -> f64 {
    let (runtime, telemetry) = (runtime(), Telemetry::default());
    let (pool, key) = links(&telemetry, 256);
    let target = pool.target(&key);
    drop(runtime.block_on(target.checkout(None)));
    repeated(rounds, || assert!(target.try_checkout().is_some()))
}

/// The same while the link has a lease already: another stream on a shared link.
pub(super) fn pool_lease(rounds: Rounds) -> f64 {
    let (runtime, telemetry) = (runtime(), Telemetry::default());
    let (pool, key) = links(&telemetry, 256);
    let target = pool.target(&key);
    let _held = runtime.block_on(target.checkout(None));
    repeated(rounds, || assert!(target.try_checkout().is_some()))
}

/// The first half of [`pool_lease`]: a lease on a shared link is taken and kept.
pub(super) fn pool_take(rounds: Rounds) -> f64 {
    let (runtime, telemetry) = (runtime(), Telemetry::default());
    let all = (rounds.before + rounds.counted) as usize;
    let (pool, key) = links(&telemetry, all + 1);
    let target = pool.target(&key);
    let _held = runtime.block_on(target.checkout(None));
    // Room that was written to before: a page that is touched for the first time would cost more than many leases.
    let mut leases: Vec<_> = (0..all).map(|_| None).collect();
    leases.clear();
    repeated(rounds, || leases.push(target.try_checkout()))
}

/// The second half of [`pool_lease`]: a lease on a shared link is given back.
pub(super) fn pool_give_back(rounds: Rounds) -> f64 {
    let (runtime, telemetry) = (runtime(), Telemetry::default());
    let all = (rounds.before + rounds.counted) as usize;
    let (pool, key) = links(&telemetry, all + 1);
    let target = pool.target(&key);
    let _held = runtime.block_on(target.checkout(None));
    let mut leases: Vec<_> = (0..all).map(|_| target.try_checkout()).collect();
    repeated(rounds, || assert!(leases.pop().flatten().is_some()))
}

/// The same as [`pool`], by one who has the key.
pub(super) fn pool_by_key(rounds: Rounds) -> f64 {
    let (runtime, telemetry) = (runtime(), Telemetry::default());
    let (pool, key) = links(&telemetry, 256);
    drop(runtime.block_on(pool.checkout(&key, None)));
    repeated(rounds, || assert!(pool.try_checkout(&key).is_some()))
}

/// A message of 300 bytes that is passed on: checked, its id and its method read, written to the out-buffer with another id.
pub(super) fn envelope(rounds: Rounds) -> f64 {
    let (text, mut out) = (message(), BytesMut::with_capacity(1 << 20));
    let other = Id::number(90125);
    repeated(rounds, || {
        let Ok(mut packet) = Packet::parse(&text) else { panic!("it is a message") };
        let Packet::Request { id, method, .. } = &mut packet else { panic!("it is a request") };
        assert!(id.as_number() == Some(417) && method.as_str() == "tools/call");
        *id = other.clone();
        out.clear();
        packet.write(&mut out);
        assert!(out.len() > text.len());
    })
}

/// The first half of [`envelope`].
pub(super) fn envelope_read(rounds: Rounds) -> f64 {
    let text = message();
    repeated(rounds, || assert!(Packet::parse(&text).is_ok()))
}

fn message() -> Bytes {
    let padding = "x".repeat(200);
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":417,"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{padding}"}}}}}}"#
    );
    Bytes::from(text)
}

/// The connection of a URL that was called before.
pub(super) fn connect_url(rounds: Rounds) -> f64 {
    let runtime = runtime();
    let pair = runtime.block_on(Pair::new("tcp", "tcp", None));
    let url = pair.url();
    awaited(&runtime, rounds, || async {
        assert!(pair.biplane.request_face(&url).await.is_ok());
    })
}

/// The connection of a service that was called before.
pub(super) fn connect_service(rounds: Rounds) -> f64 {
    let runtime = runtime();
    let pair = Arc::new(runtime.block_on(Pair::new("mem", "mem", None)));
    awaited(&runtime, rounds, || async {
        assert!(pair.biplane.service(Pair::NAME).await.is_ok());
    })
}
