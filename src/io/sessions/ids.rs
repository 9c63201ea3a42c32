// SPDX-License-Identifier: Apache-2.0
//! Names of sessions.

use bytes::Bytes;

use crate::io::Principal;
use crate::message::{SessionId, random_u64};

/// Makes the names of sessions, and says what a name that nobody here knows stands for.
pub trait SessionIds: Send + Sync + 'static {
    /// A name for a new session: visible ASCII that nobody can guess. `initialize` is the raw `params` of the request.
    fn mint(&self, initialize: &Bytes, principal: Option<&Principal>) -> SessionId;

    /// The `params` of the `initialize` that `id` stands for, if this host, a former life of it or a replica minted it for
    /// `principal` and it still holds. The session is then opened anew here, before the message that named it.
    fn revive(&self, id: &SessionId, principal: Option<&Principal>) -> Option<Bytes> {
        let _ = (id, principal);
        None
    }
}

/// 128 random bits, known only here.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl SessionIds for RandomIds {
    fn mint(&self, _initialize: &Bytes, _principal: Option<&Principal>) -> SessionId {
        SessionId::new(format!("{:016x}{:016x}", random_u64(), random_u64()))
    }
}
