// SPDX-License-Identifier: Apache-2.0
//! Buffers that are used again: allocators hand large ones back to the system and fault them in anew for every message.
//!
//! A [`BytesPool`] belongs to a runtime, never to the process, and is bounded in buffers and in bytes.

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use crate::error::{Error, Result};

/// Empty buffers that wait for their next user. Shared by reference; every call takes one short lock.
#[derive(Debug)]
pub struct BytesPool {
    limits: BufferLimits,
    free: Mutex<Free>,
}

/// What a [`BytesPool`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLimits {
    /// Buffers at rest.
    pub buffers: usize,
    /// Bytes of all buffers at rest.
    pub bytes: usize,
    /// Bytes of a new buffer. A smaller one is not worth keeping.
    pub buffer_size: usize,
}

impl Default for BufferLimits {
    /// 64 buffers, 4 MiB, 16 KiB each when new: what a few hundred links need at once, since a link holds none while it
    /// is idle.
    fn default() -> Self {
        Self { buffers: 64, bytes: 4 << 20, buffer_size: 16 << 10 }
    }
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

impl BytesPool {
    /// An empty pool; it allocates nothing yet.
    pub const fn new(limits: BufferLimits) -> Self {
        Self { limits, free: Mutex::new(Free { buffers: Vec::new(), bytes: 0 }) }
    }

    /// An empty buffer with room for at least `buffer_size` bytes. It grows on demand, like any other.
    pub fn acquire(&self) -> BytesMut {
        let mut free = self.free();
        let Some(buffer) = free.buffers.pop() else {
            drop(free);
            return BytesMut::with_capacity(self.limits.buffer_size);
        };
        free.bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back, whatever is in it. One that does not fit into the limits, or that still shares its memory
    /// with `Bytes` split off it and is too small without them, is freed.
    pub fn release(&self, mut buffer: BytesMut) {
        buffer.clear();
        // Gets the parts back that were split off, if nobody holds them any more.
        if !buffer.try_reclaim(self.limits.buffer_size) {
            return;
        }
        let size = buffer.capacity();
        let mut free = self.free();
        if free.buffers.len() < self.limits.buffers && size <= self.limits.bytes.saturating_sub(free.bytes) {
            free.bytes += size;
            free.buffers.push(buffer);
        }
    }

    /// `value` as JSON, written into a pooled buffer so that it grows rarely.
    ///
    /// A text that fills most of its buffer is handed out as it is; a shorter one is copied, or a few bytes would hold on
    /// to a whole buffer for as long as they live.
    ///
    /// # Errors
    /// `Unexpected` if the value has no JSON form: a map with keys that are no text, or a failing `Serialize`.
    pub fn serialize_with_buffer(&self, value: &impl Serialize) -> Result<Bytes> {
        let mut writer = self.acquire().writer();
        let outcome = serde_json::to_writer(&mut writer, value);
        let buffer = writer.into_inner();
        if let Err(error) = outcome {
            self.release(buffer);
            return Err(Error::unexpected("a value could not be written as JSON").with_source(error));
        }
        if buffer.len() > buffer.capacity() / 2 {
            return Ok(buffer.freeze());
        }
        let text = Bytes::copy_from_slice(&buffer);
        self.release(buffer);
        Ok(text)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock()
    }
}

impl Default for BytesPool {
    fn default() -> Self {
        Self::new(BufferLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::error::ErrorKind;

    const LIMITS: BufferLimits = BufferLimits { buffers: 2, bytes: 1000, buffer_size: 100 };

    fn at_rest(pool: &BytesPool) -> (usize, usize) {
        let free = pool.free();
        (free.buffers.len(), free.bytes)
    }

    #[test]
    fn a_buffer_comes_back_empty_and_the_same() {
        let pool = BytesPool::new(LIMITS);
        let mut buffer = pool.acquire();
        let place = buffer.as_ptr();
        buffer.extend_from_slice(b"secret");
        pool.release(buffer);
        let again = pool.acquire();
        assert!(again.is_empty() && again.capacity() >= 100);
        assert_eq!(again.as_ptr(), place);
        assert_eq!(at_rest(&pool), (0, 0));
    }

    #[test]
    fn the_bounds_hold_in_buffers_and_in_bytes() {
        let pool = BytesPool::new(LIMITS);
        for size in [800, 300, 100, 100, 1] {
            pool.release(BytesMut::with_capacity(size));
        }
        assert_eq!(at_rest(&pool), (2, 900));
        pool.release(BytesMut::with_capacity(usize::from(u16::MAX)));
        assert_eq!(at_rest(&pool), (2, 900));
    }

    #[test]
    fn what_was_split_off_is_never_written_over() {
        let pool = BytesPool::new(LIMITS);
        let mut buffer = pool.acquire();
        buffer.extend_from_slice(&[7; 60]);
        let held = buffer.split().freeze();
        pool.release(buffer);
        assert_eq!(at_rest(&pool), (0, 0), "a remnant of 40 bytes was kept");
        pool.acquire().extend_from_slice(&[8; 100]);
        assert_eq!(&held[..], &[7; 60]);

        let mut buffer = pool.acquire();
        buffer.extend_from_slice(&[7; 60]);
        drop(buffer.split());
        pool.release(buffer);
        assert_eq!(at_rest(&pool), (1, 100), "the whole buffer was not got back");
    }

    #[test]
    fn short_texts_are_copied_and_long_ones_are_not() {
        let pool = BytesPool::new(LIMITS);
        assert_eq!(pool.serialize_with_buffer(&("a", 1)).unwrap(), r#"["a",1]"#);
        assert_eq!(at_rest(&pool), (1, 100), "the buffer did not come back");
        let long = "x".repeat(90);
        assert_eq!(pool.serialize_with_buffer(&long).unwrap(), format!("\"{long}\""));
        assert_eq!(at_rest(&pool), (0, 0));
    }

    #[test]
    fn a_value_without_a_json_form_is_an_error_and_costs_no_buffer() {
        let pool = BytesPool::new(LIMITS);
        let error = pool.serialize_with_buffer(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        assert_eq!(at_rest(&pool), (1, 100));
    }
}
