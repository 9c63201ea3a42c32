// SPDX-License-Identifier: Apache-2.0
//! `biplane gateway`: any client of the Model Context Protocol to any server. And `biplane serve NAME --upstream URL`: the
//! same, for clients that come over the planes.

use std::sync::Arc;
use std::time::Duration;

use biplane::{Biplane, Result};
use biplane_gateway::config::{Inputs, load};
use biplane_gateway::reload::{Reload, Reloaded};
use biplane_gateway::{Doors, Gateway, Naming, Running};

use crate::context::Context;
use crate::exit::Exit;
use crate::interrupt::Interrupts;

mod banner;
mod place;

/// How long the banner waits for servers that are slow to start. They are told of as they are then.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

const HOLDS: &str = "configuration: what held before still holds";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane gateway --upstream 'stdio:npx -y @modelcontextprotocol/server-everything'
    biplane gateway --listen stdio: --upstream https://tools.example/mcp
    biplane gateway --listen ws://127.0.0.1:9000 --listen http://127.0.0.1:8080/mcp --upstream a=URL --upstream b=URL
    biplane gateway --upstream rpc:tools.calc
    biplane gateway --config config/gateway.toml

URLs are stdio:COMMAND, http(s)://, ws(s)://, sse+http(s)://, tcp://, unix:, lines+tcp://, lines+unix: and rpc:SERVICE, for
either side; stdio: alone is our own standard input and output.

SIGHUP reads the file again. SIGINT or SIGTERM takes nobody in any more and lets what runs finish (gateway.drain_grace, 30 s);
a second one ends it at once.")]
pub(crate) struct GatewayArgs {
    /// Clients come in here; may be repeated. Unset: what the file says, or MCP_TRANSPORT, or http://127.0.0.1:8080/mcp
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// A server to stand before; may be repeated
    #[arg(long, value_name = "[NAME=]URL")]
    upstream: Vec<String>,
    /// How tools and prompts of several servers are named: NAME_TOOL, or as they are
    #[arg(long, value_enum, value_name = "HOW")]
    naming: Option<Names>,
    /// Listen on addresses that other hosts reach, in clear text and without authentication
    #[arg(long)]
    allow_insecure_bind: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Names {
    /// NAME_TOOL
    Prefix,
    /// As they are
    Plain,
}

impl From<Names> for Naming {
    fn from(names: Names) -> Self {
        match names {
            Names::Prefix => Self::Prefixed,
            Names::Plain => Self::Plain,
        }
    }
}

/// Half the processors: a request passes through several tasks, and waking one on another processor costs more than what it
/// does there; the other half is for the programs that the gateway starts. TOKIO_WORKER_THREADS says otherwise.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1))
}

pub(crate) async fn run(args: GatewayArgs, context: &Context) -> Result<Exit> {
    let inputs = Inputs {
        listen: args.listen,
        default_listen: place::default_listen(std::env::var("MCP_TRANSPORT").ok().as_deref())?,
        upstreams: args.upstream,
        naming: args.naming.map(Naming::from),
        allow_insecure_bind: args.allow_insecure_bind.then_some(true),
        ..inputs(context)
    };
    serve(&inputs, context, |builder| builder).await
}

/// Hosts what is behind `upstreams` as the service `name`.
pub(crate) async fn host(
    name: &str,
    weight: u8,
    planes: Option<&str>,
    upstreams: &[String],
    context: &Context,
) -> Result<Exit> {
    let inputs = Inputs {
        listen: vec![format!("rpc:{name}?weight={weight}")],
        upstreams: upstreams.to_vec(),
        ..inputs(context)
    };
    serve(&inputs, context, |builder| match planes {
        Some(planes) => builder.set("request_planes", planes),
        None => builder,
    })
    .await
}

fn inputs(context: &Context) -> Inputs {
    Inputs {
        file: context.config_file().map(Into::into).or_else(|| std::env::var_os("BIPLANE_CONFIG").map(Into::into)),
        // What is no text names no secret of ours.
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        ..Inputs::default()
    }
}

async fn serve(
    inputs: &Inputs,
    context: &Context,
    configure: impl FnOnce(biplane::runtime::Builder) -> biplane::runtime::Builder,
) -> Result<Exit> {
    let mut interrupts = Interrupts::without_hangup()?;
    let config = Arc::new(load(inputs)?);
    let mut reload = Reload::new(inputs.clone(), config.clone()).on_hangup()?;
    let doors = Doors::new(&config)?;
    let biplane = context.build_server(doors.share(configure(context.builder())))?;
    let mut running = Gateway::configured(&biplane, config, doors).start().await?;
    let metrics = biplane.start_system().await?;
    let asked = tokio::select! {
        // Who is asked to end while a server starts ends.
        signal = interrupts.next() => Some(signal),
        _ = tokio::time::timeout(SETTLED_WITHIN, running.settled()) => None,
    };
    context.ui().note(banner::banner(&biplane, &running, metrics));
    let asked = match asked {
        Some(signal) => Some(signal),
        None => until_asked(&mut running, &mut interrupts, &mut reload, context).await,
    };
    if let Some(signal) = asked {
        let in_flight = running.in_flight();
        context.ui().note(format_args!("{signal}: {in_flight} requests may finish; again to end at once"));
    }
    tokio::select! {
        () = drain(running, biplane) => Ok(Exit::OK),
        _ = interrupts.next() => Ok(Exit::INTERRUPTED),
    }
}

/// Waits for a signal, or until nobody can come in any more: a client on standard input takes the gateway along. Meanwhile
/// the configuration may change.
async fn until_asked(
    running: &mut Running,
    interrupts: &mut Interrupts,
    reload: &mut Reload,
    context: &Context,
) -> Option<&'static str> {
    loop {
        let reloaded = tokio::select! {
            signal = interrupts.next() => return Some(signal),
            () = running.finished() => return None,
            reloaded = reload.changed() => reloaded,
        };
        match reloaded {
            Reloaded::Changed(config, change) => match running.apply(config, &change).await {
                Ok(()) => context.ui().note(format_args!("configuration: {change}")),
                Err(error) => {
                    reload.keeps(running.config().clone());
                    context.ui().error(&error);
                    context.ui().note(HOLDS);
                }
            },
            Reloaded::Same => context.ui().note("configuration: nothing has changed"),
            Reloaded::Kept(error) => {
                context.ui().error(&error);
                context.ui().note(HOLDS);
            }
        }
    }
}

/// What is under way may finish within the configured time.
async fn drain(running: Running, biplane: Biplane) {
    let grace = running.config().drain_grace;
    running.drain(grace).await;
    biplane.shutdown(Duration::from_secs(1)).await;
}
