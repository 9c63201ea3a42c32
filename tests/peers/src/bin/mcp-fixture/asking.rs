// SPDX-License-Identifier: Apache-2.0
//! The tools, and the prompt, that ask the client something.

use rmcp::ErrorData;
use serde_json::{Value, json};

use crate::content::text;
use crate::rounds::{Call, Step};

/// The tool `name`, if it is one of those that ask. The result is the JSON of a tool's result.
pub(crate) fn tool(name: &str, call: &Call<'_>) -> Option<Result<Step, ErrorData>> {
    let step = match name {
        "test_sampling" => sampled(call, sampling(call.argument("prompt"), 100), "LLM response"),
        "test_elicitation" => elicited(call, user(call.argument("message")), "User response"),
        "test_elicitation_sep1034_defaults" => elicited(call, defaults(), "Elicitation completed"),
        "test_elicitation_sep1330_enums" => elicited(call, enums(), "Elicitation completed"),
        "test_missing_capability" => sampled(call, sampling("Anything?", 10), "LLM response"),
        "test_streaming_elicitation" => named(call, "Hello"),
        "test_input_required_result_elicitation" => named(call, "Hello"),
        "test_input_required_result_sampling" => capital(call),
        "test_input_required_result_list_roots" => roots(call),
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => confirmed(call),
        "test_input_required_result_multiple_inputs" => several(call),
        "test_input_required_result_multi_round" => two_rounds(call),
        "test_input_required_result_capabilities" => what_is_declared(call),
        _ => return None,
    };
    Some(Ok(step))
}

/// The prompt that needs to know more; its result is the JSON of a prompt's result.
pub(crate) fn prompt(call: &Call<'_>) -> Step {
    match call.accepted("user_context").and_then(|content| content["context"].as_str()) {
        Some(context) => Step::Done(json!({
            "messages": [{"role": "user", "content": text(format!("Work with this context: {context}"))}],
        })),
        None => {
            let question = form("What context should the prompt use?", one_field("context", "string"));
            Step::Ask(json!({"user_context": question}), None)
        }
    }
}

fn sampled(call: &Call<'_>, question: Value, says: &str) -> Step {
    match call.answers.get("sample").and_then(spoken) {
        Some(answer) => said(format!("{says}: {answer}")),
        None => Step::Ask(json!({"sample": question}), None),
    }
}

fn elicited(call: &Call<'_>, question: Value, says: &str) -> Step {
    match call.answers.get("form").filter(|answer| answer["action"].is_string()) {
        Some(answer) => {
            let content = answer.get("content").cloned().unwrap_or_else(|| json!({}));
            said(format!("{says}: action={}, content={content}", answer["action"].as_str().unwrap_or_default()))
        }
        None => Step::Ask(json!({"form": question}), None),
    }
}

fn named(call: &Call<'_>, greeting: &str) -> Step {
    match call.accepted("user_name").and_then(|content| content["name"].as_str()) {
        Some(name) => said(format!("{greeting}, {name}!")),
        None => Step::Ask(json!({"user_name": name_form()}), None),
    }
}

fn capital(call: &Call<'_>) -> Step {
    match call.answers.get("capital_question").and_then(spoken) {
        Some(answer) => said(answer),
        None => Step::Ask(json!({"capital_question": sampling("What is the capital of France?", 100)}), None),
    }
}

fn roots(call: &Call<'_>) -> Step {
    match call.answers.get("client_roots").and_then(|answer| answer["roots"].as_array()) {
        Some(roots) => {
            let uris: Vec<_> = roots.iter().filter_map(|root| root["uri"].as_str()).collect();
            said(format!("{} roots: {}", roots.len(), uris.join(", ")))
        }
        None => Step::Ask(json!({"client_roots": {"method": "roots/list", "params": {}}}), None),
    }
}

