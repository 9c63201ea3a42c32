// SPDX-License-Identifier: Apache-2.0
//! Programs that are run for somebody else, and the certainty that nothing of them remains.
//!
//! Every program is the leader of a process group of its own. [`Groups`] are those of one owner; a [`Leash`] is the hold on
//! one of them, and letting go ends it, with every process that it forked. A process that makes itself the leader of
//! another group or session (`setsid`, a daemon) leaves, and cannot be ended from here.

mod environment;
mod group;
mod groups;
mod leash;
mod tail;

pub use crate::proto::command_line::{CommandLine, split_words};
pub use environment::Environment;
pub use group::Pipes;
pub use groups::Groups;
pub use leash::Leash;
pub use tail::Tail;
