// SPDX-License-Identifier: Apache-2.0
//! The http planes over real sockets on loopback: our own callers, curl, and peers that misbehave.
#![allow(clippy::unwrap_used)]

mod by_hand;
mod control;
mod exchange;
mod faults;
mod links;
mod world;
