// SPDX-License-Identifier: Apache-2.0
//! What a legacy client told its session that outlives a request, so that the next session can be told the same.

use std::collections::BTreeMap;
use std::time::Duration;

use biplane::proto::json;
use biplane::{Connection, Request, Result, Subject};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

/// Subscriptions that are remembered.
const MAX_REMEMBERED: usize = 1024;
/// For each thing that is told again.
const TELL_WITHIN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Memory(Mutex<Told>);

#[derive(Default)]
struct Told {
    level: Option<Bytes>,
    /// By URI, as it was written.
    subscriptions: BTreeMap<Bytes, Bytes>,
}

impl Memory {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock()
    }

    /// A request passes by.
    pub(super) fn note(&self, request: &Request) {
        let params = &request.message.body;
        match request.subject.as_str() {
            "logging/setLevel" => self.told().level = Some(params.clone()),
            "resources/subscribe" => {
                let mut told = self.told();
                if let Some(uri) = json::get(params, &["uri"]).filter(|_| told.subscriptions.len() < MAX_REMEMBERED) {
                    told.subscriptions.insert(uri, params.clone());
                }
            }
            "resources/unsubscribe" => {
                if let Some(uri) = json::get(params, &["uri"]) {
                    self.told().subscriptions.remove(&uri);
                }
            }
            _ => {}
        }
    }

    /// Tells a fresh session. What it refuses is its own affair.
    pub(super) async fn tell(&self, connection: &dyn Connection) -> Result<()> {
        let requests: Vec<(Subject, Bytes)> = {
            let told = self.told();
            let level = told.level.iter().map(|params| (Subject::from_static("logging/setLevel"), params.clone()));
            let uris = told.subscriptions.values();
            level.chain(uris.map(|params| (Subject::from_static("resources/subscribe"), params.clone()))).collect()
        };
        for (method, params) in requests {
            match connection.request(Request::new(method, params).with_timeout(TELL_WITHIN)).await {
                Ok(_) => {}
                Err(error) if error.peer().is_some() => {
                    tracing::debug!(target: "biplane::gateway", "the new session refuses what the old one took: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
