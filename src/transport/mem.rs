// SPDX-License-Identifier: Apache-2.0
//! `mem`: within one process, the reference.
