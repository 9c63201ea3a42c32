// SPDX-License-Identifier: Apache-2.0
//! async-nats over a real nats-server, which the serving side starts and ends: request and reply on its one inbox, a
//! stream's items on an inbox of their own. Its program is a third process, whose time counts as the others' does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::Subject;
use biplane_cells::{Ask, Caller, Outcome, Peer, Serving};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::items::{counted, produce};
use crate::serving::{handles, task};

const UNARY: &str = "bench.unary";
const STREAM: &str = "bench.stream";

/// How long the server may take to say where it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Nats {
    program: PathBuf,
}

impl Nats {
    /// `None`, and a line that says so, where nats-server is not installed.
    pub(crate) fn installed() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian puts it where only an administrator's `PATH` leads.
        let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
        let program = places.map(|place| place.join("nats-server")).find(|program| program.is_file());
        if program.is_none() {
            eprintln!("no figures of async-nats: nats-server is not installed (apt-get install nats-server)");
        }
        Some(Self { program: program? })
    }
}

impl Peer for Nats {
    type Caller = Client;

    fn name(&self) -> String {
        "async-nats".into()
    }

    async fn serve(&self) -> Outcome<Serving> {
        let server = Server::start(&self.program).await?;
        let client = async_nats::connect(&server.address).await?;
        let unary = client.subscribe(UNARY).await?;
        let streams = client.subscribe(STREAM).await?;
        // Its PONG says that the server knows the subscriptions.
        client.flush().await?;
        // In this order they are dropped, too.
        let tasks = (task(echo(client.clone(), unary)), task(stream(client, streams)));
        Ok(Serving::new(server.address.clone(), (tasks, server)))
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Client>> {
        Ok(handles(Client { client: async_nats::connect(address).await? }, in_flight))
    }
}

async fn echo(client: async_nats::Client, mut requests: async_nats::Subscriber) -> Outcome {
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, request.payload).await?;
        }
    }
    Ok(())
}

async fn stream(client: async_nats::Client, mut requests: async_nats::Subscriber) -> Outcome {
    while let Some(request) = requests.next().await {
        if let (Some(reply), Ok(ask)) = (request.reply, Ask::decode(&request.payload)) {
            tokio::spawn(answer(client.clone(), reply, ask));
        }
    }
    Ok(())
}

async fn answer(client: async_nats::Client, inbox: Subject, ask: Ask) {
    let mut items = produce(ask);
    while let Some(item) = items.next().await {
        if client.publish(inbox.clone(), item).await.is_err() {
            return;
        }
    }
    // The end. Fails if the connection is gone, and then nobody waits.
    let _ = client.publish(inbox, Bytes::new()).await;
}

#[derive(Clone)]
pub(crate) struct Client {
    client: async_nats::Client,
}

impl Caller for Client {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        Ok(self.client.request(UNARY, body).await?.payload)
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let inbox = self.client.new_inbox();
        let mut items = self.client.subscribe(inbox.clone()).await?;
        self.client.publish_with_reply(STREAM, inbox, ask.encode()).await?;
        let mut count = 0;
        while let Some(item) = items.next().await {
            if item.payload.is_empty() {
                break;
            }
            count += counted(ask, &item.payload);
        }
        Ok(count)
    }
}

/// A nats-server on a free port, ended with the value.
struct Server {
    process: Child,
    address: String,
    /// Its log and its ports file.
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(program: &Path) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("server.log");
        let process = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        // Written once it listens, named after its process.
        let ports = folder.path().join(format!("nats-server_{}.ports", process.id()));
        let mut server = Self { process, address: String::new(), _folder: folder };
        let start = tokio::time::Instant::now();
        while start.elapsed() < START_LIMIT {
            if let Some(address) = fs::read_to_string(&ports).ok().as_deref().and_then(address) {
                server.address = address;
                return Ok(server);
            }
            if server.process.try_wait()?.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("nats-server did not start: {}", fs::read_to_string(log).unwrap_or_default()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first address in a ports file, `{"nats":["nats://127.0.0.1:4222"],…}`, if the file is whole.
fn address(ports: &str) -> Option<String> {
    let (address, rest) = ports.split_once("nats://")?.1.split_once('"')?;
    rest.trim_end().ends_with('}').then(|| address.to_owned())
}
