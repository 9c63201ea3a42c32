// SPDX-License-Identifier: Apache-2.0
//! One call of a modern client on a legacy session, over as many of the client's requests as it takes.

use std::sync::Arc;

use biplane::proto::json;
use biplane::proto::jsonrpc::ids;
use biplane::{
    Error, Event, Inbound, Message, PeerError, Request, RequestContext, ResponseSender, ResponseStream, Result, Retry,
    Subject,
};
use bytes::Bytes;
use tokio::time::Instant;

use super::Shared;
use super::asker::Asker;
use super::held::state_of;
use super::hub::refuse;
use super::question::{Names, Question, Responses, checked, cleaned, written};
use super::results::{missing_capability, translated};
use super::session::Session;
use crate::era::capabilities::{Askable, required};
use crate::era::edit::Edit;
use crate::era::filter::List;
use crate::era::generate::Emitter;
use crate::era::level::Level;
use crate::era::names::{INPUT_RESPONSES, REQUEST_STATE, code, key, method};

/// A call, and what it needs to outlive the request that began it.
pub(super) struct Call {
    request: Legacy,
    session: Session,
    /// `None` before it is made, and when it is to be made again.
    stream: Option<ResponseStream>,
    askable: Askable,
    /// What the client said, whether or not this session can ask it.
    declared: Askable,
    level: Option<Level>,
    /// By which the request that is being answered wants to be told of progress.
    token: Option<Bytes>,
    names: Names,
    questions: Vec<Question>,
    /// Answers whose questions have not come yet.
    responses: Responses,
    rounds: usize,
    is_second: bool,
    /// What the server asked for although the client cannot give it.
    missing: Option<Bytes>,
    /// When to put the questions to the client.
    ask_at: Option<Instant>,
}

/// The request as the legacy server gets it.
struct Legacy {
    subject: Subject,
    context: RequestContext,
    message: Message,
}

/// What happens next.
enum Came {
    Inbound(Inbound),
    Event(Option<Result<Event>>),
    TimeToAsk,
}

/// Runs one request of the client: a call from its beginning, or on from where it was held.
pub(super) async fn run(shared: Arc<Shared>, request: Request, asker: Asker, emit: Emitter) -> Result<Message> {
    let deadline = request.context.deadline;
    let running = advance(shared, request, asker, emit);
    match deadline {
        None => running.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), running).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::deadline(0)),
        },
    }
}

async fn advance(shared: Arc<Shared>, request: Request, asker: Asker, emit: Emitter) -> Result<Message> {
    let responses = Responses::read(&request.message.body, shared.limits.questions)?;
    let mut call = match state_of(&request) {
        None => Call::new(&shared, &request, &asker, responses).await?,
        Some(state) => {
            let binding = shared.held.binding(&request, &asker);
            let mut call = shared.held.take(&state, &binding, |call| responses.check(&call.questions))?;
            call.level = asker.level;
            call.token = told_token(&request);
            call.responses.extend(responses);
            call.answer().await?;
            call
        }
    };
    loop {
        match call.next().await? {
            Came::Inbound(inbound) => call.inbound(inbound, &shared, &emit).await,
            Came::Event(Some(Ok(Event::Inbound(inbound)))) => call.inbound(inbound, &shared, &emit).await,
            Came::Event(Some(Ok(Event::Item(result)))) => {
                call.last_words(&emit).await;
                return call.completed(result, &shared);
            }
            // The session was lost before the call ran: once more, on another.
            Came::Event(Some(Err(error))) if error.retry() == Retry::Safe && !call.is_second && call.rounds == 0 => {
                let again = Call::new(&shared, &request, &asker, call.responses).await?;
                call = Call { is_second: true, ..again };
            }
            Came::Event(Some(Err(error))) => {
                call.last_words(&emit).await;
                call.failed(error)?;
            }
            Came::Event(None) => return Err(Error::protocol("the answer to a unary request has no item")),
            Came::TimeToAsk => {
                call.questions.retain(|question| !question.is_withdrawn());
                call.ask_at = None;
                if !call.questions.is_empty() {
                    return call.hold(&shared, &request, &asker);
                }
            }
        }
    }
}

