// SPDX-License-Identifier: Apache-2.0
//! How links end: what we tell a peer that broke a rule, and what a peer's close means to us (RFC 6455, section 7.4).

use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::error::{Detail, Error};

/// A rule that the peer broke: what it is told, and what those who wait on the link are told.
pub(super) struct Fault {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
    pub(super) error: Error,
}

impl Fault {
    pub(super) fn binary() -> Self {
        Self {
            code: CloseCode::Unsupported,
            reason: "text messages only",
            error: Error::protocol("the peer sent a binary message, where JSON-RPC is text")
                .with_detail(Detail::Malformed),
        }
    }

    pub(super) fn malformed() -> Self {
        Self {
            code: CloseCode::Invalid,
            reason: "not JSON",
            error: Error::protocol("the peer sent a message that is no JSON").with_detail(Detail::Malformed),
        }
    }

    pub(super) fn too_many_control_frames(limit: u32) -> Self {
        Self {
            code: CloseCode::Policy,
            reason: "too many control frames",
            error: Error::protocol(format!("the peer sent more than {limit} control frames in a second")),
        }
    }

    /// What the WebSocket itself found wrong; `None` where the link is gone and nobody can be told.
    pub(super) fn of(error: WsError) -> Result<Self, Error> {
        Ok(match error {
            WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => Self {
                code: CloseCode::Size,
                reason: "message or frame too long",
                error: Error::too_large("a frame or message of the peer", max_size as u64, size as u64),
            },
            WsError::Utf8(_) => Self {
                code: CloseCode::Invalid,
                reason: "not UTF-8",
                error: Error::protocol("the peer sent text that is not UTF-8").with_detail(Detail::Malformed),
            },
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | WsError::ConnectionClosed
            | WsError::AlreadyClosed => return Err(Error::peer_closed(0, false)),
            WsError::Io(error) => {
                return Err(match error.downcast::<Error>() {
                    // TLS knows better than we.
                    Ok(told) => told,
                    Err(error) => Error::peer_closed(0, false).with_source(error),
                });
            }
            error => Self {
                code: CloseCode::Protocol,
                reason: "protocol error",
                error: Error::protocol("the peer broke the WebSocket protocol")
                    .with_detail(Detail::Malformed)
                    .with_source(error),
            },
        })
    }

    pub(super) fn frame(&self) -> CloseFrame {
        CloseFrame { code: self.code, reason: self.reason.into() }
    }
}

/// What the peer's close means: `Ok` if it leaves in order.
pub(super) fn verdict(frame: Option<CloseFrame>) -> Result<(), Error> {
    let Some(frame) = frame else { return Ok(()) };
    let reason = match frame.reason.is_empty() {
        true => format!("code {}", u16::from(frame.code)),
        // Whoever is at the other end wrote it, so it is shown as a string.
        false => format!("{:?}, code {}", frame.reason.as_str(), u16::from(frame.code)),
    };
    let told = |what: &str| format!("the peer closed the WebSocket: {what} ({reason})");
    Err(match frame.code {
        CloseCode::Normal | CloseCode::Away | CloseCode::Status => return Ok(()),
        CloseCode::Policy => Error::refused(told("it is against its policy"))
            .with_hint("check token, origin and rate: the peer's log says which rule it was"),
        CloseCode::Size => Error::new(crate::error::ErrorKind::TooLarge, told("a message was too long for it"))
            .with_hint("send less, or raise the limit there"),
        CloseCode::Protocol | CloseCode::Unsupported | CloseCode::Invalid => {
            Error::protocol(told("it did not understand what we sent"))
        }
        CloseCode::Again | CloseCode::Restart => Error::overloaded(told("it cannot serve now")).with_hint("try later"),
        _ => Error::closed(told("no more is known")),
    })
}
