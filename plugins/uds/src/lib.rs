// SPDX-License-Identifier: Apache-2.0
//! `uds`: connections, the request plane and the response plane over Unix domain sockets.
//!
//! This is the plugin to copy. A transport that can give bytes both ways needs three things, in the order of this file:
//! registrations (what it is called and what it claims), factories (which parts of the toolkit it uses), and a
//! [`ByteTransport`] (how to dial, how to listen). Framing, streams, credit, cancellation, heartbeats, pooling and
//! metrics come with [`biplane::io`]. `docs/plugins.md` tells the rest.
//!
//! A program that wants it says `use biplane_uds as _;` (the linker drops a crate that no code names), or hands
//! [`REGISTRATIONS`] to its builder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use biplane::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use biplane::config::{EnvKind, EnvVar};
use biplane::io::private::create_private_dir;
use biplane::io::socket_file::{SocketFile, check_path, is_stale};
use biplane::io::{BoxedBytes, ByteListener, ByteTransport, Door, Links};
use biplane::registry::{BuildContext, TransportRegistration};
use biplane::{Error, Result, Target, TransportId};
use tokio::net::UnixStream;

const ID: &str = "uds";

/// The plugin's own variables: the core reads, checks, documents and lists them, and keeps the values for [`Section`].
const ENV: &[EnvVar] = &[EnvVar::new(
    "BIPLANE_UDS_DIR",
    "transport.uds.dir",
    EnvKind::Path,
    "",
    "Directory of the sockets that this process makes; unset, `sockets` in `DYN_FILE_KV`.",
)];

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    dir: Option<PathBuf>,
}

/// Claim what is true and no more: the conformance suite tries every claim, and every thing that is not claimed.
const CLAIMS: TransportCapabilities = TransportCapabilities {
    exchange: Exchange::Duplex,
    sharing: Sharing::Any,
    rendezvous: Rendezvous::INLINE,
    persistent_connections: true,
    server_push: true,
    max_message_size: None,
};

const REQUEST_CLAIMS: TransportCapabilities = TransportCapabilities { server_push: false, ..CLAIMS };

const RESPONSE_CLAIMS: TransportCapabilities =
    TransportCapabilities { rendezvous: Rendezvous::CALL_HOME, ..REQUEST_CLAIMS };

/// For a builder that takes registrations by hand: `TransportRegistry::builder().register_all(REGISTRATIONS)`.
pub const REGISTRATIONS: &[TransportRegistration] = &[
    ours(TransportRegistration::connection(ID, |context| Ok(links(context)?.into_transport(CLAIMS))), CLAIMS),
    ours(TransportRegistration::request(ID, |context| Ok(links(context)?.into_request_plane(context))), REQUEST_CLAIMS),
    ours(
        TransportRegistration::response(ID, |context| Ok(links(context)?.into_response_plane(context))),
        RESPONSE_CLAIMS,
    ),
];

// For every program that links this crate.
biplane::register_transport!(REGISTRATIONS[0], REGISTRATIONS[1], REGISTRATIONS[2]);

const fn ours(registration: TransportRegistration, claims: TransportCapabilities) -> TransportRegistration {
    let origin = concat!(env!("CARGO_PKG_NAME"), "@", env!("CARGO_PKG_VERSION"));
    registration.schemes(&["unix"]).capabilities(claims).priority(20).env(ENV).origin(origin)
}

/// Called by every factory. No I/O here: what cannot be bound or dialled shows on first use.
fn links(context: &BuildContext) -> Result<Links> {
    let Section { dir } = context.section(ID)?;
    let root = dir.clone().unwrap_or_else(|| context.config().discovery.file_kv.clone());
    let dir = dir.unwrap_or_else(|| root.join("sockets"));
    Ok(Links::new(Uds { root, dir, instance: context.instance_id() }, context.config()))
}

#[derive(Debug)]
struct Uds {
    root: PathBuf,
    dir: PathBuf,
    instance: u64,
}

#[async_trait]
impl ByteTransport for Uds {
    fn id(&self) -> TransportId {
        TransportId::from_static(ID)
    }

    fn address(&self, target: &Target) -> Result<String> {
        if target.scheme() != "unix" {
            return Err(Error::unsupported(format!("{ID} dials unix:// only, not {target}")));
        }
        let path = target.url().to_file_path().ok().and_then(|path| path.into_os_string().into_string().ok());
        let none = || Error::config(format!("{target} names no socket")).with_hint("write unix:///absolute/path");
        fits(path.filter(|path| path.len() > 1).ok_or_else(none)?)
    }

    async fn dial(&self, address: &str) -> Result<BoxedBytes> {
        let hint = "check that somebody listens there, and that this user may write to the socket";
        let failed = |error| Error::connect("the connection failed").with_source(error).with_hint(hint);
        Ok(Box::new(UnixStream::connect(address).await.map_err(failed)?))
    }

    async fn bind(&self, door: Door<'_>) -> Result<Box<dyn ByteListener>> {
        let path = match door {
            Door::At(path) => path.to_owned(),
            Door::Requests => self.own_socket("requests").await?,
            Door::Responses => self.own_socket("responses").await?,
        };
        let hint = "check that nobody else listens there, that the directory exists and that this user may write to it";
        let failed = |error| Error::config(format!("cannot listen on {path}")).with_source(error).with_hint(hint);
        Ok(Box::new(Listening(SocketFile::listen(Path::new(&path), None).await.map_err(failed)?)))
    }
}

impl Uds {
    /// A path of this process's own: the instance id is random. `unix://` before it makes a URL.
    async fn own_socket(&self, door: &str) -> Result<String> {
        let directory = self.directory().map_err(|error| {
            Error::config("there is no directory for sockets").with_source(error).with_hint("set BIPLANE_UDS_DIR")
        })?;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten().take(1000) {
            // Left behind by a process that was killed. A young one may be somebody's who is about to listen.
            let made = entry.metadata().and_then(|file| file.modified());
            let is_old = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > Duration::from_secs(60)));
            if is_old && is_stale(&entry.path()).await {
                let _ = fs::remove_file(entry.path());
            }
        }
        fits(directory.join(format!("{:x}-{door}.sock", self.instance)).to_string_lossy().into_owned())
    }

    /// Whoever may write to it could put a socket in the place of ours.
    fn directory(&self) -> io::Result<PathBuf> {
        create_private_dir(&self.root)?;
        create_private_dir(&self.dir)?;
        std::path::absolute(&self.dir)
    }
}

/// A socket's path is published as that of a URL.
fn fits(path: String) -> Result<String> {
    check_path(path).map_err(|error| error.with_hint("BIPLANE_UDS_DIR sets the directory"))
}

struct Listening(SocketFile);

#[async_trait]
impl ByteListener for Listening {
    fn address(&self) -> String {
        self.0.path().to_string_lossy().into_owned()
    }

    async fn accept(&self) -> io::Result<(BoxedBytes, String)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Box::new(stream), peer))
    }
}
