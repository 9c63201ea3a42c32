// SPDX-License-Identifier: Apache-2.0
//! The dialling end, and what a server's refusal means.

use std::io;
use std::sync::Arc;

use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use super::burst::Burst;
use super::security::Security;
use super::wire::Wire;
use super::{CLAIMS, HANDSHAKE_TIMEOUT, ID, SUBPROTOCOL, is_secure, settings, tune};
use crate::config::Config;
use crate::connection::{Connection, ConnectionInfo};
use crate::error::{Error, Result};
use crate::io::BoxedBytes;
use crate::io::messages::{self, Settings};
use crate::target::Target;

/// Characters of a server's own words that an error repeats.
const MAX_WORDS: usize = 200;

pub(super) async fn dial(config: &Config, security: &Security, target: &Target) -> Result<Arc<dyn Connection>> {
    let request = request(target)?;
    let authority = target.authority()?;
    let stream = TcpStream::connect(&authority).await.map_err(unreachable)?;
    tune(&stream);
    let stream: BoxedBytes = match is_secure(target) {
        true => security.dialled(stream, target.url().host_str().unwrap_or_default()).await?,
        false => Box::new(stream),
    };
    let limits = settings(config.limits.max_message_size);
    let asking = client_async_with_config(request, Burst::new(stream), Some(limits));
    let socket = match tokio::time::timeout(HANDSHAKE_TIMEOUT, asking).await {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(error)) => return Err(refused(error)),
        Err(_) => {
            let limit = HANDSHAKE_TIMEOUT.as_secs();
            return Err(Error::connect(format!("the server did not answer the WebSocket's upgrade within {limit} s"))
                .with_hint("check that this port speaks WebSocket"));
        }
    };
    let wire = Wire::new(socket, config.limits.write_timeout, None);
    let info = ConnectionInfo::new(ID, authority, CLAIMS);
    Ok(messages::connection(wire, info, Settings::dialer(config.limits.max_message_size)))
}

fn request(target: &Target) -> Result<Request> {
    let mut url = target.url().clone();
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::config(format!("{target} has credentials, which a ws: URL cannot carry"))
            .with_hint("take them out of the URL"));
    }
    url.set_fragment(None);
    let malformed = |error: WsError| Error::config(format!("{target} cannot be asked for")).with_source(error);
    let mut request = url.as_str().into_client_request().map_err(malformed)?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(request)
}

fn unreachable(error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there: check that it is up, and the port",
        _ => "check the host name and that the network lets it through",
    };
    Error::connect("the connection failed").with_source(error).with_hint(hint)
}

fn refused(error: WsError) -> Error {
    match error {
        WsError::Http(response) => answered(&response),
        WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            Error::protocol(format!("the server does not speak the WebSocket subprotocol {SUBPROTOCOL}"))
                .with_hint("check the path: this may be a WebSocket of another kind")
        }
        WsError::Io(error) => match error.downcast::<Error>() {
            // TLS knows better than we.
            Ok(told) => told,
            Err(error) => Error::connect("the link was lost in the WebSocket's upgrade").with_source(error),
        },
        error => Error::protocol("the server does not answer as a WebSocket does")
            .with_source(error)
            .with_hint("check the scheme and the port: wss: for TLS, ws: without"),
    }
}

/// An answer in HTTP where a WebSocket was asked for.
fn answered(response: &Response<Option<Vec<u8>>>) -> Error {
    let status = response.status();
    let words = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default());
    let words: String = words.trim().chars().take(MAX_WORDS).collect();
    let said = if words.is_empty() { String::new() } else { format!(": {words:?}") };
    let found = format!("the server answered {status} to the WebSocket's upgrade{said}");
    match status {
        StatusCode::UNAUTHORIZED => Error::refused(found).with_hint("it wants a token"),
        StatusCode::FORBIDDEN => Error::refused(found).with_hint("this host name or origin is not allowed there"),
        StatusCode::NOT_FOUND => Error::refused(found).with_hint("check the path of the URL"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Error::overloaded(found).with_hint("try later")
        }
        status if status.is_redirection() => Error::refused(found).with_hint("dial where it redirects to"),
        _ => Error::refused(found).with_hint("check the URL: this may be no WebSocket"),
    }
}
