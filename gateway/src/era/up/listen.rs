// SPDX-License-Identifier: Apache-2.0
//! `subscriptions/listen` over a shared legacy session, for longer than the session lives.

use std::sync::Arc;

use biplane::proto::json;
use biplane::{Inbound, Message, PeerError, Request, Result, Subject};
use bytes::Bytes;

use super::Shared;
use super::asker::Asker;
use crate::era::edit::Object;
use crate::era::filter::Filter;
use crate::era::generate::Emitter;
use crate::era::names::{code, method};

/// Sessions that fail in a row before the listener is told so.
const ATTEMPTS: u32 = 8;

/// Tells what the request asks for until the client goes, or the server is closed: then the stream ends with a result.
pub(super) async fn run(shared: Arc<Shared>, request: Request, asker: Asker, emit: Emitter) -> Result<Message> {
    let wanted =
        json::get(&request.message.body, &["notifications"]).as_ref().and_then(Filter::read).ok_or_else(|| {
            PeerError::new(code::INVALID_PARAMS, "notifications is an object of the notifications that are wanted")
        })?;
    if wanted.uris.len() > shared.limits.subscriptions {
        let text = format!("one listener subscribes to at most {} resources", shared.limits.subscriptions);
        return Err(PeerError::new(code::INVALID_PARAMS, text).into());
    }
    let mut wanted = wanted.honoured_by(&shared.facts.capabilities);
    let mut closing = shared.closing.subscribe();
    tokio::select! {
        biased;
        () = async { drop(closing.wait_for(|closing| *closing).await) } => Ok(ended()),
        outcome = tell(&shared, &mut wanted, &asker, &emit) => outcome,
    }
}

async fn tell(shared: &Shared, wanted: &mut Filter, asker: &Asker, emit: &Emitter) -> Result<Message> {
    let (mut is_acknowledged, mut failures) = (false, 0);
    loop {
        let listener = async { shared.hubs.get(&asker.client).await?.listen(wanted.clone()).await };
        match listener.await {
            Err(error) if failures == ATTEMPTS => return Err(error),
            Err(error) => tracing::debug!(%error, "no session to listen on"),
            Ok(listener) => {
                failures = 0;
                if is_acknowledged {
                    // Nobody knows what happened between the sessions.
                    for (subject, params) in listener.filter.everything() {
                        emit.send(Inbound::Notification(Subject::from_static(subject), Message::new(params))).await;
                    }
                } else {
                    *wanted = listener.filter.clone();
                    emit.send(acknowledgement(wanted)).await;
                    is_acknowledged = true;
                }
                while let Some((subject, message)) = listener.next().await {
                    emit.send(Inbound::Notification(subject, message)).await;
                }
            }
        }
        tokio::time::sleep(shared.limits.pause(failures)).await;
        failures += 1;
    }
}

/// Comes first, and says which part of the filter is honoured.
fn acknowledgement(honoured: &Filter) -> Inbound {
    let mut params = Object::new();
    params.set("notifications", &honoured.write());
    Inbound::Notification(Subject::from_static(method::LISTENING), Message::new(params.close()))
}

fn ended() -> Message {
    Message::new(Bytes::from_static(br#"{"resultType":"complete"}"#))
}
