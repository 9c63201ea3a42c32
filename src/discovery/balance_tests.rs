// SPDX-License-Identifier: Apache-2.0

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::discovery::samples::instance;
use crate::discovery::{TransportType, samples};
use crate::error::ErrorKind;

const POLICIES: [Balance; 3] = [Balance::RoundRobin, Balance::Random, Balance::LeastLoaded];

fn balancer(policy: Balance, weights: &[(u64, u8)]) -> Balancer {
    let balancer = Balancer::new(policy, 7);
    balancer.update(&instances(weights));
    balancer
}

fn instances(weights: &[(u64, u8)]) -> Vec<Instance> {
    weights.iter().map(|&(id, weight)| instance("words", id, weight)).collect()
}

fn id(pick: &Pick) -> u64 {
    pick.instance().instance_id
}

/// Shares of `picks` requests of which `concurrency` are in flight at a time and end in random order.
fn shares(balancer: &Balancer, picks: usize, concurrency: usize) -> HashMap<u64, f64> {
    let mut order = Chance(99);
    let mut in_flight = VecDeque::new();
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for _ in 0..picks {
        if in_flight.len() >= concurrency {
            let ends = order.below(in_flight.len() as u64).unwrap() as usize;
            in_flight.swap_remove_back(ends);
        }
        let pick = balancer.pick(Instant::now(), &[]).unwrap();
        *counts.entry(id(&pick)).or_default() += 1;
        in_flight.push_back(pick);
    }
    counts.into_iter().map(|(id, count)| (id, count as f64 / picks as f64)).collect()
}

#[test]
fn round_robin_is_exact_and_smooth() {
    let balancer = balancer(Balance::RoundRobin, &[(1, 5), (2, 1), (3, 1)]);
    let picked: Vec<u64> = (0..7).map(|_| id(&balancer.pick(Instant::now(), &[]).unwrap())).collect();
    assert_eq!(picked, [1, 1, 2, 1, 3, 1, 1]);
    let ninety = shares(&super::tests::balancer(Balance::RoundRobin, &[(1, 90), (2, 10)]), 1000, 1);
    assert_eq!((ninety[&1], ninety[&2]), (0.9, 0.1));
}

#[test]
fn ninety_to_ten_is_kept_by_every_policy_at_every_concurrency() {
    for policy in POLICIES {
        for concurrency in [1, 2, 4, 8, 16, 64, 256] {
            let shares = shares(&balancer(policy, &[(1, 90), (2, 10)]), 20_000, concurrency);
            let light = shares[&2];
            assert!((0.08..=0.12).contains(&light), "{policy:?}, {concurrency} in flight: {light}");
        }
    }
}

#[test]
fn equal_weights_share_equally() {
    for policy in POLICIES {
        let shares = shares(&balancer(policy, &[(1, 100), (2, 100), (3, 100), (4, 100)]), 20_000, 16);
        assert!(shares.values().all(|share| (0.23..=0.27).contains(share)), "{policy:?}: {shares:?}");
    }
}

#[test]
fn a_stuck_instance_gets_little_from_the_least_loaded_policy() {
    let balancer = balancer(Balance::LeastLoaded, &[(1, 100), (2, 100)]);
    let mut stuck = Vec::new();
    for _ in 0..1000 {
        let pick = balancer.pick(Instant::now(), &[]).unwrap();
        if id(&pick) == 2 {
            stuck.push(pick);
        }
    }
    assert!(stuck.len() <= 3, "{} requests wait at the stuck instance", stuck.len());
    assert_eq!(balancer.in_flight(2), Some(stuck.len()));
    drop(stuck);
    assert_eq!(balancer.in_flight(2), Some(0));
}

