// SPDX-License-Identifier: Apache-2.0
//! The results of several upstreams as one result.

use biplane::proto::json;
use biplane::{Error, ErrorKind, Message, PeerError, Result};
use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::merge::facts::server_info;
use crate::merge::group::Group;
use crate::merge::kind::Kind;
use crate::view::Era;

/// The member of a result's `_meta` that tells of upstreams that are missing in it.
pub(crate) const UPSTREAMS: &str = "dev.biplane/upstreams";
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The entries of a list with their names, in order. What has no name is left out: no client could ask for it.
pub(crate) fn entries(kind: Kind, result: &Bytes) -> Vec<(String, Bytes)> {
    let Some(array) = json::get(result, &[kind.list()]) else { return Vec::new() };
    let raw: Vec<&RawValue> = serde_json::from_slice(&array).unwrap_or_default();
    let named = raw.into_iter().filter_map(|raw| {
        let entry = array.slice_ref(raw.get().as_bytes());
        let name = json::text(&json::get(&entry, &[kind.key()])?)?.into_owned();
        Some((name, entry))
    });
    named.collect()
}

/// A page that is being made.
pub(crate) struct Page<'a> {
    group: &'a Group,
    kind: Kind,
    entries: Vec<Bytes>,
    common: Common,
    /// Upstreams that have no such list.
    skipped: usize,
}

impl<'a> Page<'a> {
    pub(crate) fn new(group: &'a Group, kind: Kind) -> Self {
        Self { group, kind, entries: Vec::new(), common: Common::new(group.era), skipped: 0 }
    }

    pub(crate) fn take(&mut self, part: usize, result: &Bytes) {
        for (name, entry) in entries(self.kind, result) {
            if !self.group.allows(self.kind, part, &name) {
                continue;
            }
            self.entries.push(match self.group.published(self.kind, part, &name) {
                Some(name) => json::set(&entry, &[self.kind.key()], &json::quote(&name)),
                None => entry,
            });
        }
        self.common.take(result, &[self.kind.list(), "nextCursor"]);
    }

    /// An upstream has no such list.
    pub(crate) fn skip(&mut self) {
        self.skipped += 1;
    }

