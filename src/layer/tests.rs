// SPDX-License-Identifier: Apache-2.0
//! The layers in front of a scripted connection: what reaches it, and what is written down about it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};

use super::*;
use crate::capability::{Exchange, TransportCapabilities};
use crate::error::{Detail, ErrorKind, PeerError, Retry};
use crate::message::{ControlMessage, Message, Request, Subject, TraceContext};
use crate::stream::pipe;
use crate::testing::{MockConnection, Response};

const ECHO: Subject = Subject::from_static("echo");

fn mock() -> Arc<MockConnection> {
    Arc::new(MockConnection::new([
        ("echo", Response::items(["a", "b"])),
        ("fail", Response::item("a").then_error(PeerError::new(1, "secret"))),
    ]))
}

fn streaming(items: &[usize]) -> Request {
    let (sender, stream) = pipe(1 << 20, 1 << 20);
    let sizes = items.to_vec();
    tokio::spawn(async move {
        for size in sizes {
            sender.send(vec![b'x'; size]).await.unwrap();
        }
        sender.close();
    });
    Request::streaming(ECHO, "", stream)
}

#[tokio::test]
async fn the_first_layer_of_a_stack_sees_a_request_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = order.clone();
        move |inner| {
            order.lock().push(name);
            inner
        }
    };
    // Connections are wrapped from the inside out.
    Stack::new().with(note("outer")).with(note("inner")).layer(mock());
    assert_eq!(*order.lock(), ["inner", "outer"]);

    // And so a guard outside hides an oversize request from a guard inside that would say another limit.
    let guards = Stack::new().with(Guard::new().max_message_size(1)).with(Guard::new().max_message_size(2));
    let error = guards.layer(mock()).open(Request::new(ECHO, "four")).unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::TooLarge { limit: 1, got: 4 }));
}

#[tokio::test]
async fn too_large_is_said_before_anything_is_sent() {
    let inner = mock();
    let guarded = Guard::new().max_message_size(4).layer(inner.clone());
    assert_eq!(guarded.info().capabilities.max_message_size, Some(4));

    let large = || Message::new("12").with_header("h", "34");
    let opened = guarded.open(Request::new(ECHO, large())).unwrap_err();
    let asked = guarded.request(Request::new(ECHO, large())).await.unwrap_err();
    let told = guarded.notify(&ECHO, large()).await.unwrap_err();
    for error in [opened, asked, told] {
        assert_eq!(error.detail(), Some(&Detail::TooLarge { limit: 4, got: 5 }));
    }
    assert!(inner.requests().is_empty() && inner.notifications().is_empty());

    let mut stream = guarded.open(Request::new(ECHO, "1234")).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), Message::new("a"));
    guarded.notify(&ECHO, Message::new("1234")).await.unwrap();
    assert_eq!((inner.requests().len(), inner.notifications().len()), (1, 1));
}

#[tokio::test]
async fn the_lower_limit_counts() {
    let claims = TransportCapabilities { max_message_size: Some(2), ..mock().info().capabilities };
    let inner = || Arc::new(MockConnection::new([("echo", "a")]).with_capabilities(claims));
    for guard in [Guard::new(), Guard::new().max_message_size(9)] {
        let error = guard.layer(inner()).open(Request::new(ECHO, "123")).unwrap_err();
        assert_eq!(error.detail(), Some(&Detail::TooLarge { limit: 2, got: 3 }));
    }
}

#[tokio::test]
async fn an_item_over_the_limit_ends_its_request() {
    let inner = mock();
    let guarded = Guard::new().max_message_size(4).layer(inner.clone());
    let mut stream = guarded.open(streaming(&[1, 4])).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let mut stream = guarded.open(streaming(&[1, 5, 1])).unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::TooLarge { limit: 4, got: 5 }));
    let sizes = inner.requests().iter().map(|asked| asked.items.len()).collect::<Vec<_>>();
    assert_eq!(sizes, [2, 1]);
}

