// SPDX-License-Identifier: Apache-2.0
//! The suite that every transport must pass, and the fault proxy that goes with it.
//!
//! A transport of this tree or of a third party is tested by a `main` of a few lines, in a test with `harness = false`:
//!
//! ```no_run
//! use biplane::conformance::{self, RegisteredHarness};
//! use biplane::transport::mem;
//!
//! fn main() -> std::process::ExitCode {
//!     conformance::run_all(RegisteredHarness::every(&mem::REGISTRATIONS).map(RegisteredHarness::one_runtime))
//! }
//! ```
//!
//! Each case has a stable name, `transport::group::case`. A case outside the claims is shown as ignored, with the reason;
//! it is never silently absent. Each case runs in a runtime of its own, against fresh parts, under a time limit, and must
//! leave no task behind: a hang or a leak is a failure that names its case.
//!
//! A transport is driven as a [`Connection`](crate::Connection), be it one or a pair of planes, against handlers that the
//! suite registers itself; so the suite needs no runtime, no discovery and no configuration file.

mod case;
mod config;
mod echo;
mod exchange;
mod faults;
mod fixture;
mod harness;
mod honesty;
mod inbound;
mod jsonrpc;
mod life;
mod live;
mod payload;
mod planes;
mod probe;
pub mod proxy;
mod registered;
#[cfg(all(test, feature = "mem"))]
mod selftest;
mod service;
mod streams;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Trial};

use self::case::Case;

pub use self::harness::{Claims, Harness, Parts, PlaneParts};
pub use self::live::{LiveOptions, Outcome, Report, against};
pub use self::payload::Payload;
pub use self::registered::RegisteredHarness;

/// Runs the suite for one harness, with the command line of a test program. What it returns is for `main` to return, so
/// that servers which were started for the suite are dropped, and so ended, first.
#[must_use = "the process must exit with it"]
pub fn run(harness: impl Harness) -> ExitCode {
    run_all([harness])
}

/// Runs the suite for several harnesses. See [`run`].
#[must_use = "the process must exit with it"]
pub fn run_all<H: Harness>(harnesses: impl IntoIterator<Item = H>) -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = harnesses.into_iter().flat_map(|harness| trials(Arc::new(harness))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(harness: Arc<dyn Harness>) -> Vec<Trial> {
    cases()
        .map(|case| {
            let harness = harness.clone();
            let name = format!("{}::{}::{}", harness.name(), case.group, case.name);
            Trial::ignorable_test(name, move || match case.outside(&harness.claims()) {
                Some(reason) => Ok(Completion::ignored_with(reason)),
                None => case.run(&harness).map(|()| Completion::Completed).map_err(Into::into),
            })
        })
        .collect()
}

/// Every case, in the order in which a broken transport is best understood.
fn cases() -> impl Iterator<Item = Case> {
    let groups = [
        exchange::CASES,
        streams::CASES,
        inbound::CASES,
        jsonrpc::CASES,
        life::CASES,
        planes::CASES,
        honesty::CASES,
        faults::CASES,
    ];
    groups.into_iter().flatten().copied()
}
