// SPDX-License-Identifier: Apache-2.0
//! `BIPLANE_FALLBACK`: the instance on the preferred plane dies, the next call goes over the other one, and is counted.

mod support;

use biplane::{Biplane, Result};
use support::World;

#[test]
fn the_next_call_goes_to_the_instance_on_the_other_plane() {
    let world = World::new().with("BIPLANE_FALLBACK", "http");
    let tcp = world.serve(&["words", "--echo", "--on", "tcp"]);
    let _http = world.serve(&["words", "--echo", "--on", "http"]);
    tcp.kill_9();
    let called = world.run(&["call", "words", "x"]);
    assert_eq!((called.code, called.out.as_str()), (Some(0), "x\n"), "{called:?}");
}

/// The counter is the caller's, so the caller is this process.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_knew_the_dead_instance_counts_the_fallback() -> Result<()> {
    let world = World::new();
    let tcp = world.serve(&["words", "--echo", "--on", "tcp"]);
    let caller = Biplane::builder()
        .env([("DYN_FILE_KV", world.directory().as_os_str())])
        .env([("BIPLANE_FALLBACK", "http"), ("DYN_REQUEST_PLANE", "tcp")])
        .build()?;
    let ask = async || -> Result<Option<String>> {
        let mut answer = tokio::time::timeout(support::PATIENCE, caller.call("words", "x")).await.expect("hangs")?;
        let item = tokio::time::timeout(support::PATIENCE, answer.next()).await.expect("hangs").transpose()?;
        item.map(|item| item.text().map(str::to_owned)).transpose()
    };
    assert_eq!(ask().await?.as_deref(), Some("x"));
    assert!(!caller.telemetry().render().contains("transport_fallbacks_total{"));

    let _http = world.serve(&["words", "--echo", "--on", "http"]);
    tcp.kill_9();
    // The caller's link learns of it by itself. A request that is written in the moment before would fail: it may have
    // run, so it is not sent twice.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(ask().await?.as_deref(), Some("x"));
    let counted = r#"transport_fallbacks_total{from="tcp",to="http"} 1"#;
    assert!(caller.telemetry().render().contains(counted), "{}", caller.telemetry().render());
    caller.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(())
}
