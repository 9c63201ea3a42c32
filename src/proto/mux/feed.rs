// SPDX-License-Identifier: Apache-2.0
//! Bytes from the peer, frame by frame.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Mux;
use crate::error::Result;
use crate::message::Subject;
use crate::proto::frame::{self, HEADER_LEN, Header, Kind};

/// Requests that are taken in before the first of them is served. Few enough that what they carry is still in the nearest
/// cache by then, and that those who are answered at once leave their slots to the next few: a link with a thousand
/// requests in flight then works on the slots of these.
const PORTION: usize = 32;

/// What one read brought, as far as it is not taken in yet.
pub(crate) struct Intake {
    frames: Bytes,
    /// Where the first that is left begins.
    at: usize,
    pub(super) now: Instant,
    /// That of the last request. The next one is mostly for the same.
    subject: Option<Subject>,
}

impl Intake {
    #[inline]
    pub(super) fn payload(&self, from: usize, to: usize) -> &[u8] {
        self.frames.get(from..to).unwrap_or_default()
    }

    /// The subject at this place, if it is a good one.
    #[inline]
    pub(super) fn subject(&mut self, at: usize, len: usize) -> Option<Subject> {
        let text = self.frames.get(at..at + len)?;
        if let Some(last) = &self.subject
            && last.as_str().as_bytes() == text
        {
            return Some(last.clone());
        }
        let subject = Subject::from_wire(self.frames.slice(at..at + len)).ok()?;
        if self.at < self.frames.len() {
            self.subject = Some(subject.clone());
        }
        Some(subject)
    }

    /// Shares what a payload keeps.
    #[inline]
    pub(super) fn slice(&self, from: usize, to: usize) -> Bytes {
        self.frames.slice(from..to)
    }
}

impl Mux {
    /// Takes every whole frame out of `input`. An error is fatal: the caller says GOAWAY with it, then [`Mux::fail`].
    ///
    /// Payloads share the memory of `input`: to count one more holder costs less than to copy even a small one. Who keeps
    /// a message for long keeps that memory, so the buffer of a link with little traffic is small, and what a reader that
    /// lags behind has not taken is copied.
    pub fn feed(&mut self, input: &mut BytesMut, now: Instant) -> Result<()> {
        let mut intake = self.take_in(input, now);
        while self.feed_some(&mut intake)? {}
        self.check_rest(input)
    }

    /// Takes every whole frame out of `input`, for [`Mux::feed_some`].
    pub(crate) fn take_in(&mut self, input: &mut BytesMut, now: Instant) -> Intake {
        self.last_heard = now;
        self.feeds = self.feeds.wrapping_add(1);
        let whole = frame::whole(input);
        let frames = if whole > 0 { input.split_to(whole).freeze() } else { Bytes::new() };
        Intake { frames, at: 0, now, subject: None }
    }

    /// Takes in what is left, or as much of it as makes a portion of requests. True if more is left.
    pub(crate) fn feed_some(&mut self, intake: &mut Intake) -> Result<bool> {
        let max_frame = self.ours.max_frame as usize;
        if self.dead.is_some() {
            // What was served meanwhile ended the link.
            return Ok(false);
        }
        while let Some(header) = Header::read(intake.frames.get(intake.at..).unwrap_or_default(), max_frame)? {
            self.handle_frame(header, intake)?;
            if self.incoming.len() >= PORTION {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether what is left of a read can become a frame.
    pub(crate) fn check_rest(&self, input: &[u8]) -> Result<()> {
        Header::read(input, self.ours.max_frame as usize).map(|_| ())
    }

    /// Handles the frame that is next, and maybe others behind it.
    #[inline]
    fn handle_frame(&mut self, header: Header, intake: &mut Intake) -> Result<()> {
        let at = intake.at;
        let payload = at + HEADER_LEN;
        let end = payload + header.len;
        intake.at = end;
        match header.kind {
            Kind::Data => intake.at = self.on_data(header, &intake.frames, at)?,
            Kind::Open => self.on_open(header, intake, payload)?,
            _ => self.handle_small(header, intake.frames.get(payload..end).unwrap_or_default())?,
        }
        Ok(())
    }
}
