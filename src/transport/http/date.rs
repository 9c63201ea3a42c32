// SPDX-License-Identifier: Apache-2.0
//! The header `date` (RFC 9110, section 6.6.1), made once a second.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The date of one link's responses.
#[derive(Default)]
pub(super) struct Dates(Mutex<Option<(Instant, HeaderValue)>>);

impl Dates {
    /// The date, at most a second old.
    pub(super) fn now(&self) -> HeaderValue {
        let now = Instant::now();
        let mut last = self.0.lock();
        match &*last {
            Some((made, date)) if now.duration_since(*made) < Duration::from_secs(1) => date.clone(),
            _ => {
                let date = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()));
                let date = date.unwrap_or(HeaderValue::from_static(""));
                *last = Some((now, date.clone()));
                date
            }
        }
    }
}