impl Call {
    async fn new(shared: &Shared, request: &Request, asker: &Asker, responses: Responses) -> Result<Self> {
        let session = Session::for_call(shared, request.subject.as_str(), asker).await?;
        let edit =
            Edit { without: &[INPUT_RESPONSES, REQUEST_STATE], without_meta: key::OF_REQUEST, ..Edit::default() };
        let body = edit.apply(&request.message.body);
        // The client's deadline is for one of its requests, and a call that can be asked may see several.
        let deadline = request.context.deadline.filter(|_| !session.is_exclusive());
        Ok(Self {
            request: Legacy {
                subject: request.subject.clone(),
                context: RequestContext { deadline, ..request.context.clone() },
                message: Message { headers: request.message.headers.clone(), body },
            },
            declared: asker.askable,
            token: told_token(request),
            askable: if session.is_exclusive() { asker.askable } else { Askable::default() },
            session,
            stream: None,
            level: asker.level,
            names: Names::default(),
            questions: Vec::new(),
            responses,
            rounds: 0,
            is_second: false,
            missing: None,
            ask_at: None,
        })
    }

    async fn next(&mut self) -> Result<Came> {
        if self.stream.is_none() && self.questions.is_empty() {
            let Legacy { subject, context, message } = &self.request;
            let request = Request::new(subject.clone(), message.clone()).with_context(context.clone());
            self.stream = Some(self.session.connection().open(request)?);
        }
        let Self { session, stream, ask_at, .. } = self;
        let event = async {
            match stream {
                Some(stream) => stream.next_event().await,
                None => std::future::pending().await,
            }
        };
        let time_to_ask = async {
            match *ask_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            biased;
            inbound = session.next() => Came::Inbound(inbound),
            event = event => Came::Event(event),
            () = time_to_ask => Came::TimeToAsk,
        })
    }

    async fn inbound(&mut self, inbound: Inbound, shared: &Shared, emit: &Emitter) {
        match inbound {
            Inbound::Request(request, reply) => self.asked(request, reply, shared).await,
            Inbound::Notification(subject, message) => self.told(subject, message, emit).await,
        }
    }

    /// What is the client's of what the server says during the call.
    async fn told(&self, subject: Subject, message: Message, emit: &Emitter) {
        match subject.as_str() {
            method::LOG => {
                if self.level.is_some_and(|level| level.admits(&message.body)) {
                    emit.send(Inbound::Notification(subject, message)).await;
                }
            }
            // The call was made with the token of the client's first request; a retry has one of its own, or none.
            method::PROGRESS => {
                if let Some(token) = &self.token {
                    let body = ids::with_told_token(&message.body, token);
                    emit.send(Inbound::Notification(subject, Message { body, ..message })).await;
                }
            }
            // The modern era has no such notification: the client learns it from the result.
            method::ELICITED => {}
            news if news == method::RESOURCE_UPDATED || List::of_notification(news).is_some() => {
                self.session.pass_on(subject, message);
            }
            _ => emit.send(Inbound::Notification(subject, message)).await,
        }
    }

    async fn asked(&mut self, request: Request, reply: ResponseSender, shared: &Shared) {
        let (asked, params) = (request.subject.as_str(), &request.message.body);
        let Some(required) = required(asked, params) else { return refuse(&request, reply).await };
        if !self.askable.allows(asked, params) {
            if !self.declared.allows(asked, params) {
                self.missing.get_or_insert(required);
            }
            let text = format!("the client has not declared that it answers {asked}");
            return reply.fail(PeerError::new(code::METHOD_NOT_FOUND, text));
        }
        if self.questions.len() >= shared.limits.questions {
            return reply.fail(Error::overloaded(format!("{} questions are open", self.questions.len())));
        }
        let key = self.names.name(asked, params);
        if let Some(response) = self.responses.take(&key)
            && checked(&key, asked, &response).is_ok()
        {
            return give(reply, response).await;
        }
        let params = cleaned(asked, params);
        self.questions.push(Question { key, method: asked.to_owned(), params, reply: Some(reply) });
        self.ask_at = Some(Instant::now() + shared.limits.gather);
    }

    /// Answers the questions that the client has answered. What it left out is asked again, at once.
    async fn answer(&mut self) -> Result<()> {
        let mut declined = false;
        for question in std::mem::take(&mut self.questions) {
            match (self.responses.take(&question.key), question.reply) {
                (Some(response), Some(reply)) => give(reply, response).await,
                (Some(response), None) => {
                    declined |= json::get(&response, &["action"]).is_none_or(|raw| raw != "\"accept\"")
                }
                (None, reply) => self.questions.push(Question { reply, ..question }),
            }
        }
        if declined {
            let text = "the user did not open the URL that the server needs to be opened first";
            return Err(PeerError::new(code::INTERNAL, text).into());
        }
        self.ask_at = (!self.questions.is_empty()).then(Instant::now);
        Ok(())
    }

    /// What the server said before its answer, and what takes another way to us than the answer.
    async fn last_words(&mut self, emit: &Emitter) {
        self.session.settle().await;
        loop {
            let inbound = tokio::select! {
                biased;
                inbound = self.session.next() => inbound,
                () = std::future::ready(()) => return,
            };
            if let Inbound::Notification(subject, message) = inbound {
                self.told(subject, message, emit).await;
            }
        }
    }

    fn completed(self, result: Message, shared: &Shared) -> Result<Message> {
        // A tool that failed after it asked for what it could not get failed because of that.
        match self.missing {
            Some(missing) if json::get(&result.body, &["isError"]).is_some_and(|raw| raw == "true") => {
                Err(missing_capability(&missing))
            }
            _ => Ok(shared.results.complete(self.request.subject.as_str(), result)),
        }
    }

    /// The error for the client, unless it is one that the client can do something about: then the call goes on.
    fn failed(&mut self, error: Error) -> Result<()> {
        if let Some(missing) = &self.missing {
            return Err(missing_capability(missing));
        }
        match error.peer() {
            Some(peer) if peer.code == code::URL_ELICITATION_REQUIRED => self.urls_first(&peer.clone()),
            _ => Err(translated(error, self.request.subject.as_str(), &self.request.message.body)),
        }
    }

    /// The server wants URLs opened before the call is made again: an error in 2025-11-25, questions in the modern era.
    fn urls_first(&mut self, peer: &PeerError) -> Result<()> {
        if !self.askable.urls() {
            return Err(missing_capability(&Bytes::from_static(br#"{"elicitation":{"url":{}}}"#)));
        }
        let raw = json::get(&peer.data, &["elicitations"]).unwrap_or_default();
        let elicitations: Vec<serde_json::Value> = serde_json::from_slice(&raw).unwrap_or_default();
        if elicitations.is_empty() {
            return Err(PeerError::new(code::INTERNAL, peer.message.clone()).into());
        }
        for elicitation in elicitations {
            let params = Bytes::from(elicitation.to_string());
            let key = self.names.name(method::ELICIT, &params);
            let params = cleaned(method::ELICIT, &params);
            self.questions.push(Question { key, method: method::ELICIT.to_owned(), params, reply: None });
        }
        self.stream = None;
        self.ask_at = Some(Instant::now());
        Ok(())
    }

    /// Puts the questions to the client and itself aside.
    fn hold(mut self, shared: &Shared, request: &Request, asker: &Asker) -> Result<Message> {
        self.rounds += 1;
        if self.rounds > shared.limits.rounds {
            let text = format!("the server asked for input in more than {} rounds of one call", shared.limits.rounds);
            self.abandon("too many rounds");
            return Err(Error::protocol(text));
        }
        let questions = written(&self.questions);
        let state = shared.held.hold(shared.held.binding(request, asker), self)?;
        Ok(shared.results.input_required(&questions, &state))
    }

    /// Ends it: the server's questions get an error, its call is cancelled.
    pub(super) fn abandon(self, why: &str) {
        for reply in self.questions.into_iter().filter_map(|question| question.reply) {
            reply.fail(Error::cancelled(why.to_owned()));
        }
    }
}

fn told_token(request: &Request) -> Option<Bytes> {
    json::get(&request.message.body, &["_meta", "progressToken"])
}

async fn give(reply: ResponseSender, response: Bytes) {
    // A server that wants the answer no more has gone on without it.
    if reply.send(Message::new(response)).await.is_ok() {
        reply.close();
    }
}
