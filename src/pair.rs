// SPDX-License-Identifier: Apache-2.0
//! Two planes seen as one connection.
