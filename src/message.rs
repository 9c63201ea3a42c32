// SPDX-License-Identifier: Apache-2.0
//! What travels: [`Subject`], [`Message`], [`Request`] and its [`RequestContext`].
//!
//! Everything here is cheap to clone (reference-counted bytes) and is never parsed on the way: a body is bytes, a
//! subject is text, headers are an unordered list that is empty in the common case and then costs no allocation.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use crate::error::{Error, Result};
use crate::hex;
use crate::stream::ResponseStream;

/// The routing name of a request: a service endpoint (`demo.llm.generate`) or a method (`tools/call`).
///
/// Any UTF-8 text from 1 to 1,024 bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(ByteString);

impl Subject {
    /// The longest subject, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// A subject known at compile time. It is checked when it is sent or registered.
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// Checks and takes `text`.
    pub fn new(text: impl Into<ByteString>) -> Result<Self> {
        let text = text.into();
        let is_plain = || text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if text.is_empty() || text.len() > Self::MAX_LEN || (!is_plain() && text.chars().any(char::is_control)) {
            return Err(Error::config(format!(
                "a subject is 1 to {} bytes of text without control characters, got {} bytes",
                Self::MAX_LEN,
                text.len()
            )));
        }
        Ok(Self(text))
    }

    /// Takes a slice of a received frame without copying it.
    pub fn from_wire(bytes: Bytes) -> Result<Self> {
        let text = ByteString::try_from(bytes).map_err(|_| Error::protocol("a subject that is not UTF-8"))?;
        Self::new(text).map_err(|error| Error::protocol(error.to_string()))
    }

    /// Takes a slice of a received text that is known to be printable ASCII; `None` if it is too long or empty.
    #[inline]
    pub(crate) fn from_printable(bytes: Bytes) -> Option<Self> {
        (1..=Self::MAX_LEN).contains(&bytes.len()).then_some(())?;
        ByteString::try_from(bytes).ok().map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as shared bytes.
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }
}

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Names and values that travel beside a body. Names compare without regard to ASCII case; order and duplicates are kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Pairs);

/// Never empty. Most messages have none, and a message is moved many times on its way and waits in many places: a pointer is
/// a third of a list.
type Pairs = Option<Box<Vec<(ByteString, Bytes)>>>;

impl Headers {
    /// The most headers that one message may have.
    pub const MAX_COUNT: usize = 100;

    /// No headers; costs nothing.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds a pair.
    pub fn append(&mut self, name: impl Into<ByteString>, value: impl Into<Bytes>) {
        self.0.get_or_insert_default().push((name.into(), value.into()));
    }

    fn pairs(&self) -> &[(ByteString, Bytes)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.pairs().iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first value of `name` as text, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ByteString, &Bytes)> {
        self.pairs().iter().map(|(name, value)| (name, value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of all names and values.
    pub fn size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs().len()
    }
}

impl fmt::Debug for Headers {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs().iter().map(|(name, _)| name)).finish()
    }
}

/// Headers and a body.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Beside the body.
    pub headers: Headers,
    /// The payload, opaque to every transport.
    pub body: Bytes,
}

impl Message {
    /// A body without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: Headers::new(), body: body.into() }
    }

    /// Adds a header.
    pub fn with_header(mut self, name: impl Into<ByteString>, value: impl Into<Bytes>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Bytes that count against size limits and credit: body, names and values.
    pub fn size(&self) -> usize {
        self.body.len() + self.headers.size()
    }

    /// The body as text, or a protocol error.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body).map_err(|error| Error::protocol("the body is not UTF-8").with_source(error))
    }
}

impl fmt::Debug for Message {
    /// Sizes only: no payloads in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.headers, self.body.len())
    }
}

impl<T: Into<Bytes>> From<T> for Message {
    fn from(body: T) -> Self {
        Self::new(body)
    }
}

/// The identity of a request, for logs and traces. Unique within a process tree; not a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Id);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Id {
    Made(u64, u64),
    Given(ByteString),
}

impl RequestId {
    /// A new id: 64 random bits of the process and a counter, so it costs one atomic addition and no allocation.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Id::Made(process_bits(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// An id that a peer or a caller chose, at most 128 bytes of visible ASCII; anything else gets a fresh one.
    pub fn given(text: impl Into<ByteString>) -> Self {
        let text = text.into();
        let fits = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        match (fits, made(&text)) {
            (_, Some((high, low))) => Self(Id::Made(high, low)),
            (true, None) => Self(Id::Given(text)),
            (false, None) => Self::unique(),
        }
    }

    /// The two halves, if the id was made by [`RequestId::unique`] here or at a peer.
    pub fn as_parts(&self) -> Option<(u64, u64)> {
        match self.0 {
            Id::Made(high, low) => Some((high, low)),
            Id::Given(_) => None,
        }
    }

    /// The id of these two halves.
    pub const fn from_parts(high: u64, low: u64) -> Self {
        Self(Id::Made(high, low))
    }
}

/// Digits of half an id.
const HALF: usize = 16;

fn made(text: &str) -> Option<(u64, u64)> {
    let canonical = |half: &str| half.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let (high, low) = (text.len() == 33 && text.is_ascii()).then(|| text.split_at(16))?;
    let low = low.strip_prefix('-')?;
    (canonical(high) && canonical(low)).then_some(())?;
    Some((u64::from_str_radix(high, 16).ok()?, u64::from_str_radix(low, 16).ok()?))
}

