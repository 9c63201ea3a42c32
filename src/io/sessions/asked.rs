// SPDX-License-Identifier: Apache-2.0
//! Requests that we sent to a client, until it answers.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::connection::Inbound;
use crate::error::Error;
use crate::message::{Message, Request, Subject};
use crate::proto::jsonrpc::{Id, Packet, ids};
use crate::stream::ResponseSender;

/// The stream of what was sent by a session's connection, rather than on account of a request: whichever stream of the
/// kind is read.
pub(super) const UNASKED: u32 = 0;

/// The requests of one session that wait for the client. Small: a list is enough.
#[derive(Default)]
pub(super) struct AskedList {
    waiting: Vec<Asked>,
    last: u64,
    /// A session that is opened anew must not take answers to its former life for its own.
    salt: u32,
}

struct Asked {
    number: u64,
    /// On which stream it went out.
    stream: u32,
    answer: ResponseSender,
    /// The progress token of whoever asks; on this link the id stands for it.
    token: Option<Bytes>,
}

impl AskedList {
    pub(super) fn new(salt: u32) -> Self {
        Self { salt, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Puts a request on the list: its number, and its text with an id and a token of our own.
    pub(super) fn ask(&mut self, stream: u32, request: Request, answer: ResponseSender) -> (u64, Bytes) {
        self.last += 1;
        let number = self.last;
        let id = self.id(number);
        let Message { headers, body } = request.message;
        let token = ids::requested_token(&body);
        let body = if token.is_some() { ids::with_requested_token(&body, &id) } else { body };
        self.waiting.push(Asked { number, stream, answer, token });
        let text = Packet::Request { id, method: request.subject, message: Message { headers, body } }.to_bytes();
        (number, text)
    }

    /// Whether the request is still waited for.
    pub(super) fn is_waiting(&self, number: u64) -> bool {
        self.waiting.iter().any(|asked| asked.number == number)
    }

    /// Whoever asked the request that the client calls `id`.
    pub(super) fn answered(&mut self, id: &Id) -> Option<ResponseSender> {
        let at = self.place(&id.raw())?;
        Some(self.waiting.swap_remove(at).answer)
    }

    /// Passes on how far the client is, if `params` speak of one of these requests. What whoever asked has no room for is
    /// lost: the next one tells more.
    pub(super) fn progress(&self, method: &Subject, message: &Message) -> bool {
        let told = ids::told_token(&message.body);
        let Some(asked) = told.and_then(|token| self.place(&token)).and_then(|at| self.waiting.get(at)) else {
            return false;
        };
        let Some(token) = &asked.token else { return false };
        let body = ids::with_told_token(&message.body, token);
        let told = Inbound::Notification(method.clone(), Message { headers: message.headers.clone(), body });
        let sent = pin!(asked.answer.send_inbound(told)).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(error)) = sent {
            tracing::debug!(target: "biplane::sessions", "progress was not passed on: {error}");
        }
        true
    }

    /// A request of `stream` that nobody waits for any more: its number and the notification that tells the client.
    pub(super) fn poll_withdrawn(&mut self, stream: u32, cx: &mut Context<'_>) -> Option<(u64, Bytes)> {
        let mut all = self.waiting.iter();
        let at = all.position(|asked| asked.stream == stream && pin!(asked.answer.stopped()).poll(cx).is_ready())?;
        let withdrawn = self.waiting.swap_remove(at);
        let params = ids::cancel(&self.id(withdrawn.number), "the answer is no longer needed");
        let method = Subject::from_static(ids::CANCELLED);
        Some((withdrawn.number, Packet::Notification { method, message: Message::new(params) }.to_bytes()))
    }

    /// Takes them all: the session is over.
    pub(super) fn take(&mut self) -> Vec<ResponseSender> {
        std::mem::take(&mut self.waiting).into_iter().map(|asked| asked.answer).collect()
    }

    fn place(&self, raw: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(raw).ok()?.strip_prefix('"')?.strip_suffix('"')?;
        let (salt, number) = text.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        let same = u32::from_str_radix(salt, 16) == Ok(self.salt);
        self.waiting.iter().position(|asked| same && asked.number == number)
    }

    fn id(&self, number: u64) -> Id {
        Id::from_raw(format!("\"{:x}-{number}\"", self.salt).into()).unwrap_or(Id::NULL)
    }
}

/// Hands the client's answer to whoever asked.
pub(super) fn deliver(answer: ResponseSender, outcome: Result<Message, crate::error::PeerError>) {
    let item = match outcome {
        Ok(item) => item,
        Err(error) => return answer.fail(error),
    };
    let sent = pin!(answer.send(item.clone())).poll(&mut Context::from_waker(Waker::noop()));
    match sent {
        Poll::Ready(Ok(())) => answer.close(),
        Poll::Ready(Err(error)) => answer.fail(error),
        // Progress that nobody has read yet is in the way.
        Poll::Pending => drop(tokio::spawn(async move {
            match answer.send(item).await {
                Ok(()) => answer.close(),
                Err(error) => answer.fail(error),
            }
        })),
    }
}

/// What whoever asked is told when the client is gone.
pub(super) fn gone() -> Error {
    Error::closed("the client's session ended before it answered")
}
