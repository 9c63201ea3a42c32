// SPDX-License-Identifier: Apache-2.0
//! What was sent on a stream, for a reader who comes back.

use std::collections::VecDeque;

use super::answer::Sent;

/// The last messages of a stream, bounded in count and bytes.
#[derive(Debug, Default)]
pub(super) struct Replay {
    kept: VecDeque<Sent>,
    bytes: usize,
    /// The place of the last message that was ever sent.
    last: u64,
}

impl Replay {
    /// The place of the last message.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether anything is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Gives the next message its place without keeping it.
    pub(super) fn pass(&mut self) -> u64 {
        self.last += 1;
        // What was kept would no longer be the end of the stream.
        self.kept.clear();
        self.bytes = 0;
        self.last
    }

    /// Keeps a message and gives it its place. What no longer fits is forgotten, the oldest first.
    pub(super) fn keep(&mut self, sent: Sent, max_messages: usize, max_bytes: usize) -> u64 {
        self.last += 1;
        self.bytes += sent.text.len();
        self.kept.push_back(sent);
        while self.kept.len() > max_messages || self.bytes > max_bytes {
            let Some(forgotten) = self.kept.pop_front() else { break };
            self.bytes -= forgotten.text.len();
        }
        self.last
    }

    /// The first kept message after the place `at`.
    pub(super) fn after(&self, at: u64) -> Option<(u64, &Sent)> {
        if at >= self.last {
            return None;
        }
        let first = self.last + 1 - self.kept.len() as u64;
        let next = first.max(at + 1);
        self.kept.get((next - first) as usize).map(|sent| (next, sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_reader_gets_what_follows_in_order(sizes in prop::collection::vec(0usize..20, 0..40), max in 1usize..10, at in 0u64..50) {
            let mut replay = Replay::default();
            for (number, size) in sizes.iter().enumerate() {
                let text = vec![number as u8; *size].into();
                prop_assert_eq!(replay.keep(Sent { text, response: None }, max, 60), number as u64 + 1);
            }
            let (mut cursor, mut seen) = (at, Vec::new());
            while let Some((place, sent)) = replay.after(cursor) {
                prop_assert!(place > cursor);
                prop_assert!(sent.text.iter().all(|byte| u64::from(*byte) + 1 == place));
                cursor = place;
                seen.push(place);
            }
            prop_assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]) && seen.len() <= max);
            prop_assert!(seen.last().is_none_or(|last| *last == sizes.len() as u64));
            prop_assert!(replay.bytes <= 60);
        }
    }
}
