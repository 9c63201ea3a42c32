// SPDX-License-Identifier: Apache-2.0
//! What is counted is what the page says, and the page is one that a scraper can read.

use std::time::Duration;

use super::{PoolFamily, Telemetry, names, page};
use crate::error::ErrorKind;
use crate::plane::PlaneType;
use crate::target::TransportId;

const TCP: TransportId = TransportId::TCP;
const HTTP: TransportId = TransportId::HTTP;

fn samples(telemetry: &Telemetry) -> std::collections::BTreeMap<String, f64> {
    page::parse(&telemetry.render()).unwrap()
}

#[test]
fn every_metric_shows_by_its_exact_name() {
    let telemetry = Telemetry::default();
    let plane = telemetry.plane(&TCP, PlaneType::Request);
    let request = plane.begin();
    request.fail(ErrorKind::Timeout);
    drop(request);
    telemetry.count_fallback(&TCP, &HTTP);
    telemetry.count_skipped_record();
    for family in [PoolFamily::Tcp, PoolFamily::Transport] {
        let pool = telemetry.pool(family, &HTTP, "h:1");
        pool.created();
        pool.reused();
        pool.reused();
        pool.acquired(Duration::from_millis(3));
        pool.validation_failure();
        pool.set(2, 5);
        // Rendered while it lives: its links are gone with it.
        let samples = samples(&telemetry);
        let (prefix, labels) = match family {
            PoolFamily::Tcp => ("tcp_pool", r#"target="h:1""#),
            PoolFamily::Transport => ("transport_pool", r#"transport="http",target="h:1""#),
        };
        for (name, value) in [
            ("connections_created_total", 1.0),
            ("connections_reused_total", 2.0),
            ("active_connections", 2.0),
            ("idle_connections", 5.0),
            ("validation_failures_total", 1.0),
            ("acquisition_latency_seconds_sum", 0.003),
            ("acquisition_latency_seconds_count", 1.0),
        ] {
            assert_eq!(samples.get(&format!("{prefix}_{name}{{{labels}}}")), Some(&value), "{prefix}_{name}");
        }
        let bucket = |le| samples[&format!("{prefix}_acquisition_latency_seconds_bucket{{{labels},le=\"{le}\"}}")];
        assert_eq!((bucket("0.0025"), bucket("0.005"), bucket("+Inf")), (0.0, 1.0, 1.0));
    }
    let page = telemetry.render();
    for metric in names::ALL {
        assert!(page.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
    }
    let samples = samples(&telemetry);
    for (series, value) in [
        (r#"transport_requests_total{transport="tcp",plane="request"}"#, 1.0),
        (r#"transport_active_streams{transport="tcp",plane="request"}"#, 0.0),
        (r#"transport_request_latency_seconds_count{transport="tcp",plane="request"}"#, 1.0),
        (r#"transport_errors_total{transport="tcp",error_type="timeout"}"#, 1.0),
        (r#"transport_errors_total{transport="tcp",error_type="connection"}"#, 0.0),
        (r#"transport_fallbacks_total{from="tcp",to="http"}"#, 1.0),
        ("biplane_discovery_records_skipped_total", 1.0),
        (concat!("biplane_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn concurrent_requests_are_all_counted() {
    const THREADS: u64 = 8;
    const EACH: u64 = 2_000;
    let telemetry = Telemetry::default();
    let held = telemetry.plane(&TCP, PlaneType::Response).begin();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let telemetry = &telemetry;
            scope.spawn(move || {
                // The same series whoever asks for it.
                let plane = telemetry.plane(&TCP, PlaneType::Response);
                let pool = telemetry.pool(PoolFamily::Tcp, &TCP, "h:1");
                for turn in 0..EACH {
                    let request = plane.begin();
                    pool.reused();
                    pool.set(turn as usize % 7, thread as usize);
                    if turn % 2 == 0 {
                        request.fail(ErrorKind::Closed);
                    }
                    if turn % 512 == 0 {
                        // A page that is read under way is whole, too.
                        page::parse(&telemetry.render()).unwrap();
                    }
                }
            });
        }
    });
    let samples = samples(&telemetry);
    let total = (THREADS * EACH) as f64;
    assert_eq!(samples[r#"transport_requests_total{transport="tcp",plane="response"}"#], total + 1.0);
    assert_eq!(samples[r#"transport_request_latency_seconds_count{transport="tcp",plane="response"}"#], total);
    assert_eq!(samples[r#"transport_active_streams{transport="tcp",plane="response"}"#], 1.0);
    assert_eq!(samples[r#"transport_errors_total{transport="tcp",error_type="connection"}"#], total / 2.0);
    assert_eq!(samples[r#"tcp_pool_connections_reused_total{target="h:1"}"#], total);
    // Every pool took its links with it when it went.
    assert_eq!(samples[r#"tcp_pool_active_connections{target="h:1"}"#], 0.0);
    assert_eq!(samples[r#"tcp_pool_idle_connections{target="h:1"}"#], 0.0);
    drop(held);
}

#[test]
fn leases_at_once_outlive_the_pool_that_gave_them() {
    let telemetry = Telemetry::default();
    let pools = [(); 2].map(|()| telemetry.pool(PoolFamily::Tcp, &TCP, "h:1"));
    pools[0].set_reused_at_once(3);
    pools[1].set_reused_at_once(4);
    pools[1].set_reused_at_once(5);
    pools[1].reused();
    let count = |telemetry| {
        let samples = samples(telemetry);
        let of = |name| samples[&format!(r#"tcp_pool_{name}{{target="h:1"}}"#)];
        (of("connections_reused_total"), of("acquisition_latency_seconds_count"))
    };
    assert_eq!(count(&telemetry), (9.0, 8.0));
    let clone = pools[0].clone();
    drop(pools);
    assert_eq!(count(&telemetry), (9.0, 8.0));
    drop(clone);
    assert_eq!(count(&telemetry), (9.0, 8.0));
}

#[test]
fn targets_beyond_the_cap_count_as_other() {
    let telemetry = Telemetry::default();
    let pools: Vec<_> = (0..100).map(|port| telemetry.pool(PoolFamily::Tcp, &TCP, &format!("h:{port}"))).collect();
    for pool in &pools {
        pool.created();
        pool.set(1, 2);
    }
    // A target that has its own series keeps it.
    telemetry.pool(PoolFamily::Tcp, &HTTP, "h:0").created();
    // The other family has a cap of its own.
    telemetry.pool(PoolFamily::Transport, &TCP, "h:99").created();

    let samples = samples(&telemetry);
    let created = samples.keys().filter(|series| series.starts_with("tcp_pool_connections_created_total")).count();
    assert_eq!(created, 65);
    assert_eq!(samples[r#"tcp_pool_connections_created_total{target="h:0"}"#], 2.0);
    assert_eq!(samples[r#"tcp_pool_connections_created_total{target="other"}"#], 36.0);
    assert_eq!(samples[r#"tcp_pool_idle_connections{target="other"}"#], 72.0);
    assert_eq!(samples[r#"transport_pool_connections_created_total{transport="tcp",target="h:99"}"#], 1.0);
}

#[test]
fn a_hostile_target_neither_breaks_the_page_nor_shows_secrets() {
    let telemetry = Telemetry::default();
    telemetry.pool(PoolFamily::Transport, &TCP, "bob:s3cret@h\"} 1\nfake 1\\:9").created();
    let page = telemetry.render();
    assert!(page::parse(&page).unwrap().keys().all(|series| !series.starts_with("fake")));
    assert!(!page.contains("s3cret"));
}

#[test]
fn two_runtimes_do_not_count_into_each_other() {
    let (one, two) = (Telemetry::default(), Telemetry::default());
    drop(one.plane(&TCP, PlaneType::Request).begin());
    drop(two.plane(&TCP, PlaneType::Request));
    let series = r#"transport_requests_total{transport="tcp",plane="request"}"#;
    assert_eq!((samples(&one)[series], samples(&two)[series]), (1.0, 0.0));
}

#[test]
fn a_call_counts_once_and_shows_on_both_of_its_planes() {
    let telemetry = Telemetry::default();
    drop(telemetry.plane(&TCP, PlaneType::Request).begin());
    let calls = telemetry.pair(&TCP, &TransportId::from_static("nats"));
    (0..3).for_each(|_| calls.begun());
    calls.ended(Duration::from_millis(1));
    // Whoever asks again counts with the first.
    telemetry.pair(&TCP, &TransportId::from_static("nats")).ended(Duration::from_millis(2));
    calls.fail(ErrorKind::Timeout);
    let samples = samples(&telemetry);
    for (labels, error, others) in [
        (r#"transport="tcp",plane="request""#, r#"transport="tcp""#, 1.0),
        (r#"transport="nats",plane="response""#, r#"transport="nats""#, 0.0),
    ] {
        assert_eq!(samples[&format!("transport_requests_total{{{labels}}}")], 3.0 + others);
        assert_eq!(samples[&format!("transport_active_streams{{{labels}}}")], 1.0);
        assert_eq!(samples[&format!("transport_request_latency_seconds_count{{{labels}}}")], 2.0 + others);
        assert_eq!(samples[&format!("transport_errors_total{{{error},error_type=\"timeout\"}}")], 1.0);
    }
}
