// SPDX-License-Identifier: Apache-2.0
//! Which era a server speaks, found on a fresh connection to it.

use std::sync::Arc;
use std::time::Duration;

use biplane::proto::json;
use biplane::{Connection, Error, ErrorKind, Message, Request, ResponseStream, Result, Subject};
use bytes::Bytes;

use super::edit::Object;
use super::names::{LEGACY_VERSIONS, MODERN_VERSIONS, code, key, method, newest};
use crate::view::{Client, Era, Facts};

/// How long a server may take to show its era.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To answer `server/discover`. A legacy server may keep silent for ever.
    pub discover: Duration,
    /// To answer `initialize`. A child may have to be downloaded first.
    pub initialize: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { discover: Duration::from_secs(5), initialize: Duration::from_secs(60) }
    }
}

/// What a server is known to speak.
#[derive(Debug)]
pub struct Support {
    /// The answer to `server/discover`, if it is one.
    pub modern: Option<Facts>,
    /// It said that it speaks legacy revisions too, or showed itself to be no modern server. One that is modern and did not
    /// say so may still take `initialize`: only trying tells.
    pub legacy: bool,
    /// A probe that was met with silence. Dropping it cancels it, and a server that has not heard `initialize` yet is not to
    /// be troubled with that.
    silent: Option<ResponseStream>,
}

impl Support {
    fn legacy(silent: Option<ResponseStream>) -> Self {
        Self { modern: None, legacy: true, silent }
    }
}

/// The facts of the server at the other end of a fresh `connection`, in the era that is wanted if it speaks both.
///
/// Fails with [`ErrorKind::Closed`] if the server died of the probe: then [`initialize`] on another connection is all that
/// is left. Whatever it answers else, or does not answer, leads to facts or to its own refusal of `initialize`.
pub async fn detect(
    connection: &Arc<dyn Connection>,
    client: &Client,
    wanted: Era,
    patience: Patience,
) -> Result<Facts> {
    if wanted == Era::Legacy {
        let refusal = match initialize(connection, client, patience.initialize).await {
            Err(refusal) if refusal.kind() == ErrorKind::Peer => refusal,
            outcome => return outcome,
        };
        return probe(connection, client, patience.discover).await?.modern.ok_or(refusal);
    }
    let support = probe(connection, client, patience.discover).await?;
    match support.modern {
        Some(facts) => Ok(facts),
        None => {
            let facts = initialize(connection, client, patience.initialize).await;
            drop(support.silent);
            facts
        }
    }
}

/// Asks the server on a fresh `connection` to `server/discover`.
///
/// A modern result or the error of a modern server shows the modern era; any other answer, or none, the legacy one. It is
/// never keyed to the code of one error.
pub async fn probe(connection: &Arc<dyn Connection>, client: &Client, silence: Duration) -> Result<Support> {
    let mut version = newest(MODERN_VERSIONS);
    for _ in 0..=MODERN_VERSIONS.len() {
        let mut stream =
            connection.open(Request::new(Subject::from_static(method::DISCOVER), discover(client, version)))?;
        let answer = match tokio::time::timeout(silence, stream.next()).await {
            Err(_) => return Ok(Support::legacy(Some(stream))),
            Ok(answer) => answer,
        };
        let error = match answer {
            Some(Ok(result)) => return Ok(discovered(&result.body, version)),
            Some(Err(error)) => error,
            None => return Ok(Support::legacy(None)),
        };
        match error.peer().map(|peer| (peer.code, &peer.data)) {
            Some((code::UNSUPPORTED_VERSION, data)) => match mutual(data) {
                Some(other) if other != version => version = other,
                _ if spoken(data, &["supported"], LEGACY_VERSIONS).is_some() => return Ok(Support::legacy(None)),
                _ => {
                    return Err(
                        error.with_hint(format!("this side speaks {MODERN_VERSIONS:?} and {LEGACY_VERSIONS:?}"))
                    );
                }
            },
            Some((code::HEADER_MISMATCH | code::MISSING_CAPABILITY, _)) => {
                return Err(error.with_hint("the server speaks the modern era, but refuses server/discover"));
            }
            // Not an answer: nobody was there to give one.
            None if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Connect | ErrorKind::Cancelled) => {
                return Err(error);
            }
            _ => return Ok(Support::legacy(None)),
        }
    }
    Err(Error::protocol("the server refuses the revisions that it says it supports"))
}

