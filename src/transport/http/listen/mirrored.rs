// SPDX-License-Identifier: Apache-2.0
//! What a modern request says in headers, so that those on the way need not read its body: it must be what the body says.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fault::Fault;
use super::sentinel;
use crate::message::{Message, Subject};
use crate::proto::json;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Arguments of tools; whoever knows the tool's schema checks them.
const PARAM: &str = "mcp-param-";

/// Checks `Mcp-Method` and `Mcp-Name` of a request.
pub(super) fn check(headers: &HeaderMap, method: &Subject, params: &Bytes) -> Result<(), Fault> {
    let said = one(headers, &METHOD, "Mcp-Method")?.to_str().unwrap_or_default().trim();
    if said != method.as_str() {
        return Err(Fault::mismatch(format!("Mcp-Method is {said:?}, and the body says {:?}", method.as_str())));
    }
    let key = match method.as_str() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return Ok(()),
    };
    let value = one(headers, &NAME, "Mcp-Name")?;
    let said = sentinel::decode(value).ok_or_else(|| Fault::mismatch("Mcp-Name is no text".to_owned()))?;
    let raw = json::get(params, &[key]);
    let meant = raw.as_deref().and_then(json::text);
    if meant.as_deref() == Some(&*said) {
        return Ok(());
    }
    let meant = meant.unwrap_or_default();
    Err(Fault::mismatch(format!("Mcp-Name is {said:?}, and the body's {key} is {meant:?}")))
}

/// The same message with the headers that mirror arguments.
pub(super) fn with_arguments(mut message: Message, headers: &HeaderMap) -> Message {
    for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with(PARAM)) {
        message.headers.append(name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    }
    message
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName, spelled: &str) -> Result<&'a HeaderValue, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Fault::mismatch(format!("{spelled} stands there twice"))),
        (None, _) => Err(Fault::mismatch(format!("the header {spelled} is missing"))),
    }
}
