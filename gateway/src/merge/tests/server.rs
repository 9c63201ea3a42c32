// SPDX-License-Identifier: Apache-2.0
//! A server that answers by a script.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::capability::TransportCapabilities;
use biplane::proto::json;
use biplane::{
    Connection, ConnectionInfo, Event, Inbound, Message, PeerError, Request, ResponseSender, ResponseStream, Result,
    Subject,
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Mutex as Turn, mpsc};

use crate::merge::{Part, State};
use crate::view::{Era, Facts, View};

/// What it has, and what it was asked.
#[derive(Debug)]
pub(super) struct Server {
    info: ConnectionInfo,
    era: Era,
    capabilities: Value,
    script: Mutex<Script>,
    said: mpsc::UnboundedSender<Inbound>,
    saying: Turn<mpsc::UnboundedReceiver<Inbound>>,
}

#[derive(Debug, Default)]
struct Script {
    tools: Vec<String>,
    prompts: Vec<String>,
    resources: Vec<String>,
    templates: Vec<String>,
    /// Further URIs that it can read.
    readable: Vec<String>,
    page: usize,
    extra: Value,
    asked: Vec<(String, Value)>,
    told: Vec<String>,
    listeners: Vec<ResponseSender>,
    fails: Vec<&'static str>,
    hangs: Vec<&'static str>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Server {
    pub(super) fn new(era: Era, capabilities: &[&str]) -> Self {
        let (said, saying) = mpsc::unbounded_channel();
        let claim = |name: &&str| match *name {
            "resources" => ("resources".to_owned(), json!({"subscribe": true})),
            name => (name.to_owned(), json!({})),
        };
        Self {
            info: ConnectionInfo::new("mock", "a script", TransportCapabilities::UNARY),
            era,
            capabilities: Value::Object(capabilities.iter().map(claim).collect()),
            script: Mutex::new(Script { page: usize::MAX, ..Script::default() }),
            said,
            saying: Turn::new(saying),
        }
    }

    pub(super) fn legacy(tools: &[&str]) -> Self {
        Self::new(Era::Legacy, &["tools", "prompts", "resources", "logging", "completions"]).with_tools(tools)
    }

    fn with(self, edit: impl FnOnce(&mut Script)) -> Self {
        edit(&mut self.script.lock());
        self
    }

    pub(super) fn with_tools(self, names: &[&str]) -> Self {
        self.with(|script| script.tools = owned(names))
    }

    pub(super) fn with_prompts(self, names: &[&str]) -> Self {
        self.with(|script| script.prompts = owned(names))
    }

    pub(super) fn with_resources(self, uris: &[&str]) -> Self {
        self.with(|script| script.resources = owned(uris))
    }

    pub(super) fn with_templates(self, templates: &[&str]) -> Self {
        self.with(|script| script.templates = owned(templates))
    }

    pub(super) fn with_readable(self, uris: &[&str]) -> Self {
        self.with(|script| script.readable = owned(uris))
    }

    pub(super) fn with_page(self, page: usize) -> Self {
        self.with(|script| script.page = page)
    }

    /// Members of every list result.
    pub(super) fn with_extra(self, extra: Value) -> Self {
        self.with(|script| script.extra = extra)
    }

