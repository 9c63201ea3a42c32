// SPDX-License-Identifier: Apache-2.0
//! TLS: sessions, files, and the tcp planes over it.

mod certs;
mod files;
mod sessions;
mod tcp;
