// SPDX-License-Identifier: Apache-2.0
//! `subscriptions/listen` over several upstreams: one with each, acknowledged once with what all of them together grant.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use biplane::proto::json;
use biplane::{Error, Event, Inbound, Message, PeerError, Request, ResponseStream, Result, Subject};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::merge::group::{Group, INVALID_PARAMS, with_body};
use crate::merge::inbox::{lists_of, pass};
use crate::merge::part::State;
use crate::merge::resources::{named, owner};
use crate::view::View;

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// A client waits for the acknowledgement; one slow upstream is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events that wait for the acknowledgement.
const MAX_WAITING: usize = 256;
/// The kinds of changes that can be asked for, and what tells of them.
const CHANGES: [(&str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed"),
    ("promptsListChanged", "notifications/prompts/list_changed"),
    ("resourcesListChanged", "notifications/resources/list_changed"),
];

/// Opens the stream.
pub(crate) fn listen(group: &Arc<Group>, request: &Request) -> Result<ResponseStream> {
    let wanted = Wanted::parse(&request.message.body)?;
    let mut slots = Vec::new();
    for at in 0..group.parts.len() {
        let Some(part) = group.parts.get(at) else { continue };
        let mut state = part.state.clone();
        let view = view_of(&state.borrow_and_update());
        let mut slot = Slot { change: Some(change(state)), view, stream: None, granted: None, end: None };
        slot.open(group, at, request, &wanted);
        slots.push(slot);
    }
    let request = with_body(request, request.message.body.clone());
    let listening = Listening {
        group: group.clone(),
        request,
        wanted,
        slots,
        ready: VecDeque::new(),
        is_acknowledged: false,
        patience: Box::pin(sleep(PATIENCE)),
    };
    Ok(ResponseStream::from_events(listening))
}

/// What the client asked to hear.
struct Wanted {
    changes: [bool; 3],
    uris: Vec<String>,
}

impl Wanted {
    fn parse(params: &Bytes) -> Result<Self> {
        let Some(filter) = json::get(params, &["notifications"]) else {
            return Err(Error::from(PeerError::new(INVALID_PARAMS, "the params lack the object notifications")));
        };
        Ok(Self::of(&filter))
    }

    fn of(filter: &Bytes) -> Self {
        let changes = CHANGES.map(|(key, _)| json::get(filter, &[key]).is_some_and(|value| value == "true"));
        let uris = json::get(filter, &["resourceSubscriptions"]);
        let uris = uris.and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
        Self { changes, uris }
    }

    fn is_empty(&self) -> bool {
        !self.changes.contains(&true) && self.uris.is_empty()
    }

    /// As the member `notifications`.
    fn write(&self) -> Bytes {
        let mut filter = serde_json::Map::new();
        for ((key, _), _) in CHANGES.iter().zip(self.changes).filter(|(_, is_on)| *is_on) {
            filter.insert((*key).to_owned(), true.into());
        }
        if !self.uris.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), self.uris.clone().into());
        }
        serde_json::Value::Object(filter).to_string().into()
    }

    /// The share of one upstream: its own resources, and those of which nobody knows whose they are.
    fn share(&self, group: &Group, part: usize) -> Self {
        let uris = self.uris.iter().filter_map(|uri| match named(group, uri) {
            Some((of, own)) => (of == part).then(|| own.to_owned()),
            None => owner(group, uri).is_none_or(|of| of == part).then(|| uri.clone()),
        });
        Self { changes: self.changes, uris: uris.collect() }
    }

    /// Whether a notification of this method was asked for.
    fn includes(&self, method: &str) -> bool {
        CHANGES.iter().zip(self.changes).any(|((_, known), is_on)| is_on && *known == method)
    }
}

type Change = Pin<Box<dyn Future<Output = Option<watch::Receiver<State>>> + Send>>;

struct Slot {
    /// `None` once it cannot change any more.
    change: Option<Change>,
    view: Option<View>,
    stream: Option<ResponseStream>,
    granted: Option<Wanted>,
    /// How the stream ended.
    end: Option<Result<Message>>,
}

impl Slot {
    fn open(&mut self, group: &Group, part: usize, request: &Request, wanted: &Wanted) {
        self.stream = None;
        let share = wanted.share(group, part);
        let Some(view) = self.view.as_ref().filter(|_| !share.is_empty()) else {
            if let Err(error) = group.view(part) {
                self.end = Some(Err(error));
            }
            return;
        };
        let body = json::set(&request.message.body, &["notifications"], &share.write());
        match view.connection.open(with_body(request, body)) {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => self.end = Some(Err(error)),
        }
    }
}

struct Listening {
    group: Arc<Group>,
    request: Request,
    wanted: Wanted,
    slots: Vec<Slot>,
    ready: VecDeque<Event>,
    is_acknowledged: bool,
    patience: Pin<Box<Sleep>>,
}