fn process_bits() -> u64 {
    static BITS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BITS.get_or_init(random_u64)
}

/// 64 bits from the system's generator; where that fails, from the randomness of the standard hasher.
pub(crate) fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => std::hash::RandomState::new().build_hasher().finish(),
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Made(high, low) => {
                let mut text = [b'-'; 2 * HALF + 1];
                let (first, rest) = text.split_at_mut(HALF);
                hex::write(&high.to_be_bytes(), first);
                hex::write(&low.to_be_bytes(), rest.get_mut(1..).unwrap_or_default());
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
            Id::Given(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A W3C trace context (<https://www.w3.org/TR/trace-context/>, section 3.2): what `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// In two halves: a number of 16 bytes would want to lie at a multiple of 16, and every request with it.
    trace_id: [u64; 2],
    parent_id: NonZeroU64,
    flags: u8,
}

impl TraceContext {
    /// `None` if an id is zero, which section 3.2.2 forbids.
    pub const fn new(trace_id: u128, parent_id: u64, flags: u8) -> Option<Self> {
        match NonZeroU64::new(parent_id) {
            Some(parent_id) if trace_id != 0 => {
                Some(Self { trace_id: [(trace_id >> 64) as u64, trace_id as u64], parent_id, flags })
            }
            _ => None,
        }
    }

    /// Which trace. Never zero.
    pub const fn trace_id(&self) -> u128 {
        let [high, low] = self.trace_id;
        (high as u128) << 64 | low as u128
    }

    /// The caller's span. Never zero.
    pub const fn parent_id(&self) -> u64 {
        self.parent_id.get()
    }

    /// Bit 0: sampled.
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Reads a `traceparent`. Versions above `00` are read by the rule of section 3.2.4: the first four fields count.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |range: std::ops::Range<usize>| {
            let part = text.get(range)?;
            part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)).then_some(part)
        };
        let dash = |at: usize| text.as_bytes().get(at) == Some(&b'-');
        let version = hex(0..2)?;
        let shape = dash(2) && dash(35) && dash(52) && version != "ff";
        let length = if version == "00" { text.len() == 55 } else { text.len() == 55 || dash(55) };
        let context = Self::new(
            u128::from_str_radix(hex(3..35)?, 16).ok()?,
            u64::from_str_radix(hex(36..52)?, 16).ok()?,
            u8::from_str_radix(hex(53..55)?, 16).ok()?,
        )?;
        (shape && length).then_some(context)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id(), self.parent_id, self.flags)
    }
}

/// What goes with a request wherever it goes.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// For logs and traces.
    pub id: RequestId,
    /// When the caller stops waiting. It travels as the time that remains, so clocks need not agree.
    pub deadline: Option<Instant>,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
}

impl RequestContext {
    /// A fresh id, no deadline, no trace.
    pub fn new() -> Self {
        Self { id: RequestId::unique(), deadline: None, trace: None }
    }

    /// Time that remains at `now`; zero once the deadline has passed, `None` without one.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(now))
    }
}

impl Default for RequestContext {
    fn default() -> Self {
        Self::new()
    }
}

/// A subject, its context and a message, or a message followed by a stream of items.
#[derive(Debug)]
pub struct Request {
    /// Where to.
    pub subject: Subject,
    /// Id, deadline, trace.
    pub context: RequestContext,
    /// The body, or the first item of a streaming request.
    pub message: Message,
    /// Further items of a streaming request, with credit. A request that has this is never retried after its first item.
    /// Boxed: few requests have them, and every request is moved many times.
    pub items: Option<Box<ResponseStream>>,
}

impl Request {
    /// A unary request.
    pub fn new(subject: Subject, message: impl Into<Message>) -> Self {
        Self { subject, context: RequestContext::new(), message: message.into(), items: None }
    }

    /// A request whose message is followed by `items`.
    pub fn streaming(subject: Subject, message: impl Into<Message>, items: ResponseStream) -> Self {
        Self { items: Some(Box::new(items)), ..Self::new(subject, message) }
    }

    /// Gives up after `timeout` from now.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.context.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Uses `context` in place of a fresh one.
    pub fn with_context(mut self, context: RequestContext) -> Self {
        self.context = context;
        self
    }

    /// A second copy to send elsewhere; `None` for a streaming request, which can be read once only.
    pub fn try_clone(&self) -> Option<Self> {
        self.items.is_none().then(|| Self {
            subject: self.subject.clone(),
            context: self.context.clone(),
            message: self.message.clone(),
            items: None,
        })
    }
}

/// An order that travels beside the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlMessage {
    /// From the caller: finish early, what was sent still arrives. From the responder: no further item comes.
    Stop,
    /// From the caller: end at once. The handler is dropped.
    Kill,
}

/// A legacy session's name. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Takes `text` as it is.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_round_trip_as_text() {
        let id = RequestId::unique();
        assert_eq!(RequestId::given(id.to_string()), id);
        assert_eq!(RequestId::given("abc-1").to_string(), "abc-1");
        assert_ne!(RequestId::given("not visible").to_string(), "not visible");
    }

    #[test]
    fn traceparent_follows_the_recommendation() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceContext::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        assert!(TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
    }
}
