// SPDX-License-Identifier: Apache-2.0
//! The bridge between scripted peers.

mod attributed;
mod chain;
mod down;
mod listen;
mod peer;
mod probe;
mod up;
