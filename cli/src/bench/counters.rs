// SPDX-License-Identifier: Apache-2.0
//! A runtime's counters of pooled links, read from its metrics: what an operator sees is what the bench reports.

use std::collections::BTreeMap;

use biplane::TransportId;
use serde::{Deserialize, Serialize};

/// Links of one or more pools since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Links {
    /// Dialled.
    pub(crate) created: u64,
    /// Leases on a link that was there.
    pub(crate) reused: u64,
}

/// The pools of a runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pools {
    /// `tcp_pool_*`: links on which TCP answers call home.
    tcp_answers: Links,
    /// `transport_pool_*` by transport.
    transports: BTreeMap<String, Links>,
}

const TCP: &str = "tcp_pool_connections_";
const TRANSPORT: &str = "transport_pool_connections_";

impl Pools {
    /// Reads the Prometheus text of [`biplane::telemetry::Telemetry::render`].
    pub(super) fn read(text: &str) -> Self {
        let mut pools = Self::default();
        for line in text.lines() {
            // The value comes last; a label's value may hold anything but a line's end.
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            if let Some(series) = series.strip_prefix(TCP) {
                pools.tcp_answers.count(series, value);
            } else if let Some(series) = series.strip_prefix(TRANSPORT)
                && let Some((_, labels)) = series.split_once("{transport=\"")
                && let Some((transport, _)) = labels.split_once('"')
            {
                pools.transports.entry(transport.to_owned()).or_default().count(series, value);
            }
        }
        pools
    }

    /// The pools of a responder. It dials for nothing but answers, so they are all of it.
    pub(super) fn of_responder(&self) -> Links {
        self.transports.values().fold(self.tcp_answers, |sum, links| Links {
            created: sum.created + links.created,
            reused: sum.reused + links.reused,
        })
    }

    /// The links that a caller dialled over `transport`.
    pub(super) fn of_caller(&self, transport: &TransportId) -> Links {
        self.transports.get(transport.as_str()).copied().unwrap_or_default()
    }
}

impl Links {
    fn count(&mut self, series: &str, value: u64) {
        if series.starts_with("created_total{") {
            self.created += value;
        } else if series.starts_with("reused_total{") {
            self.reused += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use biplane::telemetry::{PoolFamily, Telemetry};

    use super::*;

    #[test]
    fn what_a_runtime_renders_is_read() {
        let telemetry = Telemetry::default();
        for target in ["127.0.0.1:1", "odd \"}\\ 7"] {
            let tcp = telemetry.pool(PoolFamily::Tcp, &TransportId::TCP, target);
            tcp.created();
            (0..5).for_each(|_| tcp.reused());
        }
        let http = telemetry.pool(PoolFamily::Transport, &TransportId::HTTP, "h:1");
        http.created();
        http.reused();
        let pools = Pools::read(&telemetry.render());
        assert_eq!(pools.of_caller(&TransportId::HTTP), Links { created: 1, reused: 1 });
        assert_eq!(pools.of_caller(&TransportId::TCP), Links::default());
        assert_eq!(pools.of_responder(), Links { created: 3, reused: 11 });
    }
}
