// SPDX-License-Identifier: Apache-2.0
//! The built-in transports. None imports another; what they share lives in `io` and `proto`.

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "lines")]
pub mod lines;
#[cfg(feature = "mem")]
pub mod mem;
#[cfg(all(unix, feature = "stdio"))]
pub mod stdio;
#[cfg(feature = "tcp")]
pub mod tcp;
#[cfg(feature = "ws")]
pub mod ws;
