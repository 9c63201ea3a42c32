// SPDX-License-Identifier: Apache-2.0
//! `stdio` against the suite: every connection is a child process, this test binary again, that listens on its own standard
//! input and output and passes everything on to the suite's responder. So both ends of the transport are under test, and
//! the handlers are where the suite can see them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::config::Config;
use biplane::conformance::{Claims, Harness, Parts, RegisteredHarness};
use biplane::registry::TransportRegistration;
use biplane::transport::{lines, stdio};
use biplane::{
    Biplane, Connection, Error, Event, Inbound, Listener, Request, ResponseSender, Result, Target, Transport,
    TransportAddress,
};

const RELAY: &str = "--relay-stdio-to";

/// What a child of the suite does, if this process is one.
pub(crate) fn relay() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let to = arguments.next().filter(|first| first == RELAY).and_then(|_| arguments.next())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let biplane = Biplane::builder().set("limits.max_message_size", "256KiB").build()?;
        let listener = biplane.listen("stdio:").await?;
        let Some(near) = listener.accept().await? else { return Ok(()) };
        let far = biplane.connect(&to).await?;
        tokio::select! {
            _ = pass_on(near.clone(), far.clone()) => {}
            _ = pass_on(far.clone(), near.clone()) => {}
        }
        // Whichever side ended, so does the other.
        far.close(Duration::ZERO).await?;
        near.close(Duration::ZERO).await
    });
    Some(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    })
}

async fn pass_on(from: Arc<dyn Connection>, to: Arc<dyn Connection>) -> Result<()> {
    while let Some(inbound) = from.receive().await? {
        match inbound {
            Inbound::Notification(subject, message) => to.notify(&subject, message).await?,
            Inbound::Request(request, reply) => match to.open(request) {
                Ok(stream) => drop(tokio::spawn(answer(stream, reply))),
                Err(error) => reply.fail(&error),
            },
        }
    }
    Ok(())
}

async fn answer(mut stream: biplane::ResponseStream, reply: ResponseSender) -> Result<()> {
    loop {
        let event = tokio::select! {
            event = stream.next_event() => event,
            _ = reply.stopped() => return Ok(()),
        };
        match event {
            Some(Ok(Event::Item(item))) => reply.send(item).await?,
            Some(Ok(Event::Inbound(inbound))) => reply.send_inbound(inbound).await?,
            Some(Err(error)) => {
                reply.fail(&error);
                return Ok(());
            }
            None => {
                reply.close();
                return Ok(());
            }
        }
    }
}

/// A path of its own for every case that listens on a socket.
pub(crate) fn fresh_socket() -> String {
    let directory = std::env::temp_dir().join(format!("biplane-conformance-{}", std::process::id()));
    biplane::io::private::create_private_dir(&directory).expect("a directory for sockets");
    let number = Request::new(biplane::Subject::from_static("x"), "").context.id.as_parts().unwrap_or_default().1;
    format!("unix://{}/{number}.sock", directory.display())
}

pub(crate) struct StdioHarness(RegisteredHarness);

impl StdioHarness {
    pub(crate) fn new() -> Self {
        let settings = [("start_rate", "1000"), ("max_children", "100"), ("stop_grace", "500ms")];
        let harness = RegisteredHarness::connection(stdio::CONNECTION).json_rpc(None);
        Self(
            settings
                .iter()
                .fold(harness, |harness, (key, value)| harness.setting(format!("transport.stdio.{key}"), *value)),
        )
    }
}

#[async_trait]
impl Harness for StdioHarness {
    fn name(&self) -> String {
        self.0.name()
    }

    fn claims(&self) -> Claims {
        self.0.claims()
    }

    fn registrations(&self) -> Vec<TransportRegistration> {
        self.0.registrations()
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.0.settings()
    }

    async fn start(&self, config: Arc<Config>) -> Result<Parts> {
        let sockets = RegisteredHarness::connection(lines::CONNECTION).start(config.clone()).await?;
        match (self.0.start(config).await?, sockets) {
            (Parts::Connection { transport: dial, .. }, Parts::Connection { transport: listen, .. }) => {
                let program = std::env::current_exe().map_err(|error| Error::unexpected(error.to_string()))?;
                let transport = Arc::new(Relayed { dial, listen, program });
                Ok(Parts::Connection { transport, listen: fresh_socket() })
            }
            _ => Err(Error::unexpected("stdio and lines are connection transports")),
        }
    }
}

/// Listens on a socket, and dials it through a child.
struct Relayed {
    dial: Arc<dyn Transport>,
    listen: Arc<dyn Transport>,
    program: PathBuf,
}

#[async_trait]
impl Transport for Relayed {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        if target.scheme() != "unix" {
            return self.dial.connect(target).await;
        }
        let command = format!("stdio:'{}' {RELAY} 'lines+{target}'", self.program.display());
        self.dial.connect(&Target::parse(&command, |_| false)?).await
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        Ok(Box::new(Socket(self.listen.listen(target).await?)))
    }
}

struct Socket(Box<dyn Listener>);

#[async_trait]
impl Listener for Socket {
    fn local_address(&self) -> TransportAddress {
        self.0.local_address()
    }

    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        self.0.accept().await
    }
}
