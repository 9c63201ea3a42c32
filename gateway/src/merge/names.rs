// SPDX-License-Identifier: Apache-2.0
//! From a published name of a tool or prompt to its upstream and the name that it has there.

use std::sync::Arc;

use biplane::proto::json;
use biplane::{Error, ErrorKind, PeerError, Request, ResponseStream, Result};

use crate::merge::group::{Group, INVALID_PARAMS, with_body};
use crate::merge::kind::Kind;
use crate::merge::list::{know, read_all};
use crate::merge::naming::{may_be_shortened, prefixed, unprefixed};

/// Where a name leads, as far as is known without asking anyone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// To this upstream, under this name.
    To(usize, String),
    /// To this upstream, which has to be asked for the name that was shortened.
    Shortened(usize),
    /// Lists have to be read.
    Unsure,
    /// Nowhere.
    None,
}

/// Sends a request to the upstream of the name at `path` of its params. Where that is known the upstream's own stream comes
/// back, and the params are touched only if the name differs.
pub(crate) fn open(
    group: &Arc<Group>,
    kind: Kind,
    path: &'static [&'static str],
    request: Request,
) -> Result<ResponseStream> {
    let Some(raw) = json::get(&request.message.body, path) else { return Err(unnamed(path)) };
    let name = json::text(&raw).ok_or_else(|| unnamed(path))?.into_owned();
    if let Lead::To(part, own) = lead(group, kind, &name) {
        return send(group, kind, path, request, &name, (part, own));
    }
    let group = group.clone();
    Ok(ResponseStream::deferred(async move {
        let place = find(&group, kind, &request, &name).await?;
        send(&group, kind, path, request, &name, place)
    }))
}

fn send(
    group: &Group,
    kind: Kind,
    path: &[&str],
    request: Request,
    name: &str,
    (part, own): (usize, String),
) -> Result<ResponseStream> {
    if !group.allows(kind, part, &own) {
        return Err(unknown(kind, name));
    }
    let view = group.view(part)?;
    if own == name {
        return view.connection.open(request);
    }
    let body = json::set(&request.message.body, path, &json::quote(&own));
    view.connection.open(with_body(&request, body))
}

/// Where `name` leads by what is remembered.
pub(crate) fn lead(group: &Group, kind: Kind, name: &str) -> Lead {
    if let Some((part, rest)) = by_prefix(group, name, true) {
        return shortened(group, kind, part, name, rest);
    }
    let plain: Vec<usize> = (0..group.parts.len()).filter(|part| !group.is_prefixed(*part)).collect();
    if let ([only], 1) = (plain.as_slice(), group.parts.len()) {
        return Lead::To(*only, name.to_owned());
    }
    for part in &plain {
        if group.catalogs.knows(kind, *part, name) && group.allows(kind, *part, name) {
            return Lead::To(*part, name.to_owned());
        }
        if !group.catalogs.is_fresh(kind, *part) && group.view(*part).is_ok() {
            return Lead::Unsure;
        }
    }
    // One of several with the same name, under the name that tells them apart.
    match by_prefix(group, name, false) {
        Some((part, rest)) if may_be_shortened(name) => shortened(group, kind, part, name, rest),
        Some((part, rest)) if group.catalogs.knows(kind, part, rest) => Lead::To(part, rest.to_owned()),
        Some((part, rest)) if group.view(part).is_err() => Lead::To(part, rest.to_owned()),
        _ => Lead::None,
    }
}

/// The part whose prefix `name` has. Of several the one with the longest name: names with `_` in them could be taken for
/// each other's.
fn by_prefix<'a>(group: &Group, name: &'a str, is_prefixed: bool) -> Option<(usize, &'a str)> {
    let parts = (0..group.parts.len()).filter(|part| group.is_prefixed(*part) == is_prefixed);
    let fits = parts.filter_map(|part| Some((part, unprefixed(group.name(part), name)?)));
    fits.min_by_key(|(_, rest)| rest.len())
}

fn shortened(group: &Group, kind: Kind, part: usize, name: &str, rest: &str) -> Lead {
    match may_be_shortened(name) {
        false => Lead::To(part, rest.to_owned()),
        true => match group.catalogs.original(kind, name) {
            Some(original) => Lead::To(part, original),
            None => Lead::Shortened(part),
        },
    }
}

/// Where `name` leads, asking whom it takes.
async fn find(group: &Group, kind: Kind, request: &Request, name: &str) -> Result<(usize, String)> {
    let plain = || (0..group.parts.len()).filter(|part| !group.is_prefixed(*part));
    let mut found = lead(group, kind, name);
    if found == Lead::Unsure {
        know(group, kind, request, plain()).await;
        found = settled(group, kind, name);
    }
    if found == Lead::None {
        // It may be new. A list that was read a moment ago is believed, so that unknown names do not cost a list each.
        for part in plain().filter(|part| !group.catalogs.is_recent(kind, *part)) {
            group.catalogs.expire(kind, part);
        }
        know(group, kind, request, plain()).await;
        found = settled(group, kind, name);
    }
    match found {
        Lead::To(part, own) => Ok((part, own)),
        Lead::Shortened(part) => Ok((part, original(group, kind, request, part, name).await?)),
        Lead::Unsure | Lead::None => Err(nowhere(group, kind, name)),
    }
}

/// As [`lead`] where everything that can be read has been read: a part whose list cannot be read has nothing.
fn settled(group: &Group, kind: Kind, name: &str) -> Lead {
    match lead(group, kind, name) {
        Lead::Unsure => {
            let plain = (0..group.parts.len()).filter(|part| !group.is_prefixed(*part));
            let mut knows = plain.filter(|part| group.catalogs.knows(kind, *part, name));
            knows.next().map_or(Lead::None, |part| Lead::To(part, name.to_owned()))
        }
        found => found,
    }
}

/// The name that was shortened to `name`: the list tells, for a replica that never saw it too.
async fn original(group: &Group, kind: Kind, request: &Request, part: usize, name: &str) -> Result<String> {
    let upstream = group.name(part);
    let mut original = None;
    let visit = |own: &str| {
        if original.is_none() && prefixed(upstream, own) == name {
            original = Some(own.to_owned());
        }
    };
    read_all(group, kind, request, part, visit).await?;
    let own = original.ok_or_else(|| unknown(kind, name))?;
    group.catalogs.learn_original(kind, name, &own);
    Ok(own)
}

/// Nobody who is there has it. Whether one who is not there has it, nobody knows.
fn nowhere(group: &Group, kind: Kind, name: &str) -> Error {
    let down = (0..group.parts.len()).filter(|part| !group.is_prefixed(*part)).find_map(|part| group.view(part).err());
    match down {
        Some(error) => {
            let kind = match error.kind() {
                ErrorKind::Peer => ErrorKind::Connect,
                kind => kind,
            };
            let said = error.peer().cloned().unwrap_or_else(|| PeerError::from(&error));
            let code = PeerError::from(Error::new(kind, "").with_retry(error.retry())).code;
            let text = format!("no upstream that is up has {name:?}; {}", said.message);
            Error::from(PeerError::new(code, text).with_data(said.data))
        }
        None => unknown(kind, name),
    }
}

fn unknown(kind: Kind, name: &str) -> Error {
    let what = if kind == Kind::Tools { "tool" } else { "prompt" };
    Error::from(PeerError::new(INVALID_PARAMS, format!("Unknown {what}: {name}")))
}

fn unnamed(path: &[&str]) -> Error {
    Error::from(PeerError::new(INVALID_PARAMS, format!("the params lack the text {}", path.join("."))))
}
