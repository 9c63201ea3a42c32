// SPDX-License-Identifier: Apache-2.0
//! `biplane explain`: who would carry a call, and why each other one would not.

use biplane::Result;
use biplane::capability::Requirements;

use crate::context::Context;
use crate::exit::Exit;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane explain words
    biplane explain http://127.0.0.1:8081/v1/rpc/words --need streaming,max_message_size=10MiB
    biplane explain https://tools.example/mcp --probe

Needs are streaming, duplex, persistent_connections, server_push, shared and max_message_size=SIZE. Nothing is sent, unless
--probe asks an MCP server for its era and transport. The
exit code is 3 if nobody could carry the call.")]
pub(crate) struct ExplainArgs {
    /// A service's name, or a URL
    #[arg(value_name = "NAME|URL")]
    target: String,
    /// What the call needs, separated by commas
    #[arg(long, value_name = "NEEDS", default_value = "", hide_default_value = true)]
    need: String,
    /// Ask whoever is at the URL what it is
    #[arg(long)]
    probe: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: ExplainArgs, context: &Context) -> Result<Exit> {
    let needs = Requirements::parse(&args.need)?;
    let biplane = context.biplane()?;
    let explanation = match args.probe {
        true => biplane.explain_and_ask(&args.target, needs).await?,
        false => biplane.explain(&args.target, needs).await?,
    };
    if args.json {
        context.ui().print_json(&explanation)?;
    } else {
        context.ui().print(explanation.to_string())?;
    }
    Ok(if explanation.is_complete() { Exit::OK } else { Exit::NOT_FOUND })
}
