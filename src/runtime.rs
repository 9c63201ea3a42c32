// SPDX-License-Identifier: Apache-2.0
//! The runtime: where registry, config, pool and layers meet.
