// SPDX-License-Identifier: Apache-2.0
//! `server/discover` of several servers.

use biplane::proto::json;
use biplane::{Message, Request, Result};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use crate::merge::facts::{announce_changes, instructions, union};
use crate::merge::group::{Group, with_body};
use crate::merge::page::Common;

/// Asks all, and joins what they say.
pub(crate) async fn discover(group: &Group, request: &Request) -> Result<Message> {
    let body = json::remove(&request.message.body, &["_meta", "progressToken"]);
    let asked = (0..group.parts.len()).map(|part| {
        let asked = with_body(request, body.clone());
        async move {
            let view = group.view(part)?;
            group.patiently(view.connection.request(asked)).await
        }
    });
    let answers = join_all(asked).await;

    let mut common = Common::new(group.era);
    let mut present = Vec::new();
    for (part, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(answer) => {
                common.take(&answer.body, &["supportedVersions", "capabilities", "instructions", "serverInfo"]);
                present.push((group.name(part), answer.body));
            }
            Err(error) => common.miss(group.name(part), error),
        }
    }
    if present.is_empty() {
        return Err(common.failure());
    }

    let capabilities: Vec<Bytes> = present.iter().filter_map(|(_, body)| json::get(body, &["capabilities"])).collect();
    let mut capabilities = union(capabilities.iter());
    if group.parts.iter().any(|part| part.is_live()) {
        announce_changes(&mut capabilities);
    }
    let said: Vec<_> = present.iter().map(|(name, body)| (*name, json::get(body, &["instructions"]))).collect();
    let said: Vec<_> = said.iter().map(|(name, text)| (*name, text.as_ref())).collect();
    let mut own = vec![
        ("supportedVersions", versions(present.iter().map(|(_, body)| body))),
        ("capabilities", Value::Object(capabilities).to_string().into()),
    ];
    own.extend(instructions(&said).map(|text| ("instructions", text)));
    Ok(Message::new(common.write(own)))
}

/// The versions that all speak, in the first one's order; its own if there is none.
fn versions<'a>(results: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let lists = results.filter_map(|body| {
        let list = json::get(body, &["supportedVersions"])?;
        serde_json::from_slice::<Vec<String>>(&list).ok()
    });
    let lists: Vec<Vec<String>> = lists.collect();
    let first = lists.first().cloned().unwrap_or_default();
    let common: Vec<_> =
        first.iter().filter(|version| lists.iter().all(|list| list.contains(version))).cloned().collect();
    Value::from(if common.is_empty() { first } else { common }).to_string().into()
}
