// SPDX-License-Identifier: Apache-2.0
//! What every command starts from: the options that all take, the terminal, and a runtime made of the environment.

use std::path::{Path, PathBuf};

use biplane::config::{Setting, Source};
use biplane::runtime::Builder;
use biplane::{Biplane, Error, Phase, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::ui::Ui;

/// What `--quiet` leaves of the log.
const QUIET: &str = "error";

/// What a command logs that answers and ends, if nobody said otherwise. That a caller's listener for answers, which lives
/// for one call and takes one-time tokens only, is bound to every interface is told by those that stay.
const CALM: &str = "warn,biplane::bind=error";

/// Options of every command.
#[derive(clap::Args)]
pub(crate) struct Globals {
    /// Read this configuration file rather than the one that BIPLANE_CONFIG names
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// See the module. One per process.
pub(crate) struct Context {
    config: Option<PathBuf>,
    ui: Ui,
}

impl Context {
    pub(crate) fn new(globals: Globals) -> Self {
        Self { config: globals.config, ui: Ui::of_this_process(globals.quiet) }
    }

    /// The terminal.
    pub(crate) fn ui(&self) -> &Ui {
        &self.ui
    }

    /// The file that `--config` names, to hand it on to a child process.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// A builder that reads this process's environment and `--config`.
    pub(crate) fn builder(&self) -> Builder {
        let builder = Biplane::builder().process_env();
        match &self.config {
            Some(file) => builder.config_file(file),
            None => builder,
        }
    }

    /// The runtime that the environment describes, for a command that answers and ends.
    pub(crate) fn biplane(&self) -> Result<Biplane> {
        self.build(self.builder())
    }

    /// Builds, and starts the log: as the configuration says, and little if it says nothing, since whoever waits for an
    /// answer has no use for the news that a link was made. Nothing is bound or dialled.
    pub(crate) fn build(&self, builder: Builder) -> Result<Biplane> {
        let biplane = self.build_silent(builder)?;
        let nobody_asked = |setting: &Setting| setting.path == "log" && setting.source == Source::Default;
        self.log(&biplane, biplane.settings().iter().any(nobody_asked))?;
        Ok(biplane)
    }

    /// As [`build`](Self::build), for what runs until it is ended: the default of the configuration counts too.
    pub(crate) fn build_server(&self, builder: Builder) -> Result<Biplane> {
        let biplane = self.build_silent(builder)?;
        self.log(&biplane, false)?;
        Ok(biplane)
    }

    fn build_silent(&self, builder: Builder) -> Result<Biplane> {
        // What the configuration warns of comes before it can say what to log.
        let floor = if self.ui.is_quiet() { LevelFilter::ERROR } else { LevelFilter::WARN };
        let early = self.subscriber(EnvFilter::default().add_directive(floor.into()));
        tracing::subscriber::with_default(early, || builder.build())
    }

    fn log(&self, biplane: &Biplane, is_calm: bool) -> Result<()> {
        let filter = match &biplane.config().log {
            _ if self.ui.is_quiet() => QUIET,
            _ if is_calm => CALM,
            configured => configured,
        };
        let filter = EnvFilter::builder().parse(filter).map_err(|error| {
            Error::config(format!("{filter:?} is no log filter"))
                .with_source(error)
                .with_phase(Phase::Configure)
                .with_hint("RUST_LOG and the key `log` take level or target=level, separated by commas")
        })?;
        // A second runtime of the same process keeps the log of the first.
        let _ = tracing::subscriber::set_global_default(self.subscriber(filter));
        Ok(())
    }

    fn subscriber(&self, filter: EnvFilter) -> impl tracing::Subscriber + Send + Sync + 'static {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(self.ui.paints_stderr())
            .compact()
            .finish()
    }
}
