// SPDX-License-Identifier: Apache-2.0
//! Random operation sequences against a model too simple to be wrong: lists, and the rules of the pool written out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::TestLink;
use crate::pool::core::{Cause, Core, Grant, Limits, Origin, Ticket};

#[derive(Clone, Debug)]
enum Op {
    TryCheckout,
    Checkout,
    /// The one of those who wait that stands here leaves.
    Cancel(usize),
    Checkin {
        which: usize,
        discard: bool,
    },
    Connected {
        random: u64,
    },
    Failed,
    Die(usize),
    Room {
        which: usize,
        room: bool,
    },
    Pass(Duration),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::TryCheckout),
        8 => Just(Op::Checkout),
        2 => any::<usize>().prop_map(Op::Cancel),
        6 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, discard)| Op::Checkin { which, discard }),
        6 => any::<u64>().prop_map(|random| Op::Connected { random }),
        2 => Just(Op::Failed),
        1 => any::<usize>().prop_map(Op::Die),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, room)| Op::Room { which, room }),
        3 => (0u64..40).prop_map(|seconds| Op::Pass(Duration::from_secs(seconds))),
        1 => prop::bool::weighted(0.05).prop_map(|close| if close { Op::Close } else { Op::TryCheckout }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1usize..5, 1usize..5, 0usize..3, prop::bool::weighted(0.8)).prop_map(|(leases, max_links, min_idle, reuse)| {
        Limits {
            leases_per_link: if reuse { leases } else { 1 },
            max_links,
            max_waiting: 12,
            min_idle,
            idle_timeout: Duration::from_secs(30),
            max_lifetime: Duration::from_secs(100),
            keepalive: Duration::from_secs(10),
            reuse,
        }
    })
}

/// What the test knows of a link.
struct Known {
    link: Arc<TestLink>,
    leases: usize,
    /// It must not be handed out any more.
    barred: bool,
    gone: bool,
    born: Instant,
    idle_from: Instant,
}

struct Model {
    limits: Limits,
    core: Core<TestLink, usize>,
    now: Instant,
    links: Vec<Known>,
    /// Leases that are out: which link, and the core's index.
    leases: Vec<(usize, usize)>,
    waiting: VecDeque<(usize, Ticket)>,
    asked: usize,
    dialling: usize,
    closed: bool,
    /// A link changed and the core was not asked since: it may not know yet.
    unseen: bool,
    created: u64,
    reused: u64,
}

