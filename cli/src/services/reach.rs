// SPDX-License-Identifier: Apache-2.0
//! Whether somebody listens where an instance says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use biplane::discovery::Instance;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// For one connection: far above a round trip in a data centre.
const LIMIT: Duration = Duration::from_millis(300);

/// Connections that are tried at once.
const AT_ONCE: usize = 64;

/// Yes, no, or nothing that could be tried.
pub(super) type Reach = Option<bool>;

/// The outcomes by `host:port`.
pub(super) struct Reached(HashMap<String, bool>);

impl Reached {
    /// The outcome for a published address.
    pub(super) fn of(&self, address: &str) -> Reach {
        self.0.get(host_and_port(address)?).copied()
    }
}

/// Tries every address that names a host and a port, once, several at a time.
pub(super) async fn reach_all(instances: &[Instance]) -> Reached {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tries = JoinSet::new();
    let mut outcomes = HashMap::new();
    for endpoint in instances.iter().flat_map(Instance::request_endpoints) {
        let Some(place) = host_and_port(&endpoint.address.address).map(str::to_owned) else { continue };
        if outcomes.insert(place.clone(), false).is_some() {
            continue;
        }
        let turns = turns.clone();
        tries.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let connected = tokio::time::timeout(LIMIT, TcpStream::connect(&place)).await;
            (place, matches!(connected, Ok(Ok(_))))
        });
    }
    while let Some(tried) = tries.join_next().await {
        outcomes.extend(tried);
    }
    Reached(outcomes)
}

/// The `host:port` of a URL or of a plain address, with or without a path behind it.
fn host_and_port(address: &str) -> Option<&str> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let place = rest.split(['/', '?']).next()?;
    let (host, port) = place.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_in_every_form_of_address() {
        for (address, place) in [
            ("127.0.0.1:9001/words", Some("127.0.0.1:9001")),
            ("http://[::1]:8081/v1/rpc/words", Some("[::1]:8081")),
            ("biplane.rpc.words.7", None),
            ("/tmp/biplane/words.sock", None),
            ("unix:///tmp/a:1", None),
        ] {
            assert_eq!(host_and_port(address), place, "{address}");
        }
    }
}
