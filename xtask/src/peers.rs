// SPDX-License-Identifier: Apache-2.0
//! Other people's clients, servers and suites, and our fixture for them, installed into `target/peers` and nowhere else.
//! What to install stands in `tests/peers`; it is installed again when that changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::run;
use crate::suite::cargo;
use crate::{Outcome, root};

/// The bridge that the gateway's speed is compared with: the best of those that were measured.
const BRIDGE: (&str, &str) = ("mcp-proxy", "0.6.0");

/// Where everything is.
pub(crate) fn folder() -> PathBuf {
    root().join("target").join("peers")
}

/// Node 22, which the suites need, whatever the machine has.
pub(crate) fn node() -> PathBuf {
    modules().join("node").join("bin").join("node")
}

/// The packages from npm.
pub(crate) fn modules() -> PathBuf {
    folder().join("npm").join("node_modules")
}

/// Clients and suites for Node.
pub(crate) fn npm() -> Outcome {
    let (from, to) = (manifests().join("npm"), folder().join("npm"));
    once("npm", &[from.join("package.json"), from.join("package-lock.json")], &node(), || {
        make(&to)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(from.join(name), to.join(name)).map_err(|error| format!("{name}: {error}"))?;
        }
        let mut install = Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&to);
        run(install)
    })
}

/// The Python client, in an environment of its own.
pub(crate) fn python() -> Outcome {
    let wanted = manifests().join("python").join("requirements.txt");
    let to = folder().join("python");
    let program = to.join("bin").join("python");
    once("python", std::slice::from_ref(&wanted), &program, || {
        let mut create = Command::new("python3");
        create.args(["-m", "venv"]).arg(&to);
        run(create)?;
        let mut install = Command::new(&program);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&wanted);
        run(install)
    })
}

/// The server on `rmcp`. Optimised where its speed is part of what is measured.
pub(crate) fn fixture(optimised: bool) -> Outcome<PathBuf> {
    built("mcp-fixture", optimised)
}

/// The load generator, always optimised.
pub(crate) fn load() -> Outcome<PathBuf> {
    built("mcp-load", true)
}

/// The other bridge.
pub(crate) fn bridge() -> Outcome<PathBuf> {
    let (name, version) = BRIDGE;
    let to = folder().join(name);
    let program = to.join("bin").join(name);
    if !program.exists() {
        println!("  installing {name} {version}: minutes, once");
        let mut install =
            cargo(&["install", "--locked", "--no-default-features", "--version", version, name, "--root"]);
        install.arg(&to);
        // Its own `target` would go with the temporary folder, and with it the work of an install that was cut short.
        install.env("CARGO_TARGET_DIR", folder().join("build-bridge"));
        run(install)?;
    }
    Ok(program)
}

/// Our own program, optimised as it is shipped.
pub(crate) fn program() -> Outcome<PathBuf> {
    run(cargo(&["build", "--quiet", "--release", "--package", "biplane-cli", "--bin", "biplane"]))?;
    Ok(root().join("target").join("release").join("biplane"))
}

/// Everything that the tests use. The tests themselves say what they lack.
pub(crate) fn ensure() -> Outcome {
    let fixture = || fixture(false).map(drop);
    let wanted: [(&str, &dyn Fn() -> Outcome); 3] = [("npm", &npm), ("python", &python), ("fixture", &fixture)];
    for (name, install) in wanted {
        match install() {
            Ok(()) => {}
            Err(why) if crate::in_ci() => return Err(why),
            Err(why) => println!("  the gateway stays untested with {name}: {why}"),
        }
    }
    Ok(())
}

fn built(name: &str, optimised: bool) -> Outcome<PathBuf> {
    let target = folder().join("build");
    let mut build = cargo(&["build", "--quiet", "--locked", "--bin", name, "--manifest-path"]);
    build.arg(manifests().join("Cargo.toml")).env("CARGO_TARGET_DIR", &target);
    if optimised {
        build.arg("--release");
    }
    run(build)?;
    Ok(target.join(if optimised { "release" } else { "debug" }).join(name))
}

fn manifests() -> PathBuf {
    root().join("tests").join("peers")
}

fn make(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// Installs unless `result` is there and came of the same `manifests`.
fn once(name: &str, manifests: &[PathBuf], result: &Path, install: impl FnOnce() -> Outcome) -> Outcome {
    let read = |path: &PathBuf| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let wanted = manifests.iter().map(read).collect::<Outcome<String>>()?;
    let stamp = folder().join(format!("{name}.installed"));
    if result.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("  installing peers from {name}");
    make(&folder())?;
    install()?;
    if !result.exists() {
        return Err(format!("{name} was installed and {} is not there", result.display()));
    }
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))
}
