// SPDX-License-Identifier: Apache-2.0
//! The accepting end of the upgrade (RFC 6455, section 4.2): who may, where, and what is spoken.

use http::header::{CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::SUBPROTOCOL;
use super::head::Refusal;
use crate::io::Principal;
use crate::io::admission::{Admission, Denial, Door};

/// An upgrade that is granted.
#[derive(Debug)]
pub(super) struct Granted {
    /// Who authenticated.
    pub(super) principal: Option<Principal>,
    /// What to answer.
    pub(super) response: String,
}

/// Judges a request for a WebSocket at `path`.
pub(super) fn judge(request: &Request<()>, path: &str, door: &Door, admission: &Admission) -> Result<Granted, Refusal> {
    let headers = request.headers();
    // First of all, so that a stranger learns nothing else.
    let principal = admission.admit(door, request.uri(), headers).map_err(denied)?;
    if request.uri().path() != path {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this path"));
    }
    if request.method() != Method::GET {
        return Err(
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is asked for with GET").with("allow", "GET")
        );
    }
    if request.version() < Version::HTTP_11
        || !names(headers, &CONNECTION, "upgrade")
        || !names(headers, &UPGRADE, "websocket")
    {
        return Err(upgrade_required("this address speaks WebSocket (RFC 6455) only"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(upgrade_required("version 13 of the WebSocket protocol is spoken here"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    // 16 bytes in base64.
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if key.len() == 24 => key,
        _ => return Err(Refusal::new(StatusCode::BAD_REQUEST, "one header Sec-WebSocket-Key is needed")),
    };
    let chosen = match offers(headers) {
        Offer::Nothing => String::new(),
        Offer::Ours => format!("sec-websocket-protocol: {SUBPROTOCOL}\r\n"),
        Offer::Others => {
            let told = format!("the subprotocol {SUBPROTOCOL} is spoken here: offer it in Sec-WebSocket-Protocol");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, told));
        }
    };
    let accept = derive_accept_key(key.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n{chosen}\r\n"
    );
    Ok(Granted { principal, response })
}

fn denied(denial: Denial) -> Refusal {
    let refusal = Refusal::new(denial.status(), denial.reason());
    match denial.challenge().and_then(|value| value.to_str().map(str::to_owned).ok()) {
        Some(challenge) => refusal.with("www-authenticate", challenge),
        None => refusal,
    }
}

fn upgrade_required(reason: &str) -> Refusal {
    Refusal::new(StatusCode::UPGRADE_REQUIRED, reason).with("upgrade", "websocket").with("sec-websocket-version", "13")
}

enum Offer {
    Nothing,
    Ours,
    Others,
}

fn offers(headers: &HeaderMap) -> Offer {
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Offer::Nothing;
    }
    if names(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) { Offer::Ours } else { Offer::Others }
}

/// Whether a header that is a list of words has `word`.
fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::admission::Token;

    const GOOD: &[(&str, &str)] = &[
        ("host", "127.0.0.1:9000"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat, mcp"),
    ];

    fn judged(method: &str, path: &str, headers: &[(&str, &str)], admission: &Admission) -> Result<Granted, Refusal> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let door = Door::new("127.0.0.1:9000".parse().unwrap(), false);
        judge(&request.body(()).unwrap(), "/mcp", &door, admission)
    }

    /// The good request with one header in place of its own; an empty value takes it away.
    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        GOOD.iter().filter(|(own, _)| *own != name).copied().chain([(name, value)]).collect()
    }

    #[test]
    fn a_good_request_is_answered_as_the_recommendation_has_it() {
        let granted = judged("GET", "/mcp?x", GOOD, &Admission::default()).unwrap();
        assert!(granted.response.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(granted.response.contains("sec-websocket-protocol: mcp\r\n"));
        let granted = judged("GET", "/mcp", &with("sec-websocket-protocol", ""), &Admission::default()).unwrap();
        assert!(!granted.response.contains("sec-websocket-protocol"));
    }

    #[test]
    fn each_refusal_has_its_status() {
        for (method, path, headers, status) in [
            ("GET", "/", GOOD.to_vec(), 404),
            ("GET", "/mcp/", GOOD.to_vec(), 404),
            ("POST", "/mcp", GOOD.to_vec(), 405),
            ("GET", "/mcp", with("upgrade", ""), 426),
            ("GET", "/mcp", with("connection", "close"), 426),
            ("GET", "/mcp", with("sec-websocket-version", "8"), 426),
            ("GET", "/mcp", with("sec-websocket-key", "short"), 400),
            ("GET", "/mcp", with("sec-websocket-protocol", "chat"), 400),
            ("GET", "/mcp", with("host", "evil.example"), 403),
            ("GET", "/", with("origin", "https://evil.example"), 403),
        ] {
            let refusal = judged(method, path, &headers, &Admission::default()).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{method} {path} {headers:?}: {}", refusal.reason);
        }
    }

    #[test]
    fn a_token_names_the_principal_and_its_lack_is_challenged() {
        let admission = Admission::default().token("alice", Token::of("s3cret"));
        let granted = judged("GET", "/mcp", &with("authorization", "Bearer s3cret"), &admission).unwrap();
        assert_eq!(granted.principal, Some(Principal::new("alice")));
        let refusal = judged("GET", "/mcp", GOOD, &admission).unwrap_err();
        assert_eq!(refusal.status.as_u16(), 401);
        assert!(refusal.headers.iter().any(|(name, value)| *name == "www-authenticate" && value == "Bearer"));
    }
}
