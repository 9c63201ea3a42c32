// SPDX-License-Identifier: Apache-2.0
//! The resources.

use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use serde_json::{Value, json};

use crate::content::PIXEL;

/// The JSON of `resources/list`.
pub(crate) fn list() -> Value {
    json!({"resources": [
        {"uri": "test://static-text", "name": "static-text", "description": "Some text", "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "static-binary", "description": "A picture", "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "watched-resource", "description": "May change", "mimeType": "text/plain"},
    ]})
}

/// The JSON of `resources/templates/list`.
pub(crate) fn templates() -> Value {
    json!({"resourceTemplates": [{
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "Data by id",
        "mimeType": "application/json",
    }]})
}

/// The JSON of `resources/read`.
pub(crate) fn read(uri: &str) -> Result<Value, ErrorData> {
    let content = match uri {
        "test://static-text" => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PIXEL}),
        "test://watched-resource" => json!({"uri": uri, "mimeType": "text/plain", "text": "What it is now."}),
        _ => match uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data")) {
            Some(id) => {
                let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
            }
            // `rmcp` turns the code into the one of the client's era.
            None => {
                return Err(ErrorData::new(
                    ErrorCode::RESOURCE_NOT_FOUND,
                    format!("there is no resource {uri}"),
                    Some(json!({"uri": uri})),
                ));
            }
        },
    };
    Ok(json!({"contents": [content]}))
}