impl Model {
    fn new(limits: Limits) -> Self {
        Self {
            core: Core::new(limits.clone()),
            limits,
            now: Instant::now(),
            links: Vec::new(),
            leases: Vec::new(),
            waiting: VecDeque::new(),
            asked: 0,
            dialling: 0,
            closed: false,
            unseen: false,
            created: 0,
            reused: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::TryCheckout => {
                let expected = self.waiting.is_empty() && self.fewest().is_some();
                let grant = self.core.try_checkout();
                assert_eq!(grant.is_some(), expected);
                if let Some(grant) = grant {
                    self.granted(&grant);
                }
            }
            Op::Checkout => {
                let waiter = self.asked;
                self.asked += 1;
                let full = self.waiting.len() >= self.limits.max_waiting;
                let outcome = self.core.checkout(waiter);
                assert_eq!(outcome.is_err(), self.closed || full);
                self.unseen &= outcome.is_err();
                self.waiting.extend(outcome.ok().map(|ticket| (waiter, ticket)));
            }
            Op::Cancel(which) => {
                if let Some(at) = which.checked_rem(self.waiting.len()) {
                    let (waiter, ticket) = self.waiting.remove(at).unwrap();
                    let covered = at < self.dialling * self.limits.leases_per_link;
                    assert_eq!(self.core.cancel(ticket), Some((waiter, covered)));
                    assert_eq!(self.core.cancel(ticket), None);
                }
            }
            Op::Checkin { which, discard } => {
                if let Some(at) = which.checked_rem(self.leases.len()) {
                    self.checkin(at, discard);
                    self.unseen = false;
                }
            }
            Op::Connected { random } if self.dialling > 0 => {
                self.dialling -= 1;
                self.created += 1;
                let link = Arc::new(TestLink::new(self.links.len()));
                self.links.push(Known {
                    link: link.clone(),
                    leases: 0,
                    barred: false,
                    gone: false,
                    born: self.now,
                    idle_from: self.now,
                });
                self.core.connected(link, self.now, random);
                self.unseen &= self.closed || !self.limits.reuse;
            }
            Op::Failed if self.dialling > 0 => {
                self.dialling -= 1;
                let left = self.waiting.len().saturating_sub(self.dialling * self.limits.leases_per_link);
                let expected: Vec<_> =
                    self.waiting.drain(..left.min(self.limits.leases_per_link)).map(|(waiter, _)| waiter).collect();
                assert_eq!(self.core.failed(), expected);
                self.unseen = false;
            }
            Op::Connected { .. } | Op::Failed => {}
            Op::Die(which) => {
                if let Some(at) = which.checked_rem(self.links.len()) {
                    self.links[at].link.die();
                    self.unseen = true;
                }
            }
            Op::Room { which, room } => {
                if let Some(at) = which.checked_rem(self.links.len()) {
                    self.links[at].link.room.store(room, SeqCst);
                    self.unseen = true;
                }
            }
            Op::Pass(time) => {
                self.now += time;
                self.core.expire(self.now);
                self.unseen = false;
            }
            Op::Close => {
                self.closed = true;
                let expected: Vec<_> = self.waiting.drain(..).map(|(waiter, _)| waiter).collect();
                assert_eq!(self.core.close(), expected);
                self.links.iter_mut().for_each(|known| known.barred = true);
            }
        }
        self.settle();
        if !self.unseen {
            self.check_work_is_conserved();
        }
        if matches!(op, Op::Pass(_)) {
            self.check_nothing_dead_or_old_is_idle();
        }
        self.check();
    }

    fn checkin(&mut self, at: usize, discard: bool) {
        let (id, index) = self.leases.remove(at);
        self.links[id].leases -= 1;
        self.links[id].idle_from = self.now;
        self.links[id].barred |= discard || !self.limits.reuse;
        self.core.checkin(index, discard);
    }

    /// Takes the effects in and judges each.
    fn settle(&mut self) {
        let Some(effects) = self.core.take_effects() else { return };
        for (waiter, grant) in &effects.grants {
            let first = self.waiting.pop_front().map(|(waiter, _)| waiter);
            assert_eq!(first, Some(*waiter), "served out of order");
            self.granted(grant);
        }
        for (link, cause) in effects.evicted {
            let known = &mut self.links[link.id];
            assert!(!known.gone, "evicted twice");
            assert_eq!(known.leases, 0, "evicted under a lease");
            match cause {
                Cause::Unusable | Cause::Spent => assert!(!link.usable.load(SeqCst)),
                Cause::Discarded => assert!(known.barred),
                Cause::Unpooled => assert!(!self.limits.reuse),
                Cause::Closed => assert!(self.closed),
                Cause::Idle => assert!(self.now - known.idle_from >= self.limits.idle_timeout),
                Cause::Lifetime => assert!(self.now - known.born >= self.limits.max_lifetime.mul_f64(0.9)),
            }
            known.gone = true;
        }
        for link in effects.pings {
            let known = &self.links[link.id];
            assert!(known.leases == 0 && !known.gone, "pinged a link that is not idle");
        }
        self.dialling += effects.dials;
    }

