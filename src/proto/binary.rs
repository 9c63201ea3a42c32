// SPDX-License-Identifier: Apache-2.0
//! Length-prefixed items in an HTTP body.
