// SPDX-License-Identifier: Apache-2.0
//! Discovery within one process.
