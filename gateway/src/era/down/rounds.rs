// SPDX-License-Identifier: Apache-2.0
//! The questions of an `input_required` result, put to a legacy client as requests.

use biplane::proto::json;
use biplane::stream::pipe;
use biplane::{Error, ErrorKind, Inbound, Message, Request, ResponseStream, Result, Subject};
use bytes::Bytes;

use super::Shared;
use crate::era::capabilities::is_url;
use crate::era::edit::Object;
use crate::era::generate::Emitter;
use crate::era::names::{REQUEST_STATE, key, method};
use crate::era::token;

/// What one answer of a client may weigh; links have limits of their own.
const ANSWER_LIMIT: usize = 64 << 20;

struct Question {
    key: String,
    subject: Subject,
    params: Bytes,
}

/// What a server asks at once.
pub(super) struct Questions(Vec<Question>);

impl Questions {
    /// From the result. A question that the client cannot be asked is the server's fault, and ends the call.
    pub(super) fn read(result: &Bytes, shared: &Shared) -> Result<Self> {
        let Some(requests) = json::get(result, &["inputRequests"]) else {
            return match json::get(result, &[REQUEST_STATE]) {
                Some(_) => Ok(Self(Vec::new())),
                None => Err(Error::protocol("an input_required result has neither inputRequests nor requestState")),
            };
        };
        let mut questions = Vec::new();
        for (name, request) in json::members(&requests) {
            let (name, request) = (requests.slice_ref(name), requests.slice_ref(request));
            let name = [b"\"", &name[..], b"\""].concat();
            let asked = json::get(&request, &["method"]);
            let asked = asked.as_deref().and_then(json::text).unwrap_or_default();
            let params = json::get(&request, &["params"]).unwrap_or_default();
            if !shared.askable.allows(&asked, &params) {
                return Err(Error::protocol(format!(
                    "the server asks for {asked:?}, which the client did not declare"
                )));
            }
            if questions.len() == shared.limits.questions {
                return Err(Error::overloaded(format!(
                    "the server asks more than {} questions at once",
                    questions.len()
                )));
            }
            questions.push(Question {
                key: json::text(&name).unwrap_or_default().into_owned(),
                subject: Subject::new(asked.into_owned())?,
                params,
            });
        }
        Ok(Self(questions))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks all at once, on the call's own stream, and returns the `inputResponses`. `urls` gets what the client will want
    /// to hear the end of.
    pub(super) async fn put(self, shared: &Shared, emit: &Emitter, urls: &mut Vec<String>) -> Result<Bytes> {
        let mut waiting = Vec::with_capacity(self.0.len());
        for question in self.0 {
            let (reply, answer) = pipe(ANSWER_LIMIT, ANSWER_LIMIT);
            let mut params = json::set(&question.params, &["_meta", key::INPUT], &json::quote(&question.key));
            if question.subject.as_str() == method::ELICIT && is_url(&params) {
                // Legacy clients tell by it which of their windows a later notification is about.
                let id = token::random_text()?;
                params = json::set(&params, &["elicitationId"], &json::quote(&id));
                urls.push(id);
            }
            emit.send(Inbound::Request(Request::new(question.subject.clone(), params), reply)).await;
            waiting.push((question, answer));
        }
        let all = async {
            let mut responses = Object::new();
            for (question, answer) in waiting {
                responses.set(&question.key, &response(question.subject.as_str(), answer).await?);
            }
            Ok(responses.close())
        };
        match tokio::time::timeout(shared.limits.patience, all).await {
            Ok(responses) => responses,
            Err(_) => Err(Error::timeout(format!(
                "the client did not answer the server's questions within {:?}",
                shared.limits.patience
            ))),
        }
    }
}

/// The raw answer. The modern era has no way to say that a client failed to answer; of an elicitation it can be said that
/// it was called off, of the rest nothing, and the call ends with the client's error.
async fn response(subject: &str, mut answer: ResponseStream) -> Result<Bytes> {
    match answer.next().await {
        Some(Ok(message)) if message.body.first() == Some(&b'{') => Ok(message.body),
        Some(Ok(_)) | None => Err(Error::protocol(format!("the client answered {subject} with no object"))),
        Some(Err(error)) if subject == method::ELICIT && error.kind() == ErrorKind::Peer => {
            Ok(Bytes::from_static(br#"{"action":"cancel"}"#))
        }
        Some(Err(error)) => Err(error),
    }
}

/// Tells the client that what it opened URLs for is over.
pub(super) async fn tell_completed(urls: &[String], emit: &Emitter) {
    for id in urls {
        let mut params = Object::new();
        params.set("elicitationId", &json::quote(id));
        emit.send(Inbound::Notification(Subject::from_static(method::ELICITED), Message::new(params.close()))).await;
    }
}
