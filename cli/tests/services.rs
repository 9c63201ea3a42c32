// SPDX-License-Identifier: Apache-2.0
//! `services`, `transports`, `explain` and `conformance`: what can be seen from outside.

mod support;

use support::World;

#[test]
fn services_shows_every_place_and_whether_it_is_reached() {
    let world = World::new();
    let worker = world.serve(&["demo.llm.words", "--echo", "--on", "http,tcp,uds", "--weight", "30"]);
    let services = world.services();
    let [service] = services.as_slice() else { panic!("{services:?}") };
    assert_eq!((&service["name"], &service["weight"]), (&"demo.llm.words".into(), &30.into()));
    assert_eq!(service["instance_id"], worker.instance());
    let places: Vec<_> = service["request_transports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| (&place["transport_id"], &place["reached"]))
        .collect();
    let yes = serde_json::Value::Bool(true);
    assert_eq!(places, [(&"http".into(), &yes), (&"tcp".into(), &yes), (&"uds".into(), &serde_json::Value::Null)]);
    let table = world.run(&["services"]).out;
    assert!(table.starts_with("SERVICE") && table.contains("demo.llm.words") && !table.contains('\x1b'), "{table}");
}

#[test]
fn a_killed_worker_is_listed_no_more() {
    let world = World::new();
    let worker = world.serve(&["words", "--echo"]);
    assert_eq!(world.services().len(), 1);
    worker.kill_9();
    assert!(world.services().is_empty());
    let ended = world.run(&["services"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""));
}

#[test]
fn a_weight_is_changed_while_the_worker_runs() {
    let world = World::new();
    let worker = world.serve(&["words", "--echo"]);
    let id = worker.instance().to_string();
    let changed = world.run(&["services", "weight", "words", &id, "10"]);
    assert_eq!(changed.code, Some(0), "{changed:?}");
    assert_eq!(world.services()[0]["weight"], 10);
    let missing = world.run(&["services", "weight", "words", "1", "10"]);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    let wrong = world.run(&["services", "weight", "words", &id, "101"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[test]
fn transports_lists_core_and_plugins() {
    let world = World::new();
    let listed = world.run(&["transports", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&listed.out).unwrap();
    for (plane, id) in [("connection", "tcp"), ("request", "nats"), ("response", "uds"), ("discovery", "file")] {
        let row = rows.iter().find(|row| row["plane"] == plane && row["transport_id"] == id);
        assert!(row.is_some_and(|row| row["origin"].as_str().unwrap().contains('@')), "{plane} {id}: {row:?}");
    }
}

#[test]
fn explain_tells_winners_and_losers() {
    let world = World::new();
    let _worker = world.serve(&["words", "--echo", "--on", "http"]);
    let told = world.run(&["explain", "words", "--need", "streaming", "--json"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let told: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let plane = |name: &str| {
        let planes = told["planes"].as_array().unwrap();
        planes.iter().find(|plane| plane["plane"] == name).unwrap_or_else(|| panic!("no {name} in {told}"))
    };
    assert_eq!((&plane("request")["chosen"], &plane("response")["chosen"]), (&"http".into(), &"tcp".into()));
    let nobody = world.run(&["explain", "htpp://h:1/x"]);
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
}

#[test]
fn conformance_passes_an_echo_and_fails_what_is_none() {
    let world = World::new();
    let echo = world.serve(&["echo", "--echo", "--on", "http,tcp"]);
    for url in [
        echo.address("http"),
        format!("tcp://{}/echo", echo.address("tcp").trim_end_matches("/echo")),
        "echo".to_owned(),
    ] {
        let passed = world.run(&["conformance", &url]);
        assert_eq!(passed.code, Some(0), "{url}: {passed:?}");
        assert!(passed.out.contains("exchange::a_thousand_at_once"), "{}", passed.out);
    }
    let _liar = world.serve(&["liar", "--tokens", "1"]);
    let failed = world.run(&["conformance", "liar", "--json"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let report: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(report["passed"], false);
}
