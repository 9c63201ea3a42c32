// SPDX-License-Identifier: Apache-2.0
//! What a connection learned of its server's tools: which arguments are mirrored into headers.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::message::Message;
use crate::proto::mcp::mirror::{Mirrored, read_tools};

/// Tools with mirrored arguments that are remembered. The calls of others are refused by their server, which makes us look
/// again.
const MAX_TOOLS: usize = 4096;

#[derive(Default)]
pub(super) struct Tools(Mutex<HashMap<String, Arc<[Mirrored]>>>);

impl Tools {
    /// Looks at a result of `tools/list` and takes out the tools whose annotations are invalid, as the specification has
    /// it. Says where the list goes on.
    pub(super) fn listed(&self, result: &mut Message) -> Option<String> {
        let listed = read_tools(&result.body);
        for (name, reason) in &listed.invalid {
            tracing::warn!(target: "biplane::http", tool = name, "a tool is left out of the list: {reason}");
        }
        if let Some(cleaned) = listed.cleaned {
            result.body = cleaned;
        }
        let mut known = self.0.lock();
        for (name, mirrored) in listed.tools {
            if mirrored.is_empty() {
                known.remove(&name);
            } else if known.len() < MAX_TOOLS || known.contains_key(&name) {
                known.insert(name, mirrored.into());
            }
        }
        listed.next_cursor
    }

    /// The mirrored arguments of a tool, as far as its server told.
    pub(super) fn mirrored(&self, tool: &str) -> Arc<[Mirrored]> {
        self.0.lock().get(tool).cloned().unwrap_or_default()
    }
}
