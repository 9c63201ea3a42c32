// SPDX-License-Identifier: Apache-2.0
//! Reading a message: bounded in bytes, and in time by the bytes that came.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::super::incoming::{self, Incoming};
use super::fault::Fault;
use crate::error::Error;

/// A body may begin slowly, then has to come at this rate at least.
const GRACE: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND: u64 = 1024;

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(body: Incoming, limit: usize) -> Result<Bytes, Fault> {
    let start = Instant::now();
    let mut reading = incoming::Reading::new(body, limit)?;
    loop {
        let earned = Duration::from_secs(reading.received() / BYTES_PER_SECOND);
        match timeout_at(start + GRACE + earned, reading.more()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(reading.finish()?),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(Error::timeout("the body came too slowly").into()),
        }
    }
}
