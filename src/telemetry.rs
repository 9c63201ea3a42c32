// SPDX-License-Identifier: Apache-2.0
//! Metric names, and one recorder per runtime.

/// The metrics of one runtime. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Telemetry;
