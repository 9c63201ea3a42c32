// SPDX-License-Identifier: Apache-2.0
//! Fault options of a `mem` URL or address.

use std::time::Duration;

use url::form_urlencoded;

use crate::config::units;
use crate::error::{Error, Result};

/// What the query of `mem://NAME?…` asks for. Each works alone and with the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemOptions {
    /// `delay=5ms`: every item of an answer waits this long, one after the other.
    pub delay: Option<Duration>,
    /// `cut_after=3`: the link dies as if its peer had been killed, once so many items of answers have crossed it.
    pub cut_after: Option<u64>,
    /// `refuse=true`: dialling fails.
    pub refuse: bool,
    /// `max_message_size=1KiB`: below the configured limit, never above it.
    pub max_message_size: Option<usize>,
}

impl MemOptions {
    /// Reads a query; an unknown name or a malformed value is an error that lists what there is.
    pub fn parse(query: &str) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = |expected: &str| {
                Error::config(format!("mem: {name}={value} is malformed")).with_hint(format!("write {expected}"))
            };
            match &*name {
                "delay" => {
                    options.delay =
                        Some(parse_delay(&value).ok_or_else(|| bad("delay=5ms, 1s or 1m, at most an hour"))?)
                }
                "cut_after" => {
                    options.cut_after = Some(value.parse().map_err(|_| bad("cut_after=N, a number of items"))?)
                }
                "refuse" => options.refuse = parse_bool(&value).ok_or_else(|| bad("refuse=true or refuse=false"))?,
                "max_message_size" => {
                    let size = units::parse_size(&value).ok().and_then(|size| usize::try_from(size).ok());
                    options.max_message_size = Some(size.ok_or_else(|| bad("max_message_size=1KiB"))?);
                }
                _ => {
                    return Err(Error::config(format!("mem has no option {name:?}"))
                        .with_hint("the options are delay, cut_after, refuse and max_message_size"));
                }
            }
        }
        Ok(options)
    }

    /// The limit for messages, given the configured one.
    pub(super) fn limit(&self, configured: usize) -> usize {
        self.max_message_size.map_or(configured, |own| own.min(configured))
    }
}

/// At most an hour: a fault that outlasts every deadline is a hang, and `refuse` and `cut_after` say that better.
fn parse_delay(text: &str) -> Option<Duration> {
    units::parse_duration(text).ok().filter(|delay| *delay <= Duration::from_secs(3600))
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_read() {
        let options = MemOptions::parse("delay=5ms&cut_after=3&refuse=1&max_message_size=1KiB").unwrap();
        let expected = MemOptions {
            delay: Some(Duration::from_millis(5)),
            cut_after: Some(3),
            refuse: true,
            max_message_size: Some(1024),
        };
        assert_eq!(options, expected);
        assert_eq!(MemOptions::parse("").unwrap(), MemOptions::default());
    }

    #[test]
    fn nothing_malformed_is_ignored() {
        for bad in
            ["delay=soon", "delay=5h", "delay=4000s", "cut_after=-1", "refuse=maybe", "max_message_size=x", "speed=1"]
        {
            assert_eq!(MemOptions::parse(bad).unwrap_err().kind(), crate::ErrorKind::Config, "{bad}");
        }
    }

    #[test]
    fn a_limit_is_only_ever_lowered() {
        let options = MemOptions { max_message_size: Some(10), ..MemOptions::default() };
        assert_eq!((options.limit(5), options.limit(50)), (5, 10));
    }
}
