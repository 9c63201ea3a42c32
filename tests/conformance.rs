// SPDX-License-Identifier: Apache-2.0
//! Every transport of this tree, and every pair of planes, against the suite. A transport is added by a line.

use std::process::ExitCode;

use biplane::PlaneType;
use biplane::conformance::{self, RegisteredHarness};
use biplane::registry::TransportRegistration;
use biplane::transport::{http, mem, tcp};
use biplane_nats::testing::NatsServer;

fn main() -> ExitCode {
    // Without a nats-server its row is left out, which `NatsServer` says aloud; in CI that is a failure.
    let nats = NatsServer::start();
    let mut harnesses = vec![
        RegisteredHarness::connection(mem::CONNECTION).one_runtime(),
        RegisteredHarness::inline(mem::REQUEST).one_runtime(),
        RegisteredHarness::connection(tcp::CONNECTION).over_tcp(),
        RegisteredHarness::inline(tcp::REQUEST).over_tcp(),
        RegisteredHarness::inline(http::HTTP_REQUEST).over_tcp(),
        // The connections of uds stand in its own package: they need a path each.
        RegisteredHarness::inline(uds(PlaneType::Request)),
    ];
    for request in [mem::REQUEST, tcp::REQUEST, http::HTTP_REQUEST, uds(PlaneType::Request), biplane_nats::REQUEST] {
        for response in [mem::RESPONSE, tcp::RESPONSE, http::HTTP_RESPONSE, uds(PlaneType::Response)] {
            harnesses.extend(pair(request, response, nats.as_ref()));
        }
    }
    conformance::run_all(harnesses)
}

fn uds(plane: PlaneType) -> TransportRegistration {
    let registration = biplane_uds::REGISTRATIONS.iter().find(|registration| registration.plane() == plane);
    *registration.expect("uds registers for every plane")
}

fn pair(
    request: TransportRegistration,
    response: TransportRegistration,
    nats: Option<&NatsServer>,
) -> Option<RegisteredHarness> {
    let harness = RegisteredHarness::pair(request, response);
    let is = |id: &str| request.transport_id == id || response.transport_id == id;
    Some(match request.transport_id {
        "nats" => harness.setting("transport.nats.server", nats?.url()),
        "tcp" | "http" => harness.over_tcp(),
        _ => harness,
    })
    .map(|harness| if is("mem") { harness.one_runtime() } else { harness })
}
