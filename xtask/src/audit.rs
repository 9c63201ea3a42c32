// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask audit`: what we depend on, under which licence and from where. The rules stand in `deny.toml`.

use std::path::PathBuf;
use std::process::Command;

use crate::steps::Steps;
use crate::suite::cargo;
use crate::{Outcome, root, tool_cache};

/// The version that `deny.toml` is written for. Any of the same series serves.
const VERSION: &str = "0.20.2";
const SERIES: &str = "cargo-deny 0.20.";

/// Installs cargo-deny unless the cache has it, then runs it without the network.
pub(crate) fn run() -> Outcome {
    let mut check = Command::new(program()?);
    // Advisories are left out: their database changes under a commit, and a check must say the same tomorrow.
    check.args(["--workspace", "--offline", "check", "bans", "licenses", "sources"]).current_dir(root());
    Steps::default()
        .call("cargo-deny", ensure)
        .command("fetch", cargo(&["fetch", "--locked"]))
        .command("bans, licenses, sources", check)
        .run()
}

fn program() -> Outcome<PathBuf> {
    Ok(tool_cache()?.join("bin").join("cargo-deny"))
}

fn ensure() -> Outcome {
    if let Some(version) = installed()? {
        println!("  {version} is in the cache");
        return Ok(());
    }
    let cache = tool_cache()?;
    println!("  installing cargo-deny {VERSION}: minutes, once");
    // A debug build: it compiles in a third of the time and runs for two seconds.
    let mut install = cargo(&["install", "--locked", "--debug", "--version", VERSION, "cargo-deny", "--root"]);
    install.arg(cache);
    crate::steps::run(install)?;
    match installed()? {
        Some(_) => Ok(()),
        None => Err("cargo-deny was installed and does not answer".to_owned()),
    }
}

/// What the cached program calls itself, if it is there and of the right series.
fn installed() -> Outcome<Option<String>> {
    let output = Command::new(program()?).arg("--version").output();
    let version = output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Ok(version.filter(|version| version.starts_with(SERIES)))
}
