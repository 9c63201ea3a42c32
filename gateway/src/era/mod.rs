// SPDX-License-Identifier: Apache-2.0
//! The era bridge: a client of one era uses a server of the other.
//!
//! [`detect`] finds which era a server speaks. [`down`] makes a modern server into a legacy session for one client, [`up`]
//! makes legacy sessions into a modern server for any number of clients. Both give a [`View`](crate::View), so that whoever
//! uses it does not see the bridge.
//!
//! | legacy | modern |
//! |---|---|
//! | `initialize` | `server/discover`, and `_meta` in every request |
//! | requests of the server | `input_required` results and retries; the legacy call is held open meanwhile |
//! | `resources/subscribe`, notifications at any time | one `subscriptions/listen` stream |
//! | `logging/setLevel` | a level in `_meta` of the request |
//! | `ping` | nothing |
//! | -32002 | -32602 |
//! | | `resultType`, `ttlMs`, `cacheScope` |

mod attributed;
mod capabilities;
mod down;
mod edit;
mod filter;
mod generate;
mod level;
mod limits;
mod names;
mod probe;
mod settle;
#[cfg(test)]
mod tests;
mod token;
mod up;

pub use self::attributed::attributed;
pub use self::down::{down, down_within};
pub use self::limits::Limits;
pub use self::probe::{Patience, Support, detect, initialize, probe};
pub use self::up::{LegacySessions, up, up_within};
