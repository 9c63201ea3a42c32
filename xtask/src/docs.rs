// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask docs`: documents that are made from tables in the code.
//!
//! Making them needs the library and every plugin, the other chores need nothing: so this one is behind the feature `docs`,
//! and without it the program calls itself again with it.

use crate::Outcome;

/// Writes the documents, or with `check` says which are not up to date.
#[cfg(not(feature = "docs"))]
pub(crate) fn run(check: bool) -> Outcome {
    let mut again = crate::suite::cargo(&["run", "--quiet", "--package", "xtask", "--features", "docs", "--", "docs"]);
    if check {
        again.arg("--check");
    }
    crate::steps::run(again)
}
