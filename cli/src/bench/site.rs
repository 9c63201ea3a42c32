// SPDX-License-Identifier: Apache-2.0
//! The private place of a run: a file store, sockets, a broker if one is needed. Nothing that runs elsewhere on the host is
//! seen or disturbed, and nothing stays.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::path::PathBuf;

use biplane::runtime::Builder;
use biplane::{Biplane, Error, Result, TransportId};

use super::broker::Broker;
use crate::context::Context;

/// Names to try for the directory.
const MAX_ATTEMPTS: u32 = 1000;

/// A request plane and a response plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    pub(crate) request: TransportId,
    pub(crate) response: TransportId,
}

impl Planes {
    /// Those that the configuration of `biplane` chooses.
    pub(crate) fn of(biplane: &Biplane) -> Result<Self> {
        let config = biplane.config();
        let request = config.request_planes.first().cloned();
        let request =
            request.ok_or_else(|| Error::config("no request plane is chosen").with_hint("set DYN_REQUEST_PLANE"))?;
        Ok(Self { request, response: config.response_plane.clone() })
    }
}

/// A temporary directory and the environment that leads into it. Drop ends the broker and removes the directory.
pub(crate) struct Site {
    directory: PathBuf,
    broker: Option<Broker>,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { directory: private_directory()?, broker: None })
    }

    /// Sees to it that `planes` can run: `nats` gets a server, if none is configured or runs where it usually does.
    pub(crate) async fn prepare(&mut self, planes: &Planes, biplane: &Biplane) -> Result<()> {
        if planes.request == TransportId::NATS && self.broker.is_none() && !Broker::is_provided(biplane).await {
            self.broker = Some(Broker::start(&self.directory).await?);
        }
        Ok(())
    }

    /// What both sides of a run read after the environment of this process. Empty means unset.
    pub(super) fn env(&self, planes: &Planes) -> Vec<(&'static str, OsString)> {
        let mut env: Vec<(&'static str, OsString)> = vec![
            ("DYN_REQUEST_PLANE", planes.request.as_str().into()),
            ("DYN_RESPONSE_PLANE", planes.response.as_str().into()),
            ("DYN_DISCOVERY_BACKEND", "file".into()),
            ("DYN_FILE_KV", self.store(planes).into()),
            ("DYN_SYSTEM_PORT", "".into()),
            ("BIPLANE_ADVERTISE_HOST", "".into()),
            ("BIPLANE_UDS_DIR", "".into()),
        ];
        for (host, port) in LISTENERS {
            env.extend([(host, "127.0.0.1".into()), (port, "0".into())]);
        }
        env.extend(quieter());
        if let Some(broker) = &self.broker {
            env.push(("NATS_SERVER", broker.url().into()));
        }
        env
    }

    /// A file store for each pair: pairs that are up at once must not find each other's workers.
    fn store(&self, planes: &Planes) -> PathBuf {
        self.directory.join(format!("{}-{}", planes.request, planes.response))
    }

    /// `builder` with the environment of this site.
    pub(super) fn builder(&self, builder: Builder, planes: &Planes) -> Builder {
        builder.env(self.env(planes))
    }
}

/// The runtime that the environment describes, with these planes if any are named. Nothing is bound or dialled.
pub(crate) fn probe(context: &Context, request: Option<&str>, response: Option<&str>) -> Result<Biplane> {
    let named = [("DYN_REQUEST_PLANE", request), ("DYN_RESPONSE_PLANE", response)];
    let named = named.into_iter().filter_map(|(variable, plane)| Some((variable, plane?)));
    context.build(context.builder().env(quieter()).env(named))
}

/// Unless somebody asked for a log: a table is no place for notes about ports.
fn quieter() -> Option<(&'static str, OsString)> {
    std::env::var_os("RUST_LOG").is_none().then(|| ("RUST_LOG", "warn".into()))
}

const LISTENERS: [(&str, &str); 4] = [
    ("DYN_TCP_REQUEST_HOST", "DYN_TCP_REQUEST_PORT"),
    ("DYN_TCP_RESPONSE_STREAM_HOST", "DYN_TCP_RESPONSE_STREAM_PORT"),
    ("DYN_HTTP_RPC_HOST", "DYN_HTTP_RPC_PORT"),
    ("DYN_HTTP_RESPONSE_HOST", "DYN_HTTP_RESPONSE_PORT"),
];

impl Drop for Site {
    fn drop(&mut self) {
        // First: the server still writes to the directory.
        drop(self.broker.take());
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(target: "biplane::bench", "{} stays behind: {error}", self.directory.display());
        }
    }
}

/// A new directory that only this user may enter.
fn private_directory() -> Result<PathBuf> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let parent = std::env::temp_dir();
    let mut attempt = 0;
    loop {
        let path = parent.join(format!("biplane-bench-{}-{attempt}", std::process::id()));
        match builder.create(&path) {
            Ok(()) => return Ok(path),
            // Left behind by a killed process that had this id. It is not ours, so it is not used.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < MAX_ATTEMPTS => attempt += 1,
            Err(error) => {
                return Err(Error::config(format!("cannot make {} for the run's files", path.display()))
                    .with_source(error)
                    .with_hint("set TMPDIR to a directory that this user may write to"));
            }
        }
    }
}
