// SPDX-License-Identifier: Apache-2.0
//! What a gateway shows on the page of its runtime's metrics.

use std::sync::{Arc, Weak};

use biplane::telemetry::names::Kind;
use biplane::telemetry::{Figure, Telemetry};

use crate::core::Core;

/// Shows the figures of `core` for as long as it lives.
pub(crate) fn show(telemetry: &Telemetry, core: &Arc<Core>) {
    let core: Weak<Core> = Arc::downgrade(core);
    telemetry.show(move || core.upgrade().map(|core| figures(&core)));
}

fn figures(core: &Core) -> Vec<Figure> {
    let gauge =
        |name, help, value: usize| Figure { name, kind: Kind::Gauge, help, labels: Vec::new(), value: value as f64 };
    let counter =
        |name, help, labels, value: u64| Figure { name, kind: Kind::Counter, help, labels, value: value as f64 };
    let [modern, legacy, errors] = core.counts();
    let era = |era: &str| vec![("era", era.to_owned())];
    let mut figures = vec![
        gauge("mcp_gateway_sessions", "Legacy sessions that are open.", core.sessions()),
        gauge("mcp_gateway_connections", "Connections of clients that are open.", core.connections()),
        gauge("mcp_gateway_requests_in_flight", "Requests that are being answered.", core.in_flight()),
        counter("mcp_gateway_requests_total", "Requests of clients, by the client's era.", era("modern"), modern),
        counter("mcp_gateway_requests_total", "Requests of clients, by the client's era.", era("legacy"), legacy),
        counter("mcp_gateway_errors_total", "Requests that ended with an error.", Vec::new(), errors),
    ];
    for behind in core.behind().iter() {
        let upstream = &behind.upstream;
        let (modern, legacy) = upstream.eras().unwrap_or_default();
        for (era, speaks) in [("modern", modern), ("legacy", legacy)] {
            figures.push(Figure {
                name: "mcp_upstream_up",
                kind: Kind::Gauge,
                help: "Whether the server has been reached and speaks this era.",
                labels: vec![("upstream", upstream.name().to_string()), ("era", era.to_owned())],
                value: f64::from(u8::from(speaks)),
            });
        }
        figures.push(Figure {
            name: "mcp_upstream_connections",
            kind: Kind::Gauge,
            help: "Connections to the server that are open; of a program, its processes.",
            labels: vec![("upstream", upstream.name().to_string())],
            value: upstream.connections() as f64,
        });
    }
    figures
}
