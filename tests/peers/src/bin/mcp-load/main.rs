// SPDX-License-Identifier: Apache-2.0
//! Many MCP clients in one thread, for measuring a server or what stands before it. Each prints one line: `name=value …`.

mod calls;
mod crowd;
mod direct;
mod link;
mod session;

use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: mcp-load calls URL [--sessions N] [--seconds N] [--tool NAME] [--modern]
           one connection for each session, one call after another on each
       mcp-load direct [--seconds N] COMMAND…
           the same, one at a time, to a server on its standard input and output
       mcp-load sessions URL [--count N] [--tool NAME] [--hold]
           N sessions, 32 at a time: each is opened, used once and closed, with its connection;
           --hold: they and their connections stay open until our standard input ends, after a line `held=N`
       mcp-load clients URL [--count N] [--tool NAME]
           N modern clients, 32 at a time, each with a connection and a name of its own";

/// How often something is done at once where it is done very often.
pub(crate) const AT_ONCE: usize = 32;

/// What was asked.
pub(crate) struct Options {
    pub(crate) sessions: usize,
    pub(crate) time: Duration,
    pub(crate) tool: String,
    pub(crate) modern: bool,
    pub(crate) count: usize,
    pub(crate) hold: bool,
    pub(crate) rest: Vec<String>,
}

// One thread, so that what it takes from the machine is known and the same for everything that is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(what), Ok(options)) = (words.next(), Options::read(words)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match what.as_str() {
        "calls" => calls::run(&options).await,
        "direct" => direct::run(&options),
        "sessions" => crowd::sessions(&options).await,
        "clients" => crowd::clients(&options).await,
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("mcp-load: {why}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, ()> {
        let mut options = Self {
            sessions: 1,
            time: Duration::from_secs(3),
            tool: "echo".to_owned(),
            modern: false,
            count: 1000,
            hold: false,
            rest: Vec::new(),
        };
        while let Some(word) = words.next() {
            // What follows the command is its own.
            if !options.rest.is_empty() && !options.rest[0].starts_with("http") {
                options.rest.push(word);
                continue;
            }
            let mut number = || words.next().and_then(|word| word.parse::<u32>().ok()).ok_or(());
            match word.as_str() {
                "--sessions" => options.sessions = number()? as usize,
                "--seconds" => options.time = Duration::from_secs(number()?.into()),
                "--count" => options.count = number()? as usize,
                "--tool" => options.tool = words.next().ok_or(())?,
                "--modern" => options.modern = true,
                "--hold" => options.hold = true,
                _ => options.rest.push(word),
            }
        }
        Ok(options)
    }

    /// The URL that was given.
    pub(crate) fn url(&self) -> Result<link::Place, String> {
        link::Place::of(self.rest.first().map(String::as_str).unwrap_or_default())
    }
}
