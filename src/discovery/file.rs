// SPDX-License-Identifier: Apache-2.0
//! Discovery through a directory, between processes of one host.
