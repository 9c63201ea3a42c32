// SPDX-License-Identifier: Apache-2.0
//! What a gateway says about itself once it listens.

use std::fmt::Write;
use std::net::SocketAddr;

use biplane::{Biplane, TransportAddress};
use biplane_gateway::Running;

/// Listeners, what is behind them, and the next command to type.
pub(super) fn banner(biplane: &Biplane, running: &Running, metrics: Option<SocketAddr>) -> String {
    let mut text = String::from("gateway");
    let mut line = |name: &str, value: &str| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n  {name:<10} {value}");
    };
    let service = |listener: &&TransportAddress| listener.transport == *"rpc";
    let listeners = running.listeners();
    for listener in &listeners {
        match service(&listener) {
            true => line("serving", &format!("{} (instance {})", listener.address, biplane.instance_id())),
            false => line("listening", &shown(listener)),
        }
    }
    for upstream in running.upstreams() {
        line("upstream", &format!("{}: {}", upstream.name(), upstream.status()));
    }
    match metrics {
        Some(address) => line("metrics", &format!("http://{address}/metrics")),
        None => line("metrics", "off; DYN_SYSTEM_PORT=9090 turns them on, with /health and /live"),
    }
    if let Some(listener) = listeners.iter().find(|listener| listener.address.starts_with("http")) {
        let inspector = format!(
            "npx -y @modelcontextprotocol/inspector --cli {} --transport http --method tools/list",
            listener.address
        );
        line("try", &inspector);
    } else if let Some(listener) = listeners.iter().find(service) {
        line("try", &format!("biplane gateway --upstream rpc:{}", listener.address));
    }
    text
}

fn shown(listener: &TransportAddress) -> String {
    let address = &listener.address;
    // A URL says everything; other addresses want the name of who understands them.
    if address.contains("://") { address.clone() } else { format!("{} {address}", listener.transport) }
}
