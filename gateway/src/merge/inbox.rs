// SPDX-License-Identifier: Apache-2.0
//! What the upstreams send unasked, and their coming and going. Nothing runs by itself here: whoever receives drives it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use biplane::proto::json;
use biplane::{Inbound, Message, Result, Subject};
use tokio::sync::watch;

use crate::merge::group::Group;
use crate::merge::kind::Kind;
use crate::merge::part::State;
use crate::view::{Era, View};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One receiver for all.
pub(crate) struct Inbox {
    group: Arc<Group>,
    slots: Vec<Slot>,
    ready: VecDeque<Inbound>,
    /// Who is looked at first, so that a talkative one does not silence the others.
    turn: usize,
}

struct Slot {
    /// `None` once it cannot change any more.
    change: Option<Boxed<Option<watch::Receiver<State>>>>,
    view: Option<View>,
    /// Kept from one poll to the next: what has been received is not lost with a future.
    receiving: Option<Boxed<Result<Option<Inbound>>>>,
    /// Says again what an upstream that was started anew has to know.
    replay: Option<Boxed<()>>,
}

impl Inbox {
    pub(crate) fn new(group: Arc<Group>) -> Self {
        let slots = group.parts.iter().map(|part| {
            let mut state = part.state.clone();
            let view = view_of(&state.borrow_and_update());
            Slot { change: Some(change(state)), receiving: view.as_ref().map(receive), view, replay: None }
        });
        Self { slots: slots.collect(), group, ready: VecDeque::new(), turn: 0 }
    }

    /// The next message; `None` when none can come any more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Inbound>>> {
        loop {
            if let Some(inbound) = self.ready.pop_front() {
                return Poll::Ready(Ok(Some(inbound)));
            }
            let count = self.slots.len();
            let mut has_moved = false;
            for step in 0..count {
                let at = (self.turn + step) % count;
                has_moved |= self.poll_slot(at, cx);
            }
            self.turn = self.turn.wrapping_add(1) % count.max(1);
            if !has_moved {
                let is_over = self.slots.iter().all(|slot| slot.change.is_none() && slot.receiving.is_none());
                return if is_over { Poll::Ready(Ok(None)) } else { Poll::Pending };
            }
        }
    }

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
                self.replace(at, view);
            }
        }
        let Some(slot) = self.slots.get_mut(at) else { return has_moved };
        if let Some(replay) = &mut slot.replay
            && replay.as_mut().poll(cx).is_ready()
        {
            slot.replay = None;
        }
        if let Some(Poll::Ready(received)) = slot.receiving.as_mut().map(|receiving| receiving.as_mut().poll(cx)) {
            has_moved = true;
            // A connection that is closed or broken says no more; its part's state tells what comes of it.
            slot.receiving = None;
            if let Ok(Some(inbound)) = received {
                slot.receiving = slot.view.as_ref().map(receive);
                let inbound = pass(&self.group, at, inbound);
                self.ready.push_back(inbound);
            }
        }
        has_moved
    }

    /// An upstream came, went, or was started anew.
    fn replace(&mut self, at: usize, view: Option<View>) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let (old, new) = (slot.view.take(), view);
        let changed = lists_of(old.as_ref(), new.as_ref());
        slot.receiving = new.as_ref().map(receive);
        slot.replay = match (&new, self.group.era) {
            (Some(view), Era::Legacy) => replay(&self.group, at, view),
            _ => None,
        };
        slot.view = new;
        for kind in Kind::ALL {
            self.group.catalogs.expire(kind, at);
        }
        // A modern client is told on the streams where it listens.
        if self.group.era == Era::Legacy {
            let told = changed.into_iter().map(|method| Inbound::Notification(method, Message::default()));
            self.ready.extend(told);
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} upstreams, {} messages)", self.slots.len(), self.ready.len())
    }
}

/// What tells a client that a list of ours is another one now that `old` has given way to `new`.
pub(crate) fn lists_of(old: Option<&View>, new: Option<&View>) -> Vec<Subject> {
    let has = |capability: &str| {
        let mut views = old.into_iter().chain(new);
        views.any(|view| json::get(&view.facts.capabilities, &[capability]).is_some())
    };
    let methods = [
        ("tools", "notifications/tools/list_changed"),
        ("prompts", "notifications/prompts/list_changed"),
        ("resources", "notifications/resources/list_changed"),
    ];
    methods.into_iter().filter(|(kind, _)| has(kind)).map(|(_, method)| Subject::from_static(method)).collect()
}

/// A message of `part`, with what we changed in its lists changed here too; what it says of its lists is remembered.
pub(crate) fn pass(group: &Group, part: usize, inbound: Inbound) -> Inbound {
    let Inbound::Notification(method, message) = inbound else { return inbound };
    match method.as_str() {
        "notifications/tools/list_changed" => group.catalogs.expire(Kind::Tools, part),
        "notifications/prompts/list_changed" => group.catalogs.expire(Kind::Prompts, part),
        "notifications/resources/list_changed" => {
            group.catalogs.expire(Kind::Resources, part);
            group.catalogs.expire(Kind::Templates, part);
        }
        "notifications/resources/updated" => {
            let uri = json::get(&message.body, &["uri"]);
            let published = uri.as_deref().and_then(json::text);
            if let Some(uri) = published.and_then(|uri| group.published(Kind::Resources, part, &uri)) {
                let body = json::set(&message.body, &["uri"], &json::quote(&uri));
                return Inbound::Notification(method, Message { headers: message.headers, body });
            }
        }
        _ => {}
    }
    Inbound::Notification(method, message)
}

fn view_of(state: &State) -> Option<View> {
    match state {
        State::Up(view) => Some(view.clone()),
        State::Down(_) => None,
    }
}

fn change(mut state: watch::Receiver<State>) -> Boxed<Option<watch::Receiver<State>>> {
    Box::pin(async move { state.changed().await.is_ok().then_some(state) })
}

fn receive(view: &View) -> Boxed<Result<Option<Inbound>>> {
    let connection = view.connection.clone();
    Box::pin(async move { connection.receive().await })
}

fn replay(group: &Group, part: usize, view: &View) -> Option<Boxed<()>> {
    let requests = group.replay(part);
    let connection = view.connection.clone();
    (!requests.is_empty()).then(|| -> Boxed<()> {
        Box::pin(async move {
            for request in requests {
                if let Err(error) = connection.request(request).await {
                    tracing::warn!(%error, "an upstream that was started anew did not take what its client had asked for");
                }
            }
        })
    })
}
