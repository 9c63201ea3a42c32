// SPDX-License-Identifier: Apache-2.0
//! What a relay does to the bytes, and when.

use std::time::Duration;

/// What happens once so many bytes of a direction have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An orderly end of this direction (FIN). What is sent after it is swallowed; the other direction goes on.
    Cut,
    /// Both sides get a reset (RST).
    Reset,
    /// Nothing more passes in this direction, and nothing says so.
    Hold,
    /// The rest of this direction comes later by this much.
    Delay(Duration),
    /// From here on at most so many bytes per second.
    Throttle(u32),
    /// The next byte is changed by exclusive-or with this.
    Flip(u8),
    /// From here on in pieces of 1 to so many bytes, each in a packet of its own.
    Split(usize),
}

/// The script of every connection of a relay. The same plan and seed do the same.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) to_target: Vec<Step>,
    pub(super) to_caller: Vec<Step>,
    pub(super) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: u64,
    pub(super) action: Action,
}

impl Plan {
    /// Nothing happens: a plain relay.
    pub fn new() -> Self {
        Self::default()
    }

    /// `action` once `at` bytes have passed from the caller to the target.
    pub fn to_target(mut self, at: u64, action: Action) -> Self {
        insert(&mut self.to_target, Step { at, action });
        self
    }

    /// `action` once `at` bytes have passed from the target to the caller.
    pub fn to_caller(mut self, at: u64, action: Action) -> Self {
        insert(&mut self.to_caller, Step { at, action });
        self
    }

    /// `action` in both directions, each with its own count.
    pub fn both(self, at: u64, action: Action) -> Self {
        self.to_target(at, action).to_caller(at, action)
    }

    /// Decides the pieces of [`Action::Split`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// One to four faults at places within the first `bytes` of each direction, all decided by `seed`.
    pub fn random(seed: u64, bytes: u64) -> Self {
        let mut dice = Dice(seed);
        let mut plan = Self::new().seed(seed);
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.max(1));
            let action = match dice.below(7) {
                0 => Action::Cut,
                1 => Action::Reset,
                2 => Action::Hold,
                3 => Action::Delay(Duration::from_millis(dice.below(20))),
                4 => Action::Throttle(64 << 10),
                5 => Action::Flip(1 << dice.below(8)),
                _ => Action::Split(1 + dice.below(32) as usize),
            };
            plan = if dice.below(2) == 0 { plan.to_target(at, action) } else { plan.to_caller(at, action) };
        }
        plan
    }
}

/// Steps stand in the order in which they happen; of those at one place, in the order in which they were added.
fn insert(steps: &mut Vec<Step>, step: Step) {
    let place = steps.partition_point(|other| other.at <= step.at);
    steps.insert(place, step);
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): small, and the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_happen_in_order_of_place_then_of_addition() {
        let plan = Plan::new().to_target(5, Action::Hold).to_target(1, Action::Cut).to_target(5, Action::Reset);
        let order: Vec<_> = plan.to_target.iter().map(|step| (step.at, step.action)).collect();
        assert_eq!(order, [(1, Action::Cut), (5, Action::Hold), (5, Action::Reset)]);
    }

    #[test]
    fn a_seed_decides_everything() {
        let script = |seed| format!("{:?}", Plan::random(seed, 1000));
        assert_eq!(script(7), script(7));
        assert!((0..50).any(|seed| script(seed) != script(7)));
    }
}
