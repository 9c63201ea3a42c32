// SPDX-License-Identifier: Apache-2.0
//! The response plane: the caller reserves an answer under a one-time token, the responder opens it with that token.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::CREDIT;
use super::network::MemNetwork;
use crate::config::Limits;
use crate::error::{Error, Phase, Result, Retry};
use crate::message::RequestContext;
use crate::plane::{Opened, Pending, PendingResponse, ResponseConnectionInfo, ResponsePlane};
use crate::stream::roster::{Beginning, Roster, Terms, Tracked};
use crate::stream::{ResponseStream, pipe};
use crate::target::{TransportAddress, TransportId};
use crate::token::{Stock, Token};

/// Where the token stands in [`ResponseConnectionInfo::metadata`].
const TOKEN: &str = "token";

pub(super) struct MemResponsePlane {
    network: MemNetwork,
    streams: Arc<Roster>,
    tokens: Mutex<Stock>,
    call_home_timeout: Duration,
    max_message_size: usize,
    max_reserved: usize,
}

/// An answer that a caller waits for. It leaves the network when it is opened or given back.
pub(super) struct Reservation {
    token: Token,
    expires: Instant,
    deadline: Option<std::time::Instant>,
    max_message_size: usize,
    streams: Arc<Roster>,
    slot: Arc<Slot>,
}

impl MemResponsePlane {
    pub(super) fn new(network: MemNetwork, limits: &Limits) -> Self {
        Self {
            network,
            streams: Roster::new(),
            tokens: Mutex::new(Stock::new()),
            call_home_timeout: limits.call_home_timeout,
            max_message_size: limits.max_message_size,
            max_reserved: limits.max_in_flight,
        }
    }

    /// Takes the reservation that `info` names out of the network. The token is compared in constant time and a wrong
    /// one leaves the reservation as it was: a guess must not be able to end somebody's answer.
    fn claim(&self, info: &ResponseConnectionInfo) -> Result<Reservation> {
        let refused = || {
            Error::refused("no answer is reserved under this token: it is wrong, used or expired")
                .with_hint("the caller must ask again")
        };
        let place = self.network.locate(&info.address)?;
        let ticket = place.name.parse::<u64>().map_err(|_| refused())?;
        let token = info.metadata.get(TOKEN).and_then(|text| Token::read(text)).ok_or_else(refused)?;
        let mut answers = self.network.answers();
        let found = answers.get(&ticket).ok_or_else(refused)?;
        if !found.token.is(&token) {
            return Err(refused());
        }
        let claimed = answers.remove(&ticket).ok_or_else(refused)?;
        drop(answers);
        if claimed.expires <= Instant::now() {
            return Err(refused());
        }
        Ok(claimed)
    }
}

#[async_trait]
impl ResponsePlane for MemResponsePlane {
    async fn expect(&self, context: &RequestContext, _to: &TransportAddress) -> Result<PendingResponse> {
        self.streams.check_open()?;
        let ticket = self.network.ticket();
        let token = self.tokens.lock().token()?;
        let expires = Instant::now() + self.call_home_timeout;
        let slot = Arc::new(Slot::default());
        let reservation = Reservation {
            token,
            expires: context.deadline.map_or(expires, |deadline| expires.min(deadline.into())),
            deadline: context.deadline,
            max_message_size: self.max_message_size,
            streams: self.streams.clone(),
            slot: slot.clone(),
        };
        let mut answers = self.network.answers();
        if answers.len() >= self.max_reserved {
            return Err(Error::overloaded(format!("{} answers are reserved and not opened yet", self.max_reserved))
                .with_retry(Retry::Safe));
        }
        answers.insert(ticket, reservation);
        drop(answers);
        let mut reply_to = ResponseConnectionInfo::new(self.network.address(&ticket.to_string()), context);
        reply_to.metadata.insert(TOKEN.to_owned(), token.text());
        let pending = MemPending {
            network: self.network.clone(),
            ticket,
            slot,
            streams: self.streams.clone(),
            expires,
            closed: None,
        };
        Ok(PendingResponse { reply_to, pending: Box::new(pending) })
    }

    async fn create_response_stream(&self, _context: &RequestContext, info: &ResponseConnectionInfo) -> Result<Opened> {
        let locate = |error: Error| error.with_transport(TransportId::MEM).with_phase(Phase::Respond);
        let Reservation { deadline, max_message_size: max_item, streams, slot, .. } =
            self.claim(info).map_err(locate)?;
        let (sender, answer) = pipe(CREDIT, max_item);
        // On both rosters: whichever side closes, the answer ends with it.
        let admit = |roster: &Arc<Roster>, answer, deadline| {
            roster.admit(Beginning::Open(answer), Terms { deadline, max_item, forward: None }).map_err(locate)
        };
        let answer = admit(&self.streams, answer, None)?.stream();
        slot.fill(admit(&streams, answer, deadline)?);
        Ok(Opened { sender, located: None })
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.streams.close(grace).await;
        Ok(())
    }
}

/// Where the caller finds the answer once the responder has opened it.
#[derive(Default)]
struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    answer: Option<Arc<Tracked>>,
    waiter: Option<Waker>,
    abandoned: bool,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn fill(&self, answer: Arc<Tracked>) {
        let mut state = self.state();
        let waiter = state.waiter.take();
        if !state.abandoned {
            state.answer = Some(answer.clone());
        }
        let abandoned = state.abandoned;
        drop(state);
        if abandoned {
            drop(answer.stream());
        }
        waiter.into_iter().for_each(Waker::wake);
    }

    fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Arc<Tracked>> {
        let mut state = self.state();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Nobody will read: an answer that is there, or comes, is cancelled.
    fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        let answer = state.answer.take();
        drop(state);
        drop(answer.map(Tracked::stream));
    }
}

struct MemPending {
    network: MemNetwork,
    ticket: u64,
    slot: Arc<Slot>,
    streams: Arc<Roster>,
    expires: Instant,
    /// Made when somebody watches for the loss of the answer.
    closed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Pending for MemPending {
    fn resolve(self: Box<Self>, _located: Option<ResponseConnectionInfo>) -> Result<ResponseStream> {
        if let Some(answer) = self.slot.state().answer.take() {
            return Ok(answer.stream());
        }
        // The responder acknowledged before it opened the stream; whoever reads waits for it, within the window.
        Ok(ResponseStream::deferred(async move {
            let closed = self.streams.closed();
            tokio::select! {
                answer = std::future::poll_fn(|cx| self.slot.poll_answer(cx)) => Ok(answer.stream()),
                () = closed => Err(Error::closed("the response plane was closed").with_phase(Phase::Respond)),
                () = tokio::time::sleep_until(self.expires) => {
                    Err(Error::timeout("the responder acknowledged the request and did not open the answer in time")
                        .with_phase(Phase::Respond)
                        .with_hint("BIPLANE_CALL_HOME_TIMEOUT sets the window"))
                }
            }
        }))
    }

    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let closed = self.closed.get_or_insert_with(|| Box::pin(self.streams.closed()));
        if closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Error::closed("the response plane was closed"));
        }
        let mut state = self.slot.state();
        match &state.answer {
            Some(answer) => answer.poll_failed(cx),
            None => {
                state.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for MemPending {
    fn drop(&mut self) {
        let unclaimed = self.network.answers().remove(&self.ticket);
        drop(unclaimed);
        self.slot.abandon();
    }
}