#[test]
fn equal_seeds_choose_alike() {
    let run = |seed| {
        let balancer = Balancer::new(Balance::Random, seed);
        balancer.update(&instances(&[(1, 50), (2, 50)]));
        (0..64).map(|_| id(&balancer.pick(Instant::now(), &[]).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn weight_zero_gets_nothing_unless_named() {
    for policy in POLICIES {
        let balancer = balancer(policy, &[(1, 0), (2, 1)]);
        assert_eq!(shares(&balancer, 200, 4)[&2], 1.0);
        balancer.update(&instances(&[(1, 0)]));
        let error = balancer.pick(Instant::now(), &[]).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::NoService, Retry::Safe));
        assert!(error.to_string().contains("weight 0") && error.hint().unwrap().contains("words 1"), "{error}");
        assert_eq!(id(&balancer.pick_direct(1).unwrap()), 1);
    }
}

#[test]
fn errors_tell_none_known_from_all_tried() {
    let balancer = balancer(Balance::RoundRobin, &[]);
    assert!(balancer.pick(Instant::now(), &[]).unwrap_err().to_string().contains("no instance is known"));
    balancer.update(&instances(&[(1, 100), (2, 100)]));
    assert!(balancer.pick(Instant::now(), &[2, 1]).unwrap_err().to_string().contains("all 2 instances were tried"));
    let error = balancer.pick_direct(9).unwrap_err();
    assert!(error.to_string().contains("no instance 9 (known: 1, 2)"), "{error}");
}

#[test]
fn a_failed_instance_is_set_aside_for_longer_each_time() {
    let start = Instant::now();
    for policy in POLICIES {
        let balancer = balancer(policy, &[(1, 100), (2, 100)]);
        let mut now = start;
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            balancer.pick_direct(1).unwrap().failed(now);
            let due = balancer.set_aside_until(1, now).unwrap();
            assert_eq!(due - now, Duration::from_secs(expected), "{policy:?}");
            let just_before = due - Duration::from_millis(1);
            assert!((0..50).all(|_| id(&balancer.pick(just_before, &[]).unwrap()) == 2), "{policy:?}: passed over");
            now = due;
            assert!((0..50).any(|_| id(&balancer.pick(now, &[]).unwrap()) == 1), "{policy:?}: back in");
        }
        balancer.pick_direct(1).unwrap().succeeded();
        balancer.pick_direct(1).unwrap().failed(now);
        assert_eq!(balancer.set_aside_until(1, now), Some(now + BACKOFF), "{policy:?}: a success forgets");
    }
}

#[test]
fn failures_together_count_once_and_old_successes_not_at_all() {
    let now = Instant::now();
    let balancer = balancer(Balance::RoundRobin, &[(1, 100)]);
    let picks: Vec<Pick> = (0..10).map(|_| balancer.pick_direct(1).unwrap()).collect();
    let late = balancer.pick_direct(1).unwrap();
    picks.iter().for_each(|pick| pick.failed(now));
    assert_eq!(balancer.set_aside_until(1, now), Some(now + BACKOFF));
    late.succeeded();
    assert_eq!(balancer.set_aside_until(1, now), Some(now + BACKOFF));
}

#[test]
fn if_all_are_set_aside_the_one_due_soonest_is_tried() {
    let now = Instant::now();
    for policy in POLICIES {
        let balancer = balancer(policy, &[(1, 100), (2, 100), (3, 0)]);
        balancer.pick_direct(1).unwrap().failed(now + Duration::from_millis(500));
        balancer.pick_direct(2).unwrap().failed(now);
        assert_eq!(id(&balancer.pick(now, &[]).unwrap()), 2, "{policy:?}");
        assert_eq!(id(&balancer.pick(now, &[2]).unwrap()), 1, "{policy:?}: one that was tried is not tried again");
    }
}

#[test]
fn an_update_keeps_what_is_known_of_those_that_stay() {
    let now = Instant::now();
    let balancer = balancer(Balance::RoundRobin, &[(1, 100), (2, 100)]);
    let held = balancer.pick_direct(1).unwrap();
    held.failed(now);
    balancer.update(&instances(&[(1, 50), (3, 100), (3, 1)]));
    assert_eq!(balancer.in_flight(1), Some(1));
    assert!(balancer.set_aside_until(1, now).is_some());
    assert_eq!(balancer.in_flight(2), None);
    assert_eq!(balancer.pick_direct(3).unwrap().instance().weight, 100);

    let mut moved = samples::instance("words", 1, 50);
    moved.transport = TransportType::NatsTcp("words.1".into());
    balancer.update(&[moved]);
    assert!(balancer.set_aside_until(1, now).is_none(), "other addresses deserve a new chance");
    drop(held);
    assert_eq!(balancer.in_flight(1), Some(0), "a pick of before is not counted off the new ones");
}

proptest! {
    #[test]
    fn any_weights_are_honoured(weights in prop::collection::vec(0..=100_u8, 1..6), policy in 0..3_usize) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let numbered: Vec<(u64, u8)> = weights.iter().enumerate().map(|(at, weight)| (at as u64, *weight)).collect();
        let shares = shares(&balancer(POLICIES[policy], &numbered), 4000, 1);
        for (id, weight) in numbered {
            let (got, due) = (shares.get(&id).copied().unwrap_or(0.0), f64::from(weight) / total);
            // Five standard deviations at 4,000 draws are below 0.04.
            prop_assert!((got - due).abs() < 0.04, "instance {id}: {got} of {due}");
            prop_assert!(weight > 0 || got == 0.0);
        }
    }

    #[test]
    fn an_excluded_instance_is_never_picked(ids in prop::collection::btree_set(0..20_u64, 1..8), policy in 0..3_usize) {
        let now = Instant::now();
        let numbered: Vec<(u64, u8)> = ids.iter().map(|id| (*id, 50)).collect();
        let balancer = balancer(POLICIES[policy], &numbered);
        let mut tried = Vec::new();
        while let Ok(pick) = balancer.pick(now, &tried) {
            prop_assert!(!tried.contains(&id(&pick)));
            tried.push(id(&pick));
            pick.failed(now);
        }
        prop_assert_eq!(tried.len(), ids.len());
    }
}

