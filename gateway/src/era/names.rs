// SPDX-License-Identifier: Apache-2.0
//! Words and numbers of the two eras.

/// The modern revisions that are spoken here, newest first.
pub(super) const MODERN_VERSIONS: &[&str] = &["2026-07-28"];
/// The legacy revisions that are spoken here, newest first.
pub(super) const LEGACY_VERSIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The version of [`MODERN_VERSIONS`] or [`LEGACY_VERSIONS`] that is preferred.
pub(super) fn newest(versions: &[&'static str]) -> &'static str {
    versions.first().copied().unwrap_or_default()
}

/// Methods, requests and notifications alike.
pub(super) mod method {
    pub(in crate::era) const CALL: &str = "tools/call";
    pub(in crate::era) const CANCELLED: &str = "notifications/cancelled";
    pub(in crate::era) const DISCOVER: &str = "server/discover";
    pub(in crate::era) const ELICIT: &str = "elicitation/create";
    pub(in crate::era) const ELICITED: &str = "notifications/elicitation/complete";
    pub(in crate::era) const GET_PROMPT: &str = "prompts/get";
    pub(in crate::era) const INITIALIZE: &str = "initialize";
    pub(in crate::era) const INITIALIZED: &str = "notifications/initialized";
    pub(in crate::era) const LISTEN: &str = "subscriptions/listen";
    pub(in crate::era) const LISTENING: &str = "notifications/subscriptions/acknowledged";
    pub(in crate::era) const LIST_PROMPTS: &str = "prompts/list";
    pub(in crate::era) const LIST_RESOURCES: &str = "resources/list";
    pub(in crate::era) const LIST_ROOTS: &str = "roots/list";
    pub(in crate::era) const LIST_TEMPLATES: &str = "resources/templates/list";
    pub(in crate::era) const LIST_TOOLS: &str = "tools/list";
    pub(in crate::era) const LOG: &str = "notifications/message";
    pub(in crate::era) const PING: &str = "ping";
    pub(in crate::era) const PROGRESS: &str = "notifications/progress";
    pub(in crate::era) const PROMPTS_CHANGED: &str = "notifications/prompts/list_changed";
    pub(in crate::era) const READ: &str = "resources/read";
    pub(in crate::era) const RESOURCES_CHANGED: &str = "notifications/resources/list_changed";
    pub(in crate::era) const RESOURCE_UPDATED: &str = "notifications/resources/updated";
    pub(in crate::era) const ROOTS_CHANGED: &str = "notifications/roots/list_changed";
    pub(in crate::era) const SAMPLE: &str = "sampling/createMessage";
    pub(in crate::era) const SET_LEVEL: &str = "logging/setLevel";
    pub(in crate::era) const SUBSCRIBE: &str = "resources/subscribe";
    pub(in crate::era) const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
    pub(in crate::era) const UNSUBSCRIBE: &str = "resources/unsubscribe";
}

/// Keys of `_meta`.
pub(super) mod key {
    pub(in crate::era) const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub(in crate::era) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// Ours: what an input request was called in the modern era, on its way through the legacy one.
    pub(in crate::era) const INPUT: &str = "biplane/inputKey";
    pub(in crate::era) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub(in crate::era) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    pub(in crate::era) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    pub(in crate::era) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// With which a modern request describes itself.
    pub(in crate::era) const OF_REQUEST: &[&str] = &[CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, VERSION];
}

/// Codes of errors.
pub(super) mod code {
    pub(in crate::era) const INTERNAL: i64 = -32603;
    pub(in crate::era) const INVALID_PARAMS: i64 = -32602;
    pub(in crate::era) const METHOD_NOT_FOUND: i64 = -32601;
    /// Modern: the headers do not say what the body says.
    pub(in crate::era) const HEADER_MISMATCH: i64 = -32020;
    /// Modern: the client has not declared a capability that the request needs.
    pub(in crate::era) const MISSING_CAPABILITY: i64 = -32021;
    /// Legacy: the modern era says `INVALID_PARAMS`.
    pub(in crate::era) const RESOURCE_NOT_FOUND: i64 = -32002;
    /// Modern: the server does not speak the request's revision.
    pub(in crate::era) const UNSUPPORTED_VERSION: i64 = -32022;
    /// Of 2025-11-25 only: the user must open a URL before the request can run.
    pub(in crate::era) const URL_ELICITATION_REQUIRED: i64 = -32042;
}

/// The two members with which a modern client answers an `input_required` result.
pub(super) const INPUT_RESPONSES: &str = "inputResponses";
/// See [`INPUT_RESPONSES`].
pub(super) const REQUEST_STATE: &str = "requestState";
