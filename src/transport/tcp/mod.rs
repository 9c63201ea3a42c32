// SPDX-License-Identifier: Apache-2.0
//! `tcp`: the TCP planes.
