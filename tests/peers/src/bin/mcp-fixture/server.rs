// SPDX-License-Identifier: Apache-2.0
//! The server as `rmcp` wants it: each method handed to the module that knows the answer.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::*;
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;

use crate::changes::Changes;
use crate::content::complete;
use crate::rounds::{Ending, Handler, drive, is_modern};
use crate::{Era, prompts, resources, tools};

/// One session's view of the server; all of a process share the changes.
#[derive(Clone)]
pub(crate) struct Fixture {
    era: Era,
    changes: Changes,
    session: Arc<Mutex<Session>>,
}

/// What a legacy client set for its session.
struct Session {
    level: LoggingLevel,
    subscriptions: HashSet<String>,
}

impl Fixture {
    pub(crate) fn new(era: Era) -> Self {
        Self { era, changes: Changes::new(), session: Arc::new(Mutex::new(Session::new())) }
    }

    /// The same server for another client.
    pub(crate) fn another(&self) -> Self {
        Self { session: Arc::new(Mutex::new(Session::new())), ..self.clone() }
    }

    fn session<T>(&self, look: impl FnOnce(&mut Session) -> T) -> T {
        look(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The least severe messages that the client wants, if it wants any.
    fn level(&self, context: &RequestContext<RoleServer>) -> Option<LoggingLevel> {
        if is_modern(context) { context.meta.log_level() } else { Some(self.session(|session| session.level)) }
    }
}

impl Session {
    fn new() -> Self {
        Self { level: LoggingLevel::Debug, subscriptions: HashSet::new() }
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("mcp-fixture", env!("CARGO_PKG_VERSION")))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.era {
            Era::Dual => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
            Era::Legacy => Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25)),
            Era::Modern => Cow::Owned(vec![ProtocolVersion::V_2026_07_28]),
        }
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let session = self.session.clone();
        let wants = move |uri: &str| session.lock().unwrap_or_else(PoisonError::into_inner).subscriptions.contains(uri);
        self.changes.follow(context.peer, wants);
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let list: ListToolsResult = complete(tools::list()).ok()?;
        list.tools.into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        complete(tools::list())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let CallToolRequestParams { name, arguments, input_responses, request_state, .. } = request;
        let level = self.level(&context);
        let tool = Handler::Tool(&name, &self.changes, level);
        match drive(tool, arguments, input_responses, request_state, &context).await? {
            Ending::Done(result) => Ok(complete::<CallToolResult>(result)?.into()),
            Ending::InputRequired(result) => Ok(result.into()),
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        complete(prompts::list())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let GetPromptRequestParams { name, arguments, input_responses, request_state, .. } = request;
        match drive(Handler::Prompt(&name), arguments, input_responses, request_state, &context).await? {
            Ending::Done(result) => Ok(complete::<GetPromptResult>(result)?.into()),
            Ending::InputRequired(result) => Ok(result.into()),
        }
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        complete(prompts::complete(&request.argument.value))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        complete(resources::list())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        complete(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Ok(complete::<ReadResourceResult>(resources::read(&request.uri)?)?.into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        (self.era != Era::Legacy).then(|| requested.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        self.changes.listen(&subscription).await;
        Ok(())
    }

    async fn subscribe(&self, request: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.session(|session| session.subscriptions.insert(request.uri.to_string()));
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.session(|session| session.subscriptions.remove(request.uri.as_str()));
        Ok(())
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_modern(&context) {
            return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "logging/setLevel", None::<Value>));
        }
        self.session(|session| session.level = request.level);
        Ok(())
    }
}
