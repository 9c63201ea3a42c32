// SPDX-License-Identifier: Apache-2.0
//! Programs that the tests start: found, installed where we may, or named in one line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::run;
use crate::{Outcome, in_ci};

/// A program, the Debian package that has it, and what stays undone without it.
struct Tool {
    program: &'static str,
    package: &'static str,
    needed_by: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { program: "nats-server", package: "nats-server", needed_by: "the nats planes" },
    Tool { program: "nginx", package: "nginx", needed_by: "the http planes behind a proxy" },
    Tool { program: "valgrind", package: "valgrind", needed_by: "the counted costs of the hot paths" },
];

/// Sees to it that the tests' programs are there. In CI a missing one is a failure; on a person's machine a line.
pub(crate) fn ensure() -> Outcome {
    see_to(|_| true)
}

/// As [`ensure`], for one program.
pub(crate) fn ensure_one(program: &str) -> Outcome {
    see_to(|tool| tool.program == program)
}

fn see_to(wanted: impl Fn(&Tool) -> bool) -> Outcome {
    let absent = || TOOLS.iter().filter(|tool| wanted(tool) && !has(tool.program)).collect::<Vec<_>>();
    let missing = absent();
    if missing.is_empty() {
        let names: Vec<_> = TOOLS.iter().filter(|tool| wanted(tool)).map(|tool| tool.program).collect();
        println!("  installed: {}", names.join(", "));
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    if let Err(why) = install(&packages) {
        println!("  {why}");
    }
    let lines: Vec<String> = absent().iter().map(|tool| tool.line()).collect();
    if !lines.is_empty() && in_ci() {
        return Err(lines.join("; "));
    }
    lines.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

/// Whether `program` is there.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where to look for programs: Debian puts servers where only an administrator's `PATH` leads.
pub(crate) fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for more in ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from) {
        if !places.contains(&more) {
            places.push(more);
        }
    }
    std::env::join_paths(places).unwrap_or(path)
}

impl Tool {
    fn line(&self) -> String {
        let Self { program, package, needed_by } = self;
        format!("{program} is missing, so {needed_by} stay untested; get it with: apt-get install {package}")
    }
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|place| place.join(program)).find(|path| path.is_file())
}

/// Installs Debian packages, as root or by a `sudo` that asks nothing.
fn install(packages: &[&str]) -> Outcome {
    let apt = find("apt-get").ok_or("there is no apt-get to install them with")?;
    let prefix: &[&str] = if is_root() {
        &[]
    } else if answers("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        return Err("installing needs root, or a sudo that asks for no password".to_owned());
    };
    let all: Vec<&str> = ["install", "--yes", "--no-install-recommends"].iter().chain(packages).copied().collect();
    // The index may be absent or old; it is fetched only when that is so.
    run(apt_get(prefix, &apt, &all)).or_else(|_| {
        run(apt_get(prefix, &apt, &["update"]))?;
        run(apt_get(prefix, &apt, &all))
    })
}

fn apt_get(prefix: &[&str], apt: &Path, arguments: &[&str]) -> Command {
    let mut command = match prefix {
        [] => Command::new(apt),
        [sudo, options @ ..] => {
            let mut command = Command::new(sudo);
            // `sudo` drops the environment; `env` gives back the one thing that matters.
            command.args(options).args(["env", "DEBIAN_FRONTEND=noninteractive"]).arg(apt);
            command
        }
    };
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let command = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    command.is_ok_and(|output| output.status.success())
}
