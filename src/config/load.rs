// SPDX-License-Identifier: Apache-2.0
//! Layering: default, file, environment, code.
