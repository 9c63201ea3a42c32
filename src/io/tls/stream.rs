// SPDX-License-Identifier: Apache-2.0
//! An established session as a byte stream.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::fault::{Side, explained};
use crate::config::TlsSection;

/// A TLS session over `S`. Its errors of TLS are [`Error`](crate::Error)s within the [`io::Error`].
pub struct TlsStream<S = TcpStream> {
    session: tokio_rustls::TlsStream<S>,
    side: Side,
}

impl<S> TlsStream<S> {
    pub(super) fn new(session: tokio_rustls::TlsStream<S>, section: TlsSection) -> Self {
        let side = match &session {
            tokio_rustls::TlsStream::Client(_) => Side::Client(section),
            tokio_rustls::TlsStream::Server(_) => Side::Server(section),
        };
        Self { session, side }
    }

    /// The application protocol that both ends agreed on; `None` if one of them named none.
    pub fn negotiated_alpn(&self) -> Option<&[u8]> {
        self.session.get_ref().1.alpn_protocol()
    }

    /// The certificate that the peer proved to have, as DER. A server has one only of a client that it asked.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.session.get_ref().1.peer_certificates()?.first().map(|certificate| certificate.as_ref())
    }

    /// What the session runs on.
    pub fn get_ref(&self) -> &S {
        self.session.get_ref().0
    }

    fn explain<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        polled.map_err(|error| explained(error, self.side))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.session).poll_read(cx, buffer);
        self.explain(polled)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.session).poll_write(cx, bytes);
        self.explain(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.session).poll_write_vectored(cx, slices);
        self.explain(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.session.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.session).poll_flush(cx);
        self.explain(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.session).poll_shutdown(cx);
        self.explain(polled)
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alpn = self.negotiated_alpn().map(|protocol| protocol.escape_ascii().to_string());
        write!(f, "TlsStream({:?}, {alpn:?})", self.session.get_ref().1.protocol_version())
    }
}
