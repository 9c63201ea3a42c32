// SPDX-License-Identifier: Apache-2.0
//! The program `biplane`: serves, calls, measures and explains. It links the library with every plugin of this tree.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use biplane::{Error, Result};
// The linker drops a plugin that no code names, and its registrations with it.
use biplane_nats as _;
use biplane_uds as _;
use clap::{Parser, Subcommand};

use crate::context::{Context, Globals};
use crate::exit::Exit;

mod bench;
mod call;
mod config;
mod conformance;
mod context;
mod demo;
mod exec;
mod exit;
mod explain;
mod gateway;
mod interrupt;
mod serve;
mod services;
mod transports;
mod ui;

/// A gateway allocates small buffers on one thread and frees them on another all day, for as long as it runs: this one is
/// made for that, and gives the memory of sessions that are over back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Services and calls over any pair of a request plane and a response plane.
///
/// Which wire carries what is chosen by the environment: `biplane config --list` names every variable.
#[derive(Parser)]
#[command(name = "biplane", version, after_help = exit::HELP, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a worker and a caller as two processes and shows what passes between them
    Demo(demo::DemoArgs),
    /// Serves an endpoint: an echo, a stream of tokens, a shell command, or an MCP server
    Serve(serve::ServeArgs),
    /// Lets any client of the Model Context Protocol use any server
    Gateway(gateway::GatewayArgs),
    /// Calls a service or a URL and prints each item of the answer as it comes
    Call(call::CallArgs),
    /// Measures calls: throughput, latency, processor time
    Bench(bench::BenchArgs),
    /// Lists what discovery holds, and changes weights
    Services(services::ServicesArgs),
    /// Runs the conformance suite against a live endpoint
    Conformance(conformance::ConformanceArgs),
    /// Lists the transports that this program links
    Transports(transports::TransportsArgs),
    /// Tells who would carry a call, and why each other transport would not
    Explain(explain::ExplainArgs),
    /// Shows the effective configuration and where each value comes from
    Config(config::ConfigArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context::new(cli.globals);
    match run(cli.command, &context) {
        Ok(exit) => exit.into(),
        Err(error) if ui::is_output_gone(&error) => Exit::OK.into(),
        Err(error) => {
            context.ui().error(&error);
            Exit::from(&error).into()
        }
    }
}

fn run(command: Command, context: &Context) -> Result<Exit> {
    let threads = match command {
        Command::Gateway(_) if std::env::var_os("TOKIO_WORKER_THREADS").is_none() => Some(gateway::threads()),
        _ => None,
    };
    let mut builder = match threads {
        // One thread alone need not guard its queues from others.
        Some(1) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Error::unexpected("the threads of the program cannot be started").with_source(error))?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Demo(args) => demo::run(args, context).await,
            Command::Serve(args) => serve::run(args, context).await,
            Command::Gateway(args) => gateway::run(args, context).await,
            Command::Call(args) => call::run(args, context).await,
            Command::Bench(args) => bench::run(args, context).await,
            Command::Services(args) => services::run(args, context).await,
            Command::Conformance(args) => conformance::run(args, context).await,
            Command::Transports(args) => transports::run(args, context),
            Command::Explain(args) => explain::run(args, context).await,
            Command::Config(args) => config::run(args, context),
        }
    });
    // A read of standard input that nobody waits for any more must not keep the program.
    runtime.shutdown_background();
    outcome
}
