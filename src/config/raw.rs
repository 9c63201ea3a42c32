// SPDX-License-Identifier: Apache-2.0
//! The merged tree as it stands in files, and its parsing into [`Config`]. What one value may be was checked when its layer
//! was read; here are the rules between values.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use config::{ConfigError, Value};
use serde::Deserialize;

use crate::config::tls::{self, RawTls};
use crate::config::units::{deserialize_duration, deserialize_optional_duration, format_duration};
use crate::config::{
    Balance, Bind, Config, DiscoveryConfig, HttpConfig, HttpVersion, Limits, PoolConfig, Port, StreamFormat,
    SystemConfig, TcpConfig, is_unspecified,
};
use crate::target::TransportId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    request_planes: Vec<TransportId>,
    strict: bool,
    response_plane: TransportId,
    connection: Option<TransportId>,
    #[serde(default)]
    fallback: Vec<TransportId>,
    advertise_host: Option<String>,
    balance: Balance,
    log: String,
    limits: RawLimits,
    discovery: RawDiscovery,
    system: RawSystem,
    #[serde(default)]
    tls: RawTls,
    transport: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    #[serde(deserialize_with = "deserialize_duration")]
    connect_timeout: Duration,
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    read_timeout: Option<Duration>,
    #[serde(deserialize_with = "deserialize_duration")]
    write_timeout: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    call_home_timeout: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    request_timeout: Duration,
    max_message_size: usize,
    max_in_flight: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDiscovery {
    backend: TransportId,
    file_kv: PathBuf,
    #[serde(deserialize_with = "deserialize_duration")]
    lease: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSystem {
    host: String,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTcp {
    request: RawBind,
    max_connections: usize,
    #[serde(deserialize_with = "deserialize_duration")]
    heartbeat_interval: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    connection_timeout: Duration,
    response: RawBind,
    pool: RawPool,
    #[serde(default)]
    tls: RawTls,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    request: RawBind,
    request_root: String,
    #[serde(deserialize_with = "deserialize_duration")]
    request_timeout: Duration,
    response: RawBind,
    response_root: String,
    response_format: StreamFormat,
    #[serde(deserialize_with = "deserialize_duration")]
    response_timeout: Duration,
    version: HttpVersion,
    allow_link_local: bool,
    pool: RawPool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBind {
    host: String,
    port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPool {
    enabled: bool,
    max_per_target: usize,
    min_idle: usize,
    #[serde(deserialize_with = "deserialize_duration")]
    idle_timeout: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    max_lifetime: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    keepalive: Duration,
}

/// A rule between values that does not hold: the keys that it speaks of, the guilty one first, and what was expected of it.
pub(super) struct Conflict {
    pub(super) keys: [&'static str; 2],
    pub(super) expected: String,
}

/// Parses the merged tree. `is_default` says whether nobody set the key of a dotted path. An error means that the key table,
/// the defaults and the structures here disagree.
pub(super) fn parse(
    tree: config::Config,
    is_default: impl Fn(&str) -> bool,
) -> Result<(Config, Vec<Conflict>), ConfigError> {
    let mut raw: Raw = tree.try_deserialize()?;
    let mut section = |id: &str| raw.transport.remove(id).unwrap_or_default();
    let tcp: RawTcp = section("tcp").try_deserialize()?;
    let http: RawHttp = section("http").try_deserialize()?;
    let bind = |raw: RawBind, key: &str| {
        let port = if is_default(key) { Port::Default(raw.port) } else { Port::Set(raw.port) };
        Bind { host: raw.host, port }
    };

    let tls = raw.tls.into_common();

    let config = Config {
        request_planes: raw.request_planes,
        strict: raw.strict,
        response_plane: raw.response_plane,
        connection: raw.connection,
        fallback: raw.fallback,
        advertise_host: raw.advertise_host,
        limits: raw.limits.into(),
        discovery: DiscoveryConfig {
            backend: raw.discovery.backend,
            file_kv: raw.discovery.file_kv,
            lease: raw.discovery.lease,
        },
        balance: raw.balance,
        log: raw.log,
        system: SystemConfig { host: raw.system.host, port: raw.system.port },
        tcp: TcpConfig {
            request: bind(tcp.request, "transport.tcp.request.port"),
            max_connections: tcp.max_connections,
            heartbeat_interval: tcp.heartbeat_interval,
            connection_timeout: tcp.connection_timeout,
            response: bind(tcp.response, "transport.tcp.response.port"),
            pool: tcp.pool.into(),
            tls: tcp.tls.into_tcp(&tls),
        },
        http: HttpConfig {
            request: bind(http.request, "transport.http.request.port"),
            request_root: http.request_root,
            request_timeout: http.request_timeout,
            response: bind(http.response, "transport.http.response.port"),
            response_root: http.response_root,
            response_format: http.response_format,
            response_timeout: http.response_timeout,
            version: http.version,
            allow_link_local: http.allow_link_local,
            pool: http.pool.into(),
        },
        tls,
        plugins: raw.transport.into(),
    };
    let conflicts = conflicts(&config);
    Ok((config, conflicts))
}

fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let pools = [
        (&config.tcp.pool, ["transport.tcp.pool.min_idle", "transport.tcp.pool.max_per_target"]),
        (&config.http.pool, ["transport.http.pool.min_idle", "transport.http.pool.max_per_target"]),
    ];
    for (pool, keys) in pools {
        if pool.min_idle > pool.max_per_target {
            let expected = format!("at most the most links per target, which is {}", pool.max_per_target);
            conflicts.push(Conflict { keys, expected });
        }
    }
    let (heartbeat, silence) = (config.tcp.heartbeat_interval, config.tcp.connection_timeout);
    if heartbeat >= silence {
        conflicts.push(Conflict {
            keys: ["transport.tcp.connection_timeout", "transport.tcp.heartbeat_interval"],
            expected: format!("longer than the heartbeat, which comes every {}", format_duration(heartbeat)),
        });
    }
    for tls in [Some(&config.tls), config.tcp.tls.as_ref()].into_iter().flatten() {
        conflicts.extend(tls::halves(tls).into_iter().map(|(keys, expected)| Conflict { keys, expected }));
    }
    if config.advertise_host.as_deref().is_some_and(is_unspecified) {
        conflicts.push(Conflict {
            keys: ["advertise_host", "advertise_host"],
            expected: "an address that others can dial, not one that binds every address".to_owned(),
        });
    }
    conflicts
}

impl From<RawLimits> for Limits {
    fn from(raw: RawLimits) -> Self {
        Self {
            connect_timeout: raw.connect_timeout,
            read_timeout: raw.read_timeout,
            write_timeout: raw.write_timeout,
            call_home_timeout: raw.call_home_timeout,
            request_timeout: raw.request_timeout,
            max_message_size: raw.max_message_size,
            max_in_flight: raw.max_in_flight,
        }
    }
}

impl From<RawPool> for PoolConfig {
    fn from(raw: RawPool) -> Self {
        Self {
            enabled: raw.enabled,
            max_per_target: raw.max_per_target,
            min_idle: raw.min_idle,
            idle_timeout: raw.idle_timeout,
            max_lifetime: raw.max_lifetime,
            keepalive: raw.keepalive,
        }
    }
}