    /// Fails these methods with `-32603`.
    pub(super) fn failing(self, methods: &[&'static str]) -> Self {
        self.with(|script| script.fails = methods.to_vec())
    }

    /// Never answers these methods.
    pub(super) fn hanging(self, methods: &[&'static str]) -> Self {
        self.with(|script| script.hangs = methods.to_vec())
    }

    pub(super) fn set_tools(&self, names: &[&str]) {
        self.script.lock().tools = owned(names);
    }

    pub(super) fn view(self: &Arc<Self>) -> View {
        let version = match self.era {
            Era::Legacy => "2025-11-25",
            Era::Modern => "2026-07-28",
        };
        let facts = Facts {
            era: self.era,
            version: version.to_owned(),
            server_info: Bytes::from_static(br#"{"name":"scripted","version":"1"}"#),
            capabilities: self.capabilities.to_string().into(),
            instructions: None,
        };
        View { connection: self.clone(), facts: Arc::new(facts) }
    }

    pub(super) fn part(self: &Arc<Self>, name: &str) -> Part {
        Part::fixed(name, State::Up(self.view()))
    }

    /// Params of the requests of this method so far.
    pub(super) fn asked(&self, method: &str) -> Vec<Value> {
        let script = self.script.lock();
        script.asked.iter().filter(|(asked, _)| asked == method).map(|(_, params)| params.clone()).collect()
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.script.lock().told.clone()
    }

    pub(super) fn say(&self, method: &'static str, params: &str) {
        let message = Message::new(params.to_owned());
        self.said.send(Inbound::Notification(Subject::from_static(method), message)).unwrap();
    }

    /// The sender of the last `subscriptions/listen`.
    pub(super) fn listener(&self) -> ResponseSender {
        self.script.lock().listeners.pop().unwrap()
    }

    fn answer(script: &mut Script, method: &str, params: &Value) -> Result<Value, PeerError> {
        if script.fails.contains(&method) {
            return Err(PeerError::new(-32603, "broken"));
        }
        let page = |all: &[String], list: &str, key: &str| {
            let from: usize = match params.get("cursor") {
                None => 0,
                Some(cursor) => cursor
                    .as_str()
                    .and_then(|text| text.strip_prefix("at ")?.parse().ok())
                    .ok_or_else(|| PeerError::new(-32602, "bad cursor"))?,
            };
            let rest = all.get(from..).unwrap_or_default();
            // Odd pages of a size of zero are empty, as some servers' are.
            let take = if script.page == 0 { (from / 2) % 2 } else { script.page };
            let entries: Vec<Value> = rest.iter().take(take).map(|name| json!({ key: name, "x": 1.50 })).collect();
            let next = if script.page == 0 { from + 1 } else { from.saturating_add(take) };
            let mut result = json!({ list: entries });
            if next < all.len() {
                result["nextCursor"] = json!(format!("at {next}"));
            }
            if let Value::Object(extra) = &script.extra {
                result.as_object_mut().unwrap().extend(extra.clone());
            }
            Ok(result)
        };
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        match method {
            "tools/list" => page(&script.tools, "tools", "name"),
            "prompts/list" => page(&script.prompts, "prompts", "name"),
            "resources/list" => page(&script.resources, "resources", "uri"),
            "resources/templates/list" => page(&script.templates, "resourceTemplates", "uriTemplate"),
            "tools/call" if script.tools.contains(&name) => Ok(json!({ "called": name })),
            "prompts/get" if script.prompts.contains(&name) => Ok(json!({ "got": name })),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                let uri = params["uri"].as_str().unwrap_or_default().to_owned();
                match script.resources.contains(&uri) || script.readable.contains(&uri) {
                    true => Ok(json!({ "read": uri })),
                    false => Err(PeerError::new(-32002, "no such resource")),
                }
            }
            "completion/complete" => Ok(json!({ "of": params["ref"] })),
            "server/discover" => Ok(script.extra.clone()),
            "logging/setLevel" | "own/method" => Ok(json!({})),
            "tools/call" | "prompts/get" => Err(PeerError::new(-32602, "unknown")),
            _ => Err(PeerError::new(-32601, "no such method")),
        }
    }
}

#[async_trait]
impl Connection for Server {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let body = &request.message.body;
        let params: Value = if body.is_empty() { json!({}) } else { serde_json::from_slice(body).unwrap() };
        json::check(if body.is_empty() { b"{}" } else { body }).unwrap();
        let script = &mut *self.script.lock();
        script.asked.push((request.subject.to_string(), params.clone()));
        if request.subject.as_str() == "subscriptions/listen" {
            let (sender, stream) = biplane::stream::pipe(1 << 20, 1 << 20);
            script.listeners.push(sender);
            return Ok(stream);
        }
        if script.hangs.contains(&request.subject.as_str()) {
            return Ok(ResponseStream::from_events(futures_util::stream::pending()));
        }
        let answer = Self::answer(script, request.subject.as_str(), &params);
        let progress = Inbound::Notification(Subject::from_static("notifications/progress"), Message::new("{}"));
        let events = match answer {
            Ok(answer) => vec![Ok(Event::Inbound(progress)), Ok(Event::Item(Message::new(answer.to_string())))],
            Err(error) => vec![Err(error.into())],
        };
        Ok(ResponseStream::from_events(futures_util::stream::iter(events)))
    }

    async fn notify(&self, subject: &Subject, _message: Message) -> Result<()> {
        self.script.lock().told.push(subject.to_string());
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(self.saying.lock().await.recv().await)
    }

    async fn close(&self, _grace: Duration) -> Result<()> {
        Ok(())
    }
}
