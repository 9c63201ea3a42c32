// SPDX-License-Identifier: Apache-2.0
//! Several rounds as one report.

use super::report::{Report, Resources, Sides};
use super::tally::Percentiles;

/// The median of each figure, over rounds of one pair. Requests, items and errors are sums; links and memory, which are
/// totals already, are the last round's. `None` without a round.
pub(super) fn median(rounds: Vec<Report>) -> Option<Report> {
    let last = rounds.last()?.clone();
    let of = |figure: &dyn Fn(&Report) -> f64| middle(rounds.iter().map(figure).collect());
    let mut report = last;
    let figures = &mut report.figures;
    figures.requests = rounds.iter().map(|round| round.figures.requests).sum();
    figures.items = rounds.iter().map(|round| round.figures.items).sum();
    figures.errors = rounds.iter().map(|round| round.figures.errors).sum();
    figures.first_error = rounds.iter().find_map(|round| round.figures.first_error.clone());
    figures.errors_by_kind.clear();
    for (kind, count) in rounds.iter().flat_map(|round| &round.figures.errors_by_kind) {
        *figures.errors_by_kind.entry(kind).or_default() += count;
    }
    figures.seconds = rounds.iter().map(|round| round.figures.seconds).sum();
    figures.requests_per_sec = of(&|round| round.figures.requests_per_sec);
    figures.items_per_sec = of(&|round| round.figures.items_per_sec);
    figures.latency_us = percentiles(&rounds, |round| round.figures.latency_us);
    figures.first_item_us = percentiles(&rounds, |round| round.figures.first_item_us);
    report.resources.cpu_us_per_request = Sides {
        caller: of_some(&rounds, |resources| resources.cpu_us_per_request.caller),
        worker: of_some(&rounds, |resources| resources.cpu_us_per_request.worker),
    };
    for round in rounds.iter().rev().skip(1) {
        for (instance, requests) in &round.resources.per_instance {
            *report.resources.per_instance.entry(instance.clone()).or_default() += requests;
        }
    }
    Some(report)
}

fn percentiles(rounds: &[Report], of: impl Fn(&Report) -> Percentiles) -> Percentiles {
    let all: Vec<Percentiles> = rounds.iter().map(of).collect();
    let each = |figure: fn(&Percentiles) -> f64| middle(all.iter().map(figure).collect());
    Percentiles {
        p50: each(|all| all.p50),
        p90: each(|all| all.p90),
        p95: each(|all| all.p95),
        p99: each(|all| all.p99),
        p999: each(|all| all.p999),
        max: each(|all| all.max),
    }
}

fn of_some(rounds: &[Report], figure: impl Fn(&Resources) -> Option<f64>) -> Option<f64> {
    rounds.iter().map(|round| figure(&round.resources)).collect::<Option<Vec<f64>>>().map(middle)
}

/// The middle one; of an even number the upper of the two.
fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use biplane::TransportId;

    use super::*;
    use crate::bench::report::{Figures, Route};

    #[test]
    fn rates_are_medians_and_counts_are_sums() {
        let round = |rate: f64, errors: u64| Report {
            route: Route { request: TransportId::TCP, response: TransportId::TCP, rendezvous: None },
            figures: Figures {
                requests: 10,
                errors,
                errors_by_kind: [("timeout", errors)].into(),
                requests_per_sec: rate,
                ..Figures::default()
            },
            resources: Resources::new((rate, None), (None, None), None, [("7".to_owned(), 10)].into()),
        };
        let report = median(vec![round(5.0, 0), round(100.0, 2), round(6.0, 0)]).unwrap();
        let figures = &report.figures;
        assert_eq!((figures.requests, figures.errors, figures.requests_per_sec), (30, 2, 6.0));
        assert_eq!(figures.errors_by_kind.get("timeout"), Some(&2));
        assert_eq!(report.resources.instances().collect::<Vec<_>>(), [("7", 30)]);
        assert_eq!(report.resources.cpu(), "6 µs / -");
        assert!(median(Vec::new()).is_none());
    }
}
