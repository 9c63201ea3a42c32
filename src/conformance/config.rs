// SPDX-License-Identifier: Apache-2.0
//! The configuration that cases run with: loopback, ports that the system chooses, limits that are cheap to reach.

use crate::config::{Config, Inputs, load};
use crate::error::Result;
use crate::registry::TransportRegistration;

/// Neither a file nor the environment: what a case finds must not depend on whose machine it runs on.
const SETTINGS: &[(&str, &str)] = &[
    ("limits.max_message_size", "256KiB"),
    ("transport.tcp.request.host", "127.0.0.1"),
    ("transport.tcp.request.port", "0"),
    ("transport.tcp.response.host", "127.0.0.1"),
    ("transport.http.request.host", "127.0.0.1"),
    ("transport.http.request.port", "0"),
    ("transport.http.response.host", "127.0.0.1"),
    ("transport.http.response.port", "0"),
];

/// The defaults, the suite's settings, then `own`, as dotted paths and text.
pub(super) fn suite_config(registrations: &[TransportRegistration], own: Vec<(String, String)>) -> Result<Config> {
    let of_suite = SETTINGS.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned()));
    let overrides = of_suite.chain(own).collect();
    Ok(load(Inputs { overrides, ..Inputs::default() }, registrations)?.config)
}
