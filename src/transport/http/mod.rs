// SPDX-License-Identifier: Apache-2.0
//! `http`: the HTTP planes.
