// SPDX-License-Identifier: Apache-2.0
//! What the program's exit code says. Scripts depend on these numbers.

use std::process::ExitCode;

use biplane::{Error, ErrorKind};

/// For the foot of `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  ok                                   4  connect failed or connection lost
    1  the service answered an error        5  timeout
    2  usage or configuration               6  overloaded or refused
    3  no such service or transport       130  interrupted

Try `biplane demo`, or in two terminals:
    biplane serve words --exec 'tr \" \" \"\\n\"'
    biplane call words 'to be or not'";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// All went well.
    pub(crate) const OK: Self = Self(0);
    /// The service answered an error, or what was checked did not pass.
    pub(crate) const FAILED: Self = Self(1);
    /// The command line or the configuration is wrong.
    pub(crate) const USAGE: Self = Self(2);
    /// No such service, or nothing that can carry the call.
    pub(crate) const NOT_FOUND: Self = Self(3);
    /// Connect failed, or the connection was lost.
    pub(crate) const CONNECTION: Self = Self(4);
    /// A deadline passed.
    pub(crate) const TIMEOUT: Self = Self(5);
    /// Overloaded or refused.
    pub(crate) const REFUSED: Self = Self(6);
    /// Interrupted from the keyboard: 128 and the number of SIGINT, as shells have it.
    pub(crate) const INTERRUPTED: Self = Self(130);

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self.0
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Config => Self::USAGE,
            ErrorKind::NoTransport | ErrorKind::NoService | ErrorKind::Unsupported => Self::NOT_FOUND,
            // A peer that breaks the protocol, or gives up, is as lost as one that went away.
            ErrorKind::Connect | ErrorKind::Closed | ErrorKind::Protocol | ErrorKind::Cancelled => Self::CONNECTION,
            ErrorKind::Timeout => Self::TIMEOUT,
            // A message over a limit was refused for its size.
            ErrorKind::Overloaded | ErrorKind::Refused | ErrorKind::TooLarge => Self::REFUSED,
            _ => Self::FAILED,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_end_as_the_help_says() {
        for (kind, code) in [
            (ErrorKind::Peer, 1),
            (ErrorKind::Unexpected, 1),
            (ErrorKind::Config, 2),
            (ErrorKind::NoService, 3),
            (ErrorKind::NoTransport, 3),
            (ErrorKind::Connect, 4),
            (ErrorKind::Closed, 4),
            (ErrorKind::Timeout, 5),
            (ErrorKind::Overloaded, 6),
            (ErrorKind::Refused, 6),
        ] {
            assert_eq!(Exit::from(&Error::new(kind, "x")), Exit(code), "{kind:?}");
        }
    }
}
