// SPDX-License-Identifier: Apache-2.0
//! Asking the client something in the middle of a request, in both eras by the same code. A handler is a function of the
//! answers that it has so far: it is done, or it asks. To a modern client the question is the result, and the answers
//! come with the next request. A legacy client is asked by requests of our own while its request waits.

use rmcp::model::{
    ClientCapabilities, ErrorCode, GetMeta, InputRequest, InputRequests, InputRequiredResult, InputResponses,
    JsonObject, LoggingLevel, ProtocolVersion, RequestStateCodec, ServerRequest,
};
use rmcp::service::{RequestContext, ServiceError};
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::changes::Changes;
use crate::content::typed;
use crate::{prompts, tools};

/// More than any handler here asks.
const ROUNDS: usize = 8;
/// No secret: what is tested is that a changed state is noticed, by whichever process of several the client comes back to.
const KEY: &[u8] = b"the requestState of a test server, thirty-two bytes or more";

/// The key of `_meta` under which the gateway takes the modern name of a legacy question.
const NAME: &str = "biplane/inputKey";

/// What is to be driven.
pub(crate) enum Handler<'a> {
    /// The tool of this name, for a client that wants log messages from this level on.
    Tool(&'a str, &'a Changes, Option<LoggingLevel>),
    /// The prompt of this name.
    Prompt(&'a str),
}

/// What a handler is given.
pub(crate) struct Call<'a> {
    pub(crate) arguments: JsonObject,
    pub(crate) answers: InputResponses,
    /// What the handler said it wants back with the answers.
    pub(crate) state: Option<Value>,
    pub(crate) context: &'a RequestContext<RoleServer>,
}

/// What a handler comes to.
pub(crate) enum Step {
    /// The JSON of the result.
    Done(Value),
    /// Questions by name, each `{"method", "params"}`, and what to be given back with the answers.
    Ask(Value, Option<Value>),
}

/// What a request ends with.
pub(crate) enum Ending {
    /// The JSON of the result.
    Done(Value),
    InputRequired(InputRequiredResult),
}

impl Handler<'_> {
    async fn step(&self, call: &Call<'_>) -> Result<Step, ErrorData> {
        match self {
            Self::Tool(name, changes, level) => tools::call(name, call, changes, *level).await,
            Self::Prompt(name) => prompts::get(name, call),
        }
    }
}

impl Call<'_> {
    /// The text argument `name`, or nothing.
    pub(crate) fn argument(&self, name: &str) -> &str {
        self.arguments.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the request is of the modern era.
    pub(crate) fn is_modern(&self) -> bool {
        is_modern(self.context)
    }

    pub(crate) fn capabilities(&self) -> ClientCapabilities {
        self.context.client_capabilities().unwrap_or_default()
    }

    /// The answer to the elicitation `name`, if it is one and the user accepted.
    pub(crate) fn accepted(&self, name: &str) -> Option<&Value> {
        let answer = self.answers.get(name)?;
        answer.get("content").filter(|content| content.is_object() && answer["action"] == "accept")
    }
}

/// Drives `handler` to its end.
pub(crate) async fn drive(
    handler: Handler<'_>,
    arguments: Option<JsonObject>,
    answers: Option<InputResponses>,
    sealed: Option<String>,
    context: &RequestContext<RoleServer>,
) -> Result<Ending, ErrorData> {
    let codec = RequestStateCodec::try_new(KEY).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let state = match sealed {
        None => None,
        Some(sealed) => Some(codec.open_json(&sealed).map_err(|_| changed_state())?),
    };
    let mut call =
        Call { arguments: arguments.unwrap_or_default(), answers: answers.unwrap_or_default(), state, context };
    for _ in 0..ROUNDS {
        let (questions, state) = match handler.step(&call).await? {
            Step::Done(result) => return Ok(Ending::Done(result)),
            Step::Ask(questions, state) => (typed::<InputRequests>(questions)?, state),
        };
        if call.is_modern() {
            declared(&questions, &call.capabilities())?;
            let sealed = state.map(|state| codec.seal_json(&state)).transpose();
            let sealed = sealed.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            return Ok(Ending::InputRequired(InputRequiredResult::new(Some(questions), sealed)));
        }
        call.answers = ask_all(questions, context).await?;
        call.state = state;
    }
    Err(ErrorData::internal_error("the client's answers are of no use", None))
}

/// A modern server may only ask for what the client said it can do.
fn declared(questions: &InputRequests, capabilities: &ClientCapabilities) -> Result<(), ErrorData> {
    let can = serde_json::to_value(capabilities).unwrap_or_default();
    for question in questions.values() {
        let needed = match question {
            InputRequest::CreateMessage(_) => "sampling",
            InputRequest::Elicitation(_) => "elicitation",
            InputRequest::ListRoots(_) => "roots",
            _ => continue,
        };
        if can.get(needed).is_none() {
            return Err(ErrorData::missing_required_client_capability(typed(json!({needed: {}}))?));
        }
    }
    Ok(())
}

/// Asks a legacy client everything at once.
async fn ask_all(questions: InputRequests, context: &RequestContext<RoleServer>) -> Result<InputResponses, ErrorData> {
    let mut asking = tokio::task::JoinSet::new();
    for (name, question) in questions {
        let context = context.clone();
        asking.spawn(async move { ask(&name, question, &context).await.map(|answer| (name, answer)) });
    }
    let mut answers = InputResponses::new();
    while let Some(answer) = asking.join_next().await {
        let (name, answer) = answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))??;
        answers.insert(name, answer);
    }
    Ok(answers)
}

/// Asks a legacy client. Old servers ask whatever the client declared, and so does this one. The name, of which the legacy
/// era knows nothing, goes along in `_meta`, where the gateway's bridge looks for one.
async fn ask(name: &str, question: InputRequest, context: &RequestContext<RoleServer>) -> Result<Value, ErrorData> {
    let mut request = match question {
        InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
        InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
        InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
        other => return Err(ErrorData::internal_error(format!("no way to ask {other:?}"), None)),
    };
    request.get_meta_mut().0.insert(NAME.to_owned(), name.into());
    match context.peer.send_request(request).await {
        Ok(answer) => serde_json::to_value(answer).map_err(|error| ErrorData::internal_error(error.to_string(), None)),
        Err(ServiceError::McpError(error)) => Err(error),
        Err(error) => Err(ErrorData::internal_error(error.to_string(), None)),
    }
}

pub(crate) fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn changed_state() -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_PARAMS, "requestState is not what this server gave out", None)
}
