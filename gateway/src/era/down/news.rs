// SPDX-License-Identifier: Apache-2.0
//! What a modern server tells a legacy session unasked: one `subscriptions/listen` stream, opened anew when what is wanted
//! changes or when it broke. It is read by whoever receives from the session, without a task of its own.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::task::{Context, Poll};

use biplane::proto::json;
use biplane::{Error, ErrorKind, Event, Inbound, Message, PeerError, Request, ResponseStream, Result, Subject};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Shared;
use crate::era::capabilities::flag;
use crate::era::edit::{Edit, Object};
use crate::era::filter::{Filter, List};
use crate::era::names::{code, key, method};

pub(super) struct News {
    /// What the session hears of without asking.
    lists: Vec<List>,
    takes_subscriptions: bool,
    most_uris: usize,
    state: Mutex<State>,
    /// Wakes the receiver: the stream is another one, or the session was closed.
    changed: Notify,
    /// One stream is opened at a time.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    uris: BTreeSet<String>,
    stream: Option<ResponseStream>,
    /// What was taken off a stream before its successor replaced it.
    queue: VecDeque<Inbound>,
    /// Streams that broke in a row.
    failures: u32,
    /// When to open the next one.
    again: Option<Instant>,
    /// The server does not do this.
    refused: bool,
    closed: bool,
}

enum Step {
    /// `None` is the end.
    Return(Option<Inbound>),
    Open,
    Wait(Option<Instant>),
    Read,
}

