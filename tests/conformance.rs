// SPDX-License-Identifier: Apache-2.0
//! Every transport of this tree against the suite. A transport is added by a line.

use biplane::conformance::{self, RegisteredHarness};
use biplane::transport::mem;

fn main() {
    let mem = RegisteredHarness::every(&mem::REGISTRATIONS).map(RegisteredHarness::one_runtime);
    conformance::run_all(mem);
}
