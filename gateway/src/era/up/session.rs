// SPDX-License-Identifier: Apache-2.0
//! The legacy session that a call runs on.

use std::sync::Arc;

use biplane::proto::json;
use biplane::{Connection, Inbound, Result, Subject};

use super::Shared;
use super::asker::Asker;
use super::hub::{Hub, Seat, set_level};
use crate::era::names::method;
use crate::view::View;

pub(super) enum Session {
    /// One of many calls, which cannot be asked.
    Shared(Arc<Hub>, Option<Seat>),
    /// The only one: whatever the session receives is on account of it.
    Exclusive(View, bool),
}

impl Session {
    /// A session of its own for a call that can be asked, or whose log messages would be another's.
    pub(super) async fn for_call(shared: &Shared, subject: &str, asker: &Asker) -> Result<Self> {
        let may_be_asked =
            matches!(subject, method::CALL | method::GET_PROMPT | method::READ) && asker.askable.anything();
        let logs = json::get(&shared.facts.capabilities, &["logging"]).is_some();
        let level = asker.level.filter(|_| logs);
        if !may_be_asked {
            let hub = shared.hubs.get(&asker.client).await?;
            match level {
                None => return Ok(Self::Shared(hub, None)),
                Some(level) => {
                    if let Some(seat) = hub.sit(level).await? {
                        return Ok(Self::Shared(hub, Some(seat)));
                    }
                }
            }
        }
        let view = shared.sessions.exclusive(&asker.client).await?;
        if let Some(level) = level {
            set_level(&view.connection, level, &shared.limits).await?;
        }
        Ok(Self::Exclusive(view, true))
    }

    pub(super) fn connection(&self) -> &Arc<dyn Connection> {
        match self {
            Self::Shared(hub, _) => hub.connection(),
            Self::Exclusive(view, _) => &view.connection,
        }
    }

    pub(super) fn is_exclusive(&self) -> bool {
        matches!(self, Self::Exclusive(..))
    }

    /// What comes beside the call's own stream and is on account of it. Cancel-safe. Of a session that is over, the call's
    /// stream knows.
    pub(super) async fn next(&mut self) -> Inbound {
        match self {
            Self::Shared(_, Some(seat)) => Inbound::Notification(Subject::from_static(method::LOG), seat.next().await),
            Self::Exclusive(view, alive) if *alive => match view.connection.receive().await {
                Ok(Some(inbound)) => inbound,
                Ok(None) | Err(_) => {
                    *alive = false;
                    std::future::pending().await
                }
            },
            _ => std::future::pending().await,
        }
    }

    /// Waits until what was said before now is there for [`next`](Self::next).
    pub(super) async fn settle(&self) {
        if let Self::Shared(hub, Some(_)) = self {
            hub.settle().await;
        }
    }

    /// A notification that came on the call's stream and is not the call's: others may want it.
    pub(super) fn pass_on(&self, subject: Subject, message: biplane::Message) {
        if let Self::Shared(hub, _) = self {
            hub.tell(subject, message);
        }
    }
}
