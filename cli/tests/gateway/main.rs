// SPDX-License-Identifier: Apache-2.0
//! `biplane gateway` as a process, between clients made by hand and servers that misbehave. The servers are this very
//! program: started with `mcp-child` it speaks MCP on its standard input and output, so these tests need nothing installed.

mod bystanders;
mod chaos;
mod child;
mod client;
mod edges;
mod http;
mod place;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = words.as_slice()
        && first == "mcp-child"
    {
        return child::run(rest);
    }
    let tests = edges::TESTS.iter().chain(chaos::TESTS).chain(bystanders::TESTS);
    let trials = tests.map(|(name, test)| {
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A test with its name.
type Test = (&'static str, fn());
