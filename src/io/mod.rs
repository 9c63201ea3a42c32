// SPDX-License-Identifier: Apache-2.0
//! The toolkit of transport authors.

pub mod buffer;