#[tokio::test]
async fn a_stream_of_items_needs_a_duplex_connection() {
    let claims = TransportCapabilities { exchange: Exchange::Streaming, ..TransportCapabilities::UNARY };
    let inner = Arc::new(MockConnection::new([("echo", "a")]).with_capabilities(claims));
    let error = Guard::new().layer(inner.clone()).open(streaming(&[1])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(inner.requests().is_empty());
}

#[tokio::test]
async fn a_deadline_is_given_to_those_without_one() {
    let inner = mock();
    let guarded = Guard::new().default_timeout(Duration::from_secs(60)).layer(inner.clone());
    let before = Instant::now();
    drop(guarded.open(Request::new(ECHO, "")).unwrap());
    let own = Request::new(ECHO, "").with_timeout(Duration::from_secs(5));
    let deadline = own.context.deadline;
    drop(guarded.open(own).unwrap());

    let asked = inner.requests();
    let given = asked[0].context.deadline.unwrap();
    assert!(given >= before + Duration::from_secs(60) && given <= Instant::now() + Duration::from_secs(60));
    assert_eq!(asked[1].context.deadline, deadline);

    let late = guarded.open(Request::new(ECHO, "").with_timeout(Duration::ZERO)).unwrap_err();
    assert_eq!((late.kind(), late.retry()), (ErrorKind::Timeout, Retry::Safe));
    assert_eq!(inner.requests().len(), 2);

    drop(Guard::new().layer(inner.clone()).open(Request::new(ECHO, "")).unwrap());
    assert_eq!(inner.requests()[2].context.deadline, None);
}

#[tokio::test]
async fn spans_say_who_and_how_it_ended_and_nothing_else() {
    let spans = Spans::default();
    let _reading = tracing::subscriber::set_default(spans.clone());
    let traced = Trace::new().layer(mock());

    let request = Request::new(ECHO, "hush");
    let id = request.context.id.to_string();
    let mut stream = traced.open(request).unwrap();
    while stream.next().await.transpose().unwrap().is_some() {}

    let mut failing = traced.open(Request::new(Subject::from_static("fail"), "hush")).unwrap();
    assert!(failing.next().await.unwrap().is_ok());
    assert!(failing.next().await.unwrap().is_err());

    let mut left = traced.open(Request::new(ECHO, "hush")).unwrap();
    assert!(left.next().await.unwrap().is_ok());
    drop(left);

    let refused = traced.open(Request::new(Subject::from_static("none"), "hush"));
    assert!(refused.is_err());
    assert!(traced.request(Request::new(ECHO, "hush")).await.is_err(), "two items are one too many");

    let seen = spans.0.lock();
    let shown: Vec<_> = seen.iter().map(|span| (&*span["subject"], &*span["items"], &*span["outcome"])).collect();
    let expected = [
        ("echo", "2", "ok"),
        ("fail", "1", "peer"),
        ("echo", "1", "cancelled"),
        ("none", "0", "refused"),
        ("echo", "0", "protocol"),
    ];
    assert_eq!(shown, expected);
    assert_eq!((seen[0]["id"].as_str(), seen[0]["transport"].as_str()), (id.as_str(), "mock"));
    for span in seen.iter() {
        assert!(!span.contains_key("trace"));
        assert!(span.values().all(|value| !value.contains("hush") && !value.contains("secret")), "{span:?}");
    }
}

#[tokio::test]
async fn a_trace_context_travels_unchanged_and_is_invented_only_on_request() {
    let given = TraceContext::new(7, 9, 1).unwrap();
    let with = || {
        let mut request = Request::new(ECHO, "");
        request.context.trace = Some(given);
        request
    };
    let trace_of = |layer: Trace, request| {
        let inner = mock();
        drop(layer.layer(inner.clone()).open(request).unwrap());
        inner.requests()[0].context.trace
    };
    assert_eq!(trace_of(Trace::new(), with()), Some(given));
    assert_eq!(trace_of(Trace::new().starts_traces(), with()), Some(given));
    assert_eq!(trace_of(Trace::new(), Request::new(ECHO, "")), None);

    let unread = trace_of(Trace::new().starts_traces(), Request::new(ECHO, "")).unwrap();
    let spans = Spans::default();
    let _reading = tracing::subscriber::set_default(spans.clone());
    let read = trace_of(Trace::new().starts_traces(), Request::new(ECHO, "")).unwrap();
    assert_eq!((unread.flags(), read.flags()), (0, 1));
    assert_ne!(unread.trace_id(), read.trace_id());
    assert_eq!(TraceContext::parse(&read.to_string()), Some(read));
    assert_eq!(spans.0.lock()[0]["trace"], read.to_string());
}

#[tokio::test]
async fn an_observed_stream_still_obeys_and_ends_once() {
    struct Ends(Arc<Mutex<Vec<Option<ErrorKind>>>>);
    impl Observer for Ends {
        fn on_end(&mut self, outcome: crate::error::Result<(), &crate::error::Error>) {
            self.0.lock().push(outcome.err().map(crate::error::Error::kind));
        }
    }
    let ends = Arc::new(Mutex::new(Vec::new()));
    let (sender, stream) = pipe(1024, 100);
    let mut observed = observe(stream, Ends(ends.clone()));
    observed.control(ControlMessage::Stop);
    assert_eq!(sender.stopped().await, ControlMessage::Stop);
    sender.close();
    assert!(observed.next().await.is_none() && observed.next().await.is_none());
    assert_eq!(*ends.lock(), [None]);

    let (sender, stream) = pipe(1024, 100);
    drop(observe(stream, Ends(ends.clone())));
    assert_eq!(sender.stopped().await, ControlMessage::Kill);
    assert_eq!(ends.lock().len(), 1);
}

/// The fields of the spans that were made, in order. Ids are places in it, from 1.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl tracing::Subscriber for Spans {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // `always` would hold for the threads of other tests too, which have no subscriber.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "biplane::request" && *metadata.level() == Level::DEBUG
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut spans = self.0.lock();
        let mut span = BTreeMap::new();
        attributes.record(&mut Fields(&mut span));
        spans.push(span);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(span) = self.0.lock().get_mut(id.into_u64() as usize - 1) {
            values.record(&mut Fields(span));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
