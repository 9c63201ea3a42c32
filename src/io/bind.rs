// SPDX-License-Identifier: Apache-2.0
//! Listening sockets by the rule of the port: one that nobody asked for gives way, one that somebody asked for does not.

use std::io::{self, ErrorKind as Io};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::config::{Bind, Port};
use crate::error::{Error, Phase, Result};

/// Connections that the kernel holds until they are accepted. A burst beyond it is retried by the dialers' kernels.
const BACKLOG: u32 = 1024;

/// To resolve the name of a bind address, which is a local matter.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens on `bind`. A [`Port::Default`] that is taken gives way to one that the system chooses; a [`Port::Set`] that is
/// taken is an error. `variable` names the setting for the hint, such as `DYN_HTTP_RPC_PORT`. Who listens for other hosts
/// is told so in the log, with the setting that keeps it local.
///
/// Errors are of kind `Config` where the setting can be changed to mend it, else `Unexpected`. Cancel-safe.
pub async fn bind_tcp(bind: &Bind, variable: &'static str) -> Result<TcpListener> {
    let listener = bind_or_give_way(bind, variable).await?;
    if let Some(warning) = listener.local_addr().ok().and_then(|address| exposure(address, variable)) {
        tracing::warn!(target: "biplane::bind", "{warning}");
    }
    Ok(listener)
}

/// As [`bind_tcp`], for a listener with TLS, which needs no warning.
pub async fn bind_guarded(bind: &Bind, variable: &'static str) -> Result<TcpListener> {
    bind_or_give_way(bind, variable).await
}

async fn bind_or_give_way(bind: &Bind, variable: &'static str) -> Result<TcpListener> {
    let addresses = resolve(bind).await.map_err(|error| failed(bind, variable, error))?;
    let attempt = |port: u16| {
        let mut last = io::Error::new(Io::AddrNotAvailable, "the name has no address");
        for address in &addresses {
            match listen(SocketAddr::new(address.ip(), port)) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    match (bind.port, attempt(bind.port.number())) {
        (_, Ok(listener)) => Ok(listener),
        (Port::Default(port), Err(error)) if error.kind() == Io::AddrInUse => {
            let listener = attempt(0).map_err(|error| failed(bind, variable, error))?;
            let chosen = listener.local_addr().map(|address| address.port()).unwrap_or_default();
            tracing::info!(target: "biplane::bind", "the default port {port} is taken: listening on {chosen}; set {variable} to choose");
            Ok(listener)
        }
        (_, Err(error)) => Err(failed(bind, variable, error)),
    }
}

/// What the operator of a listener that other hosts can reach should know; `None` for one that they cannot.
fn exposure(address: SocketAddr, variable: &str) -> Option<String> {
    let ip = address.ip();
    if ip.is_loopback() {
        return None;
    }
    let place = if ip.is_unspecified() { format!("every interface ({address})") } else { address.to_string() };
    // The host stands beside the port in every pair of variables; a URL has no variable.
    let remedy = match variable.strip_suffix("_PORT") {
        Some(pair) => format!("set {pair}_HOST=127.0.0.1"),
        None => "listen on 127.0.0.1".to_owned(),
    };
    Some(format!("listening on {place} without TLS: whoever reaches it can use it; {remedy} to keep it on this host"))
}

async fn resolve(bind: &Bind) -> io::Result<Vec<SocketAddr>> {
    let host = bind.host.trim_matches(['[', ']']);
    match tokio::time::timeout(RESOLVE_TIMEOUT, lookup_host((host, bind.port.number()))).await {
        Ok(found) => Ok(found?.collect()),
        Err(_) => Err(io::Error::new(Io::TimedOut, "the name was not resolved in time")),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted process must not wait for its predecessor's links to leave TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn failed(bind: &Bind, variable: &'static str, error: io::Error) -> Error {
    let address = format!("{}:{}", bind.host, bind.port.number());
    let (what, hint) = match error.kind() {
        Io::AddrInUse => {
            ("the port is taken", format!("stop who listens there, or set {variable} to another port or to 0"))
        }
        Io::PermissionDenied => ("the system does not permit this port", format!("set {variable} to one above 1023")),
        Io::AddrNotAvailable => ("no interface has this address", "bind an address of this machine, or 0.0.0.0".into()),
        Io::TimedOut | Io::InvalidInput => {
            ("the host is no address", "bind an address of this machine, or 0.0.0.0".into())
        }
        _ => {
            return Error::unexpected(format!("cannot listen on {address}"))
                .with_phase(Phase::Listen)
                .with_source(error);
        }
    };
    Error::config(format!("cannot listen on {address}: {what}"))
        .with_hint(hint)
        .with_phase(Phase::Listen)
        .with_context("cause", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn bind(port: Port) -> Bind {
        Bind { host: "127.0.0.1".into(), port }
    }

    #[tokio::test]
    async fn a_taken_default_port_gives_way_and_a_set_one_does_not() {
        let first = bind_tcp(&bind(Port::Set(0)), "X_PORT").await.unwrap();
        let taken = first.local_addr().unwrap().port();
        let second = bind_tcp(&bind(Port::Default(taken)), "X_PORT").await.unwrap();
        assert_ne!(second.local_addr().unwrap().port(), taken);
        let error = bind_tcp(&bind(Port::Set(taken)), "X_PORT").await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Some(Phase::Listen)));
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.1:{taken}")) && text.contains("X_PORT"), "{text}");
    }

    #[test]
    fn only_what_others_can_reach_is_warned_about_and_the_setting_is_named() {
        let told = |address: &str, variable| exposure(address.parse().unwrap(), variable);
        let everywhere = told("0.0.0.0:9001", "DYN_TCP_REQUEST_PORT").unwrap();
        assert!(everywhere.contains("every interface (0.0.0.0:9001) without TLS"), "{everywhere}");
        assert!(everywhere.contains("set DYN_TCP_REQUEST_HOST=127.0.0.1"), "{everywhere}");
        assert!(told("[::]:1", "DYN_HTTP_RPC_PORT").unwrap().contains("DYN_HTTP_RPC_HOST="));
        assert!(told("192.0.2.1:9", "the URL's port").unwrap().contains("192.0.2.1:9 without TLS"));
        assert_eq!(told("127.0.0.2:9001", "DYN_TCP_REQUEST_PORT"), None);
        assert_eq!(told("[::1]:9001", "DYN_TCP_REQUEST_PORT"), None);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_a_typed_error() {
        let elsewhere = Bind { host: "192.0.2.1".into(), port: Port::Set(0) };
        assert_eq!(bind_tcp(&elsewhere, "X_PORT").await.unwrap_err().kind(), ErrorKind::Config);
    }
}
