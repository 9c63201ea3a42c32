// SPDX-License-Identifier: Apache-2.0
//! An MCP server with everything that the public conformance suites call by name. It knows both eras, and can be held to
//! one, so that the other is tested across the gateway's bridge.

// Roots, sampling and logging are deprecated in the modern era, and still to be carried.
#![allow(deprecated)]

mod asking;
mod changes;
mod content;
mod http;
mod old;
mod prompts;
mod resources;
mod rounds;
mod server;
mod tools;

use std::process::ExitCode;

use rmcp::ServiceExt;

use crate::server::Fixture;

const USAGE: &str = "usage: mcp-fixture (--stdio | --http PORT) [--era dual|legacy|modern] [--json]";

/// Which requests the server understands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Dual,
    /// Up to 2025-11-25: sessions, and no word of what came after.
    Legacy,
    /// From 2026-07-28: requests that describe themselves, and no `initialize`.
    Modern,
}

struct Arguments {
    /// A port of the loopback address, 0 for any; without one, standard input and output.
    http: Option<u16>,
    era: Era,
    /// Stateless HTTP with plain JSON answers where that is possible.
    json: bool,
}

// One thread: a server that a test starts dozens of times should start fast, and leave the cores to what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("mcp-fixture: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let outcome = match arguments.http {
        Some(port) => http::serve(port, arguments.era, arguments.json).await,
        None => stdio(arguments.era).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("mcp-fixture: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Serves our own standard input and output until the input ends.
async fn stdio(era: Era) -> Result<(), String> {
    let fixture = Fixture::new(era);
    let running = match era {
        Era::Legacy => fixture.serve(old::lines()).await,
        Era::Dual | Era::Modern => fixture.serve(rmcp::transport::stdio()).await,
    };
    let running = running.map_err(|error| error.to_string())?;
    running.waiting().await.map(drop).map_err(|error| error.to_string())
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self { http: None, era: Era::Dual, json: false };
        let mut stdio = false;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--stdio" => stdio = true,
                "--http" => read.http = Some(value()?.parse().map_err(|_| "--http needs a port".to_owned())?),
                "--era" => read.era = Era::named(&value()?)?,
                "--json" => read.json = true,
                other => return Err(format!("{other} means nothing here")),
            }
        }
        if stdio == read.http.is_some() {
            return Err("either --stdio or --http".to_owned());
        }
        Ok(read)
    }
}

impl Era {
    fn named(name: &str) -> Result<Self, String> {
        match name {
            "dual" => Ok(Self::Dual),
            "legacy" => Ok(Self::Legacy),
            "modern" => Ok(Self::Modern),
            other => Err(format!("there is no era {other}")),
        }
    }
}
