// SPDX-License-Identifier: Apache-2.0
//! A listener that echoes, and what dials it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use biplane::io::admission::{Admission, Gate};
use biplane::{Biplane, Connection, Inbound, Listener};

/// Turns a hang into a failure; no test measures time.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("hangs")
}

/// A runtime with these settings of the `[tls]` section, and this gate.
pub(crate) fn runtime(tls: &[(&str, PathBuf)], admission: Admission) -> Biplane {
    let mut builder = Biplane::builder().share(Arc::new(Gate::new(admission)));
    for (key, path) in tls {
        builder = builder.set(format!("tls.{key}"), path.to_str().unwrap());
    }
    builder.build().unwrap()
}

/// A runtime with nothing configured.
pub(crate) fn plain() -> Biplane {
    runtime(&[], Admission::default())
}

/// Listens at `ws://127.0.0.1:0<path>` and answers each request with its params; where it listens.
pub(crate) async fn echo(server: &Biplane, url: &str) -> String {
    let listener = server.listen(url).await.unwrap();
    let address = listener.local_address().address;
    tokio::spawn(serve(listener));
    address
}

async fn serve(listener: Box<dyn Listener>) {
    while let Ok(Some(connection)) = listener.accept().await {
        tokio::spawn(answer(connection));
    }
}

async fn answer(connection: Arc<dyn Connection>) {
    while let Ok(Some(inbound)) = connection.receive().await {
        match inbound {
            Inbound::Request(request, reply) => {
                let _ = reply.send(request.message.body).await;
                reply.close();
            }
            Inbound::Notification(method, message) => {
                let _ = connection.notify(&method, message).await;
            }
        }
    }
}
