// SPDX-License-Identifier: Apache-2.0
//! Errors as programs read them, and the one error that is none.

use std::io;

use biplane::{Error, ErrorKind};
use serde_json::{Map, Value};

use crate::exit::Exit;

/// An error as an object: always `kind`, `message` and `exit_code`; what else is known beside them. `kind` is one of the
/// words of the metrics' label `error_type`.
pub(crate) fn error_json(error: &Error) -> Value {
    let mut object = Map::new();
    object.insert("kind".to_owned(), error.kind().error_type().into());
    object.insert("message".to_owned(), error.to_string().into());
    object.insert("exit_code".to_owned(), Exit::from(error).code().into());
    if let Some(items) = error.items_seen() {
        object.insert("items_seen".to_owned(), items.into());
    }
    if let Some(transport) = error.transport() {
        object.insert("transport".to_owned(), transport.as_str().into());
    }
    if let Some(peer) = error.peer() {
        object.insert("code".to_owned(), peer.code.into());
        if !peer.data.is_empty() {
            // A service whose data is no JSON shall be seen as it is.
            let data = serde_json::from_slice(&peer.data)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&peer.data).into_owned()));
            object.insert("data".to_owned(), data);
        }
    }
    Value::Object(object)
}

/// The error of a failed write to standard output.
pub(crate) fn output_gone(error: io::Error) -> Error {
    Error::new(ErrorKind::Cancelled, "standard output cannot be written").with_source(error)
}

/// Whether the reader of standard output has seen enough (`biplane call … | head -1`): nothing that needs telling.
pub(crate) fn is_output_gone(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    error.kind() == ErrorKind::Cancelled && source.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use biplane::PeerError;

    use super::*;

    #[test]
    fn what_a_service_said_is_kept() {
        let error = Error::from(PeerError::new(3, "no").with_data(&b"{\"exit_code\":3}"[..]));
        let object = error_json(&error);
        assert_eq!((&object["code"], &object["data"]["exit_code"]), (&Value::from(3), &Value::from(3)));
        assert_eq!((&object["kind"], &object["exit_code"]), (&Value::from("peer"), &Value::from(1)));
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_cancelled_call() {
        assert!(is_output_gone(&output_gone(io::ErrorKind::BrokenPipe.into())));
        assert!(!is_output_gone(&output_gone(io::ErrorKind::StorageFull.into())));
        assert!(!is_output_gone(&Error::cancelled("the responder gave up")));
    }
}