    /// An upstream should have been in it.
    pub(crate) fn miss(&mut self, part: usize, error: Error) {
        self.common.miss(self.group.name(part), error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nobody has such a list.
    pub(crate) fn is_silent(&self) -> bool {
        self.common.taken == 0 && self.common.missing.is_empty()
    }

    /// The result, or the error if nobody was there to answer.
    pub(crate) fn write(self, next: Option<String>) -> Result<Message> {
        if self.common.taken == 0 && self.skipped == 0 {
            return Err(self.common.failure());
        }
        let mut list = BytesMut::with_capacity(self.entries.iter().map(|entry| entry.len() + 1).sum::<usize>() + 2);
        list.extend_from_slice(b"[");
        for (at, entry) in self.entries.iter().enumerate() {
            if at > 0 {
                list.extend_from_slice(b",");
            }
            list.extend_from_slice(entry);
        }
        list.extend_from_slice(b"]");
        let mut own = vec![(self.kind.list(), list.freeze())];
        own.extend(next.map(|next| ("nextCursor", json::quote(&next))));
        Ok(Message::new(self.common.write(own)))
    }
}

/// What the results of one method have in common, whatever it lists.
pub(crate) struct Common {
    era: Era,
    /// Results that are in it.
    pub(crate) taken: usize,
    missing: Vec<(String, Error)>,
    others: Vec<(Vec<u8>, Bytes)>,
    meta: Vec<(Vec<u8>, Bytes)>,
    ttl: Option<u64>,
    is_private: bool,
}

impl Common {
    pub(crate) fn new(era: Era) -> Self {
        Self { era, taken: 0, missing: Vec::new(), others: Vec::new(), meta: Vec::new(), ttl: None, is_private: false }
    }

    /// Takes what stands in `result` beside the members `own`.
    pub(crate) fn take(&mut self, result: &Bytes, own: &[&str]) {
        self.taken += 1;
        let mut ttl = None;
        let mut is_public = false;
        for (key, value) in json::members(result) {
            match key {
                b"_meta" => json::members(value).for_each(|(key, value)| keep(&mut self.meta, key, value)),
                b"ttlMs" => ttl = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
                b"cacheScope" => is_public = value == br#""public""#,
                key if own.iter().any(|own| own.as_bytes() == key) => {}
                key => keep(&mut self.others, key, value),
            }
        }
        let ttl = ttl.unwrap_or(0);
        self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)));
        self.is_private |= !is_public;
    }

    /// Notes that an upstream is missing in it.
    pub(crate) fn miss(&mut self, name: &str, error: Error) {
        self.missing.push((name.to_owned(), error));
    }

    /// Why there is no result at all. A single upstream speaks for itself.
    pub(crate) fn failure(mut self) -> Error {
        if self.missing.len() == 1
            && let Some((_, only)) = self.missing.pop()
        {
            return only;
        }
        let kind = match self.missing.first().map(|(_, error)| error.kind()) {
            None | Some(ErrorKind::Peer) => ErrorKind::Unexpected,
            Some(kind) => kind,
        };
        let reasons: Vec<String> = self.missing.iter().map(|(name, error)| format!("{name}: {error}")).collect();
        let error = Error::new(kind, format!("no upstream answers ({})", reasons.join("; ")));
        Error::from(PeerError::from(error).with_data(self.missing()))
    }

    /// The result, with `own` before all else.
    pub(crate) fn write(mut self, own: Vec<(&str, Bytes)>) -> Bytes {
        if self.era == Era::Modern {
            let info = Bytes::from(server_info().to_string());
            self.meta.retain(|(key, _)| key != SERVER_INFO.as_bytes());
            self.meta.push((SERVER_INFO.as_bytes().to_vec(), info));
        }
        if !self.missing.is_empty() {
            let missing = self.missing();
            self.meta.push((UPSTREAMS.as_bytes().to_vec(), missing));
            // What is incomplete is not to be kept.
            self.ttl = Some(0);
        }
        let own = own.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value));
        let mut members: Vec<(Vec<u8>, Bytes)> = own.collect();
        members.append(&mut self.others);
        if self.era == Era::Modern {
            members.push((b"ttlMs".to_vec(), self.ttl.unwrap_or(0).to_string().into()));
            let scope: &[u8] = if self.is_private { br#""private""# } else { br#""public""# };
            members.push((b"cacheScope".to_vec(), Bytes::copy_from_slice(scope)));
            keep(&mut members, b"resultType", br#""complete""#);
        }
        if !self.meta.is_empty() {
            members.push((b"_meta".to_vec(), object(&self.meta)));
        }
        object(&members)
    }

    /// Who is missing, and why, as raw JSON.
    fn missing(&self) -> Bytes {
        let told = self.missing.iter().map(|(name, error)| {
            let said = PeerError::from(error);
            let error = serde_json::json!({ "error": { "code": said.code, "message": said.message } });
            (name.as_bytes().to_vec(), Bytes::from(error.to_string()))
        });
        object(&told.collect::<Vec<_>>())
    }
}

/// Of two members with one name the first counts.
fn keep(members: &mut Vec<(Vec<u8>, Bytes)>, key: &[u8], value: &[u8]) {
    if !members.iter().any(|(known, _)| known == key) {
        members.push((key.to_vec(), Bytes::copy_from_slice(value)));
    }
}

/// An object of raw members; the keys are as they stand between quotes.
fn object(members: &[(Vec<u8>, Bytes)]) -> Bytes {
    let mut text = BytesMut::with_capacity(members.iter().map(|(key, value)| key.len() + value.len() + 4).sum());
    text.extend_from_slice(b"{");
    for (at, (key, value)) in members.iter().enumerate() {
        text.extend_from_slice(if at > 0 { b",\"" } else { b"\"" });
        text.extend_from_slice(key);
        text.extend_from_slice(b"\":");
        text.extend_from_slice(value);
    }
    text.extend_from_slice(b"}");
    text.freeze()
}
