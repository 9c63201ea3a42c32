// SPDX-License-Identifier: Apache-2.0
//! `biplane demo`.

use biplane::{Error, Result};

use crate::context::Context;
use crate::exit::Exit;

/// What to show.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {}

pub(crate) async fn run(_args: DemoArgs, _context: &Context) -> Result<Exit> {
    Err(Error::unsupported("`demo` is not in this build"))
}
