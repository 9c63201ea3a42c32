// SPDX-License-Identifier: Apache-2.0
//! `config`, and what becomes of a broken configuration.

mod support;

use support::World;

#[test]
fn all_that_is_wrong_is_told_at_once_before_anything_is_bound() {
    let garbage = [
        ("DYN_REQUEST_PLANE", "tpc"),
        ("DYN_TCP_POOL_ENABLED", "maybe"),
        ("DYN_HTTP_RPC_PORT", "70000"),
        ("DYN_TCP_POOL_IDLE_TIMEOUT_SECS", "-1"),
    ];
    let world = World::new();
    for arguments in [&["serve", "words", "--echo"][..], &["call", "words", "x"], &["config", "--check"], &["services"]]
    {
        let ended = world.run_with(arguments, &garbage);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert_eq!(ended.err.matches("error:").count(), 1, "{}", ended.err);
        for (name, value) in garbage {
            assert!(ended.err.contains(name) && ended.err.contains(value), "{name} is missing: {}", ended.err);
        }
        assert!(ended.err.contains("did you mean `tcp`"), "{}", ended.err);
    }
    // What would have been bound would have been published.
    assert!(world.services().is_empty());
}

#[test]
fn planes_of_the_command_line_are_checked_with_the_rest() {
    let world = World::new();
    let ended = world.run_with(&["serve", "words", "--echo", "--on", "tcp,htpp"], &[("DYN_HTTP_RPC_PORT", "x")]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("htpp") && ended.err.contains("DYN_HTTP_RPC_PORT"), "{}", ended.err);
}

#[test]
fn every_value_says_where_it_comes_from_and_secrets_do_not_show() {
    let world = World::new();
    let file = world.directory().join("my.toml");
    std::fs::write(&file, "balance = \"random\"\n[limits]\nconnect_timeout = \"7s\"\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "config", "--json"];
    let shown = world.run_with(&arguments, &[("BIPLANE_CONNECT_TIMEOUT", "9s"), ("NATS_AUTH_TOKEN", "s3cret")]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(!shown.out.contains("s3cret"));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&shown.out).unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}"));
    let timeout = row("limits.connect_timeout");
    assert_eq!((&timeout["value"], &timeout["source"]), (&"9s".into(), &"environment".into()));
    assert_eq!(timeout["source_name"], "BIPLANE_CONNECT_TIMEOUT");
    assert_eq!((&row("balance")["value"], &row("balance")["source"]), (&"random".into(), &"file".into()));
    assert_eq!(row("response_plane")["source"], "default");
}

#[test]
fn check_and_list_do_as_they_say() {
    let world = World::new();
    let checked = world.run(&["config", "--check"]);
    assert_eq!((checked.code, checked.out.as_str()), (Some(0), ""));
    // Of the core and of a plugin, broken configuration or not.
    let listed = world.run_with(&["config", "--list"], &[("DYN_TCP_REQUEST_PORT", "x")]);
    assert_eq!(listed.code, Some(0));
    for name in ["DYN_REQUEST_PLANE", "BIPLANE_FALLBACK", "NATS_SERVER"] {
        assert!(listed.out.contains(name), "{name} is not listed");
    }
}

#[test]
fn the_log_obeys_the_filter_and_quiet() {
    let world = World::new();
    let run = |arguments: &[&str], filter: &str| {
        let worker = world.start_with(arguments, &[("RUST_LOG", filter), ("DYN_HTTP_RPC_HOST", "0.0.0.0")]);
        support::eventually("it serves", || !world.services().is_empty());
        worker.signal("TERM");
        worker.finish().err
    };
    let serve = ["serve", "words", "--echo", "--on", "http"];
    assert!(run(&serve, "warn").contains("WARN biplane::"));
    assert!(!run(&serve, "error").contains("WARN"));
    assert_eq!(run(&[&serve[..], &["--quiet"]].concat(), "trace"), "");
    let ended = world.run_with(&serve, &[("RUST_LOG", "biplane=loud")]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
