// SPDX-License-Identifier: Apache-2.0
//! Every transport of this tree, and every pair of planes, against the suite. A transport is added by a line.

use biplane::conformance::{self, RegisteredHarness};
use biplane::transport::{http, mem, tcp};
use biplane_nats::testing::NatsServer;

fn main() {
    let mut harnesses: Vec<_> =
        RegisteredHarness::every(&mem::REGISTRATIONS).map(RegisteredHarness::one_runtime).collect();
    harnesses.extend(RegisteredHarness::every(&tcp::REGISTRATIONS).map(RegisteredHarness::over_tcp));
    harnesses.push(RegisteredHarness::inline(http::HTTP_REQUEST).over_tcp());
    harnesses.push(RegisteredHarness::pair(http::HTTP_REQUEST, http::HTTP_RESPONSE).over_tcp());
    harnesses.push(RegisteredHarness::pair(http::HTTP_REQUEST, tcp::RESPONSE).over_tcp());
    harnesses.push(RegisteredHarness::pair(tcp::REQUEST, http::HTTP_RESPONSE).over_tcp());
    // Without a nats-server its rows are left out, which `NatsServer` says aloud; in CI that is a failure.
    let nats = NatsServer::start();
    if let Some(nats) = &nats {
        for response in [tcp::RESPONSE, http::HTTP_RESPONSE] {
            let pair = RegisteredHarness::pair(biplane_nats::REQUEST, response);
            harnesses.push(pair.setting("transport.nats.server", nats.url()));
        }
    }
    conformance::run_all(harnesses);
}
