// SPDX-License-Identifier: Apache-2.0
//! `biplane bench`.

use biplane::{Error, Result};

use crate::context::Context;
use crate::exit::Exit;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {}

pub(crate) async fn run(_args: BenchArgs, _context: &Context) -> Result<Exit> {
    Err(Error::unsupported("`bench` is not in this build"))
}
