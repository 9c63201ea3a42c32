// SPDX-License-Identifier: Apache-2.0
//! A TCP relay that does what a bad network does, byte-exactly and repeatably.
//!
//! ```
//! use biplane::conformance::proxy::{Action, FaultProxy, Plan};
//! # async fn example(target: std::net::SocketAddr) -> std::io::Result<()> {
//! // The 100th byte that the target sends is the last one that arrives; then the connection is reset.
//! let proxy = FaultProxy::start(target, Plan::new().to_caller(100, Action::Reset)).await?;
//! let dial_this_instead = proxy.local_addr();
//! # Ok(())
//! # }
//! ```

mod plan;
mod relay;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use self::plan::{Action, Plan};

/// A relay before a target. Dropping it resets what is open.
pub struct FaultProxy {
    local_addr: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a loopback port that the system chooses and relays every connection to `target`, with the faults of
    /// `plan`, counted from each connection's first byte.
    pub async fn start(target: SocketAddr, plan: Plan) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let local_addr = listener.local_addr()?;
        let (plan, accepted) = (Arc::new(Mutex::new(plan)), Arc::new(AtomicUsize::new(0)));
        let accepting = tokio::spawn(accept(listener, target, plan.clone(), accepted.clone()));
        Ok(Self { local_addr, plan, accepted, accepting })
    }

    /// Where to dial.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Connections that are accepted from now on follow `plan`.
    pub fn set_plan(&self, plan: Plan) {
        *self.plan.lock() = plan;
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Acquire)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultProxy({}, {} accepted)", self.local_addr, self.accepted())
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, plan: Arc<Mutex<Plan>>, accepted: Arc<AtomicUsize>) {
    // Dropped with this task, and every relay with it.
    let mut relays = JoinSet::new();
    while let Ok((caller, _)) = listener.accept().await {
        let number = accepted.fetch_add(1, Ordering::AcqRel);
        let plan = plan.lock().clone();
        relays.spawn(relay::run(caller, target, plan, number as u64));
        while relays.try_join_next().is_some() {}
    }
}
