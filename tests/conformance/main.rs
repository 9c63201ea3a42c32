// SPDX-License-Identifier: Apache-2.0
//! Every transport of this tree, and every pair of planes, against the suite. A transport is added by a line.

use std::process::ExitCode;

use biplane::PlaneType;
use biplane::capability::TransportCapabilities;
use biplane::conformance::{self, Harness, RegisteredHarness};
use biplane::registry::TransportRegistration;
use biplane::transport::{http, lines, mem, tcp, ws};
use biplane_nats::testing::NatsServer;

#[path = "../tls/certs.rs"]
mod certs;
mod secure;
#[cfg(unix)]
mod stdio;

fn main() -> ExitCode {
    #[cfg(unix)]
    if let Some(relayed) = stdio::relay() {
        return relayed;
    }
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
    let secure = secure::Files::new();
    harnesses.push(secure.tcp(RegisteredHarness::connection(tcp::CONNECTION)).named("tcp over TLS").over_tcp());
    harnesses.push(secure.tcp(RegisteredHarness::inline(tcp::REQUEST)).named("tcp+inline over TLS").over_tcp());
    harnesses.push(secure.tcp(RegisteredHarness::pair(http::HTTP_REQUEST, tcp::RESPONSE)).named("http+tcp over TLS"));
    let planes = harnesses.into_iter().map(|harness| Box::new(harness) as Box<dyn Harness>);
    conformance::run_all(planes.chain(over_json_rpc(&secure)))
}

/// Connections that carry JSON-RPC.
fn over_json_rpc(secure: &secure::Files) -> Vec<Box<dyn Harness>> {
    let ws =
        || RegisteredHarness::connection(ws::CONNECTION).json_rpc(None).prepared(secure::admit_the_proxy).over_tcp();
    let modern = || mcp(http::HTTP_CONNECTION).json_rpc(Some(MODERN)).claiming(UNASKED_NOTHING);
    let lines = || RegisteredHarness::connection(lines::CONNECTION).json_rpc(None);
    vec![
        Box::new(ws()),
        Box::new(secure.common(ws()).named("wss").listen("wss://127.0.0.1:0/mcp")),
        Box::new(lines().named("lines+tcp").over_tcp()),
        Box::new(modern().named("http+modern").over_tcp()),
        Box::new(secure.common(modern()).named("https+modern").listen("https://127.0.0.1:0/mcp")),
        Box::new(mcp(http::HTTP_CONNECTION).json_rpc(None).initialized().named("http+legacy").over_tcp()),
        Box::new(mcp(http::SSE_CONNECTION).json_rpc(None).initialized().named("sse").over_tcp()),
        #[cfg(unix)]
        Box::new(lines().named("lines+unix").listen_with(stdio::fresh_socket)),
        #[cfg(unix)]
        Box::new(stdio::StdioHarness::new()),
    ]
}

/// What a request of the modern era says of itself.
const MODERN: &str =
    r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A modern server says nothing but in answers.
const UNASKED_NOTHING: TransportCapabilities =
    TransportCapabilities { server_push: false, ..http::HTTP_CONNECTION.capabilities };

fn mcp(registration: TransportRegistration) -> RegisteredHarness {
    let harness = RegisteredHarness::connection(registration).listen("http://127.0.0.1:0/mcp");
    harness.prepared(secure::admit_the_proxy)
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
