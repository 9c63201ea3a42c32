// SPDX-License-Identifier: Apache-2.0
//! The legacy session of one client.

use std::sync::Arc;

use biplane::proto::json;
use biplane::proto::jsonrpc::INVALID_PARAMS;
use biplane::{Connection, Error, Inbound, PeerError, Result};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::relay::pass_back;
use super::{nobody_to_ask, object};
use crate::core::Core;
use crate::view::{Client, View};

/// The revisions in which sessions are opened, newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The revision that is agreed on with a client that asks for `version`: the same if it is known, else the newest.
fn agreed(version: &str) -> &'static str {
    VERSIONS.into_iter().find(|known| *known == version).unwrap_or(VERSIONS[0])
}

/// How far a connection is with its session.
#[derive(Clone)]
pub(super) enum Opening {
    NotYet,
    Underway,
    Open(Arc<LegacySession>),
    Over,
}

pub(super) struct LegacySession {
    pub(super) view: View,
    pump: JoinHandle<()>,
    _counted: crate::core::Counted,
}

impl LegacySession {
    /// Opens the session of a client that sent these `params`, and gives the result that it gets.
    pub(super) async fn open(
        core: &Arc<Core>,
        connection: &Arc<dyn Connection>,
        params: &Bytes,
        principal: &str,
    ) -> Result<(Arc<Self>, Bytes)> {
        let version = json::get(params, &["protocolVersion"]);
        let version = version.as_ref().and_then(|raw| json::text(raw)).ok_or_else(|| {
            Error::from(PeerError::new(INVALID_PARAMS, "initialize has a protocolVersion, such as \"2025-11-25\""))
        })?;
        let client = Client {
            version: agreed(&version).to_owned(),
            info: object(json::get(params, &["clientInfo"])),
            capabilities: object(json::get(params, &["capabilities"])),
            principal: principal.to_owned(),
        };
        let view = core.legacy(&client).await?;
        let result = result(&client.version, &view);
        let pump = tokio::spawn(pump(view.connection.clone(), connection.clone()));
        Ok((Arc::new(Self { view, pump, _counted: core.count_session() }), result))
    }
}

impl Drop for LegacySession {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

fn result(version: &str, view: &View) -> Bytes {
    let facts = &view.facts;
    let mut result = json::set(&Bytes::new(), &["protocolVersion"], &json::quote(version));
    result = json::set(&result, &["capabilities"], &facts.capabilities);
    result = json::set(&result, &["serverInfo"], &facts.server_info);
    match &facts.instructions {
        Some(instructions) => json::set(&result, &["instructions"], instructions),
        None => result,
    }
}

/// What the server sends unasked goes to this client and to no other.
async fn pump(from: Arc<dyn Connection>, to: Arc<dyn Connection>) {
    while let Ok(Some(inbound)) = from.receive().await {
        match inbound {
            Inbound::Notification(method, message) => {
                if to.notify(&method, message).await.is_err() {
                    return;
                }
            }
            Inbound::Request(request, reply) => {
                let method = request.subject.clone();
                match to.open(request) {
                    Ok(stream) => drop(tokio::spawn(pass_back(stream, reply))),
                    Err(error) if error.kind() == biplane::ErrorKind::Unsupported => reply.fail(nobody_to_ask(&method)),
                    Err(error) => reply.fail(&error),
                }
            }
        }
    }
}
