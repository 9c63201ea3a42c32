// SPDX-License-Identifier: Apache-2.0
//! Who a client is, and how it answers.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};

/// What the server is answered: a result, or an error.
pub type Reply = Result<Value, PeerError>;

type Hearing = Arc<dyn Fn(&str, &Value) + Send + Sync>;
type Answers = Arc<dyn Fn(&str, &Value) -> Reply + Send + Sync>;

/// Who a client is: its name, what it can do, and what it says when a server asks.
#[derive(Clone)]
pub struct Identity {
    info: Value,
    capabilities: Value,
    answers: Answers,
    told: Hearing,
}

impl Identity {
    /// A client of this name, that can do nothing yet.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            info: json!({"name": name, "version": version}),
            capabilities: json!({}),
            answers: Arc::new(|method, _| Err(unknown(method))),
            told: Arc::new(|_, _| {}),
        }
    }

    /// Declares `capabilities`, and answers what the server may then ask (`elicitation/create`, `sampling/createMessage`,
    /// `roots/list`) by `answers`, which gets the method and its params. It must not block.
    pub fn answering(
        mut self,
        capabilities: Value,
        answers: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.capabilities = capabilities;
        self.answers = Arc::new(answers);
        self
    }

    /// Hears the notifications of the server: method and params.
    pub fn hearing(mut self, told: impl Fn(&str, &Value) + Send + Sync + 'static) -> Self {
        self.told = Arc::new(told);
        self
    }

    /// The params of `initialize`.
    pub(super) fn introduction(&self, version: &str) -> Map<String, Value> {
        Map::from_iter([
            ("protocolVersion".to_owned(), json!(version)),
            ("capabilities".to_owned(), self.capabilities.clone()),
            ("clientInfo".to_owned(), self.info.clone()),
        ])
    }

    /// Makes the params of a request those of a modern one.
    pub(super) fn describe(&self, params: &mut Map<String, Value>, version: &str) {
        let meta = params.entry("_meta").or_insert_with(|| json!({}));
        if let Value::Object(meta) = meta {
            meta.insert("io.modelcontextprotocol/protocolVersion".to_owned(), json!(version));
            meta.insert("io.modelcontextprotocol/clientInfo".to_owned(), self.info.clone());
            meta.insert("io.modelcontextprotocol/clientCapabilities".to_owned(), self.capabilities.clone());
        }
    }

    /// Answers the questions of an `input_required` result, by their names.
    pub(super) fn answer_all(&self, questions: Option<&Value>) -> Result<Value> {
        let Some(Value::Object(questions)) = questions else { return Ok(json!({})) };
        let answer = |(name, question): (&String, &Value)| {
            let method = question.get("method").and_then(Value::as_str).unwrap_or_default();
            let params = question.get("params").unwrap_or(&Value::Null);
            (self.answers)(method, params).map(|answer| (name.clone(), answer)).map_err(Error::from)
        };
        questions.iter().map(answer).collect::<Result<Map<_, _>>>().map(Value::Object)
    }

    /// Takes what the server sent unasked.
    pub(super) async fn take(&self, inbound: Inbound) {
        match inbound {
            Inbound::Notification(method, message) => (self.told)(method.as_str(), &parsed(&message.body)),
            Inbound::Request(request, reply) => {
                let params = parsed(&request.message.body);
                let outcome = match request.subject.as_str() {
                    "ping" => Ok(json!({})),
                    method => (self.answers)(method, &params),
                };
                match outcome {
                    // That the server is gone meanwhile is its own affair.
                    Ok(result) => match reply.send(result.to_string()).await {
                        Ok(()) => reply.close(),
                        Err(error) => reply.fail(&error),
                    },
                    Err(error) => reply.fail(error),
                }
            }
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.info, self.capabilities)
    }
}

fn unknown(method: &str) -> PeerError {
    PeerError::new(crate::proto::jsonrpc::METHOD_NOT_FOUND, format!("this client answers no {method}"))
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}
