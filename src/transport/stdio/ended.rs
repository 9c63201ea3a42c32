// SPDX-License-Identifier: Apache-2.0
//! How a child came to its end, as whoever waits for it is told.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::ID;
use crate::error::{Detail, Error};
use crate::io::process::Tail;

/// The most of the last line of standard error that an error's one line shows. The whole tail is in its report.
const SHOWN: usize = 400;

/// What is known of a child that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Absent if the system would not say.
    pub(super) status: Option<ExitStatus>,
    /// The end of its standard error.
    pub(super) said: String,
}

impl Ended {
    /// The error of everything that was in flight.
    pub(super) fn error(&self, child: &str) -> Error {
        let code = self.status.and_then(|status| status.code());
        let signal = self.status.and_then(|status| status.signal());
        let how = match (code, signal) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}{}", signal_name(signal)),
            (None, None) => "ended".to_owned(),
        };
        let error = Error::closed(format!("the server {how}; {}", last_words(&self.said)));
        named(error.with_detail(Detail::ChildExited { code, signal }), child, &self.said)
    }
}

/// It lives, and reads or writes no more.
pub(super) fn shut(child: &str, said: &Tail) -> Error {
    let said = said.text();
    let error = format!("the server closed its standard input or output and runs on; {}", last_words(&said));
    named(Error::closed(error), child, &said)
}

/// It never answered.
pub(super) fn silent(child: &str, within: Duration, said: &Tail) -> Error {
    let said = said.text();
    let error =
        format!("the server has not said anything within {within:?} of the first request; {}", last_words(&said));
    let hint = "if it is still downloading or starting, BIPLANE_STDIO_START_TIMEOUT gives it more time";
    named(Error::timeout(error).with_hint(hint), child, &said)
}

fn named(error: Error, child: &str, said: &str) -> Error {
    let error = error.with_transport(ID).with_context("child", child);
    if said.is_empty() { error } else { error.with_context("stderr", said) }
}

fn last_words(said: &str) -> String {
    let Some(line) = said.lines().rev().map(str::trim).find(|line| !line.is_empty()) else {
        return "it wrote nothing to standard error".to_owned();
    };
    let line: String = line.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    format!("it last said: {line}")
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        6 => " (SIGABRT)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_last_line_is_told_and_the_rest_is_in_the_report() {
        let said = "Error: Cannot find module './x'\n    at here\n\u{1b}[31mNode.js v22\n\n".to_owned();
        let error = Ended { status: Some(ExitStatus::from_raw(1 << 8)), said }.error("server (pid 7)");
        let told = error.to_string();
        assert_eq!(told, "stdio: the server exited with status 1; it last said: [31mNode.js v22");
        assert!(format!("{error:?}").contains("Cannot find module"));
        assert_eq!(
            (error.kind(), error.detail()),
            (ErrorKind::Closed, Some(&Detail::ChildExited { code: Some(1), signal: None }))
        );
        let killed = Ended { status: Some(ExitStatus::from_raw(9)), said: String::new() }.error("x").to_string();
        assert!(killed.contains("signal 9 (SIGKILL); it wrote nothing"), "{killed}");
    }
}
