// SPDX-License-Identifier: Apache-2.0
//! `biplane demo`: the runtime at work, with nothing else needed. A worker in a process of its own serves two things, streams
//! of tokens and an echo; this process calls both on the planes of the environment.

use std::sync::Arc;
use std::time::Duration;

use biplane::Result;
use serde::Serialize;

use crate::bench::{
    Answer, Figures, Load, Planes, Progress, Resources, Route, Site, Subject, Tallies, Until, count, drive, micros,
    probe, rehearse, seconds, unless_interrupted,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::ui::{Style, Table};

/// What to show.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane demo
    DYN_REQUEST_PLANE=http DYN_RESPONSE_PLANE=tcp biplane demo --seconds 2
    biplane demo --json | jq .streams.items_per_sec")]
pub(crate) struct DemoArgs {
    /// How long to run
    #[arg(long, short, default_value = "5", value_name = "N", value_parser = seconds)]
    seconds: Duration,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Streams that are read at once: a busy model server's.
const STREAMS: usize = 64;
/// Tokens of a stream, and bytes of a token.
const TOKENS: u32 = 64;
const TOKEN_SIZE: u32 = 16;
/// Callers of the echo, beside them.
const ECHOES: usize = 8;
/// Bytes of a request.
const PAYLOAD: usize = 256;

const TOKENS_NAME: &str = "biplane.demo.tokens";
const ECHO_NAME: &str = "biplane.demo.echo";

#[derive(Serialize)]
struct Demo {
    #[serde(flatten)]
    route: Route,
    /// Streams of tokens, paced: the worker yields after each.
    streams: Figures,
    /// One request, one item.
    echo: Figures,
    #[serde(flatten)]
    resources: Resources,
}

pub(crate) async fn run(args: DemoArgs, context: &Context) -> Result<Exit> {
    unless_interrupted(show(args, context)).await
}

async fn show(args: DemoArgs, context: &Context) -> Result<Exit> {
    let ui = context.ui();
    let runtime = probe(context, None, None)?;
    let planes = Planes::of(&runtime)?;
    let mut site = Site::new()?;
    site.prepare(&planes, &runtime).await?;
    let demo = measure(args.seconds, context, &site, &planes).await?;
    let is_well = demo.streams.errors == 0 && demo.echo.errors == 0;
    if args.json {
        ui.print_json(&demo)?;
    } else {
        tell(&demo, context)?;
    }
    for (what, figures) in [("token streams", &demo.streams), ("echo", &demo.echo)] {
        if let Some(error) = &figures.first_error {
            ui.note(format_args!("{what}: {} failed, the first with: {error}", count(figures.errors)));
        }
    }
    Ok(if is_well { Exit::OK } else { Exit::FAILED })
}

async fn measure(time: Duration, context: &Context, site: &Site, planes: &Planes) -> Result<Demo> {
    let tokens = Answer { name: TOKENS_NAME.into(), items: TOKENS, item_size: Some(TOKEN_SIZE), is_paced: true };
    let echo = Answer { name: ECHO_NAME.into(), items: 1, item_size: None, is_paced: false };
    let progress = Progress::line(context.ui());
    progress.say(format!("{} + {}  starting a worker", planes.request, planes.response));
    let mut subject = Subject::of_our_own(context, site, planes, &[tokens.clone(), echo.clone()]).await?;
    let (streamer, echoer) = (subject.callee().clone(), subject.service(ECHO_NAME).await?);
    let streams = Load::new(PAYLOAD, STREAMS, Until::Elapsed(time)).expecting(&tokens);
    let echoes = Load::new(PAYLOAD, ECHOES, Until::Elapsed(time)).expecting(&echo);

    tokio::try_join!(rehearse(&streamer, &streams), rehearse(&echoer, &echoes))?;

    let (token_tallies, echo_tallies) = (Arc::new(Tallies::new()?), Arc::new(Tallies::new()?));
    let watched = vec![("streams ", token_tallies.clone()), ("echo ", echo_tallies.clone())];
    let watch = progress.watch(&format!("{} + {}", planes.request, planes.response), watched);
    let before = subject.snapshot().await?;
    let (streams, echoes) =
        tokio::try_join!(drive(&streamer, &streams, &token_tallies), drive(&echoer, &echoes, &echo_tallies))?;
    let after = subject.snapshot().await?;
    drop((watch, progress));

    let resources = subject.resources(&before, &after, streams.tally.requests + echoes.tally.requests);
    let demo = Demo {
        route: subject.route().clone(),
        streams: Figures::new(&streams),
        echo: Figures::new(&echoes),
        resources,
    };
    drop((streamer, echoer));
    subject.stop().await;
    Ok(demo)
}

fn tell(demo: &Demo, context: &Context) -> Result<()> {
    let ui = context.ui();
    let Demo { route, streams, echo, resources } = demo;
    let mut table =
        Table::new(["", "#CALLERS", "#REQUESTS/S", "#ITEMS/S", "#FIRST P50", "#P50", "#P99", "#P99.9", "#ERRORS"]);
    for (what, callers, figures) in [("token streams", STREAMS, streams), ("echo", ECHOES, echo)] {
        table.row([
            what.to_owned(),
            callers.to_string(),
            count(figures.requests_per_sec as u64),
            count(figures.items_per_sec as u64),
            micros(figures.first_item_us.p50),
            micros(figures.latency_us.p50),
            micros(figures.latency_us.p99),
            micros(figures.latency_us.p999),
            count(figures.errors),
        ]);
    }
    let head = |text: &str| Style::Head.paint(text, ui.paints_stdout());
    ui.print(format!("{} {route}\n", head("planes: ")))?;
    ui.print(format!(
        "{} {} streams of {TOKENS} tokens and {ECHOES} echoes at a time, for {:.1} s\n\n",
        head("load:   "),
        STREAMS,
        streams.seconds
    ))?;
    ui.print_table(&table)?;
    ui.print(format!("\n{} {}\n", head("links:  "), resources.links()))?;
    ui.print(format!(
        "{} caller / worker: {} per request, {}\n",
        head("cost:   "),
        resources.cpu(),
        resources.memory()
    ))?;
    ui.note(format!("\n{}", NEXT.trim_end()));
    Ok(())
}

const NEXT: &str = "\
Next:
    DYN_REQUEST_PLANE=http DYN_RESPONSE_PLANE=tcp biplane demo    the same on other planes
    biplane bench --matrix                                        every pair of planes in one table
    biplane serve words --echo   and   biplane explain words      a service of your own, and who would carry its calls
";
