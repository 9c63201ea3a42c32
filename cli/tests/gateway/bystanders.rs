// SPDX-License-Identifier: Apache-2.0
//! Other people's clients and servers, as `cargo xtask test` installs them into `target/peers`. What is not installed is
//! said and passed over, except in CI.

use crate::Test;

pub(crate) const TESTS: &[Test] = &[];