fn confirmed(call: &Call<'_>) -> Step {
    let given_back = call.state == Some(json!("confirm"));
    match call.accepted("confirm").filter(|_| given_back) {
        Some(_) => said("state-ok"),
        None => {
            let question = form("Please confirm", one_field("ok", "boolean"));
            Step::Ask(json!({"confirm": question}), Some(json!("confirm")))
        }
    }
}

fn several(call: &Call<'_>) -> Step {
    let name = call.accepted("user_name").and_then(|content| content["name"].as_str());
    let greeting = call.answers.get("greeting").and_then(spoken);
    let roots = call.answers.get("client_roots").and_then(|answer| answer["roots"].as_array());
    match (name, greeting, roots) {
        (Some(name), Some(greeting), Some(roots)) => said(format!("{greeting} {name}, of {} roots", roots.len())),
        _ => Step::Ask(
            json!({
                "user_name": name_form(),
                "greeting": sampling("Generate a greeting", 50),
                "client_roots": {"method": "roots/list", "params": {}},
            }),
            Some(json!("several")),
        ),
    }
}

fn two_rounds(call: &Call<'_>) -> Step {
    let state = call.state.as_ref();
    let name = state.and_then(|state| state["name"].as_str());
    if let (Some(name), Some(content)) = (name, call.accepted("step2")) {
        return said(format!("{name} likes {}", content["color"].as_str().unwrap_or("no colour")));
    }
    if let Some(content) = call.accepted("step1").filter(|_| state.is_some()) {
        let question = form("Step 2: What is your favorite color?", one_field("color", "string"));
        return Step::Ask(json!({"step2": question}), Some(json!({"round": 2, "name": content["name"]})));
    }
    let question = form("Step 1: What is your name?", one_field("name", "string"));
    Step::Ask(json!({"step1": question}), Some(json!({"round": 1})))
}

fn what_is_declared(call: &Call<'_>) -> Step {
    let can = serde_json::to_value(call.capabilities()).unwrap_or_default();
    let mut questions = json!({});
    for (name, question) in [
        ("elicitation", name_form()),
        ("sampling", sampling("Which capability is this?", 20)),
        ("roots", json!({"method": "roots/list", "params": {}})),
    ] {
        if can.get(name).is_some() && !call.answers.contains_key(name) {
            questions[name] = question;
        }
    }
    if questions == json!({}) { said("nothing is left to ask") } else { Step::Ask(questions, None) }
}

fn said(what: impl Into<String>) -> Step {
    Step::Done(json!({"content": [text(what)]}))
}

/// The text of a sampling result, whose content is one block or several.
fn spoken(answer: &Value) -> Option<String> {
    let content = &answer["content"];
    let block = if content.is_array() { content.get(0)? } else { content };
    block["text"].as_str().map(str::to_owned)
}

fn sampling(prompt: &str, tokens: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": text(prompt)}],
        "maxTokens": tokens,
    }})
}

fn form(message: &str, schema: Value) -> Value {
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}})
}

fn name_form() -> Value {
    form("What is your name?", one_field("name", "string"))
}

fn one_field(name: &str, kind: &str) -> Value {
    json!({"type": "object", "properties": {name: {"type": kind}}, "required": [name]})
}

fn user(message: &str) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "The user's name"},
            "email": {"type": "string", "description": "The user's mail address"},
        },
        "required": ["username", "email"],
    });
    form(message, schema)
}

fn defaults() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": true},
        },
    });
    form("Every field has a default", schema)
}

fn enums() -> Value {
    let titled = |kind: &str| {
        json!([
            {"const": "value1", "title": format!("First {kind}")},
            {"const": "value2", "title": format!("Second {kind}")},
            {"const": "value3", "title": format!("Third {kind}")},
        ])
    };
    let plain = json!(["option1", "option2", "option3"]);
    let schema = json!({
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": plain},
            "titledSingle": {"type": "string", "oneOf": titled("Option")},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
        },
    });
    form("One of each kind of list", schema)
}
