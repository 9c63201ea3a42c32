// SPDX-License-Identifier: Apache-2.0
//! The line that shows how far a measurement is. Nothing where nobody would see it rewrite itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::format::count;
use super::tally::Tallies;
use crate::ui::Ui;

/// Between two looks at the figures.
const TICK: Duration = Duration::from_millis(125);

/// A line on standard error. Drop wipes it.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A line of text.
    pub(crate) fn line(ui: &Ui) -> Self {
        Self::new(ui, None, "{spinner} {msg}")
    }

    /// A bar of `steps` beside the text.
    pub(crate) fn steps(ui: &Ui, steps: u64) -> Self {
        Self::new(ui, Some(steps), "[{bar:30}] {pos}/{len} {msg}")
    }

    fn new(ui: &Ui, steps: Option<u64>, template: &str) -> Self {
        if !ui.shows_progress() {
            return Self(ProgressBar::hidden());
        }
        let bar = steps.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        // The templates are the two above; a broken one costs the looks, not the run.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// Says what is going on.
    pub(crate) fn say(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }

    /// One step is done.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// Shows the figures of `loads`, each with its name, until the watch is dropped.
    pub(crate) fn watch(&self, head: &str, loads: Vec<(&'static str, Arc<Tallies>)>) -> Option<Watch> {
        if self.0.is_hidden() {
            return None;
        }
        let (bar, head, began) = (self.0.clone(), head.to_owned(), Instant::now());
        Some(Watch(tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let elapsed = began.elapsed().as_secs_f64();
                let mut line = format!("{head}  {elapsed:.1} s");
                for (name, tallies) in &loads {
                    let (requests, items) = tallies.so_far();
                    let rate = |number: u64| count((number as f64 / elapsed) as u64);
                    line.push_str(&format!("  {name}{} requests/s {} items/s", rate(requests), rate(items)));
                }
                bar.set_message(line);
                bar.inc(1);
            }
        })))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// See [`Progress::watch`].
pub(crate) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
