// SPDX-License-Identifier: Apache-2.0
//! Every transport of this tree against the suite. A transport is added by a line.

use biplane::conformance::{self, RegisteredHarness};
use biplane::transport::{http, mem};

fn main() {
    let mem = RegisteredHarness::every(&mem::REGISTRATIONS).map(RegisteredHarness::one_runtime);
    let http = [
        RegisteredHarness::inline(http::HTTP_REQUEST),
        RegisteredHarness::pair(http::HTTP_REQUEST, http::HTTP_RESPONSE),
    ];
    conformance::run_all(mem.chain(http.map(RegisteredHarness::over_tcp)));
}
