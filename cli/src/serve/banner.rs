// SPDX-License-Identifier: Apache-2.0
//! What `serve` says about itself once it serves.

use std::fmt::Write;
use std::net::SocketAddr;

use biplane::{Biplane, Serving, TransportId};

/// Names, places and the next command to type.
pub(super) fn banner(biplane: &Biplane, serving: &Serving, metrics: Option<SocketAddr>) -> String {
    let (instance, config) = (serving.instance(), biplane.config());
    let mut text = format!("serving {} (instance {}, weight {})", instance.name, instance.instance_id, instance.weight);
    let mut line = |name: &str, value: &str| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n  {name:<10} {value}");
    };
    for endpoint in instance.request_endpoints() {
        line(endpoint.address.transport.as_str(), &endpoint.address.address);
    }
    let answers: Vec<TransportId> = instance.response_transports();
    line("answers", &answers.iter().map(TransportId::as_str).collect::<Vec<_>>().join(", "));
    match config.discovery.backend.as_str() {
        "file" => line("discovery", &format!("file {}", config.discovery.file_kv.display())),
        backend => line("discovery", backend),
    }
    match metrics {
        Some(address) => line("metrics", &format!("http://{address}/metrics")),
        None => line("metrics", "off; DYN_SYSTEM_PORT=9090 turns them on, with /health and /live"),
    }
    line("try", &format!("biplane call {} 'to be or not'", instance.name));
    text
}
