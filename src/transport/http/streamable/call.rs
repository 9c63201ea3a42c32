// SPDX-License-Identifier: Apache-2.0
//! One request: posted, its answer read from a JSON text or a stream of events, resumed where the server permits it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::mpsc;

use super::super::endpoint::Carriage;
use super::super::event_stream::{Backoff, EventStream, Mark, ended, is_event_stream, media_type};
use super::super::links::{Exchange, decorate};
use super::super::verdict::{Whole, read_whole};
use super::client::{Client, packets};
use super::flight::Flight;
use super::session::lost;
use super::{headers, tools};
use crate::connection::Inbound;
use crate::error::{Error, ErrorKind, PeerError, Phase, Result, Retry};
use crate::message::{Message, Request, RequestContext, Subject};
use crate::proto::json;
use crate::proto::jsonrpc::{Packet, ids};
use crate::proto::mcp::{self, header};
use crate::stream::{Event, ResponseStream};

/// A stream that broke without a word is asked for this often in a row.
const MAX_RESUMPTIONS: u32 = 5;

/// Pages of a tool list that are looked through for one tool.
const MAX_PAGES: usize = 50;

/// For the deadline of what has none: longer than any process runs.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A request, and how far it is.
pub(super) struct Call {
    asked: Arc<Asked>,
    flight: Flight,
    /// What comes for it by another stream.
    aside: Option<mpsc::Receiver<Inbound>>,
    stage: Stage,
    ready: VecDeque<Event>,
    backoff: Backoff,
}

/// What is asked. Does not change.
struct Asked {
    client: Arc<Client>,
    method: Subject,
    message: Message,
    context: RequestContext,
    /// The revision, if the request is a modern one.
    version: Option<String>,
    deadline: Instant,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened>> + Send>>;

enum Stage {
    Opening(Opening),
    Reading(Box<EventStream>),
    /// The answer is there; the rest of its HTTP message is read, so that the link is of use again.
    Answered(Option<Box<EventStream>>),
    Over,
}

enum Opened {
    Answer(Result<Message, PeerError>),
    Stream(Box<EventStream>),
}

impl Call {
    /// Prepares `request`; nothing is sent before the stream is read.
    pub(super) fn open(
        client: &Arc<Client>,
        mut request: Request,
        deadline: Option<Instant>,
    ) -> Result<ResponseStream> {
        let version = mcp::version(&request.message.body);
        let method = request.subject.as_str();
        if version.is_none() {
            client.session.check()?;
            if method == ids::INITIALIZE && client.session.is_open() {
                return Err(Error::protocol("this connection has its session: connect again for another")
                    .with_retry(Retry::Safe));
            }
        }
        let token = ids::requested_token(&request.message.body);
        let has_token = token.is_some();
        let (flight, aside) = Flight::new(client, token, version.is_none() && method != ids::INITIALIZE);
        if has_token {
            request.message.body = ids::with_requested_token(&request.message.body, &flight.id());
        }
        let asked = Arc::new(Asked {
            client: client.clone(),
            method: request.subject,
            message: request.message,
            context: request.context,
            version,
            deadline: deadline.unwrap_or_else(|| Instant::now() + FAR),
        });
        let body = asked.body(&flight);
        let stage = Stage::Opening(Box::pin(post(asked.clone(), body)));
        let call = Self { asked, flight, aside, stage, ready: VecDeque::new(), backoff: Backoff::default() };
        Ok(ResponseStream::from_events(futures_util::stream::unfold(call, Self::next)))
    }

