// SPDX-License-Identifier: Apache-2.0
//! The prompts, and completion of their arguments.

use rmcp::ErrorData;
use serde_json::{Value, json};

use crate::asking;
use crate::content::{image, resource, text};
use crate::rounds::{Call, Step};

/// The JSON of `prompts/list`.
pub(crate) fn list() -> Value {
    let argument = |name: &str| json!({"name": name, "description": format!("The argument {name}"), "required": true});
    json!({"prompts": [
        {"name": "test_simple_prompt", "description": "One message"},
        {
            "name": "test_prompt_with_arguments",
            "description": "One message with both arguments in it",
            "arguments": [argument("arg1"), argument("arg2")],
        },
        {
            "name": "test_prompt_with_embedded_resource",
            "description": "A resource within a message",
            "arguments": [argument("resourceUri")],
        },
        {"name": "test_prompt_with_image", "description": "An image within a message"},
        {"name": "test_input_required_result_prompt", "description": "Asks for a context first"},
    ]})
}

/// The JSON of `prompts/get`.
pub(crate) fn get(name: &str, call: &Call<'_>) -> Result<Step, ErrorData> {
    let messages = match name {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (one, two) = (call.argument("arg1"), call.argument("arg2"));
            vec![text(format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_embedded_resource" => vec![
            resource(call.argument("resourceUri"), "text/plain", "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![image(), text("Please analyze the image above.")],
        "test_input_required_result_prompt" => return Ok(asking::prompt(call)),
        other => return Err(ErrorData::invalid_params(format!("there is no prompt {other}"), None)),
    };
    let messages: Vec<_> = messages.into_iter().map(|content| json!({"role": "user", "content": content})).collect();
    Ok(Step::Done(json!({"messages": messages})))
}

/// The JSON of `completion/complete`: words that begin as the argument does.
pub(crate) fn complete(begins: &str) -> Value {
    let words = ["paris", "park", "party", "test one", "test two"];
    let values: Vec<_> = words.into_iter().filter(|word| word.starts_with(begins)).collect();
    json!({"completion": {"total": values.len(), "values": values, "hasMore": false}})
}
