// SPDX-License-Identifier: Apache-2.0
//! The Prometheus text format, version 0.0.4, for the histograms
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, "Text format details").

use std::fmt::Write;

use super::histogram::{BUCKETS, Snapshot};
use super::names::Metric;

/// Appends one family: its head, then every series of it. Nothing if there is none: a head without samples says nothing.
pub(super) fn write_histograms(text: &mut String, metric: &Metric, series: &[(Vec<&str>, Snapshot)]) {
    if series.is_empty() {
        return;
    }
    // Writing to a String does not fail, here and below.
    let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
    let _ = writeln!(text, "# TYPE {} histogram", metric.name);
    for (values, snapshot) in series {
        let labels = labels(metric.labels, values);
        let name = metric.name;
        let bounds = BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bound, count) in bounds.zip(snapshot.cumulative) {
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let (seconds, nanos) = (snapshot.sum / 1_000_000_000, snapshot.sum % 1_000_000_000);
        let _ = writeln!(text, "{name}_sum{{{labels}}} {seconds}.{nanos:09}");
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", snapshot.count);
    }
    text.push('\n');
}

fn labels(names: &[&str], values: &[&str]) -> String {
    let pairs = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

/// A label's value may be any text; backslash, double quote and line feed are escaped.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(labels(&["a", "b"], &["x\\\"\n", "ü"]), r#"a="x\\\"\n",b="ü""#);
    }
}
