// SPDX-License-Identifier: Apache-2.0
//! What TLS and listeners of HTTP need, for the rows that have them.

use std::sync::Arc;

use biplane::conformance::RegisteredHarness;
use biplane::io::admission::{Admission, Gate};
use biplane::registry::BuildContext;

use crate::certs::Certs;

/// Certificates of both ends, which prove themselves to each other.
pub(crate) struct Files(Certs);

impl Files {
    pub(crate) fn new() -> Self {
        let certs = Certs::new();
        certs.server();
        certs.client_with_certificate();
        Self(certs)
    }

    /// `harness` with TLS on its tcp links.
    pub(crate) fn tcp(&self, harness: RegisteredHarness) -> RegisteredHarness {
        self.set(harness, "transport.tcp.tls")
    }

    /// `harness` with TLS where its URL says so.
    pub(crate) fn common(&self, harness: RegisteredHarness) -> RegisteredHarness {
        self.set(harness, "tls")
    }

    fn set(&self, harness: RegisteredHarness, section: &str) -> RegisteredHarness {
        let files = [
            ("ca", "ca.pem"),
            ("cert", "server.pem"),
            ("key", "server.key"),
            ("client_ca", "ca.pem"),
            ("client_cert", "client.pem"),
            ("client_key", "client.key"),
        ];
        files.into_iter().fold(harness, |harness, (key, file)| {
            harness.setting(format!("{section}.{key}"), self.0.path(file).to_string_lossy())
        })
    }
}

/// The fault proxy has a port of its own, which is not the listener's.
pub(crate) fn admit_the_proxy(context: &BuildContext) {
    let admission = Admission::default().host("127.0.0.1").expect("an address is a host");
    context.provide(Arc::new(Gate::new(admission)));
}
