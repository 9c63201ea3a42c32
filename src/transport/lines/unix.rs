// SPDX-License-Identifier: Apache-2.0
//! Lines over Unix sockets: dialling and binding.

use std::path::Path;

use tokio::net::UnixStream;

use super::listening::Bound;
use crate::error::{Error, Result, Retry};
use crate::io::socket_file::{SocketFile, check_path};
use crate::target::Target;

/// Whoever may connect may use what is behind the socket: its user alone.
const MODE: u32 = 0o600;

pub(super) async fn dial(target: &Target) -> Result<(UnixStream, String)> {
    let path = path(target)?;
    let stream = UnixStream::connect(&path).await.map_err(|error| {
        Error::connect("the connection failed")
            .with_source(error)
            .with_retry(Retry::Safe)
            .with_hint("check that somebody listens there, and that this user may write to the socket")
    })?;
    Ok((stream, path))
}

pub(super) async fn bind(target: &Target) -> Result<Bound> {
    let path = path(target)?;
    let listening = SocketFile::listen(Path::new(&path), Some(MODE)).await;
    listening.map(Bound::Unix).map_err(|error| {
        Error::config(format!("cannot listen on {path}")).with_source(error).with_hint(
            "check that nobody else listens there, that the directory exists and that this user may write to it",
        )
    })
}

fn path(target: &Target) -> Result<String> {
    let path = target.url().to_file_path().ok().and_then(|path| path.into_os_string().into_string().ok());
    let none = || Error::config(format!("{target} names no socket")).with_hint("write lines+unix:///absolute/path");
    check_path(path.filter(|path| path.len() > 1).ok_or_else(none)?)
}
