// SPDX-License-Identifier: Apache-2.0
//! Frames of the mux.
