// SPDX-License-Identifier: Apache-2.0
//! Layers: a [`Connection`] around a connection.
//!
//! They are for what a caller adds from outside. What every request needs (metrics, the deadline's timer, the size limit of
//! what arrives) is the links' own work, because a layer that touches each item costs each item something. So the built-in
//! ones look at requests, and at items only where there is no other way: [`Guard`] refuses what cannot succeed before
//! anything is sent, [`Trace`] writes spans while somebody reads them.
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use biplane::{Connection, Subject, Request, layer::{Guard, Layer, Stack, Trace}, testing::MockConnection};
//! # let mock: Arc<dyn Connection> = Arc::new(MockConnection::new([("echo", "hi")]));
//! let stack = Stack::new().with(Trace::new()).with(Guard::new().default_timeout(Duration::from_secs(30)));
//! let connection: Arc<dyn Connection> = stack.layer(mock);
//! let answer = connection.open(Request::new(Subject::from_static("echo"), "hi"));
//! # assert!(answer.is_ok());
//! ```

use std::fmt;
use std::sync::Arc;

use crate::connection::Connection;

mod guard;
mod observe;
mod trace;

pub use self::guard::Guard;
pub use self::observe::{Observer, observe};
pub use self::trace::Trace;

/// Puts a connection around another one. Done once per connection, when it is made.
///
/// A layer must keep what it does not change: it forwards every method (also those that [`Connection`] provides, because the
/// inner one may do better), and dropping its streams drops theirs. [`observe`] does the latter.
pub trait Layer: Send + Sync + 'static {
    /// The connection that stands in front of `inner`.
    fn layer(&self, inner: Arc<dyn Connection>) -> Arc<dyn Connection>;
}

impl<F> Layer for F
where
    F: Fn(Arc<dyn Connection>) -> Arc<dyn Connection> + Send + Sync + 'static,
{
    fn layer(&self, inner: Arc<dyn Connection>) -> Arc<dyn Connection> {
        self(inner)
    }
}

/// Layers in order: the first one sees a request first and its answer last. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stack(Vec<Arc<dyn Layer>>);

impl Stack {
    /// No layers: connections pass as they are.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds `layer` inside of those that are there.
    pub fn with(mut self, layer: impl Layer) -> Self {
        self.0.push(Arc::new(layer));
        self
    }
}

impl Layer for Stack {
    fn layer(&self, inner: Arc<dyn Connection>) -> Arc<dyn Connection> {
        self.0.iter().rev().fold(inner, |inner, layer| layer.layer(inner))
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stack({} layers)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
