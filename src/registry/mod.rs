// SPDX-License-Identifier: Apache-2.0
//! Registration and selection of transports.

mod registration;
mod select;

#[doc(hidden)]
pub use inventory;
pub use registration::{BuildContext, Collected, Factory, TransportRegistration};
