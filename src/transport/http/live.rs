// SPDX-License-Identifier: Apache-2.0
//! The answers that a responder holds, by token: waiting for their reader, or being read and open to control.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use subtle::ConstantTimeEq;

use crate::error::{Error, Result, Retry};
use crate::message::ControlMessage;
use crate::stream::ResponseStream;

/// 128 random bits, the only right to an answer. 32 hexadecimal digits in a URL.
#[derive(Clone, Copy)]
pub(super) struct Token([u8; 16]);

impl Token {
    fn random() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::unexpected(format!("the system gives no random bytes ({error})")))?;
        Ok(Self(bytes))
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// All answers of one server.
///
/// The map's key is a hash of the token under a random key, and the token itself is compared in constant time: how long a
/// look-up takes tells nothing about the tokens that exist.
pub(super) struct LiveStreams<T> {
    hasher: RandomState,
    limit: usize,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    streams: HashMap<u64, Arc<Live<T>>>,
    /// Offers in the order in which they expire: each waits equally long.
    offers: VecDeque<(Instant, u64)>,
}

struct Live<T> {
    token: Token,
    answer: Mutex<T>,
    claimed: AtomicBool,
}

/// What can be told to finish.
pub(super) trait Controlled {
    fn control(&self, message: ControlMessage);
}

impl Controlled for ResponseStream {
    fn control(&self, message: ControlMessage) {
        Self::control(self, message);
    }
}

/// Why a token does not lead to an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoClaim {
    /// No answer has it: it never existed, has expired, or the answer is over.
    Unknown,
    /// Somebody reads the answer.
    Taken,
}

impl<T: Controlled> LiveStreams<T> {
    /// Holds at most `limit` answers.
    pub(super) fn new(limit: usize) -> Self {
        let inner = Inner { streams: HashMap::new(), offers: VecDeque::new() };
        Self { hasher: RandomState::new(), limit, inner: Mutex::new(inner) }
    }

    /// Holds `answer` until it is claimed, or dropped by [`expire`](Self::expire) after `until`.
    pub(super) fn offer(&self, answer: T, until: Instant) -> Result<Token> {
        let (token, key) = self.insert(answer, false)?;
        let mut inner = self.inner();
        // Offers that were taken need not wait for their time: so the queue is about as long as there are open offers.
        while let Some((_, front)) = inner.offers.front().copied()
            && inner.streams.get(&front).is_none_or(|live| live.claimed.load(Ordering::Acquire))
        {
            inner.offers.pop_front();
        }
        inner.offers.push_back((until, key));
        Ok(token)
    }

    /// Holds `answer`, with its reader there already.
    pub(super) fn start(self: &Arc<Self>, answer: T) -> Result<Claim<T>> {
        let (_, key) = self.insert(answer, true)?;
        let live = self.inner().streams.get(&key).cloned();
        let live = live.ok_or_else(|| Error::closed("the server is closing"))?;
        Ok(Claim { live, streams: self.clone(), key })
    }

    fn insert(&self, answer: T, claimed: bool) -> Result<(Token, u64)> {
        loop {
            let token = Token::random()?;
            let key = self.hasher.hash_one(token.0);
            let mut inner = self.inner();
            if inner.streams.len() >= self.limit {
                return Err(Error::overloaded(format!("{} answers are open at this server", self.limit))
                    .with_retry(Retry::Safe)
                    .with_hint("try another instance, or later"));
            }
            if let Entry::Vacant(place) = inner.streams.entry(key) {
                let (answer, claimed) = (Mutex::new(answer), AtomicBool::new(claimed));
                place.insert(Arc::new(Live { token, answer, claimed }));
                return Ok((token, key));
            }
        }
    }

    /// Takes the reader's place.
    pub(super) fn claim(self: &Arc<Self>, token: Token) -> Result<Claim<T>, NoClaim> {
        let (key, live) = self.find(token).ok_or(NoClaim::Unknown)?;
        if live.claimed.swap(true, Ordering::AcqRel) {
            return Err(NoClaim::Taken);
        }
        Ok(Claim { live, streams: self.clone(), key })
    }

    /// Tells the handler of an answer to finish. Says whether there is such an answer.
    pub(super) fn control(&self, token: Token, message: ControlMessage) -> bool {
        let Some((_, live)) = self.find(token) else { return false };
        live.answer.lock().control(message);
        true
    }

