// SPDX-License-Identifier: Apache-2.0
//! The acknowledgement as a NATS message. Header `x-biplane-ack` says what the payload is:
//!
//! | value | payload |
//! |---|---|
//! | `accepted` | empty |
//! | `located` | response connection info as JSON: where the answer is to be fetched |
//! | `error` | `{"code": …, "message": …, "data": …}`: the handler did not run |

use async_nats::HeaderMap;
use biplane::plane::{Ack, ResponseConnectionInfo};
use biplane::{Error, PeerError, Result, Retry};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const ACK: &str = "x-biplane-ack";
const ACCEPTED: &str = "accepted";
const LOCATED: &str = "located";
const ERROR: &str = "error";

/// An error's text beyond this is cut, its data beyond this left out: an acknowledgement has to fit `max_payload` too.
const MAX_ERROR_TEXT: usize = 4 * 1024;

#[derive(Serialize, Deserialize)]
struct WireError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Headers and payload of an acknowledgement.
pub(crate) fn encode(outcome: &Result<Ack>) -> (HeaderMap, Bytes) {
    let (kind, payload) = match outcome {
        Ok(Ack::Accepted) => (ACCEPTED, Bytes::new()),
        Ok(Ack::Located(info)) => (LOCATED, Bytes::from(info.to_text())),
        Ok(Ack::Inline(_)) => (ERROR, error(&Error::unsupported("the nats plane carries no inline answers").into())),
        Err(refusal) => (ERROR, error(&PeerError::from(refusal))),
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACK, kind);
    (headers, payload)
}

fn error(peer: &PeerError) -> Bytes {
    let data = (peer.data.len() <= MAX_ERROR_TEXT)
        .then(|| std::str::from_utf8(&peer.data).ok())
        .flatten()
        .and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let message = cut(&peer.message, MAX_ERROR_TEXT).to_owned();
    // A number, a string and a checked JSON text always serialise.
    serde_json::to_vec(&WireError { code: peer.code, message, data }).unwrap_or_default().into()
}

/// At most `most` bytes of `text`, ending between two characters.
fn cut(text: &str, most: usize) -> &str {
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    text.get(..ends.take_while(|end| *end <= most).last().unwrap_or(0)).unwrap_or_default()
}

/// Whether a message is an acknowledgement, which is never a request.
pub(crate) fn is_ack(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| headers.get(ACK).is_some())
}

/// Reads an acknowledgement. The responder's refusal is an error that is safe to retry: its handler did not run.
pub(crate) fn decode(headers: Option<&HeaderMap>, payload: &[u8]) -> Result<Ack> {
    match headers.and_then(|headers| headers.get(ACK)).map(|kind| kind.as_str()) {
        Some(ACCEPTED) => Ok(Ack::Accepted),
        Some(LOCATED) => {
            let text = std::str::from_utf8(payload)
                .map_err(|error| Error::protocol("the acknowledgement is not UTF-8").with_source(error))?;
            ResponseConnectionInfo::from_text(text).map(Ack::Located)
        }
        Some(ERROR) => {
            let wire: WireError = serde_json::from_slice(payload)
                .map_err(|error| Error::protocol("the acknowledgement holds a malformed error").with_source(error))?;
            let data = wire.data.map(|data| Bytes::from(Box::<str>::from(data).into_string())).unwrap_or_default();
            let peer = PeerError::new(wire.code, wire.message).with_data(data);
            Err(Error::from(peer).with_retry(Retry::Safe))
        }
        Some(other) => Err(Error::protocol(format!("an acknowledgement of the unknown kind {other:?}"))),
        None => Err(Error::protocol("what came back is no acknowledgement")
            .with_hint("something else than a Biplane responder listens on that NATS subject")),
    }
}

#[cfg(test)]
mod tests {
    use biplane::{ErrorKind, RequestContext, TransportAddress};
    use proptest::prelude::*;

    use super::*;

    fn crossed(outcome: Result<Ack>) -> Result<Ack> {
        let (headers, payload) = encode(&outcome);
        decode(Some(&headers), &payload)
    }

    #[test]
    fn every_acknowledgement_crosses() {
        assert!(matches!(crossed(Ok(Ack::Accepted)), Ok(Ack::Accepted)));
        let info = ResponseConnectionInfo::new(TransportAddress::http("http://h/x"), &RequestContext::new());
        assert!(
            matches!(crossed(Ok(Ack::Located(info.clone()))), Ok(Ack::Located(back)) if back.address == info.address)
        );
        let peer = PeerError::new(-32602, "bad ä").with_data(&b"{\"a\": [1,  2]}"[..]);
        let error = crossed(Err(Error::from(peer.clone()))).unwrap_err();
        assert_eq!((error.peer(), error.retry()), (Some(&peer), Retry::Safe));
        let error = crossed(Err(Error::overloaded("full"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
    }

    #[test]
    fn an_error_of_any_size_fits() {
        let peer = PeerError::new(1, "ä".repeat(1 << 20)).with_data(vec![b'1'; 1 << 20]);
        let (_, payload) = encode(&Err(Error::from(peer)));
        assert!(payload.len() < 2 * MAX_ERROR_TEXT, "{}", payload.len());
        assert_eq!(cut("aä", 2), "a");
    }

    #[test]
    fn what_is_no_acknowledgement_is_an_error() {
        assert_eq!(decode(None, b"hello").unwrap_err().kind(), ErrorKind::Protocol);
        let mut headers = HeaderMap::new();
        headers.insert(ACK, "maybe");
        assert_eq!(decode(Some(&headers), b"").unwrap_err().kind(), ErrorKind::Protocol);
    }

    proptest! {
        #[test]
        fn no_payload_makes_decoding_panic(payload in prop::collection::vec(any::<u8>(), 0..100), located: bool) {
            let mut headers = HeaderMap::new();
            headers.insert(ACK, if located { LOCATED } else { ERROR });
            prop_assert!(decode(Some(&headers), &payload).is_err());
        }
    }
}
