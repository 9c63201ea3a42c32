// SPDX-License-Identifier: Apache-2.0
//! Accepting connections of lines, and saying no with a reason when there are too many.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ID;
use crate::config::Config;
use crate::connection::{Connection, Listener};
use crate::error::{Detail, Error, PeerError, Result, Retry};
use crate::io::messages::Settings;
#[cfg(unix)]
use crate::io::socket_file::SocketFile;
use crate::io::tune::tune;
use crate::proto::jsonrpc::{Id, Packet};
use crate::target::{TransportAddress, TransportId};

/// For the refusal of a connection too many to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// A bound socket.
pub(super) enum Bound {
    Tcp {
        listener: TcpListener,
        address: String,
        config: Arc<Config>,
    },
    #[cfg(unix)]
    Unix(SocketFile),
}

/// See the module. Connections that it accepted live on when it is dropped.
pub(super) struct Listening {
    bound: Bound,
    places: Arc<Semaphore>,
    max_connections: usize,
    settings: Settings,
}

impl Listening {
    pub(super) fn new(bound: Bound, max_connections: usize, max_message: usize) -> Self {
        let (places, settings) = (Arc::new(Semaphore::new(max_connections)), Settings::listener(max_message));
        Self { bound, places, max_connections, settings }
    }

    async fn next(&self) -> io::Result<Option<Arc<dyn Connection>>> {
        match &self.bound {
            Bound::Tcp { listener, config, .. } => {
                let (stream, peer) = listener.accept().await?;
                // A socket that is gone already fails at its first read, which is where it is reported.
                let _ = tune(&stream, config);
                Ok(self.admit(stream.into_split(), peer.to_string()))
            }
            #[cfg(unix)]
            Bound::Unix(socket) => {
                let (stream, peer): (UnixStream, String) = socket.accept().await?;
                Ok(self.admit(stream.into_split(), peer))
            }
        }
    }

    /// `None` if there are too many already.
    fn admit<R, W>(&self, (reader, writer): (R, W), peer: String) -> Option<Arc<dyn Connection>>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => Some(super::connection((Placed { reader, _place: place }, writer), peer, self.settings)),
            Err(_) => {
                tokio::spawn(turn_away(writer, self.max_connections));
                None
            }
        }
    }
}

#[async_trait]
impl Listener for Listening {
    fn local_address(&self) -> TransportAddress {
        let address = match &self.bound {
            Bound::Tcp { address, .. } => address.clone(),
            #[cfg(unix)]
            Bound::Unix(socket) => format!("unix://{}", socket.path().display()),
        };
        TransportAddress::new(TransportId::from_static(ID), address)
    }

    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        let mut pause = Duration::from_millis(5);
        loop {
            match self.next().await {
                Ok(Some(connection)) => return Ok(Some(connection)),
                Ok(None) => {}
                Err(error) => {
                    // Out of descriptors, mostly. Waiting is what helps; spinning is what hurts.
                    tracing::warn!(target: "biplane::lines", "accept failed, trying again in {pause:?}: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }
}

/// As an answer to whatever is asked first, so that the dialer's error tells what to do.
async fn turn_away(mut writer: impl AsyncWrite + Unpin, limit: usize) {
    let error = Error::overloaded(format!("this listener serves {limit} connections already"))
        .with_detail(Detail::ConnectionLimit { limit: limit as u64 })
        .with_retry(Retry::Safe)
        .with_hint("raise transport.lines.max_connections, or add an instance");
    let refusal = Packet::Response { id: Id::NULL, outcome: Err(PeerError::from(error)) }.to_bytes();
    let farewell = async {
        writer.write_all(&refusal).await?;
        writer.write_all(b"\n").await?;
        writer.shutdown().await
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// A reader that has one of the places of its listener.
struct Placed<R> {
    reader: R,
    _place: OwnedSemaphorePermit,
}

impl<R: AsyncRead + Unpin> AsyncRead for Placed<R> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.reader).poll_read(cx, into)
    }
}
