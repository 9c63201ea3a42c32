// SPDX-License-Identifier: Apache-2.0
//! Newline-delimited JSON.
