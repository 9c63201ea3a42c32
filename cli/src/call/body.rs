// SPDX-License-Identifier: Apache-2.0
//! Where the body of a call comes from.

use std::io::IsTerminal;

use biplane::{Error, Result};
use bytes::Bytes;
use tokio::io::AsyncReadExt;

/// What to send.
pub(super) enum Body {
    Given(Bytes),
    StandardInput,
}

impl Body {
    /// `-` is standard input; so is none, unless a person sits there, who would wonder what the program waits for.
    pub(super) fn from_argument(argument: Option<&str>) -> Self {
        match argument {
            Some("-") => Self::StandardInput,
            Some(text) => Self::Given(Bytes::copy_from_slice(text.as_bytes())),
            None if std::io::stdin().is_terminal() => Self::Given(Bytes::new()),
            None => Self::StandardInput,
        }
    }

    /// The bytes. More than `limit` of standard input are not read, since they could not be sent.
    pub(super) async fn read(self, limit: usize) -> Result<Bytes> {
        match self {
            Self::Given(bytes) => Ok(bytes),
            Self::StandardInput => {
                let mut bytes = Vec::new();
                let enough = (limit as u64).saturating_add(1);
                tokio::io::stdin()
                    .take(enough)
                    .read_to_end(&mut bytes)
                    .await
                    .map_err(|error| Error::config("standard input cannot be read").with_source(error))?;
                if bytes.len() > limit {
                    return Err(Error::too_large("the body on standard input", limit as u64, enough)
                        .with_hint("BIPLANE_MAX_MESSAGE_SIZE sets the limit on both sides"));
                }
                Ok(bytes.into())
            }
        }
    }
}
