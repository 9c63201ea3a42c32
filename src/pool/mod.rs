// SPDX-License-Identifier: Apache-2.0
//! The pool of links.

pub mod core;