    fn granted(&mut self, grant: &Grant<TestLink>) {
        let known = &mut self.links[grant.link.id];
        assert!(!known.gone && !known.barred, "a link that was let go of was handed out");
        assert!(grant.link.usable.load(SeqCst) || grant.origin == Origin::Dialled, "a dead link was handed out");
        assert!(grant.link.room.load(SeqCst) || grant.origin == Origin::Dialled, "a full link was handed out");
        known.leases += 1;
        assert!(known.leases <= self.limits.leases_per_link);
        self.reused += u64::from(grant.origin != Origin::Dialled);
        self.leases.push((grant.link.id, grant.index));
    }

    /// The leases on the least loaded link that could be handed out. Links that the core retired for their age are none,
    /// which only it knows; those the model never bars, so it asks for at most what the core offers.
    fn fewest(&self) -> Option<usize> {
        let fits = |known: &&Known| {
            !known.gone
                && !known.barred
                && known.link.usable.load(SeqCst)
                && known.link.room.load(SeqCst)
                && known.leases < self.limits.leases_per_link
                && !self.core.is_retired(&known.link)
        };
        self.links.iter().filter(fits).map(|known| known.leases).min()
    }

    /// Nobody waits beside a link with room, or while another dial is allowed and would serve him.
    fn check_work_is_conserved(&self) {
        if self.waiting.is_empty() {
            return;
        }
        assert_eq!(self.fewest(), None, "waits beside a link with room");
        let (live, dialling) = self.core.occupancy();
        assert!(
            dialling * self.limits.leases_per_link >= self.waiting.len() || live + dialling == self.limits.max_links,
            "nobody dials for those who wait"
        );
    }

    fn check_nothing_dead_or_old_is_idle(&self) {
        for known in self.links.iter().filter(|known| !known.gone && known.leases == 0) {
            assert!(known.link.usable.load(SeqCst), "a dead link was kept");
            assert!(self.now - known.born < self.limits.max_lifetime, "an old link was kept");
        }
    }

    fn check(&self) {
        let (live, dialling) = self.core.occupancy();
        assert_eq!(dialling, self.dialling);
        assert!(live + dialling <= self.limits.max_links, "the limit was passed");
        let there = || self.links.iter().filter(|known| !known.gone);
        if self.limits.leases_per_link == 1 {
            assert_eq!(there().count(), live, "an exclusive link does not count");
        }
        let active = there().filter(|known| known.leases > 0).count();
        assert_eq!(self.core.gauges(), (active, there().count() - active));
        let counts = self.core.counts();
        assert_eq!((counts.created, counts.reused), (self.created, self.reused));
        assert!(self.core.waiting().eq(self.waiting.iter().map(|(waiter, _)| waiter)));
    }

    /// Everything comes back, everything ends: nothing is left.
    fn finish(mut self) {
        self.apply(&Op::Close);
        while !self.leases.is_empty() {
            self.checkin(0, false);
            self.settle();
        }
        while self.dialling > 0 {
            self.apply(&Op::Connected { random: 0 });
        }
        assert!(self.core.is_empty());
        assert!(self.links.iter().all(|known| known.gone), "a link was never closed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_keeps_its_promises(limits in limits(), ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::new(limits);
        for op in &ops {
            model.apply(op);
        }
        model.finish();
    }

    #[test]
    fn jitter_shortens_a_life_by_at_most_a_tenth(random in any::<u64>()) {
        let limits = Limits {
            leases_per_link: 1, max_links: 1, max_waiting: 1, min_idle: 0, reuse: true,
            idle_timeout: Duration::MAX, max_lifetime: Duration::from_secs(1000), keepalive: Duration::MAX,
        };
        let start = Instant::now();
        let mut core = Core::<TestLink, ()>::new(limits);
        core.connected(Arc::new(TestLink::new(0)), start, random);
        core.expire(start + Duration::from_secs(899));
        prop_assert!(core.take_effects().is_none());
        core.expire(start + Duration::from_secs(1000));
        prop_assert_eq!(core.take_effects().map(|effects| effects.evicted.len()), Some(1));
    }
}