/// Opens a legacy session on a fresh `connection`: `initialize` with what `client` said, then `notifications/initialized`.
pub async fn initialize(connection: &Arc<dyn Connection>, client: &Client, patience: Duration) -> Result<Facts> {
    let version = LEGACY_VERSIONS.iter().copied().find(|version| *version == client.version);
    let mut params = Object::new();
    params
        .set("protocolVersion", &json::quote(version.unwrap_or(newest(LEGACY_VERSIONS))))
        .set("capabilities", object(&client.capabilities))
        .set("clientInfo", info(client));
    let request = Request::new(Subject::from_static(method::INITIALIZE), params.close()).with_timeout(patience);
    let result = match tokio::time::timeout(patience, connection.request(request)).await {
        Ok(result) => result?.body,
        Err(_) => {
            return Err(Error::timeout(format!("the server did not answer initialize within {patience:?}"))
                .with_hint("see what it wrote to stderr, or give it more time"));
        }
    };
    let agreed = spoken(&result, &["protocolVersion"], LEGACY_VERSIONS)
        .ok_or_else(|| Error::protocol(format!("the answer to initialize names none of {LEGACY_VERSIONS:?}")))?;
    let facts = Facts {
        era: Era::Legacy,
        version: agreed.to_owned(),
        server_info: json::get(&result, &["serverInfo"]).unwrap_or_else(nameless),
        capabilities: json::get(&result, &["capabilities"]).unwrap_or(Bytes::from_static(b"{}")),
        instructions: json::get(&result, &["instructions"]).filter(|raw| raw.first() == Some(&b'"')),
    };
    connection.notify(&Subject::from_static(method::INITIALIZED), Message::default()).await?;
    Ok(facts)
}

/// The `params` of a discovery.
fn discover(client: &Client, version: &str) -> Bytes {
    let mut meta = Object::new();
    meta.set(key::VERSION, &json::quote(version))
        .set(key::CLIENT_INFO, info(client))
        .set(key::CLIENT_CAPABILITIES, object(&client.capabilities));
    let mut params = Object::new();
    params.set("_meta", &meta.close());
    params.close()
}

fn discovered(result: &Bytes, version: &str) -> Support {
    let versions = |known| spoken(result, &["supportedVersions"], known);
    let capabilities = json::get(result, &["capabilities"]).filter(|raw| raw.first() == Some(&b'{'));
    let (Some(capabilities), Some(_)) = (capabilities, versions(MODERN_VERSIONS)) else {
        return Support::legacy(None);
    };
    let told = json::get(result, &["_meta", key::SERVER_INFO]).or_else(|| json::get(result, &["serverInfo"]));
    let facts = Facts {
        era: Era::Modern,
        version: version.to_owned(),
        server_info: told.unwrap_or_else(nameless),
        capabilities,
        instructions: json::get(result, &["instructions"]).filter(|raw| raw.first() == Some(&b'"')),
    };
    Support { modern: Some(facts), legacy: versions(LEGACY_VERSIONS).is_some(), silent: None }
}

/// The first of `known` that the string or list of strings at `path` names.
fn spoken(text: &Bytes, path: &[&str], known: &[&'static str]) -> Option<&'static str> {
    let value: serde_json::Value = serde_json::from_slice(&json::get(text, path)?).ok()?;
    let named = |version: &&str| match &value {
        serde_json::Value::String(one) => one == version,
        serde_json::Value::Array(many) => many.iter().any(|one| one == version),
        _ => false,
    };
    known.iter().copied().find(|version| named(version))
}

/// The modern revision that both sides speak, from the data of an error.
fn mutual(data: &Bytes) -> Option<&'static str> {
    spoken(data, &["supported"], MODERN_VERSIONS)
}

/// Both eras demand that the server be named, and some servers do not do it.
fn nameless() -> Bytes {
    Bytes::from_static(br#"{"name":"unknown","version":"0"}"#)
}

fn object(raw: &Bytes) -> &[u8] {
    if raw.is_empty() { b"{}" } else { raw }
}

/// Who asks; the gateway itself if nobody said.
fn info(client: &Client) -> &[u8] {
    const OURS: &str = concat!(r#"{"name":"biplane","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
    if client.info.is_empty() { OURS.as_bytes() } else { &client.info }
}
