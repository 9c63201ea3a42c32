// SPDX-License-Identifier: Apache-2.0
//! Who sends a request, as the request says.

use biplane::io::messages::PRINCIPAL;
use biplane::proto::json;
use biplane::{PeerError, Request};
use bytes::Bytes;

use crate::era::capabilities::{Askable, carried_over};
use crate::era::edit::Object;
use crate::era::level::Level;
use crate::era::names::{MODERN_VERSIONS, code, key};
use crate::view::Client;

pub(super) struct Asker {
    pub(super) client: Client,
    pub(super) askable: Askable,
    /// The log messages that the request wants; without it, none.
    pub(super) level: Option<Level>,
}

impl Asker {
    /// From `_meta`, or the error that the specification wants.
    pub(super) fn of(request: &Request) -> Result<Self, PeerError> {
        let meta = json::get(&request.message.body, &["_meta"]).filter(is_object);
        let meta = meta.ok_or_else(|| invalid("a request has an object _meta"))?;
        let version = json::get(&meta, &[key::VERSION]);
        let version = version.as_deref().and_then(json::text).ok_or_else(|| missing(key::VERSION))?.into_owned();
        if !MODERN_VERSIONS.contains(&version.as_str()) {
            return Err(unsupported(&version));
        }
        let capabilities = json::get(&meta, &[key::CLIENT_CAPABILITIES]).filter(is_object);
        let capabilities = capabilities.ok_or_else(|| missing(key::CLIENT_CAPABILITIES))?;
        let level = match json::get(&meta, &[key::LOG_LEVEL]) {
            None => None,
            Some(raw) => Some(Level::read(&raw).ok_or_else(|| invalid("the log level is none of RFC 5424"))?),
        };
        let principal = request.message.headers.get_str(PRINCIPAL).unwrap_or_default().to_owned();
        Ok(Self {
            askable: Askable::read(&capabilities),
            client: Client {
                version,
                info: json::get(&meta, &[key::CLIENT_INFO]).filter(is_object).unwrap_or_default(),
                capabilities: carried_over(&capabilities),
                principal,
            },
            level,
        })
    }
}

fn is_object(raw: &Bytes) -> bool {
    raw.first() == Some(&b'{')
}

fn invalid(what: &str) -> PeerError {
    PeerError::new(code::INVALID_PARAMS, what)
}

fn missing(key: &str) -> PeerError {
    PeerError::new(code::INVALID_PARAMS, format!("_meta of a request has {key}"))
}

fn unsupported(version: &str) -> PeerError {
    let supported: Vec<Bytes> = MODERN_VERSIONS.iter().map(|version| json::quote(version)).collect();
    let mut data = Object::new();
    data.set("supported", &[b"[", supported.join(&b","[..]).as_slice(), b"]"].concat());
    data.set("requested", &json::quote(version));
    PeerError::new(code::UNSUPPORTED_VERSION, "this revision of the protocol is not spoken here")
        .with_data(data.close())
}
