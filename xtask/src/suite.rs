// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask test`: everything that must hold before a change goes in.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use crate::steps::Steps;
use crate::{Outcome, conformance, exact, peers, root, tools};

/// Runs the steps; `quick` leaves out what takes long and seldom fails.
pub(crate) fn run(quick: bool) -> Outcome {
    let steps = Steps::default()
        .call("tools", tools::ensure)
        // What the tests of the gateway meet; without it they pass over much.
        .call("peers", peers::ensure)
        .command("format", cargo(&["fmt", "--all", "--", "--check"]))
        .command("lints", cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))
        // One run tells of every failure, not only of those in the first binary that has one.
        .command("tests", cargo(&["test", "--workspace", "--all-features", "--tests", "--no-fail-fast"]))
        .call("public MCP suites", || conformance::run(&[]))
        .command("doc tests", cargo(&["test", "--workspace", "--all-features", "--doc"]))
        .commands("examples", examples()?)
        .command("documents", documents())
        .command(
            "generated documents",
            cargo(&["run", "--quiet", "--package", "xtask", "--features", "docs", "--", "docs", "--check"]),
        )
        .commands("features", features()?)
        // Last: what is wrong is worth knowing before what is slow.
        .call("counted costs", exact::step);
    let steps = if quick {
        steps.skip(
            &[
                "public MCP suites",
                "doc tests",
                "examples",
                "documents",
                "generated documents",
                "features",
                "counted costs",
            ],
            "--quick",
        )
    } else {
        steps
    };
    steps.run()
}

/// Cargo, at the root of the workspace, with the servers of the tests on its `PATH`.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).env("PATH", tools::search_path());
    // Set by the cargo that runs this program, for this package; the next cargo is about others.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
            command.env_remove(name);
        }
    }
    command
}

/// The documents, with every broken link an error.
fn documents() -> Command {
    let mut command = cargo(&["doc", "--workspace", "--all-features", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// Examples that wait for somebody, or want to know where a server is. They are built with the tests, which drive the same
/// code.
const WAITING: [&str; 3] = ["mcp_client", "mcp_conformance", "mcp_server"];

/// Each other example of the library to its end.
fn examples() -> Outcome<Vec<Command>> {
    let mut names = names_in("examples", "rs")?;
    names.retain(|name| !WAITING.contains(&name.as_str()));
    Ok(names.iter().map(|name| cargo(&["run", "--quiet", "--all-features", "--example", name])).collect())
}

/// The library with no transport and with each feature alone: a feature that leans on another is found here. Warnings are
/// let pass: what only one transport uses is unused without it, and marking that in each place would cost more than it says.
fn features() -> Outcome<Vec<Command>> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    let section = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim());
    let check = |feature: &str| {
        let mut command = cargo(&["check", "--quiet", "--package", "biplane", "--no-default-features"]);
        if !feature.is_empty() {
            command.args(["--features", feature]);
        }
        command
    };
    Ok(std::iter::once("").chain(names.filter(|name| *name != "default")).map(check).collect())
}

/// The stems of the files in `folder` with this ending, sorted; none if there is no such folder.
fn names_in(folder: &str, ending: &str) -> Outcome<Vec<String>> {
    let folder = root().join(folder);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some(OsStr::new(ending)))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}
