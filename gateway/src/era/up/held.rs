// SPDX-License-Identifier: Apache-2.0
//! Calls that are held open while their clients answer, and the states that lead back to them.
//!
//! A state is 256 random bits: half of them name the call, half of them prove it. It says nothing, is good for one retry of
//! the same request by the same principal, and only until its time is over. It is good on this gateway alone: the call that
//! it names is a connection of this process.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use biplane::proto::json;
use biplane::{Error, PeerError, Request, Result};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::asker::Asker;
use super::call::Call;
use crate::era::edit::Edit;
use crate::era::limits::Limits;
use crate::era::names::{INPUT_RESPONSES, REQUEST_STATE, code};
use crate::era::token;

/// Of which request a state is good for a retry.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Binding {
    principal: String,
    subject: String,
    params: [u64; 2],
}

pub(super) struct Held {
    most: usize,
    most_each: usize,
    lifetime: Duration,
    /// Keyed at random, so that nobody finds two requests of one digest.
    digests: [RandomState; 2],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: HashMap<[u8; 16], Entry>,
    has_sweeper: bool,
}

struct Entry {
    secret: [u8; 16],
    binding: Binding,
    ends: Instant,
    call: Box<Call>,
}

impl Held {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            most: limits.held,
            most_each: limits.held_each,
            lifetime: limits.patience,
            digests: [RandomState::new(), RandomState::new()],
            state: Mutex::default(),
        })
    }

    /// What a retry of `request` has to have in common with it.
    pub(super) fn binding(&self, request: &Request, asker: &Asker) -> Binding {
        let edit = Edit { without: &["_meta", INPUT_RESPONSES, REQUEST_STATE], ..Edit::default() };
        let salient = edit.apply(&request.message.body);
        // Parsed, since a client may write the same arguments in another way the second time.
        let value: serde_json::Value = serde_json::from_slice(&salient).unwrap_or_default();
        let salient = value.to_string();
        Binding {
            principal: asker.client.principal.clone(),
            subject: request.subject.to_string(),
            params: self.digests.each_ref().map(|digest| digest.hash_one(&salient)),
        }
    }

    /// Holds `call`, and returns the state that leads back to it.
    pub(super) fn hold(self: &Arc<Self>, binding: Binding, call: Call) -> Result<String> {
        let (name, secret) = (token::random()?, token::random()?);
        let mut state = self.lock();
        let each = state.calls.values().filter(|entry| entry.binding.principal == binding.principal).count();
        if state.calls.len() >= self.most || each >= self.most_each {
            drop(state);
            call.abandon("too many calls wait for their clients");
            return Err(Error::overloaded(format!("{each} calls of this client wait for its answers already"))
                .with_hint("answer or give up some of them, then try again"));
        }
        let ends = Instant::now() + self.lifetime;
        state.calls.insert(name, Entry { secret, binding, ends, call: Box::new(call) });
        if !std::mem::replace(&mut state.has_sweeper, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        Ok(token::to_hex(&[name, secret].concat()))
    }

    /// The call that the raw `state` leads to, if it is good for this request and `fits`; else it stays where it is.
    pub(super) fn take(
        &self,
        raw: &[u8],
        binding: &Binding,
        fits: impl FnOnce(&Call) -> Result<(), PeerError>,
    ) -> Result<Call> {
        let refusal = || {
            PeerError::new(
                code::INVALID_PARAMS,
                format!("{REQUEST_STATE} is unknown, has expired, or is of another request"),
            )
        };
        let both = json::text(raw).and_then(|text| token::from_hex::<32>(&text)).ok_or_else(refusal)?;
        let (name, secret) = both.split_at(16);
        let name: [u8; 16] = name.try_into().map_err(|_| refusal())?;
        let mut state = self.lock();
        let good = state.calls.get(&name).filter(|entry| {
            let proven: bool = entry.secret.as_slice().ct_eq(secret).into();
            proven && entry.binding == *binding && entry.ends > Instant::now()
        });
        fits(&good.ok_or_else(refusal)?.call)?;
        let entry = state.calls.remove(&name).ok_or_else(refusal)?;
        Ok(*entry.call)
    }

    /// Gives up all of them.
    pub(super) fn clear(&self) {
        let calls = std::mem::take(&mut self.lock().calls);
        calls.into_values().for_each(|entry| entry.call.abandon("the gateway closes"));
    }

    /// Gives up those whose time is over, and says when the next one's is.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let over: Vec<_> = state.calls.extract_if(|_, entry| entry.ends <= now).map(|(_, entry)| entry.call).collect();
        let next = state.calls.values().map(|entry| entry.ends).min();
        state.has_sweeper = next.is_some();
        drop(state);
        over.into_iter().for_each(|call| call.abandon("the client did not answer in time"));
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// One task while any call is held.
async fn sweep(held: Weak<Held>) {
    while let Some(next) = held.upgrade().and_then(|held| held.expire(Instant::now())) {
        tokio::time::sleep_until(next).await;
    }
}

/// The raw state of a request, if it has one.
pub(super) fn state_of(request: &Request) -> Option<Bytes> {
    json::get(&request.message.body, &[REQUEST_STATE])
}
