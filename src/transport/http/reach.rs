// SPDX-License-Identifier: Apache-2.0
//! Sockets to origins, and the addresses to which none is opened.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, lookup_host};

use crate::error::{Error, ErrorKind, Phase, Result};

/// A socket to `authority`, which is `host:port`, wherever that is.
pub(super) async fn anywhere(authority: &str) -> Result<TcpStream> {
    connected(authority, TcpStream::connect(authority).await)
}

/// A socket to an `authority` that somebody may have made up: what answers on link-local addresses are the metadata
/// services of clouds, which tell secrets to whoever asks. The addresses that the name stands for are looked at, and
/// these very addresses are dialled.
pub(super) async fn guarded(authority: &str, allow_link_local: bool) -> Result<TcpStream> {
    let found: Vec<SocketAddr> = match lookup_host(authority).await {
        Ok(found) => found.collect(),
        Err(error) => return connected(authority, Err(error)),
    };
    let allowed: Vec<SocketAddr> =
        found.iter().copied().filter(|address| allow_link_local || !is_forbidden(address.ip())).collect();
    if allowed.is_empty() && !found.is_empty() {
        return Err(Error::new(ErrorKind::Refused, format!("{authority} is a link-local or metadata address"))
            .with_hint("set transport.http.allow_link_local = true if this server is meant")
            .with_phase(Phase::Connect));
    }
    connected(authority, TcpStream::connect(&allowed[..]).await)
}

fn connected(authority: &str, outcome: std::io::Result<TcpStream>) -> Result<TcpStream> {
    let stream = outcome.map_err(|error| {
        Error::connect(format!("cannot connect to {authority}"))
            .with_hint("check that the service runs and that the address is reachable from here")
            .with_phase(Phase::Connect)
            .with_source(error)
    })?;
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    Ok(stream)
}

/// Metadata services that are on no link-local address.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address == METADATA_V4,
        IpAddr::V6(address) => match address.to_ipv4() {
            Some(mapped) => is_forbidden(IpAddr::V4(mapped)),
            None => address.is_unicast_link_local() || address == METADATA_V6,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_told_from_servers() {
        for bad in
            ["169.254.169.254", "169.254.0.1", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254"]
        {
            assert!(is_forbidden(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fd00::1", "2001:db8::1", "8.8.8.8"] {
            assert!(!is_forbidden(good.parse().unwrap()), "{good}");
        }
    }

    #[tokio::test]
    async fn it_is_refused_before_anything_is_sent() {
        let error = guarded("169.254.169.254:80", false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
}
