// SPDX-License-Identifier: Apache-2.0
//! What a message says in its headers beside its body.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::session::Session;
use super::tools::Tools;
use crate::message::{Message, RequestContext};
use crate::proto::json;
use crate::proto::mcp::{self, header};

/// The headers of a message of the modern era: what its body says, once more.
pub(super) fn modern(version: &str, method: &str, message: &Message, tools: &Tools) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put(&mut headers, header::PROTOCOL_VERSION, version);
    put(&mut headers, header::METHOD, method);
    forward_arguments(message, &mut headers);
    let Some(member) = mcp::name_member(method) else { return headers };
    let Some(raw) = json::get(&message.body, &[member]) else { return headers };
    let Some(name) = json::text(&raw) else { return headers };
    put(&mut headers, header::NAME, &name);
    if method == "tools/call"
        && let Some(arguments) = json::get(&message.body, &["arguments"])
    {
        for mirrored in tools.mirrored(&name).iter() {
            let name = format!("{}{}", header::PARAM_PREFIX, mirrored.name);
            if let Some(value) = mirrored.value(&arguments) {
                put(&mut headers, &name, &value);
            }
        }
    }
    headers
}

/// The headers of a message of a session.
pub(super) fn legacy(session: &Session) -> HeaderMap {
    session.headers()
}

/// The trace goes along for those who look at headers only.
pub(super) fn trace(context: &RequestContext, headers: &mut HeaderMap) {
    if let Some(trace) = &context.trace {
        put(headers, "traceparent", &trace.to_string());
    }
}

/// Arguments that whoever called us had mirrored: we need not know the tool to pass them on.
fn forward_arguments(message: &Message, headers: &mut HeaderMap) {
    for (name, value) in message.headers.iter() {
        let is_argument = name
            .get(..header::PARAM_PREFIX.len())
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(header::PARAM_PREFIX));
        let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value.clone()));
        if let (true, (Ok(name), Ok(value))) = (is_argument, pair) {
            headers.insert(name, value);
        }
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&header::encode(value)));
    if let (Ok(name), Ok(value)) = pair {
        headers.insert(name, value);
    }
}
