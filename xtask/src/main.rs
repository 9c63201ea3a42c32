// SPDX-License-Identifier: Apache-2.0
//! The chores of the project: `cargo xtask test | audit | docs | mcp-conformance | gateway-memory | gateway-bench | bench |
//! bench-exact | bench-memory`.

mod audit;
mod bench;
mod conformance;
mod docs;
mod exact;
mod footprint;
mod measure;
mod peers;
mod process;
mod steps;
mod suite;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
The chores of the project.

usage: cargo xtask <chore>

  test [--quick]   format, lints, all tests, documents; stops at the first step that fails
                   --quick: only format, lints and tests
  audit            licences, bans and sources of the dependencies, by cargo-deny
  docs [--check]   writes docs/configuration.md; --check: says whether it is up to date
  peers            installs the clients, servers and suites of the gateway's tests into target/peers
  mcp-conformance [--url URL] [--only WORD]… [--scenario NAME] [--program PATH] [--json FILE] [--repeat N]
                   the public MCP suites against the gateway, before a fixture in each era and over each kind of upstream;
                   --url: against that server; --only: ways and suites with this in their name
  bench-exact [--write] [--only WORD] [--keep FOLDER]
                   instructions and allocations of the hot paths, by valgrind, compared with benches/exact/baseline.json;
                   --write: records them there; --keep: leaves profiles for callgrind_annotate
  gateway-memory   what sessions and clients of the gateway leave behind, and what an idle one takes
  gateway-bench [--rounds N] [--alone]
                   tools/call through the gateway and through the best other bridge, by turns; --alone: without the other
  bench [--quick] [--only WORD]… [--rounds N] [--seconds S] [--json FILE] [--no-counts] [--instructions] [--write-docs]
                   what a call costs: the floor, our planes and their peers, by turns, and every target with what was
                   reached; --only: contenders and cells with this in their name, and nothing of bench-exact and
                   bench-memory; --instructions: counts those too, by callgrind; --write-docs: docs/performance.md
  bench-memory [FIGURE]…
                   what links, connections, pool and buffers take of memory, tasks and descriptors; only figures with one of
                   the words in their name

Tools that a chore lacks are installed, or it says in one line what is missing and how to get it.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["test"] => suite::run(false),
        ["test", "--quick"] => suite::run(true),
        ["audit"] => audit::run(),
        ["peers"] => peers::ensure(),
        ["mcp-conformance", words @ ..] => conformance::run(words),
        ["bench-exact", words @ ..] => exact::run(words),
        ["gateway-memory", words @ ..] => measure::memory(words),
        ["gateway-bench", words @ ..] => measure::bench(words),
        ["bench", words @ ..] => bench::run(words),
        ["bench-memory", words @ ..] => footprint::run(words),
        ["docs"] => docs::run(false),
        ["docs", "--check"] => docs::run(true),
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What a chore ends with: a sentence for the person who must act.
type Outcome<T = ()> = Result<T, String>;

/// The folder of the workspace, wherever the command was given.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Whether nobody is there who could install what is missing.
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
}

/// Tools of ours, kept between runs and between clones.
fn tool_cache() -> Outcome<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    cache
        .map(|cache| cache.join("biplane").join("tools"))
        .ok_or_else(|| "there is no place for tools: set HOME or XDG_CACHE_HOME".to_owned())
}
