// SPDX-License-Identifier: Apache-2.0
//! Where implementations come from: a factory, a closure, or a ready instance.

use std::fmt;
use std::sync::Arc;

use crate::connection::Transport;
use crate::discovery::Discovery;
use crate::error::Result;
use crate::plane::{PlaneType, RequestPlane, ResponsePlane};
use crate::registry::{BuildContext, Factory};

/// What a registration stands for. Sealed: these are the four things that a registry holds.
pub trait Implementation: sealed::Sealed + Send + Sync + 'static {
    /// The plane that it serves.
    const PLANE: PlaneType;

    #[doc(hidden)]
    fn into_made(self) -> Made;
}

mod sealed {
    pub trait Sealed {}
}

/// An implementation of any plane.
#[doc(hidden)]
#[derive(Clone)]
pub enum Made {
    Connection(Arc<dyn Transport>),
    Request(RequestPlane),
    Response(Arc<dyn ResponsePlane>),
    Discovery(Arc<dyn Discovery>),
}

macro_rules! implementations {
    ($($type:ty => $plane:ident;)*) => {$(
        impl sealed::Sealed for $type {}

        impl Implementation for $type {
            const PLANE: PlaneType = PlaneType::$plane;

            fn into_made(self) -> Made {
                Made::$plane(self)
            }
        }
    )*};
}

implementations! {
    Arc<dyn Transport> => Connection;
    RequestPlane => Request;
    Arc<dyn ResponsePlane> => Response;
    Arc<dyn Discovery> => Discovery;
}

type Make = dyn Fn(&BuildContext) -> Result<Made> + Send + Sync;

/// How an implementation comes to be.
#[derive(Clone)]
pub(super) enum Source {
    /// It is there, and every runtime that is bound to the registry uses this one.
    Ready(Made),
    /// Each runtime makes its own.
    Make(Arc<Make>),
}

impl From<Factory> for Source {
    fn from(factory: Factory) -> Self {
        Self::Make(Arc::new(move |context| match factory {
            Factory::Connection(build) => build(context).map(Made::Connection),
            Factory::Request(build) => build(context).map(Made::Request),
            Factory::Response(build) => build(context).map(Made::Response),
            Factory::Discovery(build) => build(context).map(Made::Discovery),
        }))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "ready",
            Self::Make(_) => "factory",
        })
    }
}