impl Listening {
    /// Whether something was there.
    fn poll_slot(&mut self, at: usize, cx: &mut Context<'_>) -> bool {
        let Some(slot) = self.slots.get_mut(at) else { return false };
        let mut has_moved = false;
        if let Some(Poll::Ready(state)) = slot.change.as_mut().map(|change| change.as_mut().poll(cx)) {
            slot.change = None;
            has_moved = true;
            if let Some(mut state) = state {
                let view = view_of(&state.borrow_and_update());
                slot.change = Some(change(state));
                let told = lists_of(slot.view.as_ref(), view.as_ref());
                slot.view = view;
                slot.end = None;
                slot.open(&self.group, at, &self.request, &self.wanted);
                let told = told.into_iter().filter(|method| self.wanted.includes(method.as_str()));
                let events = told.map(|method| Event::Inbound(Inbound::Notification(method, Message::default())));
                self.ready.extend(events);
            }
        }
        let Some(slot) = self.slots.get_mut(at) else { return has_moved };
        // Where nothing is read, nothing piles up: the upstream waits for its credit.
        if !self.is_acknowledged && self.ready.len() >= MAX_WAITING {
            return has_moved;
        }
        let Some(Poll::Ready(event)) = slot.stream.as_mut().map(|stream| stream.poll_event(cx)) else {
            return has_moved;
        };
        match event {
            Some(Ok(Event::Inbound(Inbound::Notification(method, message)))) if method.as_str() == ACKNOWLEDGED => {
                let filter = json::get(&message.body, &["notifications"]).unwrap_or_default();
                slot.granted = Some(Wanted::of(&filter));
            }
            Some(Ok(Event::Inbound(inbound))) => {
                let inbound = pass(&self.group, at, inbound);
                self.ready.push_back(Event::Inbound(inbound));
            }
            Some(Ok(Event::Item(item))) => slot.end = Some(Ok(item)),
            Some(Err(error)) => {
                slot.stream = None;
                slot.end = Some(Err(error));
            }
            None => slot.stream = None,
        }
        true
    }

    /// The acknowledgement, once everyone has said what it grants, or has had the time to.
    fn acknowledge(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        let waits = |slot: &Slot| slot.stream.is_some() && slot.granted.is_none();
        if self.slots.iter().any(waits) && self.patience.as_mut().poll(cx).is_pending() {
            return None;
        }
        self.is_acknowledged = true;
        let mut granted = Wanted { changes: [false; 3], uris: Vec::new() };
        for slot in &self.slots {
            // An upstream that comes or goes changes our lists, and we tell of that ourselves.
            if slot.change.is_some() {
                granted.changes = self.wanted.changes;
            }
            let Some(of_slot) = &slot.granted else { continue };
            for (sum, is_on) in granted.changes.iter_mut().zip(of_slot.changes) {
                *sum |= is_on;
            }
            for uri in &self.wanted.uris {
                let own = named(&self.group, uri).map_or(uri.as_str(), |(_, own)| own);
                if of_slot.uris.iter().any(|known| known == own) && !granted.uris.contains(uri) {
                    granted.uris.push(uri.clone());
                }
            }
        }
        let body = json::set(&Bytes::new(), &["notifications"], &granted.write());
        let method = Subject::from_static(ACKNOWLEDGED);
        Some(Event::Inbound(Inbound::Notification(method, Message::new(body))))
    }

    /// The end, if nothing can come any more: a graceful one if any upstream ended so.
    fn end(&mut self) -> Option<Option<Result<Event>>> {
        let may_come = |slot: &Slot| slot.view.is_none() && slot.change.is_some();
        if self.slots.iter().any(|slot| slot.stream.is_some() || may_come(slot)) {
            return None;
        }
        let ends: Vec<_> = self.slots.iter_mut().filter_map(|slot| slot.end.take()).collect();
        let (items, errors): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
        if let Some(item) = items.into_iter().flatten().next() {
            return Some(Some(Ok(Event::Item(item))));
        }
        Some(errors.into_iter().find_map(Result::err).map(Err))
    }
}

impl Stream for Listening {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.is_acknowledged
                && let Some(event) = this.ready.pop_front()
            {
                return Poll::Ready(Some(Ok(event)));
            }
            let mut has_moved = false;
            for at in 0..this.slots.len() {
                has_moved |= this.poll_slot(at, cx);
            }
            if has_moved {
                continue;
            }
            if let Some(end) = this.end() {
                return Poll::Ready(end);
            }
            if !this.is_acknowledged {
                return match this.acknowledge(cx) {
                    Some(event) => Poll::Ready(Some(Ok(event))),
                    None => Poll::Pending,
                };
            }
            return Poll::Pending;
        }
    }
}

fn view_of(state: &State) -> Option<View> {
    match state {
        State::Up(view) => Some(view.clone()),
        State::Down(_) => None,
    }
}

fn change(mut state: watch::Receiver<State>) -> Change {
    Box::pin(async move { state.changed().await.is_ok().then_some(state) })
}
