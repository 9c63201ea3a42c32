// SPDX-License-Identifier: Apache-2.0
//! Which era a server is of, and the beginning of a session in the older one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Era, Identity, Server, send};
use crate::connection::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Message, Subject};
use crate::proto::jsonrpc::ids::INITIALIZE;

/// The newest revisions of either era.
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// The errors that only a modern server answers.
const MODERN_ERRORS: std::ops::RangeInclusive<i64> = -32022..=-32020;

/// A server that keeps silent about what it does not know is a legacy one.
const DISCOVER_WITHIN: Duration = Duration::from_secs(10);

/// A server may have to be fetched and started first.
const INITIALIZE_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn introduce(connection: &Arc<dyn Connection>, identity: &Identity) -> Result<Server> {
    match discover(connection, identity, MODERN).await {
        Ok(facts) => match newest_modern(facts.get("supportedVersions")) {
            Some(version) => Ok(Server { era: Era::Modern, version, facts }),
            None => initialize(connection, identity).await,
        },
        Err(error) => match error.peer().filter(|peer| MODERN_ERRORS.contains(&peer.code)) {
            Some(peer) => {
                let data: Value = serde_json::from_slice(&peer.data).unwrap_or_default();
                let Some(version) = newest_modern(data.get("supported")) else {
                    return match data.get("supported") {
                        Some(_) => initialize(connection, identity).await,
                        None => Err(error),
                    };
                };
                let facts = discover(connection, identity, &version).await?;
                Ok(Server { era: Era::Modern, version, facts })
            }
            None if is_final(&error) => Err(error),
            None => initialize(connection, identity).await,
        },
    }
}

/// Nobody is there, or nobody lets us in: another question would not be answered either.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Connect | ErrorKind::Closed | ErrorKind::Overloaded | ErrorKind::Config)
}

async fn discover(connection: &Arc<dyn Connection>, identity: &Identity, version: &str) -> Result<Value> {
    let mut params = Map::new();
    identity.describe(&mut params, version);
    send(connection, identity, "server/discover", &params, Some(DISCOVER_WITHIN)).await
}

/// Revisions are dates, so their order is that of their text. Ours first: a newer one may mean something else.
fn newest_modern(versions: Option<&Value>) -> Option<String> {
    let versions: Vec<&str> = versions?.as_array()?.iter().filter_map(Value::as_str).collect();
    if versions.contains(&MODERN) {
        return Some(MODERN.to_owned());
    }
    versions.into_iter().filter(|version| *version >= MODERN).max().map(str::to_owned)
}

async fn initialize(connection: &Arc<dyn Connection>, identity: &Identity) -> Result<Server> {
    let params = identity.introduction(LEGACY);
    let facts = send(connection, identity, INITIALIZE, &params, Some(INITIALIZE_WITHIN)).await?;
    let version = facts.get("protocolVersion").and_then(Value::as_str);
    let version = version.ok_or_else(|| Error::protocol("the server agreed on no revision"))?.to_owned();
    connection.notify(&Subject::from_static("notifications/initialized"), Message::default()).await?;
    Ok(Server { era: Era::Legacy, version, facts })
}