    /// Drops the offers that nobody claimed in time, and says when to come again.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let mut inner = self.inner();
        let next = loop {
            let Some((until, key)) = inner.offers.front().copied() else { break None };
            if until > now {
                break Some(until);
            }
            inner.offers.pop_front();
            if inner.streams.get(&key).is_some_and(|live| !live.claimed.swap(true, Ordering::AcqRel)) {
                expired.extend(inner.streams.remove(&key));
            }
        };
        drop(inner);
        if !expired.is_empty() {
            tracing::debug!(target: "biplane::http::response", "{} answers were not fetched in time", expired.len());
        }
        next
    }

    /// Drops the offers that nobody claimed: nobody can any more.
    pub(super) fn withdraw(&self) {
        let mut inner = self.inner();
        let offers = std::mem::take(&mut inner.offers);
        let unclaimed: Vec<_> = offers
            .into_iter()
            .filter(|(_, key)| inner.streams.get(key).is_some_and(|live| !live.claimed.swap(true, Ordering::AcqRel)))
            .collect();
        let withdrawn: Vec<_> = unclaimed.iter().filter_map(|(_, key)| inner.streams.remove(key)).collect();
        // Dropped without the lock: it wakes others.
        drop(inner);
        drop(withdrawn);
    }

    /// Answers that are held.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.inner().streams.len()
    }

    fn find(&self, token: Token) -> Option<(u64, Arc<Live<T>>)> {
        let key = self.hasher.hash_one(token.0);
        let live = self.inner().streams.get(&key).cloned()?;
        bool::from(live.token.0.ct_eq(&token.0)).then_some((key, live))
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock()
    }
}

/// The one reader of an answer. Dropping it ends the answer.
pub(super) struct Claim<T> {
    live: Arc<Live<T>>,
    streams: Arc<LiveStreams<T>>,
    key: u64,
}

impl<T> Claim<T> {
    /// The token, by which the answer can be controlled.
    pub(super) fn token(&self) -> Token {
        self.live.token
    }

    /// The answer itself. Control waits while it is held.
    pub(super) fn answer(&self) -> MutexGuard<'_, T> {
        self.live.answer.lock()
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        let removed = self.streams.inner.lock().streams.remove(&self.key);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::pipe;
    use std::time::Duration;

    #[tokio::test]
    async fn a_token_has_one_reader_and_dies_with_it() {
        let streams = Arc::new(LiveStreams::new(10));
        let now = Instant::now();
        let (sender, stream) = pipe(100, 100);
        let token = streams.offer(stream, now + Duration::from_secs(1)).unwrap();
        let token: Token = token.to_string().parse().unwrap();
        let claim = streams.claim(token).unwrap();
        assert_eq!(streams.claim(token).err(), Some(NoClaim::Taken));
        assert_eq!(streams.expire(now + Duration::from_secs(2)), None);
        assert!(streams.control(token, ControlMessage::Stop));
        assert_eq!(sender.stopped().await, ControlMessage::Stop);
        drop(claim);
        assert_eq!(streams.claim(token).err(), Some(NoClaim::Unknown));
        assert!(!streams.control(token, ControlMessage::Kill));
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
        assert_eq!(streams.len(), 0);
    }

    #[tokio::test]
    async fn an_offer_that_nobody_claims_is_cancelled() {
        let streams = LiveStreams::new(10);
        let now = Instant::now();
        let (sender, stream) = pipe(100, 100);
        let until = now + Duration::from_secs(1);
        streams.offer(stream, until).unwrap();
        assert_eq!(streams.expire(now), Some(until));
        assert_eq!(streams.expire(until), None);
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
        assert_eq!(streams.len(), 0);
    }

    #[tokio::test]
    async fn a_withdrawn_offer_is_cancelled_and_a_claimed_answer_is_not() {
        let streams = Arc::new(LiveStreams::new(10));
        let until = Instant::now() + Duration::from_secs(1);
        let (offered, stream) = pipe(100, 100);
        streams.offer(stream, until).unwrap();
        let (claimed, stream) = pipe(100, 100);
        let claim = streams.claim(streams.offer(stream, until).unwrap()).unwrap();
        streams.withdraw();
        assert_eq!(offered.stopped().await, ControlMessage::Kill);
        claimed.send("goes on").await.unwrap();
        drop(claim);
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn the_table_is_bounded_and_tokens_are_hexadecimal() {
        let streams = Arc::new(LiveStreams::new(1));
        let (_one, stream) = pipe(1, 1);
        let _claim = streams.start(stream).unwrap();
        let (_two, stream) = pipe(1, 1);
        let error = streams.start(stream).err().unwrap();
        assert_eq!((error.kind(), error.retry()), (crate::ErrorKind::Overloaded, Retry::Safe));
        for bad in ["", "0", "+0000000000000000000000000000000", "g0000000000000000000000000000000"] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
