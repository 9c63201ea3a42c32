// SPDX-License-Identifier: Apache-2.0
//! Opening a session that came from elsewhere: what its client said then is said again for it.

use std::sync::Arc;

use tokio::time::timeout;

use super::refused::Refused;
use super::session::Session;
use crate::message::{Message, Subject};
use crate::proto::jsonrpc::{Id, ids};

/// Says `initialize`, waits for the answer, says `notifications/initialized`. Whoever else has a message for the session
/// waits for that. If it fails, the session ends, and its client has to initialize again.
pub(super) async fn perform(session: &Arc<Session>) -> Result<(), Refused> {
    let handshake = session.ready.get_or_try_init(async || {
        let params = session.state().revived.take().ok_or_else(Refused::unknown)?;
        let mut unfinished = Unfinished(Some(session));
        let method = Subject::from_static(ids::INITIALIZE);
        let mut answer = session.start(Id::NULL, method, Message::new(params))?;
        let limit = session.settings().handshake_timeout;
        let succeeded = timeout(limit, async {
            while let Some(outgoing) = answer.next().await {
                match outgoing.response {
                    Some(error) => return error.is_none(),
                    // There is nobody to tell of progress.
                    None => continue,
                }
            }
            false
        });
        if !succeeded.await.unwrap_or(false) {
            return Err(Refused::unknown());
        }
        session.tell(Subject::from_static("notifications/initialized"), Message::default())?;
        unfinished.0 = None;
        Ok(())
    });
    handshake.await.copied()
}

/// Ends the session of a handshake that did not come to its end.
struct Unfinished<'a>(Option<&'a Arc<Session>>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.end();
        }
    }
}
