// SPDX-License-Identifier: Apache-2.0
//! A transport of one's own in one file: bytes through an in-process duplex pipe, registered in code, and then a connection
//! like any other. A plugin crate does the same with `biplane::register_transport!`; `plugins/uds` is the one to copy.
//!
//! `cargo run --example register_transport`

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use biplane::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use biplane::io::{BoxedBytes, ByteListener, ByteTransport, Door, Links, MuxTransport};
use biplane::registry::{BuildContext, TransportRegistration};
use biplane::{Biplane, Error, Inbound, Request, Result, Subject, Target, Transport, TransportId};
use tokio::sync::mpsc;

const PIPE: TransportRegistration =
    TransportRegistration::connection("pipe", build).schemes(&["pipe"]).capabilities(CLAIMS);

const CLAIMS: TransportCapabilities = TransportCapabilities {
    exchange: Exchange::Duplex,
    sharing: Sharing::Any,
    rendezvous: Rendezvous::INLINE,
    persistent_connections: true,
    server_push: true,
    max_message_size: None,
};

fn build(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(MuxTransport::new(Links::new(Pipes::default(), context.config()), CLAIMS)))
}

/// Listeners by name.
#[derive(Debug, Default)]
struct Pipes(Mutex<HashMap<String, mpsc::Sender<BoxedBytes>>>);

#[async_trait]
impl ByteTransport for Pipes {
    fn id(&self) -> TransportId {
        PIPE.id()
    }

    fn address(&self, target: &Target) -> Result<String> {
        let name = target.url().host_str().filter(|_| target.scheme() == "pipe");
        name.map(str::to_owned).ok_or_else(|| Error::unsupported(format!("pipe dials pipe://name only, not {target}")))
    }

    async fn dial(&self, address: &str) -> Result<BoxedBytes> {
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        let listener = listener.ok_or_else(|| Error::connect(format!("nobody listens on {address}")))?;
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let gone = |_| Error::connect(format!("{address} was closed"));
        listener.send(Box::new(theirs)).await.map_err(gone)?;
        Ok(Box::new(ours))
    }

    async fn bind(&self, door: Door<'_>) -> Result<Box<dyn ByteListener>> {
        let Door::At(address) = door else { return Err(Error::unsupported("pipe serves connections only")) };
        let (sender, receiver) = mpsc::channel(16);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address.to_owned(), sender);
        Ok(Box::new(PipeListener { address: address.to_owned(), receiver: tokio::sync::Mutex::new(receiver) }))
    }
}

struct PipeListener {
    address: String,
    receiver: tokio::sync::Mutex<mpsc::Receiver<BoxedBytes>>,
}

#[async_trait]
impl ByteListener for PipeListener {
    fn address(&self) -> String {
        self.address.clone()
    }

    async fn accept(&self) -> std::io::Result<(BoxedBytes, String)> {
        let pipe = self.receiver.lock().await.recv().await.ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok((pipe, "a caller in this process".to_owned()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let biplane = Biplane::builder().registry(|registry| registry.register(PIPE).map(|_| ())).build()?;

    let target = biplane.target("pipe://example")?;
    let listener = biplane.registry().get_transport(&PIPE.id())?.listen(&target).await?;
    tokio::spawn(async move {
        while let Ok(Some(connection)) = listener.accept().await {
            while let Ok(Some(inbound)) = connection.receive().await {
                if let Inbound::Request(request, reply) = inbound {
                    let _ = reply.send(request.message).await;
                    reply.close();
                }
            }
        }
    });

    let connection = biplane.connect("pipe://example").await?;
    let answer = connection.request(Request::new(Subject::from_static("echo"), "hello through a pipe")).await?;
    println!("{}", answer.text()?);
    connection.close(Duration::from_secs(1)).await
}
