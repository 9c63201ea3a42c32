// SPDX-License-Identifier: Apache-2.0
//! A third party's first day: copies `plugins/uds` out of the repository, renames it, changes nothing else, here or there,
//! and has a transport that registers, is selected by what it claims, and passes the conformance suite.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What makes it somebody else's, in this order.
const RENAMED: &[(&str, &str)] = &[
    ("biplane-uds", "acme-pipes"),
    ("biplane_uds", "acme_pipes"),
    ("transport.uds.", "transport.acme."),
    ("\"uds\"", "\"acme\""),
    ("BIPLANE_UDS_DIR", "ACME_DIR"),
    ("\"unix\"", "\"acme\""),
    ("unix:/", "acme:/"),
];

/// Of the copied tests, these must have run and passed.
const EXPECTED: &[&str] = &[
    "it_is_selected_by_what_it_claims",
    "a_service_is_found_and_answers_inline_and_by_call_home",
    "acme::exchange::echo_sizes",
    "acme::inbound::notifications_in_order",
    "acme+inline::streams::duplex_interleaves",
    "acme+acme::planes::a_wrong_token_is_refused",
    "acme+acme::life::close_finishes_what_is_in_flight",
];

/// A first build on a small machine takes minutes; this only turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(1800);

#[test]
fn a_copy_outside_the_repository_passes_with_no_edit_in_the_core() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = tempfile::tempdir().unwrap();
    assert!(!home.path().starts_with(root), "{} is not outside", home.path().display());
    let plugin = home.path().join("acme-pipes");
    copy(&root.join("plugins/uds"), &plugin);
    let manifest = plugin.join("Cargo.toml");
    fs::write(&manifest, format!("{}\n{}", read(&manifest), workspace(root))).unwrap();
    fs::copy(root.join("Cargo.lock"), plugin.join("Cargo.lock")).unwrap();

    let log = home.path().join("log");
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--offline", "--no-fail-fast"]).current_dir(&plugin);
    // Dependencies are those of the workspace: built once, in the workspace's own directory.
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap());
    let succeeded = run(command, &log);
    let said = read(&log);
    assert!(succeeded, "the copy fails:\n{said}");
    for name in EXPECTED {
        let passed = said.lines().any(|line| line.starts_with(&format!("test {name} ")) && line.ends_with("... ok"));
        assert!(passed, "{name} did not run:\n{said}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry: PathBuf = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            fs::write(target, RENAMED.iter().fold(read(&entry), |text, (ours, theirs)| text.replace(ours, theirs)))
                .unwrap();
        }
    }
}

/// The tables that a plugin in the tree inherits from, as its own: what a third party writes out once.
fn workspace(root: &Path) -> String {
    let manifest = read(&root.join("Cargo.toml"));
    let tables = manifest.split("\n[").filter(|table| {
        let name = table.split(']').next().unwrap_or_default();
        name.starts_with("workspace.") || name.starts_with("profile.")
    });
    let mut text = String::from("[workspace]\n");
    for table in tables {
        let lines = table.lines().filter(|line| !line.starts_with("biplane"));
        text += &format!("\n[{}\n", lines.collect::<Vec<_>>().join("\n"));
        if table.starts_with("workspace.dependencies]") {
            text += &format!("biplane = {{ path = {:?}, default-features = false }}\n", root);
        }
    }
    text
}

fn run(mut command: Command, log: &Path) -> bool {
    let log = File::create(log).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let until = Instant::now() + LIMIT;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.success(),
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
