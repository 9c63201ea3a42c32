// SPDX-License-Identifier: Apache-2.0
//! The lists of several upstreams as one list, in pages.
//!
//! A page is the next page of every upstream that has one, asked for at once, in the order of the upstreams. So a client
//! that ignores cursors sees something of each, and one that follows them needs as many rounds as the longest list has.

use biplane::proto::json;
use biplane::{Error, Message, PeerError, Request, Result, Subject};
use bytes::Bytes;
use futures_util::future::join_all;

use crate::merge::cursor;
use crate::merge::group::{Group, INVALID_PARAMS, METHOD_NOT_FOUND, method_not_found, with_body};
use crate::merge::kind::Kind;
use crate::merge::page::{Page, entries};

/// Rounds within one page, if upstreams answer with empty pages: an empty page makes clients stop.
const MAX_ROUNDS: usize = 32;
/// Pages of one upstream's list that are read to know all of it.
const MAX_PAGES: usize = 256;

/// A page, as the client asked for it.
pub(crate) async fn list(group: &Group, kind: Kind, request: &Request) -> Result<Message> {
    let mut places = places(group, request)?;
    let mut page = Page::new(group, kind);
    for _ in 0..MAX_ROUNDS {
        let asked = places.iter().map(|(part, cursor)| fetch(group, kind, request, *part, cursor.as_deref()));
        let answers = join_all(asked).await;
        let was: Vec<_> = std::mem::take(&mut places);
        let mut results = Vec::new();
        for ((part, cursor), answer) in was.into_iter().zip(answers) {
            match answer {
                Ok(Some(result)) => {
                    let next = next_cursor(&result);
                    let names = entries(kind, &result).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
                    group.learn(kind, part, &names, cursor.is_none() && next.is_none());
                    places.extend(next.map(|next| (part, Some(next))));
                    results.push((part, result));
                }
                Ok(None) => page.skip(),
                // It is the client's cursor that this upstream does not know.
                Err(error) if cursor.is_some() && code(&error) == Some(INVALID_PARAMS) => return Err(error),
                Err(error) => page.miss(part, error),
            }
        }
        know_before(group, kind, request, results.iter().map(|(part, _)| *part).max()).await;
        for (part, result) in results {
            page.take(part, &result);
        }
        if places.is_empty() || !page.is_empty() {
            break;
        }
    }
    if page.is_silent() {
        return Err(method_not_found(kind.method()));
    }
    let next = places.iter().map(|(part, cursor)| (group.name(*part), cursor.as_deref().unwrap_or_default()));
    let next = (!places.is_empty()).then(|| cursor::write(next));
    page.write(next)
}

/// Which upstreams to ask, and from where on.
fn places(group: &Group, request: &Request) -> Result<Vec<(usize, Option<String>)>> {
    let Some(raw) = json::get(&request.message.body, &["cursor"]).filter(|raw| raw != "null") else {
        return Ok((0..group.parts.len()).map(|part| (part, None)).collect());
    };
    let invalid = || Error::from(PeerError::new(INVALID_PARAMS, "the cursor is none of this server's"));
    let text = json::text(&raw).ok_or_else(invalid)?;
    let places = cursor::read(&text).map_err(Error::from)?;
    places.into_iter().map(|(name, at)| Ok((group.index(&name).ok_or_else(invalid)?, Some(at)))).collect()
}

/// One page of one upstream; `None` if it has no such list.
async fn fetch(
    group: &Group,
    kind: Kind,
    request: &Request,
    part: usize,
    cursor: Option<&str>,
) -> Result<Option<Bytes>> {
    let Some(view) = group.view_with(part, kind.capability())? else { return Ok(None) };
    let body = match cursor {
        Some(cursor) => json::set(&request.message.body, &["cursor"], &json::quote(cursor)),
        None => json::remove(&request.message.body, &["cursor"]),
    };
    let mut asked = with_body(request, body);
    asked.subject = Subject::from_static(kind.method());
    match group.patiently(view.connection.request(asked)).await {
        Ok(answer) => Ok(Some(answer.body)),
        // Templates, say, of a server that has resources and no more.
        Err(error) if code(&error) == Some(METHOD_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the whole list of `part`, so that what is not in it is known not to be there. `visit` sees every name.
pub(crate) async fn read_all(
    group: &Group,
    kind: Kind,
    request: &Request,
    part: usize,
    mut visit: impl FnMut(&str),
) -> Result<()> {
    let mut names = Vec::new();
    let mut cursor: Option<String> = None;
    let request = with_body(request, bare(&request.message.body));
    for _ in 0..MAX_PAGES {
        let Some(result) = fetch(group, kind, &request, part, cursor.as_deref()).await? else { break };
        for (name, _) in entries(kind, &result) {
            visit(&name);
            names.push(name);
        }
        let next = next_cursor(&result);
        if next.is_none() || next == cursor || names.len() >= crate::merge::catalog::MAX_ENTRIES {
            break;
        }
        cursor = next;
    }
    group.learn(kind, part, &names, true);
    Ok(())
}

/// Reads the lists of these parts that are not known. One that cannot be read stays unknown.
pub(crate) async fn know(group: &Group, kind: Kind, request: &Request, parts: impl Iterator<Item = usize>) {
    let unknown = parts.filter(|part| !group.catalogs.is_fresh(kind, *part) && group.view(*part).is_ok());
    join_all(unknown.map(|part| read_all(group, kind, request, part, |_| {}))).await;
}

/// Plain names go to the first part that has them, so the lists of those before the last one of a page have to be known.
async fn know_before(group: &Group, kind: Kind, request: &Request, last: Option<usize>) {
    if kind.is_named() {
        let plain = (0..last.unwrap_or(0)).filter(|part| !group.is_prefixed(*part));
        know(group, kind, request, plain).await;
    }
}

fn next_cursor(result: &Bytes) -> Option<String> {
    Some(json::text(&json::get(result, &["nextCursor"])?)?.into_owned())
}

fn code(error: &Error) -> Option<i64> {
    error.peer().map(|peer| peer.code)
}

/// Params of a request of our own on account of another: its `_meta`, which in the modern era every request needs, without
/// the progress token, which is the other's.
fn bare(params: &Bytes) -> Bytes {
    match json::get(params, &["_meta"]) {
        Some(meta) => json::set(&Bytes::new(), &["_meta"], &json::remove(&meta, &["progressToken"])),
        None => Bytes::new(),
    }
}
