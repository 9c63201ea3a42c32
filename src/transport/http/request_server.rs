// SPDX-License-Identifier: Apache-2.0
//! The request plane's server: `POST {root}/{subject}`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, StatusCode, Uri, header};
use parking_lot::RwLock;
use tokio::sync::OnceCell;

use super::accept::negotiate;
use super::body::Body;
use super::control::{control, stream_path, token_of};
use super::head;
use super::incoming::{self, Incoming};
use super::listening::{Listening, Site};
use super::live::LiveStreams;
use super::names::{LOCATED, REQUEST_ID, STREAM};
use super::outbox::Outgoing;
use super::refusal::Refusal;
use super::reply::{lasting, whole};
use crate::config::{Config, StreamFormat};
use crate::dispatch::{Dispatch, Turn, launch};
use crate::error::{Detail, Error, ErrorKind, PeerError, Phase, Result, Retry};
use crate::io::advertise::advertised_host;
use crate::io::bind::bind_tcp;
use crate::message::{Request, Subject};
use crate::plane::{Ack, EndpointGuard, ReplyTo, RequestPlaneServer, ResponseConnectionInfo};
use crate::target::{TransportAddress, TransportId};

/// For a request's body to arrive. Our own callers give up on the acknowledgement long before.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Inline answers at once, over all endpoints.
const MAX_ANSWERS: usize = 262_144;

/// Receives requests over HTTP/1.1 and HTTP/2. Binds when the first endpoint is registered.
///
/// Without `x-biplane-reply-to` the answer is the response's body, in the format of `Accept`, so that `curl -N` shows it.
pub struct HttpRequestServer {
    site: Arc<RequestSite>,
    listening: OnceCell<Listening>,
    closed: AtomicBool,
}

impl HttpRequestServer {
    /// A server that listens where `config` says.
    pub fn new(config: Arc<Config>) -> Self {
        let site = RequestSite { config, endpoints: Arc::default(), answers: Arc::new(LiveStreams::new(MAX_ANSWERS)) };
        Self { site: Arc::new(site), listening: OnceCell::new(), closed: AtomicBool::new(false) }
    }

    async fn listening(&self) -> Result<&Listening> {
        let bind = &self.site.config.http.request;
        let start = async || {
            let listener = bind_tcp(bind, "DYN_HTTP_RPC_PORT").await?;
            Listening::start(listener, self.site.clone())
        };
        self.listening.get_or_try_init(start).await.map_err(|error| error.with_transport(TransportId::HTTP))
    }
}

#[async_trait]
impl RequestPlaneServer for HttpRequestServer {
    async fn register_endpoint(&self, subject: Subject, dispatch: Dispatch) -> Result<EndpointGuard> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed("the server was closed").with_transport(TransportId::HTTP));
        }
        let config = &self.site.config;
        let port = self.listening().await?.address().port();
        let endpoints = self.site.endpoints.clone();
        let segment = head::encode_subject(&subject);
        match endpoints.write().entry(segment.clone()) {
            Entry::Vacant(place) => drop(place.insert((subject, dispatch))),
            Entry::Occupied(_) => {
                return Err(Error::config(format!("the endpoint {subject} is registered already"))
                    .with_detail(Detail::AlreadyRegistered)
                    .with_phase(Phase::Listen)
                    .with_transport(TransportId::HTTP));
            }
        }
        let host = advertised_host(config, &config.http.request.host);
        let url = format!("http://{host}:{port}{}/{segment}", config.http.request_root);
        Ok(EndpointGuard::new(TransportAddress::http(url), move || {
            endpoints.write().remove(&segment);
        }))
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        if let Some(listening) = self.listening.get() {
            listening.close(grace).await;
        }
        Ok(())
    }
}

/// By the segment that [`head::encode_subject`] makes: a path of our own callers is found as it is.
type Endpoints = Arc<RwLock<HashMap<String, (Subject, Dispatch)>>>;

struct RequestSite {
    config: Arc<Config>,
    endpoints: Endpoints,
    /// Inline answers, for control. Their reader is there from the first.
    answers: Arc<LiveStreams<Outgoing>>,
}

impl Site for RequestSite {
    async fn answer(&self, request: HttpRequest<Incoming>) -> Response<Body> {
        let id = request.headers().get(REQUEST_ID).cloned();
        let mut response = self.route(request).await.unwrap_or_else(Refusal::into_response);
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, head::once(id));
        }
        response
    }
}

