// SPDX-License-Identifier: Apache-2.0
//! `biplane call`: one request, each item of its answer as it comes.

use std::time::Duration;

use biplane::config::units::parse_duration;
use biplane::{Biplane, Connection, Error, Request, ResponseStream, Result, Subject};

use self::body::Body;
use self::output::Output;
use crate::context::Context;
use crate::exit::Exit;
use crate::interrupt::Interrupts;

mod body;
mod output;

/// For links to be told that we go. They notice a process that is gone too, only less politely.
const FAREWELL: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane call words 'to be or not'
    biplane call http://127.0.0.1:8081/v1/rpc/words 'to be or not'
    jq -c .rows big.json | biplane call loader - --timeout 5m --json")]
pub(crate) struct CallArgs {
    /// A service's name, or a URL
    #[arg(value_name = "NAME|URL")]
    target: String,
    /// The body; `-` reads standard input, as does none where standard input is no terminal
    #[arg(value_name = "BODY|-")]
    body: Option<String>,
    /// Ask this instance and no other
    #[arg(long, value_name = "ID")]
    instance: Option<u64>,
    /// Give up after this time: 500ms, 30s, 5m; a bare number is seconds
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Print one JSON object per item, and one at the end
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: CallArgs, context: &Context) -> Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    if args.instance.is_some() && args.target.contains(':') {
        return Err(Error::config(format!(
            "--instance chooses among the instances of a service, {} is a URL",
            args.target
        ))
        .with_hint("give the service's name"));
    }
    let biplane = context.biplane()?;
    let body = Body::from_argument(args.body.as_deref());
    let mut output = Output::new(args.json);

    let exchange = async {
        let body = body.read(biplane.config().limits.max_message_size).await?;
        let mut request = Request::new(Subject::from_static("default"), body);
        if let Some(timeout) = args.timeout {
            request = request.with_timeout(timeout);
        }
        let mut answer = open(&biplane, &args.target, args.instance, request).await?;
        while let Some(item) = answer.next().await {
            output.item(&item?.body).await?;
        }
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = exchange => Some(outcome),
        // The exchange is dropped, which cancels the request.
        _ = interrupts.next() => None,
    };
    let farewell = biplane.shutdown(FAREWELL);
    tokio::select! {
        () = farewell => {}
        _ = interrupts.next() => {}
    }
    match outcome {
        None => Ok(Exit::INTERRUPTED),
        Some(Ok(())) => output.done().await.map(|()| Exit::OK),
        Some(Err(error)) => {
            output.failed(&error).await?;
            Err(error)
        }
    }
}

async fn open(biplane: &Biplane, target: &str, instance: Option<u64>, request: Request) -> Result<ResponseStream> {
    match instance {
        Some(id) => biplane.service(target).await?.to_instance(id).open(request),
        None => biplane.call_with(target, request).await,
    }
}