impl News {
    pub(super) fn new(capabilities: &Bytes, most_uris: usize) -> Self {
        Self {
            lists: Filter::lists_of(capabilities),
            takes_subscriptions: flag(capabilities, &["resources", "subscribe"]),
            most_uris,
            state: Mutex::default(),
            changed: Notify::new(),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// `resources/subscribe`: done when the server has acknowledged it, so that no update is missed from then on.
    pub(super) async fn subscribe(&self, shared: &Shared, params: &Bytes) -> Result<()> {
        let uri = uri_of(params)?;
        if !self.takes_subscriptions {
            return Err(PeerError::new(code::METHOD_NOT_FOUND, "the server takes no subscriptions to resources").into());
        }
        let _one = self.opening.lock().await;
        let mut wanted = self.wanted();
        if !wanted.uris.insert(uri.clone()) {
            return Ok(());
        }
        if wanted.uris.len() > self.most_uris {
            return Err(Error::overloaded(format!("one session subscribes to at most {} resources", self.most_uris)));
        }
        let (stream, honoured) = open(shared, &wanted).await?;
        if !honoured.uris.contains(&uri) {
            let error = PeerError::new(code::INVALID_PARAMS, format!("the server tells no updates of {uri}"));
            return Err(error.into());
        }
        self.replace(Some(stream), |state| {
            state.uris.insert(uri);
        });
        Ok(())
    }

    /// `resources/unsubscribe`.
    pub(super) async fn unsubscribe(&self, shared: &Shared, params: &Bytes) -> Result<()> {
        let uri = uri_of(params)?;
        let _one = self.opening.lock().await;
        let mut wanted = self.wanted();
        if !wanted.uris.remove(&uri) {
            return Ok(());
        }
        let stream = if wanted.is_empty() { None } else { Some(open(shared, &wanted).await?.0) };
        self.replace(stream, |state| {
            state.uris.remove(&uri);
        });
        Ok(())
    }

    /// The next notification; `None` after [`close`](Self::close). Cancel-safe.
    pub(super) async fn receive(&self, shared: &Shared) -> Result<Option<Inbound>> {
        loop {
            match self.step() {
                Step::Return(inbound) => return Ok(inbound),
                Step::Open => self.open_again(shared).await,
                Step::Wait(None) => self.changed.notified().await,
                Step::Wait(Some(until)) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                },
                Step::Read => tokio::select! {
                    () = self.changed.notified() => {}
                    event = poll_fn(|cx| self.poll_stream(cx)) => match event {
                        Some(Ok(Event::Inbound(inbound))) => if let Some(news) = delivered(inbound) {
                            return Ok(Some(news));
                        },
                        Some(Err(error)) => self.broken(shared, Some(&error)),
                        Some(Ok(Event::Item(_))) | None => self.broken(shared, None),
                    },
                },
            }
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let stream = state.stream.take();
        drop(state);
        drop(stream);
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn step(&self) -> Step {
        let mut state = self.lock();
        if state.closed {
            return Step::Return(None);
        }
        if let Some(inbound) = state.queue.pop_front() {
            return Step::Return(Some(inbound));
        }
        if state.stream.is_some() {
            return Step::Read;
        }
        if state.refused || (self.lists.is_empty() && state.uris.is_empty()) {
            return Step::Wait(None);
        }
        match state.again {
            Some(again) if again > Instant::now() => Step::Wait(Some(again)),
            _ => Step::Open,
        }
    }

    fn poll_stream(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        match &mut self.lock().stream {
            Some(stream) => stream.poll_event(cx),
            None => Poll::Pending,
        }
    }

    /// Opens the stream for the first time, or after it broke: then something may have been missed, and is told.
    async fn open_again(&self, shared: &Shared) {
        let _one = self.opening.lock().await;
        if self.lock().stream.is_some() {
            return;
        }
        match open(shared, &self.wanted()).await {
            Ok((stream, honoured)) => self.replace(Some(stream), |state| {
                if state.again.take().is_some() {
                    let missed = honoured.everything().map(|(subject, params)| {
                        Inbound::Notification(Subject::from_static(subject), Message::new(params))
                    });
                    state.queue.extend(missed);
                }
            }),
            Err(error) => self.broken(shared, Some(&error)),
        }
    }

    /// The stream ended. A server that does not know the method is not asked again.
    fn broken(&self, shared: &Shared, error: Option<&Error>) {
        let mut state = self.lock();
        state.refused = error.is_some_and(|error| {
            error.kind() == ErrorKind::Peer && error.peer().is_some_and(|peer| peer.code == code::METHOD_NOT_FOUND)
        });
        state.stream = None;
        state.again = Some(Instant::now() + shared.limits.pause(state.failures));
        state.failures = state.failures.saturating_add(1);
        tracing::debug!(error = error.map(tracing::field::display), "the stream of a session's subscriptions ended");
    }

    /// Puts `stream` in the place of the present one, of which nothing is lost that has come.
    fn replace(&self, stream: Option<ResponseStream>, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if let Some(mut old) = std::mem::replace(&mut state.stream, stream) {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            while let Poll::Ready(Some(Ok(event))) = old.poll_event(&mut cx) {
                if let Event::Inbound(inbound) = event {
                    state.queue.extend(delivered(inbound));
                }
            }
        }
        (state.failures, state.refused) = (0, false);
        change(&mut state);
        drop(state);
        self.changed.notify_one();
    }

    fn wanted(&self) -> Filter {
        Filter { lists: self.lists.clone(), uris: self.lock().uris.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// A stream that the server has acknowledged, and what it honours.
async fn open(shared: &Shared, wanted: &Filter) -> Result<(ResponseStream, Filter)> {
    let mut params = Object::new();
    params.set("notifications", &wanted.write());
    let edit = Edit { with_meta: &shared.meta, ..Edit::default() };
    let request = Request::new(Subject::from_static(method::LISTEN), edit.apply(&params.close()));
    let mut stream = shared.upstream.open(request)?;
    let first = tokio::time::timeout(shared.limits.answer, stream.next_event()).await.map_err(|_| {
        Error::timeout(format!("the server did not acknowledge a subscription within {:?}", shared.limits.answer))
    })?;
    match first.transpose()? {
        Some(Event::Inbound(Inbound::Notification(subject, message))) if subject.as_str() == method::LISTENING => {
            let honoured = json::get(&message.body, &["notifications"]).as_ref().and_then(Filter::read);
            Ok((stream, honoured.unwrap_or_default()))
        }
        _ => Err(Error::protocol("the first message of a subscription is not its acknowledgement")),
    }
}

/// What the session sees of a message of the stream. Which stream it came on is the gateway's affair.
fn delivered(inbound: Inbound) -> Option<Inbound> {
    match inbound {
        Inbound::Notification(subject, _) if subject.as_str() == method::LISTENING => None,
        Inbound::Notification(subject, message) => {
            let edit = Edit { without_meta: &[key::SUBSCRIPTION], ..Edit::default() };
            let body = match message.body.is_empty() {
                true => message.body,
                false => edit.apply(&message.body),
            };
            Some(Inbound::Notification(subject, Message { body, headers: message.headers }))
        }
        Inbound::Request(..) => None,
    }
}

fn uri_of(params: &Bytes) -> Result<String> {
    let uri = json::get(params, &["uri"]);
    let uri = uri.as_deref().and_then(json::text).filter(|uri| !uri.is_empty());
    uri.map(std::borrow::Cow::into_owned)
        .ok_or_else(|| PeerError::new(code::INVALID_PARAMS, "a subscription names the uri of a resource").into())
}
