// SPDX-License-Identifier: Apache-2.0
//! The configuration that cases run with: loopback, ports that the system chooses, limits that are cheap to reach.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{
    Balance, Bind, Config, DiscoveryConfig, HttpConfig, HttpVersion, Limits, PoolConfig, Port, StreamFormat,
    SystemConfig, TcpConfig,
};
use crate::target::TransportId;

/// A literal on purpose: the suite must not depend on files or on the environment of whoever runs it.
pub(super) fn suite_config() -> Config {
    let loopback = || Bind { host: "127.0.0.1".to_owned(), port: Port::Set(0) };
    let pool = PoolConfig {
        enabled: true,
        max_per_target: 50,
        min_idle: 0,
        idle_timeout: Duration::from_secs(300),
        max_lifetime: Duration::from_secs(3600),
        keepalive: Duration::from_secs(60),
    };
    Config {
        request_planes: vec![TransportId::MEM],
        strict: false,
        response_plane: TransportId::MEM,
        connection: None,
        fallback: Vec::new(),
        advertise_host: None,
        limits: Limits {
            connect_timeout: Duration::from_secs(5),
            read_timeout: None,
            write_timeout: Duration::from_secs(10),
            call_home_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(3600),
            max_message_size: 256 << 10,
            max_in_flight: 16_384,
        },
        discovery: DiscoveryConfig {
            backend: TransportId::MEM,
            file_kv: std::env::temp_dir(),
            lease: Duration::from_secs(10),
        },
        balance: Balance::default(),
        system: SystemConfig { host: "127.0.0.1".to_owned(), port: None },
        tcp: TcpConfig {
            request: loopback(),
            max_connections: 1000,
            heartbeat_interval: Duration::from_secs(30),
            connection_timeout: Duration::from_secs(60),
            response: loopback(),
            pool: pool.clone(),
        },
        http: HttpConfig {
            request: loopback(),
            request_root: "/v1/rpc".to_owned(),
            request_timeout: Duration::from_secs(5),
            response: loopback(),
            response_root: "/v1/rpc/response".to_owned(),
            response_format: StreamFormat::default(),
            response_timeout: Duration::from_secs(3600),
            version: HttpVersion::default(),
            pool,
        },
        plugins: BTreeMap::new(),
    }
}
