// SPDX-License-Identifier: Apache-2.0
//! Biplane: a registry-driven pluggable transport runtime.

pub mod capability;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connection;
pub mod discovery;
mod dispatch;
pub mod error;
pub mod io;
pub mod layer;
pub mod message;
pub mod pair;
pub mod plane;
pub mod pool;
pub mod proto;
pub mod registry;
pub mod runtime;
pub mod stream;
pub mod system;
pub mod target;
pub mod telemetry;
pub mod testing;
pub mod transport;

pub use crate::connection::{Connection, ConnectionInfo, Inbound, Listener, Transport};
pub use crate::dispatch::{Dispatch, DispatchLimits, Running, launch};
pub use crate::error::{Detail, Error, ErrorKind, PeerError, Phase, Result, Retry};
pub use crate::message::{
    ControlMessage, Headers, Message, Request, RequestContext, RequestId, SessionId, Subject, TraceContext,
};
pub use crate::plane::{Handler, PlaneType, handler_fn};
pub use crate::runtime::{Biplane, Service, Serving};
pub use crate::stream::{Event, ResponseSender, ResponseStream};
pub use crate::target::{ServiceName, Target, TransportAddress, TransportId};
