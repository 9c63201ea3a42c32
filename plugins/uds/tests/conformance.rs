// SPDX-License-Identifier: Apache-2.0
//! The suite that every transport must pass: `biplane::conformance`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use biplane::Result;
use biplane::config::Config;
use biplane::conformance::{Claims, Harness, Parts, RegisteredHarness, run_all};
use biplane::io::private::create_private_dir;
use biplane_uds::REGISTRATIONS;

fn main() -> std::process::ExitCode {
    run_all(RegisteredHarness::every(REGISTRATIONS).map(FreshPaths))
}

/// Registrations are all that the suite needs, but for one thing: no path means "a socket that the system chooses", so
/// every case is given one of its own to listen on.
struct FreshPaths(RegisteredHarness);

#[async_trait]
impl Harness for FreshPaths {
    fn name(&self) -> String {
        self.0.name()
    }

    fn claims(&self) -> Claims {
        self.0.claims()
    }

    async fn start(&self, config: Arc<Config>) -> Result<Parts> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Where the plugin has its own sockets, which are gone when their listeners are.
        let directory = config.discovery.file_kv.join("sockets");
        create_private_dir(&directory).map_err(|error| biplane::Error::unexpected(error.to_string()))?;
        let socket =
            format!("{}/{}-{}.sock", directory.display(), std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut parts = self.0.start(config).await?;
        if let Parts::Connection { listen, .. } = &mut parts {
            *listen = format!("{}://{socket}", REGISTRATIONS[0].schemes[0]);
        }
        Ok(parts)
    }
}
