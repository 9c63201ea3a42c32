// SPDX-License-Identifier: Apache-2.0
//! The variable table: every variable of the core, and every key that has no variable. One table feeds the environment's
//! layer, the checks of the file, the listing and `docs/configuration.md`. Plugins bring their rows in their registrations.

use crate::config::kind::{EnvKind, EnvVar};
use crate::plane::PlaneType;

/// The core's variables, in the order of the documents.
pub fn variables() -> &'static [EnvVar] {
    VARIABLES
}

/// The variable that names the file. It has no path: a file cannot say where it is.
pub(super) const CONFIG_FILE: &str = "BIPLANE_CONFIG";

const PORT: EnvKind = EnvKind::Port;
const TLS_VERSION: EnvKind = EnvKind::OneOf(&["1.3", "1.2"]);
const LINKS: EnvKind = EnvKind::Int { min: 1, max: 100_000 };
const IDLE_LINKS: EnvKind = EnvKind::Int { min: 0, max: 100_000 };

#[rustfmt::skip]
pub(super) const VARIABLES: &[EnvVar] = &[
    EnvVar::new("DYN_REQUEST_PLANE", "request_planes", EnvKind::Transports(PlaneType::Request), "tcp",
        "What a worker serves and publishes, all of it; a caller takes the first that an instance offers. A registration may elect itself as the default by a variable that is set: `nats` by `NATS_SERVER`."),
    EnvVar::new("DYN_RESPONSE_PLANE", "response_plane", EnvKind::Transport(PlaneType::Response), "tcp",
        "Where a caller wants its answers, whatever carries its requests. A responder obeys what it is asked, never its own environment."),
    EnvVar::new(CONFIG_FILE, "", EnvKind::Path, "",
        "The configuration file. `--config` wins over it."),
    EnvVar::new("MCP_TRANSPORT", "connection", EnvKind::Transport(PlaneType::Connection), "",
        "What a gateway listens with, and what `connect` prefers among the transports that serve a URL. Unset, the URL's scheme decides."),
    EnvVar::new("BIPLANE_FALLBACK", "fallback", EnvKind::Carriers, "",
        "Tried in this order after a failed connect, or after a request that is safe to repeat."),
    EnvVar::new("BIPLANE_ADVERTISE_HOST", "advertise_host", EnvKind::Host, "",
        "What is published in place of the bind address. Unset: loopback with `file` and `mem` discovery, else the default route's address."),
    EnvVar::new("RUST_LOG", "log", EnvKind::LogFilter, "info",
        "What is logged. No payloads, and nothing at `info` for each request."),

    EnvVar::new("BIPLANE_CONNECT_TIMEOUT", "limits.connect_timeout", EnvKind::Duration, "5s",
        "To dial, with handshake."),
    EnvVar::new("BIPLANE_READ_TIMEOUT", "limits.read_timeout", EnvKind::Duration, "",
        "Between two items of an answer. Unset, because liveness is the heartbeat's and a slow first item is no error."),
    EnvVar::new("BIPLANE_WRITE_TIMEOUT", "limits.write_timeout", EnvKind::Duration, "10s",
        "For a write to make progress."),
    EnvVar::new("BIPLANE_CALL_HOME_TIMEOUT", "limits.call_home_timeout", EnvKind::Duration, "10s",
        "From the acknowledgement to the answer's stream; an answer that nobody claims for this long is cancelled."),
    EnvVar::new("BIPLANE_MAX_MESSAGE_SIZE", "limits.max_message_size", EnvKind::Size, "16MiB",
        "The largest message, and the largest item of an answer."),

    EnvVar::new("DYN_DISCOVERY_BACKEND", "discovery.backend", EnvKind::Transport(PlaneType::Discovery), "file",
        "Where instances are published and found. `file` works between the processes of one host."),
    EnvVar::new("DYN_FILE_KV", "discovery.file_kv", EnvKind::Path, "<tmp>/biplane-<uid>",
        "The root of the file store, made with mode 0700. Records stand under `biplane/instances/`."),

    EnvVar::new("DYN_SYSTEM_HOST", "system.host", EnvKind::Host, "127.0.0.1",
        "Where `/health`, `/live`, `/metrics` and the status page are served."),
    EnvVar::new("DYN_SYSTEM_PORT", "system.port", PORT, "",
        "Their port. Unset, they are off."),

    EnvVar::new("DYN_TCP_REQUEST_HOST", "transport.tcp.request.host", EnvKind::Host, "0.0.0.0",
        "Where the TCP request server listens."),
    EnvVar::new("DYN_TCP_REQUEST_PORT", "transport.tcp.request.port", PORT, "9001",
        "Its port; 0 lets the system choose."),
    EnvVar::new("DYN_TCP_REQUEST_MAX_CONNECTIONS", "transport.tcp.max_connections", EnvKind::Int { min: 1, max: 1_000_000 }, "1000",
        "Links that the TCP request server holds; one more is refused with a reason, never left hanging."),
    EnvVar::new("DYN_TCP_REQUEST_HEARTBEAT_INTERVAL_SECS", "transport.tcp.heartbeat_interval", EnvKind::Seconds, "30",
        "A link that is silent for this long is pinged."),
    EnvVar::new("DYN_TCP_REQUEST_CONNECTION_TIMEOUT_SECS", "transport.tcp.connection_timeout", EnvKind::Seconds, "60",
        "A peer that is silent for this long is dead. Longer than the heartbeat."),
    EnvVar::new("DYN_TCP_RESPONSE_STREAM_HOST", "transport.tcp.response.host", EnvKind::Host, "0.0.0.0",
        "Where a caller listens for TCP answers, bound on first need."),
    EnvVar::new("DYN_TCP_RESPONSE_STREAM_PORT", "transport.tcp.response.port", PORT, "0",
        "Its port; 0 lets the system choose."),
    EnvVar::new("DYN_TCP_POOL_ENABLED", "transport.tcp.pool.enabled", EnvKind::Bool, "true",
        "Whether TCP links are kept and shared; off, each answer dials a link of its own."),
    EnvVar::new("DYN_TCP_POOL_MAX_PER_TARGET", "transport.tcp.pool.max_per_target", LINKS, "50",
        "Links to one target; a hard limit. Beyond it a lease waits to its deadline."),
    EnvVar::new("DYN_TCP_POOL_MIN_IDLE", "transport.tcp.pool.min_idle", IDLE_LINKS, "1",
        "Links kept warm once a target has been used. At most `DYN_TCP_POOL_MAX_PER_TARGET`."),
    EnvVar::new("DYN_TCP_POOL_IDLE_TIMEOUT_SECS", "transport.tcp.pool.idle_timeout", EnvKind::Seconds, "300",
        "An idle link beyond those kept warm is closed after this."),
    EnvVar::new("DYN_TCP_POOL_MAX_LIFETIME_SECS", "transport.tcp.pool.max_lifetime", EnvKind::Seconds, "3600",
        "A link is replaced after this, less a jitter of up to a tenth."),
    EnvVar::new("DYN_TCP_POOL_KEEPALIVE_SECS", "transport.tcp.pool.keepalive", EnvKind::Seconds, "60",
        "An idle link is pinged this often."),
    EnvVar::new("DYN_TCP_TLS_CERT_PATH", "transport.tcp.tls.cert", EnvKind::Path, "",
        "The certificate of our TCP listeners: PEM, with the chain below the root. As soon as one file of `DYN_TCP_TLS_*` is named, every TCP link is TLS, both ways."),
    EnvVar::new("DYN_TCP_TLS_KEY_PATH", "transport.tcp.tls.key", EnvKind::Path, "",
        "Its private key: PEM, not encrypted."),
    EnvVar::new("DYN_TCP_TLS_CA_CERT_PATH", "transport.tcp.tls.ca", EnvKind::Path, "",
        "Whom our TCP dialers believe: PEM, one or more authorities. Unset: `tls.ca`, else the system's."),
    EnvVar::new("DYN_TCP_TLS_SERVER_NAME", "transport.tcp.tls.server_name", EnvKind::Host, "",
        "The name that a listener's certificate must have, in place of the host that is dialled."),
    EnvVar::new("DYN_TCP_TLS_CLIENT_CERT_PATH", "transport.tcp.tls.client_cert", EnvKind::Path, "",
        "Our TCP dialers' own certificate, for listeners that want one."),
    EnvVar::new("DYN_TCP_TLS_CLIENT_KEY_PATH", "transport.tcp.tls.client_key", EnvKind::Path, "",
        "Its private key: PEM, not encrypted."),
    EnvVar::new("DYN_TCP_TLS_CLIENT_CA_CERT_PATH", "transport.tcp.tls.client_ca", EnvKind::Path, "",
        "Whom our TCP listeners believe: with it, a dialer without a certificate of these authorities is refused."),

    EnvVar::new("DYN_HTTP_RPC_HOST", "transport.http.request.host", EnvKind::Host, "0.0.0.0",
        "Where the HTTP request server listens."),
    EnvVar::new("DYN_HTTP_RPC_PORT", "transport.http.request.port", PORT, "8081",
        "Its port; 0 lets the system choose."),
    EnvVar::new("DYN_HTTP_RPC_ROOT_PATH", "transport.http.request_root", EnvKind::UrlPath, "/v1/rpc",
        "The path under which subjects are served."),
    EnvVar::new("DYN_HTTP_REQUEST_TIMEOUT", "transport.http.request_timeout", EnvKind::Seconds, "5",
        "To the request's acknowledgement, or to the head of an inline answer."),
    EnvVar::new("DYN_HTTP_RESPONSE_HOST", "transport.http.response.host", EnvKind::Host, "0.0.0.0",
        "Where the HTTP response server listens, on the responder: the caller fetches. Bound on first need."),
    EnvVar::new("DYN_HTTP_RESPONSE_PORT", "transport.http.response.port", PORT, "8082",
        "Its port; 0 lets the system choose."),
    EnvVar::new("DYN_HTTP_RESPONSE_ROOT_PATH", "transport.http.response_root", EnvKind::UrlPath, "/v1/rpc/response",
        "The path under which answers wait."),
    EnvVar::new("DYN_HTTP_RESPONSE_STREAM_FORMAT", "transport.http.response_format", EnvKind::OneOf(&["sse", "ndjson", "binary"]), "sse",
        "What the caller asks for in `Accept`; a server honours `Accept` whatever its own setting."),
    EnvVar::new("DYN_HTTP_RESPONSE_TIMEOUT_SECS", "transport.http.response_timeout", EnvKind::Seconds, "3600",
        "For the whole stream of an answer."),
    EnvVar::new("BIPLANE_HTTP_VERSION", "transport.http.version", EnvKind::OneOf(&["2", "1.1"]), "2",
        "What our caller speaks on the HTTP planes; servers speak both."),
];

