// SPDX-License-Identifier: Apache-2.0
//! The bridge between scripted peers.

mod down;
mod peer;
mod probe;
