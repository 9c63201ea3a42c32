// SPDX-License-Identifier: Apache-2.0
//! The pool as a state machine.
