// SPDX-License-Identifier: Apache-2.0
//! Parcels: items that a sender laid out by itself, so that many of them take the link's lock once.
//!
//! While a stream's credit is lent, whatever else is said on the stream waits as if it had a backlog: a parcel is out for no
//! longer than one poll of a handler, on whose thread it is, and the sender may meanwhile be anywhere.

use std::task::{Context, Poll};

use super::{Key, Mux, wait};
use crate::proto::parcel::Parcel;

/// Less than this is not worth a second visit.
const LEAST: i64 = 1024;

impl Mux {
    /// Lends `parcel`, which is empty, credit of the stream, if nothing stands against sending on it and there is plenty:
    /// what is near its end goes item by item. All of it is taken from stream and link until the parcel comes back.
    pub(crate) fn lend(&mut self, key: Key, parcel: &mut Parcel) {
        if self.out.is_full() || (self.largest_plain as usize) < Parcel::LARGEST {
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        // Other streams go on meanwhile, so they keep half.
        let room = stream.send.credit.min(self.link_credit / 2).min(Parcel::ROOM.into());
        if room < LEAST || !stream.is_open_to_send() {
            return;
        }
        stream.send.is_lent = true;
        stream.send.credit -= room;
        self.link_credit -= room;
        parcel.lend(stream.id, room as u32);
    }

    /// Takes back what was lent. The items go out, unless the stream is over by now, then what waited behind them.
    pub(crate) fn take_back(&mut self, key: Key, parcel: &mut Parcel) {
        if !parcel.is_lent() {
            return;
        }
        let (left, used) = parcel.credit();
        self.link_credit += left;
        match self.streams.get_mut(key) {
            Some(stream) => {
                stream.send.credit += left;
                stream.send.is_lent = false;
                if !stream.is_wanted() {
                    self.link_credit += used;
                } else if used > 0 {
                    let (frames, last) = parcel.frames();
                    self.out.frames(frames, last);
                    stream.send.sent_to = self.out.position();
                }
                self.go_on_after_parcel(key);
            }
            None => self.link_credit += used,
        }
        parcel.clear();
        if !self.resume.is_empty() {
            self.resume_senders();
        }
    }

    /// Ready when nothing of the stream is lent.
    pub(crate) fn poll_taken_back(&mut self, key: Key, cx: &Context<'_>) -> Poll<()> {
        match self.streams.get_mut(key) {
            Some(stream) if stream.send.is_lent => {
                wait(&mut stream.send.waiter, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// What others said on the stream meanwhile has its turn.
    fn go_on_after_parcel(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(backlog) = &mut stream.send.backlog else {
            self.after.wakers.extend(stream.send.waiter.take());
            return;
        };
        if backlog.frames.is_empty() {
            let last = stream.send.backlog.take().and_then(|backlog| backlog.last);
            if let Some(outcome) = last.filter(|_| !stream.sent_last) {
                self.finish(key, &outcome);
            }
        } else if !stream.send.queued {
            stream.send.queued = true;
            self.resume.push_back(key);
        }
    }
}