    async fn next(mut self) -> Option<(Result<Event>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            self.flight.sent();
            let step = match &mut self.aside {
                None => self.stage.advance().await,
                Some(aside) => tokio::select! {
                    biased;
                    Some(inbound) = aside.recv() => {
                        self.ready.push_back(Event::Inbound(inbound));
                        continue;
                    }
                    step = self.stage.advance() => step,
                },
            };
            if let Err(error) = self.take(step) {
                self.stage = Stage::Over;
                if !may_go_on(&error) {
                    self.flight.land();
                }
                return Some((Err(decorate(error, self.asked.client.endpoint.place())), self));
            }
            if matches!(self.stage, Stage::Over) && self.ready.is_empty() {
                return None;
            }
        }
    }

    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Opened(Ok(Opened::Stream(stream))) => {
                self.backoff.reset();
                self.stage = Stage::Reading(stream);
            }
            Step::Opened(Ok(Opened::Answer(outcome))) => self.answered(outcome, None)?,
            Step::Opened(Err(error)) => return Err(error),
            Step::Data(data) => self.read(&data)?,
            Step::Ended(mark, cause) => self.resume(mark, cause)?,
            Step::Over => self.stage = Stage::Over,
        }
        Ok(())
    }

    /// The data of one event.
    fn read(&mut self, data: &Bytes) -> Result<()> {
        for packet in packets(data)? {
            match packet {
                Packet::Response { id, outcome } if id == self.flight.id() => {
                    let stream = match std::mem::replace(&mut self.stage, Stage::Over) {
                        Stage::Reading(stream) => Some(stream),
                        _ => None,
                    };
                    self.answered(outcome, stream)?;
                }
                other => {
                    let inbound = self.asked.client.sort(other, self.asked.version.is_some());
                    self.ready.extend(inbound.map(Event::Inbound));
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, outcome: Result<Message, PeerError>, stream: Option<Box<EventStream>>) -> Result<()> {
        self.flight.land();
        // What came for the request before its answer goes before it.
        while let Some(Ok(inbound)) = self.aside.as_mut().map(mpsc::Receiver::try_recv) {
            self.ready.push_back(Event::Inbound(inbound));
        }
        let mut message = outcome.map_err(Error::from)?;
        if self.asked.version.is_some() && self.asked.method.as_str() == "tools/list" {
            self.asked.client.tools.listed(&mut message);
        }
        self.ready.push_back(Event::Item(message));
        self.stage = Stage::Answered(stream);
        Ok(())
    }

    /// The stream ended before the answer: asks for the rest, if the server marked where that is.
    fn resume(&mut self, mark: Mark, cause: Error) -> Result<()> {
        let delay = self.backoff.next(mark.retry);
        let Some(last_id) = mark.last_id.filter(|_| self.asked.version.is_none()) else { return Err(cause) };
        if self.backoff.failures() > MAX_RESUMPTIONS {
            return Err(cause);
        }
        self.stage = Stage::Opening(Box::pin(come_back(self.asked.clone(), last_id, delay)));
        Ok(())
    }
}

/// Whether the server may still be at work on a request that failed so.
fn may_go_on(error: &Error) -> bool {
    let is_given_up = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Closed | ErrorKind::TooLarge);
    is_given_up && error.retry() != Retry::Safe
}

enum Step {
    Opened(Result<Opened>),
    Data(Bytes),
    Ended(Mark, Error),
    Over,
}

impl Stage {
    /// Cancel-safe.
    async fn advance(&mut self) -> Step {
        match self {
            Self::Opening(opening) => Step::Opened(opening.await),
            Self::Reading(stream) => loop {
                match stream.next().await {
                    // An event without data marks a place to resume at.
                    Ok(Some(event)) if event.data.is_empty() => {}
                    Ok(Some(event)) if event.kind.is_empty() || event.kind == "message" => {
                        return Step::Data(event.data);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Step::Ended(stream.mark(), ended().with_phase(Phase::Respond)),
                    Err(error) => return Step::Ended(stream.mark(), error.with_phase(Phase::Respond)),
                }
            },
            Self::Answered(stream) => {
                if let Some(stream) = stream.take() {
                    stream.finish().await;
                }
                Step::Over
            }
            Self::Over => Step::Over,
        }
    }
}

impl Asked {
    fn body(&self, flight: &Flight) -> Bytes {
        let (method, message) = (self.method.clone(), self.message.clone());
        Packet::Request { id: flight.id(), method, message }.to_bytes()
    }

    fn carriage(&self) -> Carriage {
        if self.method.as_str() == ids::LISTEN { Carriage::Standing } else { Carriage::Shared }
    }
}

/// Posts the request; once more, with other headers, if the server says that they do not fit.
async fn post(asked: Arc<Asked>, body: Bytes) -> Result<Opened> {
    let refused = match attempt(&asked, &body).await? {
        Attempt::Opened(opened) => return Ok(opened),
        Attempt::Refused(whole) => whole,
    };
    let is_mismatch = refused.peer_error().is_some_and(|error| error.code == mcp::HEADER_MISMATCH);
    if !is_mismatch || asked.version.is_none() || asked.method.as_str() != "tools/call" {
        return Err(refused.into_error());
    }
    look_at_tools_again(&asked).await;
    match attempt(&asked, &body).await? {
        Attempt::Opened(opened) => Ok(opened),
        Attempt::Refused(whole) => Err(whole.into_error()),
    }
}

enum Attempt {
    Opened(Opened),
    Refused(Whole),
}

async fn attempt(asked: &Asked, body: &Bytes) -> Result<Attempt> {
    let client = &asked.client;
    let mut headers = match &asked.version {
        Some(version) => headers::modern(version, asked.method.as_str(), &asked.message, &client.tools),
        None => headers::legacy(&client.session),
    };
    headers::trace(&asked.context, &mut headers);
    let exchange = client.endpoint.post(headers, body.clone(), asked.carriage(), asked.deadline).await?;
    if exchange.response.status() == StatusCode::OK {
        return opened(asked, exchange).await.map(Attempt::Opened);
    }
    let whole = read_whole(exchange, client.endpoint.max_text(), asked.deadline).await?;
    if asked.version.is_none() && whole.status == StatusCode::NOT_FOUND && client.session.has_id() {
        client.session.end();
        return Err(lost());
    }
    if matches!(whole.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) && whole.peer_error().is_none() {
        client.forget_finding();
    }
    if whole.status.is_success() {
        return Err(Error::protocol(format!(
            "the server answered a request with {}, which is no answer",
            whole.status
        ))
        .with_phase(Phase::Respond));
    }
    Ok(Attempt::Refused(whole))
}

/// What a response to our own request opens.
async fn opened(asked: &Asked, exchange: Exchange) -> Result<Opened> {
    let client = &asked.client;
    let limit = client.endpoint.max_text();
    let id = exchange.response.headers().get(header::SESSION_ID).cloned();
    let opens_session = asked.version.is_none() && asked.method.as_str() == ids::INITIALIZE;
    let kind = media_type(&exchange);
    if is_event_stream(&exchange) {
        let stream = Box::new(EventStream::new(exchange, limit));
        return if opens_session { opened_session(asked, id, stream).await } else { Ok(Opened::Stream(stream)) };
    }
    if kind != "application/json" {
        return Err(Error::protocol(format!(
            "the answer's content type is {kind:?}, not JSON and no stream of events"
        ))
        .with_hint("check that the URL is that of an MCP server")
        .with_phase(Phase::Respond));
    }
    let whole = read_whole(exchange, limit, asked.deadline).await?;
    let mut answer = None;
    for packet in packets(&whole.body)? {
        match packet {
            // A JSON text answers the request that it responds to, whatever it calls it.
            Packet::Response { outcome, .. } => answer = Some(outcome),
            other => client.sort(other, asked.version.is_some()).into_iter().for_each(|one| client.receive_later(one)),
        }
    }
    let answer =
        answer.ok_or_else(|| Error::protocol("the server's answer has no result").with_phase(Phase::Respond))?;
    if opens_session && let Ok(result) = &answer {
        begin(asked, id.as_ref(), result)?;
    }
    Ok(Opened::Answer(answer))
}

/// The session begins before anybody sees the answer: what is sent next belongs to it.
async fn opened_session(asked: &Asked, id: Option<HeaderValue>, mut stream: Box<EventStream>) -> Result<Opened> {
    let client = &asked.client;
    while let Some(event) = stream.next().await.map_err(|error| error.with_phase(Phase::Respond))? {
        if event.data.is_empty() || !(event.kind.is_empty() || event.kind == "message") {
            continue;
        }
        for packet in packets(&event.data)? {
            match packet {
                Packet::Response { outcome, .. } => {
                    if let Ok(result) = &outcome {
                        begin(asked, id.as_ref(), result)?;
                    }
                    stream.finish().await;
                    return Ok(Opened::Answer(outcome));
                }
                other => client.sort(other, false).into_iter().for_each(|one| client.receive_later(one)),
            }
        }
    }
    Err(ended().with_phase(Phase::Respond))
}

fn begin(asked: &Asked, id: Option<&HeaderValue>, result: &Message) -> Result<()> {
    let version = json::get(&result.body, &["protocolVersion"]);
    let version = version.as_ref().and_then(|raw| json::text(raw)).unwrap_or_default();
    asked.client.session.open(id, &version)
}

/// Waits, then asks for the rest of a stream.
async fn come_back(asked: Arc<Asked>, last_id: Bytes, delay: Duration) -> Result<Opened> {
    let client = &asked.client;
    let last_id = HeaderValue::from_maybe_shared(last_id)
        .map_err(|_| Error::protocol("the id of an event is nothing that HTTP can carry"))?;
    let mut backoff = Backoff::default();
    let mut delay = delay;
    loop {
        tokio::time::sleep(delay).await;
        let mut headers = headers::legacy(&client.session);
        headers.insert(HeaderName::from_static(header::LAST_EVENT_ID), last_id.clone());
        let resumed = match client.endpoint.get(headers, asked.deadline).await {
            Ok(exchange) => exchange,
            Err(error) if error.retry() == Retry::Safe && backoff.failures() < MAX_RESUMPTIONS => {
                tracing::debug!(target: "biplane::http", "resuming: {error}");
                delay = backoff.next(None);
                continue;
            }
            Err(error) => return Err(gone(error)),
        };
        if resumed.response.status() == StatusCode::OK && is_event_stream(&resumed) {
            return Ok(Opened::Stream(Box::new(EventStream::new(resumed, client.endpoint.max_text()))));
        }
        let status = resumed.response.status();
        return Err(gone(Error::protocol(format!("the server answered {status} when its stream was to be resumed"))));
    }
}

/// The request may have run, and its answer is lost.
fn gone(cause: Error) -> Error {
    Error::peer_closed(0, false)
        .with_phase(Phase::Respond)
        .with_source(Box::<dyn std::error::Error + Send + Sync>::from(cause.to_string()))
}

/// Asks for the list of tools, as the request's own client, until the tool in question was seen.
async fn look_at_tools_again(asked: &Asked) {
    let client = &asked.client;
    let Some(meta) = json::get(&asked.message.body, &["_meta"]) else { return };
    let mut params = json::set(&Bytes::new(), &["_meta"], &meta);
    params = json::remove(&params, &["_meta", "progressToken"]);
    let Some(version) = &asked.version else { return };
    for _ in 0..MAX_PAGES {
        match list_tools(asked, version, params.clone()).await {
            Ok(Some(cursor)) => params = json::set(&params, &["cursor"], &json::quote(&cursor)),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(target: "biplane::http", url = client.endpoint.url(), "looking at the tools again: {error}");
                return;
            }
        }
    }
}

/// One page; says where the list goes on.
async fn list_tools(asked: &Asked, version: &str, params: Bytes) -> Result<Option<String>> {
    let client = &asked.client;
    let message = Message::new(params);
    let headers = headers::modern(version, "tools/list", &message, &tools::Tools::default());
    let (flight, _) = Flight::new(client, None, false);
    let request = Packet::Request { id: flight.id(), method: Subject::from_static("tools/list"), message };
    let exchange = client.endpoint.post(headers, request.to_bytes(), Carriage::Shared, asked.deadline).await?;
    if exchange.response.status() != StatusCode::OK {
        let whole = read_whole(exchange, client.endpoint.max_text(), asked.deadline).await?;
        return Err(whole.into_error());
    }
    let mut result = match opened(asked, exchange).await? {
        Opened::Answer(outcome) => outcome.map_err(Error::from)?,
        Opened::Stream(mut stream) => loop {
            let event = stream.next().await?.ok_or_else(ended)?;
            if let Ok(Packet::Response { outcome, .. }) = Packet::parse(&event.data) {
                break outcome.map_err(Error::from)?;
            }
        },
    };
    Ok(client.tools.listed(&mut result))
}
