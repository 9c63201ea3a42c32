// SPDX-License-Identifier: Apache-2.0
//! Results and errors of a legacy server as a modern one gives them.

use biplane::proto::json;
use biplane::{Error, ErrorKind, Message, PeerError};
use bytes::Bytes;

use crate::era::edit::{Edit, Object};
use crate::era::names::{MODERN_VERSIONS, REQUEST_STATE, code, key, method};
use crate::view::Facts;

/// Legacy servers say nothing of caching. So a result may be wrong a moment later, and is for nobody else's eyes.
const UNCACHED: [(&str, &[u8]); 2] = [("ttlMs", b"0"), ("cacheScope", b"\"private\"")];
const CACHEABLE: [&str; 5] =
    [method::LIST_TOOLS, method::LIST_PROMPTS, method::LIST_RESOURCES, method::LIST_TEMPLATES, method::READ];

pub(super) struct Results {
    /// A raw member of `_meta`: who answers.
    server: Bytes,
    discovered: Bytes,
}

impl Results {
    pub(super) fn new(facts: &Facts) -> Self {
        let mut server = Object::new();
        server.set(key::SERVER_INFO, &facts.server_info);
        let meta = server.close();
        let versions: Vec<Bytes> = MODERN_VERSIONS.iter().map(|version| json::quote(version)).collect();
        let mut discovered = Object::new();
        discovered
            .set("resultType", b"\"complete\"")
            .set("supportedVersions", &[b"[", versions.join(&b","[..]).as_slice(), b"]"].concat())
            .set("capabilities", &facts.capabilities);
        if let Some(instructions) = &facts.instructions {
            discovered.set("instructions", instructions);
        }
        for (name, value) in UNCACHED {
            discovered.set(name, value);
        }
        discovered.set("_meta", &meta);
        Self { server: meta.slice(1..meta.len() - 1), discovered: discovered.close() }
    }

    pub(super) fn discovered(&self) -> Message {
        Message::new(self.discovered.clone())
    }

    /// The result of a call, with what modern clients expect in it. What the server said itself stays.
    pub(super) fn complete(&self, subject: &str, result: Message) -> Message {
        let lacks = |name: &str| json::get(&result.body, &[name]).is_none();
        let mut with = Object::new();
        if lacks("resultType") {
            with.set("resultType", b"\"complete\"");
        }
        if CACHEABLE.contains(&subject) {
            for (name, value) in UNCACHED.into_iter().filter(|(name, _)| lacks(name)) {
                with.set(name, value);
            }
        }
        let names_itself = json::get(&result.body, &["_meta", key::SERVER_INFO]).is_some();
        let with_meta = if names_itself { &b""[..] } else { &self.server };
        let edit = Edit { with: &with.into_members(), with_meta, ..Edit::default() };
        Message { body: edit.apply(&result.body), headers: result.headers }
    }

    /// The result that asks `requests` of the client.
    pub(super) fn input_required(&self, requests: &Bytes, state: &str) -> Message {
        let mut result = Object::new();
        result
            .set("resultType", b"\"input_required\"")
            .set("inputRequests", requests)
            .set(REQUEST_STATE, &json::quote(state));
        let edit = Edit { with_meta: &self.server, ..Edit::default() };
        Message::new(edit.apply(&result.close()))
    }
}

/// The error in the modern era's codes. One of a missing resource names it.
pub(super) fn translated(error: Error, subject: &str, params: &Bytes) -> Error {
    let Some(peer) = error.peer().filter(|_| error.kind() == ErrorKind::Peer) else { return error };
    if peer.code != code::RESOURCE_NOT_FOUND {
        return error;
    }
    let mut translated = PeerError { code: code::INVALID_PARAMS, ..peer.clone() };
    if let Some(uri) = json::get(params, &["uri"]).filter(|_| subject == method::READ && peer.data.is_empty()) {
        let mut data = Object::new();
        data.set("uri", &uri);
        translated.data = data.close();
    }
    translated.into()
}

/// The refusal of a request that needs what its client did not declare.
pub(super) fn missing_capability(required: &Bytes) -> Error {
    let mut data = Object::new();
    data.set("requiredCapabilities", required);
    let text = "the server asks for what the client has not declared";
    PeerError::new(code::MISSING_CAPABILITY, text).with_data(data.close()).into()
}
