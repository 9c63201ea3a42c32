// SPDX-License-Identifier: Apache-2.0
//! The configuration that cases run with: the defaults on loopback, ports that the system chooses, limits that are cheap to
//! reach. No file and no environment of whoever runs the suite.

use crate::config::{Bind, Config, Port};
use crate::target::TransportId;

/// # Panics
/// If the embedded defaults are malformed, which is a bug that no case could run past.
pub(super) fn suite_config() -> Config {
    let loopback = || Bind { host: "127.0.0.1".to_owned(), port: Port::Set(0) };
    let mut config = Config::defaults().expect("the embedded defaults are well-formed");
    config.request_planes = vec![TransportId::MEM];
    config.response_plane = TransportId::MEM;
    config.discovery.backend = TransportId::MEM;
    config.limits.max_message_size = 256 << 10;
    config.tcp.request = loopback();
    config.tcp.response = loopback();
    config.tcp.pool.min_idle = 0;
    config.http.request = loopback();
    config.http.response = loopback();
    config.http.pool.min_idle = 0;
    config
}
