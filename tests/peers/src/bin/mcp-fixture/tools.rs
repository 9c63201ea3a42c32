// SPDX-License-Identifier: Apache-2.0
//! The tools: their list, and those that answer without asking.

use std::time::Duration;

use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::asking;
use crate::changes::{Change, Changes};
use crate::content::{audio, image, resource, text};
use crate::rounds::{Call, Step};

/// What the suites want between two messages of a tool.
const PAUSE: Duration = Duration::from_millis(50);
/// Those without arguments.
const PLAIN: &[&str] = &[
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_tool_with_logging",
    "test_logging_tool",
    "test_error_handling",
    "test_tool_with_progress",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_reconnection",
    "test_missing_capability",
    "test_streaming_elicitation",
    "test_trigger_tool_change",
    "test_trigger_prompt_change",
    "test_trigger_resource_change",
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
];

/// The JSON of `tools/list`.
pub(crate) fn list() -> Value {
    let plain = PLAIN.iter().map(|name| tool(name, json!({"type": "object", "properties": {}})));
    let with_text = [("test_sampling", "prompt"), ("test_elicitation", "message"), ("echo", "message")];
    let with_text = with_text.into_iter().map(|(name, argument)| {
        tool(name, json!({"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}))
    });
    let others = [
        tool(
            "test_custom_header",
            json!({
                "type": "object",
                "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
                "required": ["region"],
            }),
        ),
        tool("json_schema_2020_12_tool", rich_schema()),
    ];
    let tools: Vec<Value> = plain.chain(with_text).chain(others).collect();
    json!({"tools": tools})
}

/// The JSON of a tool's result.
pub(crate) async fn call(
    name: &str,
    call: &Call<'_>,
    changes: &Changes,
    level: Option<LoggingLevel>,
) -> Result<Step, ErrorData> {
    if let Some(step) = asking::tool(name, call) {
        return step;
    }
    let content = match name {
        "echo" => vec![text(call.argument("message"))],
        "test_simple_text" => vec![text("This is a simple text response for testing.")],
        "test_image_content" => vec![image()],
        "test_audio_content" => vec![audio()],
        "test_embedded_resource" => {
            vec![resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
        }
        "test_multiple_content_types" => vec![
            text("Multiple content types test:"),
            image(),
            resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
        ],
        "test_tool_with_logging" | "test_logging_tool" => {
            log(call.context, level).await;
            vec![text("It is logged, if that was asked for.")]
        }
        "test_tool_with_progress" => {
            progress(call.context).await;
            vec![text("It is done.")]
        }
        "test_reconnection" => {
            tokio::time::sleep(2 * PAUSE).await;
            vec![text("The answer came.")]
        }
        "test_trigger_tool_change" => changed(changes, Change::Tools),
        "test_trigger_prompt_change" => changed(changes, Change::Prompts),
        "test_trigger_resource_change" => {
            changes.tell(Change::Resource("test://watched-resource".to_owned()));
            changed(changes, Change::Resources)
        }
        "test_custom_header" => vec![text(call.argument("region"))],
        "json_schema_2020_12_tool" => vec![text(Value::Object(call.arguments.clone()).to_string())],
        "test_error_handling" => {
            let content = [text("This tool intentionally returns an error for testing")];
            return Ok(Step::Done(json!({"content": content, "isError": true})));
        }
        other => return Err(ErrorData::invalid_params(format!("there is no tool {other}"), None)),
    };
    Ok(Step::Done(json!({"content": content})))
}

fn tool(name: &str, schema: Value) -> Value {
    json!({"name": name, "description": format!("The fixture {name}"), "inputSchema": schema})
}

fn changed(changes: &Changes, change: Change) -> Vec<Value> {
    let what = format!("{change:?} changed.");
    changes.tell(change);
    vec![text(what)]
}

/// Three messages, if the client wants messages of that level at all.
async fn log(context: &RequestContext<RoleServer>, level: Option<LoggingLevel>) {
    let wanted = level.is_some_and(|level| rank(level) <= rank(LoggingLevel::Info));
    for (number, what) in
        ["Tool execution started", "Tool processing data", "Tool execution completed"].iter().enumerate()
    {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        if wanted {
            let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(what)).with_logger("fixture");
            let _ = context.peer.notify_logging_message(message).await;
        }
    }
}

fn rank(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        _ => 3,
    }
}

async fn progress(context: &RequestContext<RoleServer>) {
    let token = context.meta.get_progress_token();
    for at in [0.0, 50.0, 100.0] {
        if at > 0.0 {
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(token) = token.clone() {
            let progress =
                ProgressNotificationParam::new(token, at).with_total(100.0).with_message(format!("{at} of 100"));
            let _ = context.peer.notify_progress(progress).await;
        }
    }
}

/// Each keyword that a careless proxy loses.
fn rich_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}
