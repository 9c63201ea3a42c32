// SPDX-License-Identifier: Apache-2.0
//! What a legacy server asks during a call, and how a modern client answers it.

use std::collections::HashMap;
use std::task::{Context, Waker};

use biplane::proto::json;
use biplane::{PeerError, ResponseSender};
use bytes::Bytes;

use crate::era::edit::{Edit, Object};
use crate::era::names::{INPUT_RESPONSES, code, key, method};

/// A question that waits for the client.
pub(super) struct Question {
    pub(super) key: String,
    pub(super) method: String,
    /// As the client is to see them.
    pub(super) params: Bytes,
    /// Where the answer goes; `None` if the call is to be made anew after it.
    pub(super) reply: Option<ResponseSender>,
}

impl Question {
    /// Whether the server wants no answer any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.reply.as_ref().is_some_and(|reply| {
            let stopped = std::pin::pin!(reply.stopped());
            stopped.poll(&mut cx).is_ready()
        })
    }

    /// The object in `inputRequests`.
    fn write(&self) -> Bytes {
        let mut request = Object::new();
        request.set("method", &json::quote(&self.method));
        if !self.params.is_empty() {
            request.set("params", &self.params);
        }
        request.close()
    }
}

/// The `inputRequests` of these questions.
pub(super) fn written(questions: &[Question]) -> Bytes {
    let mut requests = Object::new();
    for question in questions {
        requests.set(&question.key, &question.write());
    }
    requests.close()
}

/// The params of a legacy server's request without what means nothing to a modern client.
pub(super) fn cleaned(method: &str, params: &Bytes) -> Bytes {
    let edit =
        Edit { without: &["elicitationId", "task"], without_meta: &[key::INPUT, "progressToken"], ..Edit::default() };
    if params.is_empty() && method == method::LIST_ROOTS { params.clone() } else { edit.apply(params) }
}

/// Names for questions, unique within one call, and the same ones when the call is made again.
#[derive(Default)]
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// What the question was called in the modern era, if it comes from there; else its kind and a number.
    pub(super) fn name(&mut self, method: &str, params: &Bytes) -> String {
        let given = json::get(params, &["_meta", key::INPUT]);
        let given = given.as_deref().and_then(json::text).filter(|name| !name.is_empty() && name.len() <= 256);
        if let Some(name) = given
            && !self.0.contains_key(&*name)
        {
            self.0.insert(name.clone().into_owned(), 1);
            return name.into_owned();
        }
        let kind = match method {
            method::SAMPLE => "sampling",
            method::LIST_ROOTS => "roots",
            _ => "elicitation",
        };
        loop {
            let count = self.0.entry(kind.to_owned()).or_default();
            *count += 1;
            let name = format!("{kind}-{count}");
            if !self.0.contains_key(&name) {
                self.0.insert(name.clone(), 1);
                return name;
            }
        }
    }
}

/// The raw `inputResponses` of a request, by key.
#[derive(Default)]
pub(super) struct Responses(HashMap<String, Bytes>);

impl Responses {
    /// From the params of a request, if it has some. More than `most` are refused unread.
    pub(super) fn read(params: &Bytes, most: usize) -> Result<Self, PeerError> {
        let Some(raw) = json::get(params, &[INPUT_RESPONSES]) else { return Ok(Self::default()) };
        let invalid = |what: &str| PeerError::new(code::INVALID_PARAMS, format!("{INPUT_RESPONSES} {what}"));
        if raw.first() != Some(&b'{') {
            return Err(invalid("is an object"));
        }
        let mut responses = HashMap::new();
        for (name, value) in json::members(&raw) {
            if value.first() != Some(&b'{') {
                return Err(invalid("has an object for every key"));
            }
            if responses.len() == most {
                return Err(invalid("has more members than the server has questions"));
            }
            let name = [b"\"", name, b"\""].concat();
            let name = json::text(&name).unwrap_or_default().into_owned();
            responses.insert(name, raw.slice_ref(value));
        }
        Ok(Self(responses))
    }

    /// Whether those that answer one of `questions` have the shape of an answer.
    pub(super) fn check(&self, questions: &[Question]) -> Result<(), PeerError> {
        questions.iter().try_for_each(|question| match self.0.get(&question.key) {
            Some(response) => checked(&question.key, &question.method, response),
            None => Ok(()),
        })
    }

    /// The answer to a question, which counts once.
    pub(super) fn take(&mut self, key: &str) -> Option<Bytes> {
        self.0.remove(key)
    }

    /// Takes over what `later` has.
    pub(super) fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}

/// Whether `response` is what a question of `method` is answered with.
pub(super) fn checked(key: &str, method: &str, response: &Bytes) -> Result<(), PeerError> {
    let first = |name: &str| json::get(response, &[name]).and_then(|raw| raw.first().copied());
    let fits = match method {
        method::ELICIT => {
            let action = json::get(response, &["action"]);
            let action = action.as_deref().and_then(json::text);
            action.is_some_and(|action| matches!(&*action, "accept" | "decline" | "cancel"))
                && matches!(first("content"), None | Some(b'{' | b'n'))
        }
        method::LIST_ROOTS => first("roots") == Some(b'['),
        _ => {
            first("role") == Some(b'"') && first("model") == Some(b'"') && matches!(first("content"), Some(b'{' | b'['))
        }
    };
    let wrong =
        || PeerError::new(code::INVALID_PARAMS, format!("{INPUT_RESPONSES} has no answer to {method} at {key:?}"));
    if fits { Ok(()) } else { Err(wrong()) }
}
