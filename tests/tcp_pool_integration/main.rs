// SPDX-License-Identifier: Apache-2.0
//! The tcp planes and their pool over real loopback sockets. Obeys `DYN_TCP_*` of the environment, so that one can run it
//! with other pools and limits; a test that is about a setting brings its own.

mod faults;
mod listener;
mod pooling;
mod streams;
mod support;
