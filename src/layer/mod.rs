// SPDX-License-Identifier: Apache-2.0
//! Layers around connections.