impl RequestSite {
    async fn route(&self, request: HttpRequest<Incoming>) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let http = &self.config.http;
        let path = head.uri.path();
        if head.method != Method::POST {
            return match token_of(path, &http.response_root) {
                Some(token) if head.method == Method::DELETE => control(&self.answers, token?, &head.uri),
                Some(_) => Err(Refusal::method("DELETE, POST")),
                None => Err(Refusal::method("POST")),
            };
        }
        let (subject, dispatch) = self.endpoint(&head.uri)?;
        let reply_to = head::read_reply_to(&head.headers)?;
        let format = match reply_to {
            ReplyTo::Inline => negotiate(&head.headers, http.response_format).ok_or_else(Refusal::not_acceptable)?,
            _ => http.response_format,
        };
        let body = read_body(body, dispatch.limits().max_message_size).await?;
        let longest = self.config.limits.request_timeout.min(http.response_timeout);
        let now = Instant::now();
        let request = head::read(&head.headers, subject, body, now, longest)?;
        check_size(&request, dispatch.limits().max_message_size)?;
        match reply_to {
            ReplyTo::Inline => self.inline(&dispatch, request, now, format),
            ReplyTo::Nothing | ReplyTo::To(_) => elsewhere(&dispatch, request, &reply_to).await,
        }
    }

    fn endpoint(&self, uri: &Uri) -> Result<(Subject, Dispatch), Refusal> {
        let root = &self.config.http.request_root;
        let rest = uri.path().strip_prefix(root.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            let error = Error::no_service(format!("nothing is served at {}", uri.path()))
                .with_retry(Retry::Safe)
                .with_hint(format!("post to {root}/SUBJECT; `biplane services` lists what is served"));
            return Err(error.into());
        };
        if let Some(endpoint) = self.endpoints.read().get(rest) {
            return Ok(endpoint.clone());
        }
        // It may be written in another way.
        let subject = head::decode_subject(rest)?;
        let segment = head::encode_subject(&subject);
        let endpoint = self.endpoints.read().get(&segment).cloned();
        endpoint.ok_or_else(|| {
            Error::no_service(format!("no endpoint {subject} is registered here"))
                .with_retry(Retry::Safe)
                .with_hint("`biplane services` lists what is served where")
                .into()
        })
    }

    /// The head goes out as soon as the request is accepted; only a refusal by overload, which is known at once, still
    /// becomes a status. What is ready goes with it. An answer that is over with that has nothing left to control.
    fn inline(
        &self,
        dispatch: &Dispatch,
        request: Request,
        arrived: Instant,
        format: StreamFormat,
    ) -> Result<Response<Body>, Refusal> {
        let (sender, mut answer) = Outgoing::new(format, dispatch.limits());
        dispatch.launch_in(&mut Turn::new(arrived), request, sender);
        if let Some(all) = answer.whole()? {
            return Ok(whole(format, Body::full(all)));
        }
        let claim = self.answers.start(answer)?;
        let path = stream_path(&self.config.http.response_root, claim.token());
        let mut response = lasting(format, Body::answer(claim));
        response.headers_mut().extend(path.map(|path| (STREAM, path)));
        Ok(response)
    }
}

/// The handler starts once its answer has its place, and the acknowledgement is ready to be sent.
async fn elsewhere(dispatch: &Dispatch, request: Request, reply_to: &ReplyTo) -> Result<Response<Body>, Refusal> {
    let (ack, running) = dispatch.accept(request, reply_to).await?;
    launch(running);
    match ack {
        Ack::Located(info) => accepted(Some(&info)),
        Ack::Inline(_) | Ack::Accepted => accepted(None),
    }
}

async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    // Nearly always it came with the head, and needs no timer.
    let mut reading = pin!(incoming::read(body, limit));
    let read = match poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
        Poll::Ready(read) => Ok(read),
        Poll::Pending => tokio::time::timeout(BODY_TIMEOUT, reading).await,
    };
    match read {
        Ok(read) => read.map_err(|error| match error.kind() {
            // The peer left in mid-request: whoever still reads this sent something malformed.
            ErrorKind::Closed => Refusal::new(StatusCode::BAD_REQUEST, error),
            _ => Refusal::from(error),
        }),
        Err(_) => {
            let error = Error::timeout(format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()));
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

/// The body alone has been checked; headers count, too.
fn check_size(request: &Request, limit: usize) -> Result<()> {
    let size = request.message.size();
    if size > limit { Err(Error::too_large("the request", limit as u64, size as u64)) } else { Ok(()) }
}

/// The acknowledgement. The place stands in a header for programs and in the body for people.
fn accepted(located: Option<&ResponseConnectionInfo>) -> Result<Response<Body>, Refusal> {
    let mut json = BytesMut::from(&b"{\"accepted\":true"[..]);
    let mut headers = HeaderMap::new();
    if let Some(info) = located {
        let text = info.to_text();
        json.extend_from_slice(b",\"located\":");
        json.extend_from_slice(text.as_bytes());
        let value = HeaderValue::from_bytes(text.as_bytes())
            .map_err(|error| PeerError::from(Error::unexpected("a place that is no header").with_source(error)))
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        headers.insert(LOCATED, head::once(value));
    }
    json.extend_from_slice(b"}\n");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut response = Response::new(Body::full(json));
    *response.status_mut() = StatusCode::ACCEPTED;
    *response.headers_mut() = headers;
    Ok(response)
}
