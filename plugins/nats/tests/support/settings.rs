// SPDX-License-Identifier: Apache-2.0
//! A configuration in which only the section of the nats plane matters.

use std::collections::BTreeMap;
use std::time::Duration;

use biplane::TransportId;
use biplane::config::{
    Balance, Bind, Config, DiscoveryConfig, HttpConfig, HttpVersion, Limits, PoolConfig, Port, StreamFormat,
    SystemConfig, TcpConfig,
};

const SECOND: Duration = Duration::from_secs(1);

/// The section `[transport.nats]` with these keys and texts.
pub fn config(section: &[(&str, &str)]) -> Config {
    let section: ::config::Map<String, ::config::Value> =
        section.iter().map(|(key, text)| ((*key).to_owned(), ::config::Value::from(*text))).collect();
    Config {
        request_planes: vec![TransportId::NATS],
        strict: false,
        response_plane: TransportId::TCP,
        connection: None,
        fallback: Vec::new(),
        advertise_host: None,
        limits: Limits {
            connect_timeout: 5 * SECOND,
            read_timeout: None,
            write_timeout: 10 * SECOND,
            call_home_timeout: 10 * SECOND,
            request_timeout: 3600 * SECOND,
            max_message_size: 16 << 20,
            max_in_flight: 16_384,
        },
        discovery: DiscoveryConfig { backend: TransportId::MEM, file_kv: "unused".into(), lease: 10 * SECOND },
        balance: Balance::default(),
        system: SystemConfig { host: "127.0.0.1".into(), port: None },
        tcp: TcpConfig {
            request: bind(),
            max_connections: 1000,
            heartbeat_interval: 30 * SECOND,
            connection_timeout: 60 * SECOND,
            response: bind(),
            pool: pool(),
        },
        http: HttpConfig {
            request: bind(),
            request_root: "/v1/rpc".into(),
            request_timeout: 5 * SECOND,
            response: bind(),
            response_root: "/v1/rpc/response".into(),
            response_format: StreamFormat::default(),
            response_timeout: 3600 * SECOND,
            version: HttpVersion::default(),
            pool: pool(),
        },
        plugins: BTreeMap::from([("nats".to_owned(), ::config::Value::from(section))]),
    }
}

fn bind() -> Bind {
    Bind { host: "127.0.0.1".into(), port: Port::Set(0) }
}

fn pool() -> PoolConfig {
    PoolConfig {
        enabled: true,
        max_per_target: 50,
        min_idle: 1,
        idle_timeout: 300 * SECOND,
        max_lifetime: 3600 * SECOND,
        keepalive: 60 * SECOND,
    }
}
