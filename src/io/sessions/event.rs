// SPDX-License-Identifier: Apache-2.0
//! The place of a message in a stream of a session.

use std::fmt;
use std::str::FromStr;

/// The place of a message: the stream's number within its session, and the message's within the stream. The first message
/// has 1; 0 stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    pub(super) stream: u32,
    pub(super) at: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.at)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.to_owned());
        let (stream, at) = text.split_once('-').ok_or(())?;
        let (stream, at) = (number(stream).ok_or(())?, number(at).ok_or(())?);
        Ok(Self { stream: stream.parse().map_err(|_| ())?, at: at.parse().map_err(|_| ())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_survive_as_text(stream: u32, at: u64, noise in "[0-9+ -]{0,12}") {
            let id = EventId { stream, at };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            if let Ok(read) = noise.parse::<EventId>() {
                prop_assert!(!noise.contains('+') && !noise.contains(' ') && read.to_string().len() <= noise.len());
            }
        }
    }
}
