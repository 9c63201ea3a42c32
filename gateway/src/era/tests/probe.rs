// SPDX-License-Identifier: Apache-2.0

use std::sync::Arc;
use std::time::Duration;

use biplane::Connection;
use serde_json::json;

use super::peer::{Call, Peer};
use crate::era::{Patience, detect, probe};
use crate::view::{Client, Era};

const SHORT: Patience = Patience { discover: Duration::from_millis(20), initialize: Duration::from_secs(10) };

async fn legacy(call: Call) {
    match call.method.as_str() {
        "initialize" => {
            let version = call.params["protocolVersion"].clone();
            call.give(json!({"protocolVersion": version, "capabilities": {"tools": {}},
                "serverInfo": {"name": "old", "version": "1"}, "instructions": "be kind"}))
                .await;
        }
        _ => call.fail(-32601, "no such method", &json!(null)),
    }
}

fn discovered() -> serde_json::Value {
    json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"prompts": {}},
        "ttlMs": 0, "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "2"}}})
}

async fn modern(call: Call) {
    match call.method.as_str() {
        "server/discover" => call.give(discovered()).await,
        _ => call.fail(-32602, "where is _meta?", &json!(null)),
    }
}

async fn dual(call: Call) {
    match call.method.as_str() {
        "server/discover" => modern(call).await,
        _ => legacy(call).await,
    }
}

async fn found(peer: Arc<Peer>, wanted: Era) -> biplane::Result<crate::Facts> {
    let connection: Arc<dyn Connection> = peer;
    detect(&connection, &Client::default(), wanted, SHORT).await
}

#[tokio::test]
async fn a_dual_server_speaks_the_era_that_is_wanted() {
    for (wanted, version, name) in [(Era::Modern, "2026-07-28", "new"), (Era::Legacy, "2025-11-25", "old")] {
        let facts = found(Peer::new(dual), wanted).await.unwrap();
        assert_eq!((facts.era, facts.version.as_str()), (wanted, version));
        assert!(facts.server_info.starts_with(format!(r#"{{"name":"{name}""#).as_bytes()));
    }
}

#[tokio::test]
async fn one_that_speaks_one_era_only_is_found_from_either_side() {
    for wanted in [Era::Modern, Era::Legacy] {
        assert_eq!(found(Peer::new(modern), wanted).await.unwrap().era, Era::Modern);
        let old = Peer::new(legacy);
        let facts = found(old.clone(), wanted).await.unwrap();
        assert_eq!((facts.era, facts.instructions.unwrap()), (Era::Legacy, r#""be kind""#.into()));
        assert_eq!(old.notified(), ["notifications/initialized"]);
    }
}

#[tokio::test]
async fn any_answer_that_is_not_modern_means_legacy_and_so_does_silence() {
    for code in [-32601, -32602, -32600, -32000, 7] {
        let peer = Peer::new(move |call| async move {
            match call.method.as_str() {
                "server/discover" => call.fail(code, "what?", &json!(null)),
                _ => legacy(call).await,
            }
        });
        assert_eq!(found(peer, Era::Modern).await.unwrap().era, Era::Legacy, "{code}");
    }
    let odd = Peer::new(|call| async move {
        match call.method.as_str() {
            "server/discover" => call.give(json!({"ok": true})).await,
            _ => legacy(call).await,
        }
    });
    assert_eq!(found(odd, Era::Modern).await.unwrap().era, Era::Legacy);
    let silent = Peer::new(|call| async move {
        match call.method.as_str() {
            "server/discover" => drop(call.reply.stopped().await),
            _ => legacy(call).await,
        }
    });
    assert_eq!(found(silent, Era::Modern).await.unwrap().era, Era::Legacy);
}

#[tokio::test]
async fn the_error_of_a_modern_server_shows_a_modern_server() {
    let connection: Arc<dyn Connection> = Peer::new(|call| async move {
        match call.params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str() {
            Some("2026-07-28") => call.fail(-32022, "no", &json!({"supported": ["2027-01-01"], "requested": "x"})),
            _ => call.give(discovered()).await,
        }
    });
    let error = probe(&connection, &Client::default(), SHORT.discover).await.unwrap_err();
    assert_eq!(error.peer().unwrap().code, -32022);
    assert!(error.hint().unwrap().contains("2026-07-28"), "{error}");

    let legacy_after_all: Arc<dyn Connection> = Peer::new(|call| async move {
        match call.method.as_str() {
            "server/discover" => call.fail(-32022, "no", &json!({"supported": ["2025-11-25"], "requested": "x"})),
            _ => legacy(call).await,
        }
    });
    let support = probe(&legacy_after_all, &Client::default(), SHORT.discover).await.unwrap();
    assert!(support.modern.is_none() && support.legacy);
}

#[tokio::test]
async fn a_server_that_dies_of_the_probe_is_told_from_one_that_answers() {
    let dying = Peer::new(|call| async move {
        call.reply.refuse(biplane::Error::closed("the process ended"));
    });
    assert_eq!(found(dying, Era::Modern).await.unwrap_err().kind(), biplane::ErrorKind::Closed);
}
