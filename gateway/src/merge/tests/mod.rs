// SPDX-License-Identifier: Apache-2.0
//! Merging, over scripted servers.

use biplane::{Request, Subject};
use serde_json::Value;

use crate::merge::Part;
use crate::view::View;

mod changes;
mod listen;
mod lists;
mod names;
mod resources;
mod server;

use server::Server;

/// Asks, and reads the answer as a tree; an error as its code and text.
async fn ask(view: &View, method: &'static str, params: &str) -> Result<Value, (i64, String)> {
    let request = Request::new(Subject::from_static(method), params.to_owned());
    match view.connection.request(request).await {
        Ok(answer) => Ok(serde_json::from_slice(&answer.body).unwrap()),
        Err(error) => {
            let said = biplane::PeerError::from(error);
            Err((said.code, said.message))
        }
    }
}

/// The members `key` of the list `list`.
fn column<'a>(result: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
    result[list].as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap()).collect()
}

fn is_ours(code: i64) -> bool {
    !(-32768..=-32000).contains(&code) && (-31099..=-31000).contains(&code)
}

fn down(name: &str) -> Part {
    Part::fixed(name, crate::merge::State::down(biplane::Error::connect("nobody listens")))
}
