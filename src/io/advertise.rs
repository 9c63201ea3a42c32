// SPDX-License-Identifier: Apache-2.0
//! The host that a listener publishes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::config::{Config, is_unspecified};

/// The host under which others reach a listener that binds `bind_host`, ready to stand before `:port` (an IPv6 address is
/// in brackets). Never an unspecified address such as `0.0.0.0`.
///
/// In this order: what `BIPLANE_ADVERTISE_HOST` says; `bind_host` if it is one address; loopback where discovery is of
/// this host only (`file`, `mem`); the address that the default route leaves from, loopback without one. Asks the
/// routing table at most: sends no packet, resolves no name.
pub fn advertised_host(config: &Config, bind_host: &str) -> String {
    let local_only = ["file", "mem"].contains(&config.discovery.backend.as_str());
    choose(config.advertise_host.as_deref(), bind_host, local_only)
}

fn choose(configured: Option<&str>, bind_host: &str, local_only: bool) -> String {
    if let Some(host) = configured.or((!is_unspecified(bind_host)).then_some(bind_host)) {
        return bracketed(host);
    }
    let v6 = bind_host.contains(':');
    let route = if local_only { None } else { default_route_address(v6) };
    let loopback = if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    bracketed(&route.unwrap_or(loopback).to_string())
}

/// Connecting a UDP socket sends nothing: the kernel only chooses the route and with it the source address. The
/// destinations are documentation addresses (RFC 5737, RFC 3849), which only the default route can match.
fn default_route_address(v6: bool) -> Option<IpAddr> {
    let (any, far) = if v6 { ("[::]:0", "[2001:db8::1]:9") } else { ("0.0.0.0:0", "192.0.2.1:9") };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_never_published() {
        for (configured, bind, local_only, published) in [
            (None, "0.0.0.0", true, "127.0.0.1"),
            (None, "::", true, "[::1]"),
            (None, "[::]", true, "[::1]"),
            (None, "10.1.2.3", true, "10.1.2.3"),
            (None, "fe80::1", false, "[fe80::1]"),
            (Some("worker-7.example"), "0.0.0.0", true, "worker-7.example"),
            (Some("::5"), "127.0.0.1", false, "[::5]"),
        ] {
            assert_eq!(choose(configured, bind, local_only), published);
        }
        for bind in ["0.0.0.0", "::"] {
            assert!(!is_unspecified(&choose(None, bind, false)));
        }
    }
}
