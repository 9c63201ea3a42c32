// SPDX-License-Identifier: Apache-2.0
//! Lines over TCP: dialling and binding.

use std::io;

use tokio::net::TcpStream;

use super::listening::Bound;
use crate::config::{Bind, Config, Port};
use crate::error::{Error, Result, Retry};
use crate::io::advertise::advertised_host;
use crate::io::bind::bind_tcp;
use crate::io::tune::tune;
use crate::target::Target;

pub(super) async fn dial(target: &Target, config: &Config) -> Result<(TcpStream, String)> {
    let address = target.authority()?;
    let stream = TcpStream::connect(&address).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused => "nobody listens there: check that it is up, and the port",
            _ => "check the host name and that the network lets it through",
        };
        Error::connect("the connection failed").with_source(error).with_hint(hint).with_retry(Retry::Safe)
    })?;
    tune(&stream, config)
        .map_err(|error| Error::connect("the socket was lost at once").with_source(error).with_retry(Retry::Safe))?;
    Ok((stream, address))
}

pub(super) async fn bind(target: &Target, config: &std::sync::Arc<Config>) -> Result<Bound> {
    let host = target.url().host_str().unwrap_or_default().to_owned();
    let port = target.url().port().ok_or_else(|| {
        Error::config(format!("{target} names no port"))
            .with_hint("write lines+tcp://host:port; port 0 lets the system choose")
    })?;
    let listener = bind_tcp(&Bind { host: host.clone(), port: Port::Set(port) }, "the URL's port").await?;
    let port = listener.local_addr().map(|address| address.port()).unwrap_or(port);
    let address = format!("tcp://{}:{port}", advertised_host(config, &host));
    Ok(Bound::Tcp { listener, address, config: config.clone() })
}
