// SPDX-License-Identifier: Apache-2.0
//! One request from a face to a server, and everything that comes for it back.

use std::time::Instant;

use biplane::proto::jsonrpc::ids::LISTEN;
use biplane::{Connection, Error, Event, Request, ResponseSender, ResponseStream, Result};

use crate::core::{Core, Counted};

/// Passes `request` on, and its answer back to `reply`. When the client goes away, the server is told.
pub(crate) async fn relay(to: &dyn Connection, mut request: Request, reply: ResponseSender, core: &Core) {
    let _counted = match admit(&mut request, core) {
        Ok(counted) => counted,
        Err(error) => return reply.refuse(&error),
    };
    match to.open(request) {
        Ok(stream) => {
            if !pass_back(stream, reply).await {
                core.count_error();
            }
        }
        Err(error) => {
            core.count_error();
            reply.fail(&error);
        }
    }
}

/// Counts a request and gives it a deadline, or refuses it.
pub(super) fn admit(request: &mut Request, core: &Core) -> Result<Counted> {
    let counted = core.admit_request()?;
    // Subscriptions last until somebody ends them.
    if request.context.deadline.is_none() && request.subject.as_str() != LISTEN {
        request.context.deadline = Instant::now().checked_add(core.request_timeout());
    }
    Ok(counted)
}

/// Passes the answer on `stream` to `reply`. False if it was an error.
pub(crate) async fn pass_back(mut stream: ResponseStream, reply: ResponseSender) -> bool {
    loop {
        let event = tokio::select! {
            biased;
            event = stream.next_event() => event,
            _ = reply.stopped() => return true,
        };
        let passed = match event {
            Some(Ok(Event::Item(item))) => {
                return match reply.send(item).await {
                    Ok(()) => {
                        reply.close();
                        true
                    }
                    // Too large for the client's side: it is told so.
                    Err(error) => {
                        reply.fail(&error);
                        false
                    }
                };
            }
            Some(Ok(Event::Inbound(inbound))) => reply.send_inbound(inbound).await,
            Some(Err(error)) => {
                reply.fail(&error);
                return false;
            }
            None => {
                reply.fail(Error::protocol("the server's answer has no result"));
                return false;
            }
        };
        if passed.is_err() {
            // Nobody is there any more.
            return true;
        }
    }
}
