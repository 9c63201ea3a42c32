// SPDX-License-Identifier: Apache-2.0
//! A connection to a server that outlives the server: when the link dies, it is made anew.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use biplane::proto::jsonrpc::ids::LISTEN;
use biplane::{Connection, ConnectionInfo, Error, Inbound, Message, Request, ResponseStream, Result, Retry, Subject};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::attempt;
use super::backoff::Backoff;
use crate::view::View;

/// Makes a fresh view of the server.
pub(super) type Dial = Box<dyn Fn() -> Dialling + Send + Sync>;
pub(super) type Dialling = Pin<Box<dyn Future<Output = Result<View>> + Send>>;

/// See the module. Dropping the last handle closes the link.
pub(super) struct Live {
    this: Weak<Live>,
    info: ConnectionInfo,
    /// The longest that a request may take, subscriptions excepted.
    request_timeout: Option<Duration>,
    dial: Dial,
    state: Mutex<State>,
    /// Only one may dial.
    dialling: tokio::sync::Mutex<()>,
    /// Changes whenever there is another view, or none will come any more.
    changed: watch::Sender<u64>,
}

struct State {
    view: Option<View>,
    backoff: Backoff,
    /// Why the last attempt failed.
    error: Option<Error>,
    is_closed: bool,
}

impl Live {
    /// Begins with `view`, or dials on first use.
    pub(super) fn new(
        info: ConnectionInfo,
        request_timeout: Option<Duration>,
        view: Option<View>,
        dial: Dial,
    ) -> Arc<Self> {
        let state = State { view, backoff: Backoff::default(), error: None, is_closed: false };
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            info,
            request_timeout,
            dial,
            state: Mutex::new(state),
            dialling: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The view that is in use.
    pub(super) fn current(&self) -> Option<View> {
        self.state().view.clone()
    }

    /// The view that is in use, or a fresh one. While the server cannot be reached, the last reason comes at once until
    /// the next attempt is due.
    pub(super) async fn view(&self) -> Result<View> {
        if let Some(view) = self.current() {
            return Ok(view);
        }
        let _only_one = self.dialling.lock().await;
        {
            let state = self.state();
            if let Some(view) = &state.view {
                return Ok(view.clone());
            }
            if state.is_closed {
                return Err(Error::closed("the upstream is no longer used").with_retry(Retry::Safe));
            }
            if let Some(error) = state.error.as_ref().filter(|_| !state.backoff.is_due(Instant::now())) {
                return Err(error.duplicate());
            }
        }
        match (self.dial)().await {
            Ok(view) => {
                let mut state = self.state();
                if state.is_closed {
                    return Err(Error::closed("the upstream is no longer used").with_retry(Retry::Safe));
                }
                state.view = Some(view.clone());
                state.error = None;
                state.backoff.connected(Instant::now());
                drop(state);
                self.changed.send_modify(|epoch| *epoch += 1);
                Ok(view)
            }
            Err(error) => {
                let mut state = self.state();
                state.backoff.failed(Instant::now());
                // Whatever went wrong, the request that asks for the connection has not been sent.
                state.error = Some(error.duplicate().with_retry(Retry::Safe));
                Err(error.with_retry(Retry::Safe))
            }
        }
    }

    /// `view` turned out to be dead.
    pub(super) fn lost(&self, view: &View) {
        let mut state = self.state();
        if state.view.as_ref().is_some_and(|current| Arc::ptr_eq(&current.connection, &view.connection)) {
            state.backoff.lost(Instant::now());
            let dead = state.view.take();
            drop(state);
            drop(dead);
        }
    }

    /// Sends `request` once there is a connection again.
    pub(super) fn open_later(&self, request: Request) -> ResponseStream {
        let this = self.this.upgrade();
        ResponseStream::deferred(async move {
            let live = this.ok_or_else(|| Error::closed("the upstream is no longer used"))?;
            live.view().await?.connection.open(request)
        })
    }

    /// How long until a server that died is worth another attempt.
    fn pause(&self) -> Duration {
        self.state().backoff.pause(Instant::now())
    }
}

#[async_trait]
impl Connection for Live {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, mut request: Request) -> Result<ResponseStream> {
        if let Some(timeout) = self.request_timeout.filter(|_| request.subject.as_str() != LISTEN) {
            let latest = Instant::now().checked_add(timeout);
            request.context.deadline = [request.context.deadline, latest].into_iter().flatten().min();
        }
        match self.this.upgrade() {
            Some(live) => attempt::open(&live, request),
            None => Err(Error::closed("the upstream is no longer used")),
        }
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.view().await?.connection.notify(subject, message).await
    }

    /// Goes on with the next connection when one dies: whoever receives wants there to be one.
    async fn receive(&self) -> Result<Option<Inbound>> {
        loop {
            if self.state().is_closed {
                return Ok(None);
            }
            let mut changed = self.changed.subscribe();
            let view = match self.current() {
                Some(view) => view,
                None => {
                    // A closed one changes too.
                    let pause = tokio::time::sleep(self.pause());
                    tokio::select! {
                        _ = changed.changed() => {}
                        () = pause => drop(self.view().await),
                    }
                    continue;
                }
            };
            tokio::select! {
                received = view.connection.receive() => match received {
                    Ok(Some(inbound)) => return Ok(Some(inbound)),
                    Ok(None) | Err(_) => self.lost(&view),
                },
                _ = changed.changed() => {}
            }
        }
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        let view = {
            let mut state = self.state();
            state.is_closed = true;
            state.view.take()
        };
        self.changed.send_modify(|epoch| *epoch += 1);
        match view {
            Some(view) => view.connection.close(grace).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({})", self.info.peer)
    }
}
