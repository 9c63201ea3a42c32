// SPDX-License-Identifier: Apache-2.0
//! Metric names, and one recorder per runtime.

use std::time::Duration;

/// The metrics of one runtime. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Telemetry;

/// The metrics of one pooled target.
#[derive(Clone, Debug, Default)]
pub struct PoolMetrics(());

impl PoolMetrics {
    /// A link was established.
    pub fn created(&self) {}
    /// A lease on an existing link.
    pub fn reused(&self) {}
    /// A lease was had after `took`.
    pub fn acquired(&self, took: Duration) {
        let _ = took;
    }
    /// A dead link was found.
    pub fn validation_failure(&self) {}
    /// The gauges.
    pub fn set(&self, active: usize, idle: usize) {
        let _ = (active, idle);
    }
}
