// SPDX-License-Identifier: Apache-2.0
//! The limits of a session host.

use std::time::Duration;

use crate::config::Limits;

/// The limits of a session host. All are finite.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Sessions at once.
    pub max_sessions: usize,
    /// Sessions at once of one principal; those without one count as one. `None`: as many as there may be.
    pub max_sessions_per_principal: Option<usize>,
    /// A session ends after this time without a message, a request that is answered, or a stream that is listened to.
    pub idle_ttl: Duration,
    /// A session ends after this time in any case.
    pub absolute_ttl: Duration,
    /// Requests at once in one session, those included whose answers nobody reads at the moment.
    pub max_running: usize,
    /// Requests at once without a session.
    pub max_stateless: usize,
    /// What a client sent and nobody received yet, per session.
    pub max_received: usize,
    /// What is to be sent to a client that does not listen, in messages.
    pub max_queued: usize,
    /// The same in bytes.
    pub max_queued_bytes: usize,
    /// What was sent on one stream and may be asked for again, in messages.
    pub max_replayed: usize,
    /// The same in bytes.
    pub max_replayed_bytes: usize,
    /// Streams per session that nobody reads and that wait for their reader to come back.
    pub max_detached: usize,
    /// How long a stream that is complete waits for a reader who may have missed its end.
    pub resume_window: Duration,
    /// The deadline of a request.
    pub request_timeout: Duration,
    /// For the synthetic `initialize` of a session that came from elsewhere.
    pub handshake_timeout: Duration,
    /// Bytes of one message.
    pub max_message_size: usize,
}

/// Bytes of an answer that wait for its reader.
pub(super) const CREDIT: usize = 256 << 10;

impl SessionSettings {
    /// The usual limits, with the runtime's own for size and time of a message.
    pub fn with_limits(limits: &Limits) -> Self {
        Self { request_timeout: limits.request_timeout, max_message_size: limits.max_message_size, ..Self::default() }
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            max_sessions_per_principal: None,
            idle_ttl: Duration::from_secs(600),
            absolute_ttl: Duration::from_secs(24 * 3600),
            max_running: 256,
            max_stateless: 16_384,
            max_received: 256,
            max_queued: 256,
            max_queued_bytes: 1 << 20,
            max_replayed: 256,
            max_replayed_bytes: 256 << 10,
            max_detached: 16,
            resume_window: Duration::from_secs(60),
            request_timeout: Duration::from_secs(3600),
            handshake_timeout: Duration::from_secs(60),
            max_message_size: 16 << 20,
        }
    }
}
