// SPDX-License-Identifier: Apache-2.0
//! `biplane serve`: a service made of a command line.

use std::time::Duration;

use biplane::io::process::Groups;
use biplane::{Biplane, Handler, Result, Serving};

use self::echo::Echo;
use self::tokens::Tokens;
use crate::context::Context;
use crate::exec::{Exec, GRACE};
use crate::exit::Exit;
use crate::gateway;
use crate::interrupt::Interrupts;

mod banner;
mod echo;
mod tokens;

/// For requests that run when the service is asked to end.
const DRAIN: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane serve words --exec 'tr \" \" \"\\n\"'
    biplane serve demo.llm.generate --tokens 100 --rate 50 --on http,tcp
    DYN_SYSTEM_PORT=9090 biplane serve echo --echo --weight 10
    biplane serve tools.calc --upstream 'stdio:npx -y @modelcontextprotocol/server-everything'

--exec gives CMD the body on standard input; each line that it prints is an item of the answer. A status other than 0 is an
error with the end of what it wrote to standard error. Its whole process group ends with the request. The items of a
streaming request are lines of standard input.

--upstream hosts a server of the Model Context Protocol on the planes: `biplane gateway --upstream rpc:NAME` finds every
instance of it, and shares out what comes.

SIGINT or SIGTERM withdraws the service and lets what runs finish for up to 30 s; a second one ends it at once.")]
pub(crate) struct ServeArgs {
    /// [[namespace.]component.]endpoint
    name: String,
    #[command(flatten)]
    answer: Answer,
    /// Items per second, with --tokens; as fast as the caller reads if absent or 0
    #[arg(long, value_name = "R", conflicts_with_all = ["echo", "exec", "upstream"], value_parser = tokens::parse_rate)]
    rate: Option<f64>,
    /// Serve these request planes, as in DYN_REQUEST_PLANE
    #[arg(long, value_name = "PLANES")]
    on: Option<String>,
    /// The share of requests relative to other instances, 0 to 100
    #[arg(long, value_name = "W", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    weight: u8,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Answer {
    /// Answer with the body; with every item, if the request is a stream
    #[arg(long)]
    echo: bool,
    /// Answer with N items `token 1 `, `token 2 `, …
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Run CMD in a shell, once per request
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Host the MCP server at URL; may be repeated, then with NAME=URL
    #[arg(long, value_name = "[NAME=]URL")]
    upstream: Vec<String>,
}

pub(crate) async fn run(args: ServeArgs, context: &Context) -> Result<Exit> {
    if !args.answer.upstream.is_empty() {
        return gateway::host(&args.name, args.weight, args.on.as_deref(), &args.answer.upstream, context).await;
    }
    let mut interrupts = Interrupts::listen()?;
    let mut builder = context.builder();
    if let Some(planes) = &args.on {
        // As a setting, so that what is wrong with it is told with everything else that is wrong.
        builder = builder.set("request_planes", planes);
    }
    let biplane = context.build_server(builder)?;
    let groups = Groups::default();
    let serving = match (&args.answer.exec, args.answer.tokens) {
        (Some(command), _) => {
            let limit = biplane.config().limits.max_message_size;
            start(&biplane, &args, Exec::new(command, limit, groups.clone())).await?
        }
        (None, Some(count)) => start(&biplane, &args, Tokens::new(count, args.rate)).await?,
        (None, None) => start(&biplane, &args, Echo).await?,
    };
    let metrics = biplane.start_system().await?;
    context.ui().note(banner::banner(&biplane, &serving, metrics));

    let signal = interrupts.next().await;
    let in_flight = serving.in_flight();
    context.ui().note(format_args!("{signal}: withdrawn, {in_flight} requests may finish; again to end at once"));
    let drain = async {
        let has_drained = serving.stop(DRAIN).await;
        biplane.shutdown(Duration::from_secs(1)).await;
        has_drained
    };
    let exit = tokio::select! {
        has_drained = drain => if has_drained { Exit::OK } else { Exit::TIMEOUT },
        _ = interrupts.next() => Exit::INTERRUPTED,
    };
    groups.end_all(GRACE).await;
    Ok(exit)
}

async fn start(biplane: &Biplane, args: &ServeArgs, handler: impl Handler) -> Result<Serving> {
    biplane.serve(&args.name, handler).weight(args.weight).start().await
}
