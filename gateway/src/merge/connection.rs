// SPDX-License-Identifier: Apache-2.0
//! Several connections as one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::capability::{Exchange, Sharing, TransportCapabilities};
use biplane::proto::json;
use biplane::{
    Connection, ConnectionInfo, Error, Inbound, Message, PeerError, Request, ResponseStream, Result, Subject,
};
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;

use crate::merge::discover::discover;
use crate::merge::group::{Group, INVALID_PARAMS, method_not_found, param, with_body};
use crate::merge::inbox::Inbox;
use crate::merge::kind::Kind;
use crate::merge::list::list;
use crate::merge::listen::listen;
use crate::merge::resources::{answered, first, subscribe};
use crate::merge::{names, resources};
use crate::view::{Era, View};

/// Several upstreams as one.
#[derive(Debug)]
pub(crate) struct Merged {
    info: ConnectionInfo,
    group: Arc<Group>,
    inbox: Mutex<Inbox>,
}

impl Merged {
    pub(crate) fn new(group: Group) -> Self {
        let group = Arc::new(group);
        let names: Vec<&str> = group.parts.iter().map(|part| &*part.name).collect();
        let capabilities = TransportCapabilities {
            exchange: Exchange::Unary,
            sharing: Sharing::Any,
            persistent_connections: true,
            server_push: true,
            ..TransportCapabilities::UNARY
        };
        let info = ConnectionInfo::new("merge", names.join(", "), capabilities);
        Self { info, inbox: Mutex::new(Inbox::new(group.clone())), group }
    }

    fn views(&self) -> impl Iterator<Item = View> {
        self.group.parts.iter().filter_map(|part| part.view().ok())
    }
}

#[async_trait]
impl Connection for Merged {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        if request.items.is_some() {
            return Err(Error::unsupported("MCP has no streaming requests"));
        }
        let group = &self.group;
        let shared = group.clone();
        let era = group.era;
        match request.subject.as_str() {
            "tools/call" => names::open(group, Kind::Tools, &["name"], request),
            "prompts/get" => names::open(group, Kind::Prompts, &["name"], request),
            "resources/read" => resources::open(group, &["uri"], request),
            "resources/subscribe" | "resources/unsubscribe" => {
                Ok(answered(async move { subscribe(&shared, request).await }))
            }
            "completion/complete" => complete(group, request),
            "logging/setLevel" => Ok(answered(async move { set_level(&shared, &request).await })),
            "subscriptions/listen" => listen(group, &request),
            "server/discover" => Ok(answered(async move { discover(&shared, &request).await })),
            "ping" if era == Era::Legacy => Ok(answered(async { Ok(Message::new("{}")) })),
            "initialize" => Err(Error::from(PeerError::new(-32600, "the session is initialised already"))),
            method => match Kind::of_list(method) {
                Some(kind) => Ok(answered(async move { list(&shared, kind, &request).await })),
                // What we do not know may be an extension of any of them.
                None => Ok(ResponseStream::deferred(async move {
                    let all = (0..shared.parts.len()).collect();
                    first(&shared, all, &request).await.map(|(_, stream)| stream)
                })),
            },
        }
    }

    /// Goes to everyone: what a client says unasked holds for the session.
    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        // Each upstream's session was initialised when it was opened.
        if subject.as_str() == "notifications/initialized" {
            return Ok(());
        }
        let views: Vec<View> = self.views().collect();
        let told = join_all(views.iter().map(|view| view.connection.notify(subject, message.clone()))).await;
        let (sent, failed): (Vec<_>, Vec<_>) = told.into_iter().partition(Result::is_ok);
        match failed.into_iter().find_map(Result::err) {
            Some(error) if sent.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        std::future::poll_fn(|cx| self.inbox.lock().poll(cx)).await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        let views: Vec<View> = self.views().collect();
        let closed = join_all(views.iter().map(|view| view.connection.close(grace))).await;
        closed.into_iter().collect()
    }
}

/// `completion/complete` goes where its reference is.
fn complete(group: &Arc<Group>, request: Request) -> Result<ResponseStream> {
    match param(&request, &["ref", "type"]).as_deref() {
        Some("ref/prompt") => names::open(group, Kind::Prompts, &["ref", "name"], request),
        Some("ref/resource") => resources::open(group, &["ref", "uri"], request),
        _ => Err(Error::from(PeerError::new(INVALID_PARAMS, "ref.type is neither ref/prompt nor ref/resource"))),
    }
}

/// `logging/setLevel` holds for all that log; one that is down hears of it when it comes up.
async fn set_level(group: &Group, request: &Request) -> Result<Message> {
    group.set_level(&request.message);
    let views: Vec<View> =
        (0..group.parts.len()).filter_map(|part| group.view_with(part, "logging").ok().flatten()).collect();
    if views.is_empty() {
        return Err(method_not_found(request.subject.as_str()));
    }
    let body = json::remove(&request.message.body, &["_meta", "progressToken"]);
    let asked = views.iter().map(|view| group.patiently(view.connection.request(with_body(request, body.clone()))));
    let answers = join_all(asked).await;
    let mut failed = None;
    let mut answer: Option<Message> = None;
    for result in answers {
        match result {
            Ok(message) => answer = answer.or(Some(message)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match (answer, failed) {
        (Some(answer), _) => Ok(answer),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(Message::new(Bytes::from_static(b"{}"))),
    }
}
