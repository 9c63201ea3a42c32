// SPDX-License-Identifier: Apache-2.0
//! How much to read at once: as much as came in the last burst, so that the next one takes one call, and little where
//! little comes.

const MIN: usize = 4 << 10;
pub(crate) const MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Chunk {
    burst: usize,
    size: usize,
}

impl Chunk {
    pub(crate) const fn new() -> Self {
        Self { burst: 0, size: MIN }
    }

    /// Bytes to have room for.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// So many came.
    pub(crate) fn came(&mut self, count: usize) {
        self.burst += count;
    }

    /// No more came: a burst is over. A read that fills its buffer to the end is followed by one in vain, so there is room
    /// to spare.
    pub(crate) fn over(&mut self) {
        if self.burst > 0 {
            self.size = self.burst.saturating_add(1).next_power_of_two().clamp(MIN, MAX);
            self.burst = 0;
        }
    }
}
