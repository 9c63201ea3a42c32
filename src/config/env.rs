// SPDX-License-Identifier: Apache-2.0
//! The variable table, and the layer that reads it.
