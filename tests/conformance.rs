// SPDX-License-Identifier: Apache-2.0
//! Every transport of this tree against the suite. A transport is added by a line.

use biplane::conformance::{self, RegisteredHarness};
use biplane::transport::{mem, tcp};

fn main() {
    let mem = RegisteredHarness::every(&mem::REGISTRATIONS).map(RegisteredHarness::one_runtime);
    let tcp = RegisteredHarness::every(&tcp::REGISTRATIONS).map(|h| h.over_tcp().listen("tcp://127.0.0.1:0"));
    conformance::run_all(mem.chain(tcp));
}