/// Keys that only the file and code set.
pub(super) const FILE_KEYS: &[EnvVar] = &[
    key("strict", EnvKind::Bool, "false", "A caller uses nothing but `request_planes`."),
    key(
        "balance",
        EnvKind::OneOf(&["round-robin", "random", "least-loaded"]),
        "least-loaded",
        "How a caller chooses among the instances of a service, by weight.",
    ),
    key("limits.request_timeout", EnvKind::Duration, "1h", "The deadline of a request that brings none."),
    key(
        "limits.max_in_flight",
        EnvKind::Int { min: 1, max: 10_000_000 },
        "16384",
        "Handlers at once, for each endpoint; one more request is refused as overload.",
    ),
    key(
        "tls.ca",
        EnvKind::Path,
        "",
        "Whom `https:` and `wss:` dialers believe: PEM, one or more authorities. Unset: the system's.",
    ),
    key(
        "tls.cert",
        EnvKind::Path,
        "",
        "The certificate of `https:` and `wss:` listeners: PEM, with the chain below the root.",
    ),
    key("tls.key", EnvKind::Path, "", "Its private key: PEM, not encrypted."),
    key("tls.client_ca", EnvKind::Path, "", "With it, a client without a certificate of these authorities is refused."),
    key("tls.client_cert", EnvKind::Path, "", "Our dialers' own certificate, for servers that want one."),
    key("tls.client_key", EnvKind::Path, "", "Its private key: PEM, not encrypted."),
    key(
        "tls.server_name",
        EnvKind::Host,
        "",
        "The name that a server's certificate must have, in place of the URL's host.",
    ),
    key("tls.min_version", TLS_VERSION, "1.3", "The oldest version of TLS that is spoken, by dialers and listeners."),
    key(
        "transport.tcp.tls.enabled",
        EnvKind::Bool,
        "",
        "TLS on every TCP link, or on none. Unset: on as soon as a file of `DYN_TCP_TLS_*` is named; what is not named there is taken from `[tls]`.",
    ),
    key("transport.tcp.tls.min_version", TLS_VERSION, "", "As `tls.min_version`, for TCP links."),
    key("discovery.lease", EnvKind::Duration, "10s", "A record that was not renewed for this long is dead."),
    key(
        "transport.http.allow_link_local",
        EnvKind::Bool,
        "false",
        "Whether URLs may lead to link-local addresses, where clouds keep their metadata services.",
    ),
    key("transport.http.pool.enabled", EnvKind::Bool, "true", "Whether HTTP links are kept and shared."),
    key("transport.http.pool.max_per_target", LINKS, "100", "Links to one origin; a hard limit."),
    key("transport.http.pool.min_idle", IDLE_LINKS, "0", "Links kept warm once an origin has been used."),
    key("transport.http.pool.idle_timeout", EnvKind::Duration, "90s", "An idle link is closed after this."),
    key(
        "transport.http.pool.max_lifetime",
        EnvKind::Duration,
        "1h",
        "A link is replaced after this, less a jitter of up to a tenth.",
    ),
    key("transport.http.pool.keepalive", EnvKind::Duration, "30s", "An idle link is pinged this often."),
];

const fn key(path: &'static str, kind: EnvKind, default: &'static str, doc: &'static str) -> EnvVar {
    EnvVar::new("", path, kind, default, doc)
}
