// SPDX-License-Identifier: Apache-2.0
//! What stands in place of `security` in a program that was built without TLS.

use tokio::net::TcpStream;

use crate::config::TlsConfig;
use crate::error::{Error, Result};
use crate::io::BoxedBytes;

/// A program without TLS: where TLS is asked for, there is no link at all.
#[derive(Debug)]
pub(super) struct Security {
    is_asked_for: bool,
}

impl Security {
    pub(super) fn new(config: Option<&TlsConfig>) -> Self {
        Self { is_asked_for: config.is_some() }
    }

    pub(super) async fn dialled(&self, stream: TcpStream, _address: &str) -> Result<BoxedBytes> {
        self.check()?;
        Ok(Box::new(stream))
    }

    pub(super) fn prepare_to_accept(&self) -> Result<bool> {
        self.check().map(|()| false)
    }

    pub(super) async fn accepted(&self, stream: BoxedBytes) -> Result<BoxedBytes> {
        Ok(stream)
    }

    fn check(&self) -> Result<()> {
        if !self.is_asked_for {
            return Ok(());
        }
        Err(Error::config("TLS is configured for tcp links, and this program was built without it")
            .with_hint("build it with the feature `tls`, or unset DYN_TCP_TLS_*"))
    }
}
