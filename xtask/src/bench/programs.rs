// SPDX-License-Identifier: Apache-2.0
//! The programs that take part: built, and asked whom they have in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::json::{text, texts};
use super::options::Options;
use super::{FLOOR, cores, folder};
use crate::process::output;
use crate::suite::cargo;
use crate::{Outcome, root};

/// Somebody to measure.
#[derive(Clone)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) cells: Vec<String>,
    /// Client and server can only be one process.
    pub(super) within_process: bool,
    /// Ours, rather than somebody else's.
    pub(super) ours: bool,
    pub(super) program: PathBuf,
    /// The same program with its allocations counted.
    pub(super) counting: Option<PathBuf>,
}

impl Contender {
    pub(super) fn can(&self, cell: &str) -> bool {
        self.cells.iter().any(|can| can == cell)
    }
}

/// A program, and the same one with its allocations counted.
struct Program {
    path: PathBuf,
    counting: Option<PathBuf>,
    ours: bool,
}

pub(super) struct Programs {
    programs: Vec<Program>,
    /// Who could take part and does not, with the reason.
    pub(super) absent: Vec<String>,
}

impl Programs {
    /// Builds ours, and the peers where they are and can be built.
    pub(super) fn build(options: &Options) -> Outcome<Self> {
        let mut programs = Self { programs: Vec::new(), absent: Vec::new() };
        println!("  building the floor and our planes");
        let limit = |more: &[&str]| {
            let mut build = cargo(&["build", "--release", "--package", "biplane-limit"]);
            build.args(more);
            build
        };
        programs.take("limit", true, &limit, options)?;

        let manifest = root().join("benches").join("peers").join("Cargo.toml");
        if !manifest.exists() {
            programs.absent.push("the peers: benches/peers is not there".to_owned());
            return Ok(programs);
        }
        println!("  building the peers: minutes, once");
        let peers = |more: &[&str]| {
            let mut build = cargo(&["build", "--release", "--locked", "--manifest-path"]);
            build.arg(&manifest).args(more).env("CARGO_TARGET_DIR", folder().join("peers"));
            build
        };
        if let Err(why) = programs.take("peers", false, &peers, options) {
            programs.absent.push(format!("the peers: {why}"));
        }
        Ok(programs)
    }

    /// Builds a package twice. The programs are copied, because the second build would overwrite the first.
    fn take(&mut self, name: &str, ours: bool, build: &dyn Fn(&[&str]) -> Command, options: &Options) -> Outcome {
        let plain = programs_of(build(&[]), &folder().join("bin").join(name))?;
        let counting = if options.counts {
            programs_of(build(&["--features", "count-allocations"]), &folder().join("bin-counting").join(name))
        } else {
            Ok(Vec::new())
        };
        let counting = counting.unwrap_or_else(|why| {
            println!("  allocations of the {name} stay uncounted: {why}");
            Vec::new()
        });
        for path in plain {
            let counting = counting.iter().find(|counting| counting.file_name() == path.file_name()).cloned();
            self.programs.push(Program { path, counting, ours });
        }
        Ok(())
    }

    /// Everybody who is wanted, the floor first.
    pub(super) fn contenders(&self, options: &Options) -> Outcome<Vec<Contender>> {
        let mut all = Vec::new();
        for Program { path, counting, ours } in &self.programs {
            let mut list = Command::new(path);
            list.arg("list");
            for line in output(list, Duration::from_secs(10))?.lines() {
                let name = text(line, "name").ok_or_else(|| format!("{} lists {line}", path.display()))?;
                all.push(Contender {
                    name,
                    cells: cores::ways(texts(line, "cells")),
                    within_process: line.contains("\"within_process\":true"),
                    ours: *ours,
                    program: path.clone(),
                    counting: counting.clone(),
                });
            }
        }
        all.sort_by_key(|contender| contender.name != FLOOR);
        options.narrow(all)
    }
}

/// Builds, and copies what came of it.
fn programs_of(mut build: Command, to: &Path) -> Outcome<Vec<PathBuf>> {
    build
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .stdin(Stdio::null());
    let built = build.output().map_err(|error| format!("cargo does not start: {error}"))?;
    if !built.status.success() {
        return Err(format!("cargo build ended with {}", built.status));
    }
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let said = String::from_utf8_lossy(&built.stdout);
    let executables = said.lines().filter_map(|line| text(line, "executable")).map(PathBuf::from);
    let copy = |from: PathBuf| {
        let copy = to.join(from.file_name().ok_or("a program without a name")?);
        // A copy that still runs, because somebody else measures too, stays as it is for whoever runs it.
        let _ = fs::remove_file(&copy);
        fs::copy(&from, &copy).map(|_| copy).map_err(|error| format!("{}: {error}", from.display()))
    };
    executables.map(copy).collect()
}
