// SPDX-License-Identifier: Apache-2.0
//! What the server of a session sends unasked: one long answer, opened again when it ends.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::connection::Shared;
use super::question::{Asked, cancelled};
use super::wire::{self, Verb};
use crate::connection::{Connection, Inbound};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Headers, Message, Request, SessionId};
use crate::proto::jsonrpc::Packet;
use crate::runtime::Service;
use crate::stream::ResponseStream;

/// Between two streams of which the first one ended at once.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Losses in a row after which the instance counts as gone.
const MAX_LOSSES: u32 = 2;

/// Reads until the session or the connection is over. One task for a session.
pub(super) async fn listen(shared: Weak<Shared>, service: Service, session: SessionId) {
    let Some(over) = shared.upgrade().map(|shared| shared.over()) else { return };
    tokio::select! {
        () = over => {}
        () = stay(&shared, &service, &session) => {}
    }
}

async fn stay(shared: &Weak<Shared>, service: &Service, session: &SessionId) {
    let (mut pause, mut losses) = (PAUSE, 0);
    loop {
        let since = Instant::now();
        let ended = follow(shared, service, session).await;
        let Some(shared) = shared.upgrade() else { return };
        match ended {
            // In order, or by a deadline: every stream has one.
            Ok(()) => losses = 0,
            Err(error) if error.kind() == ErrorKind::Timeout => losses = 0,
            // A server that never speaks unasked.
            Err(error) if error.kind() == ErrorKind::Unsupported => return,
            Err(error) if wire::is_unknown_session(&error) => return shared.lose(),
            Err(error) => {
                losses = if since.elapsed() > LONGEST_PAUSE { 1 } else { losses + 1 };
                tracing::debug!(target: "biplane::rpc", losses, "the stream of a session was lost: {error}");
                let is_gone = matches!(error.kind(), ErrorKind::NoService | ErrorKind::Connect);
                if is_gone || losses >= MAX_LOSSES {
                    return shared.lose();
                }
                continue;
            }
        }
        drop(shared);
        pause = if since.elapsed() > LONGEST_PAUSE { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// One stream, to its end.
async fn follow(shared: &Weak<Shared>, service: &Service, session: &SessionId) -> Result<()> {
    let message = wire::envelope(Verb::Listen, Some(session), &Headers::new(), Bytes::new());
    let mut items: ResponseStream = service.open(Request::new(service.subject().clone(), message))?;
    let mut asked = Asked::new(shared.clone());
    while let Some(item) = items.next().await {
        let item = item?;
        let Some(shared): Option<Arc<Shared>> = shared.upgrade() else { return Ok(()) };
        if let Some(inbound) = read(item, &shared, &mut asked)? {
            shared.deliver(inbound).await;
        }
    }
    Ok(())
}

/// What is to be handed on.
fn read(item: Message, shared: &Shared, asked: &mut Asked) -> Result<Option<Inbound>> {
    let packet = Packet::parse(&item.body)
        .map_err(|bad| Error::protocol(format!("the worker sent what is no JSON-RPC message: {}", bad.message)))?;
    Ok(match packet {
        Packet::Notification { method, message } => match cancelled(&method, &message) {
            Some(id) => {
                shared.questions.cancel(&id);
                None
            }
            None => Some(Inbound::Notification(method, message)),
        },
        Packet::Request { id, method, message } => asked.take(id, method, message),
        // Answers come with their requests, never here.
        Packet::Response { .. } => None,
    })
}