#[test]
fn what_is_sent_is_counted_apart_from_what_is_picked() {
    let balancer = balancer(Balance::RoundRobin, &[(1, 1), (2, 1)]);
    for _ in 0..3 {
        balancer.pick_direct(2).unwrap().sent();
    }
    drop(balancer.pick_direct(1).unwrap());
    assert_eq!(balancer.sent(), [(1, 0), (2, 3)]);
    // A changed weight keeps the count; another instance starts at zero.
    balancer.update(&instances(&[(2, 5), (3, 1)]));
    assert_eq!(balancer.sent(), [(2, 3), (3, 0)]);
}

#[test]
fn what_is_renewed_is_for_further_picks_and_nobody_renews_it_twice() {
    let balancer = Balancer::<u32>::new(Balance::RoundRobin, 7);
    balancer.update(&instances(&[(1, 1)]));
    let pick = || balancer.pick_direct(1).unwrap();
    let (mut first, mut second, third) = (pick(), pick(), pick());
    balancer.renew(&mut first, |kept| kept + 1);
    balancer.renew(&mut second, |kept| kept + 1);
    assert_eq!([*first.kept(), *second.kept(), *third.kept(), *pick().kept()], [1, 1, 0, 1]);
    // A changed weight keeps it; who goes on with an instance that is gone has it renewed for itself.
    balancer.update(&instances(&[(1, 2)]));
    assert_eq!(*pick().kept(), 1);
    balancer.update(&[]);
    balancer.renew(&mut first, |kept| kept + 1);
    assert_eq!(*first.kept(), 2);
    // They count where they were picked.
    balancer.update(&instances(&[(1, 2)]));
    drop((first, second, third));
    assert_eq!(balancer.in_flight(1), Some(0));
}
