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
mod context;
mod demo;
mod exit;
mod ui;

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
    /// Measures calls: throughput, latency, processor time
    Bench(bench::BenchArgs),
    /// Runs a worker and a caller as two processes and shows what passes between them
    Demo(demo::DemoArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context::new(cli.globals);
    match run(cli.command, &context) {
        Ok(exit) => exit.into(),
        Err(error) => {
            context.ui().error(&error);
            Exit::from(&error).into()
        }
    }
}

fn run(command: Command, context: &Context) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::unexpected("the threads of the program cannot be started").with_source(error))?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Bench(args) => bench::run(args, context).await,
            Command::Demo(args) => demo::run(args, context).await,
        }
    });
    // A read of standard input that nobody waits for any more must not keep the program.
    runtime.shutdown_background();
    outcome
}
