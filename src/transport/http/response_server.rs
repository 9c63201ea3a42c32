// SPDX-License-Identifier: Apache-2.0
//! The response plane's server, at the responder: `GET {root}/{token}` fetches an answer, `DELETE` controls it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request as HttpRequest, Response, StatusCode};
use tokio::sync::{Notify, OnceCell};
use tokio::task::AbortHandle;

use super::accept::negotiate;
use super::body::Body;
use super::control::{control, token_of, unknown_token};
use super::incoming::Incoming;
use super::listening::{Listening, Site};
use super::live::{LiveStreams, NoClaim};
use super::refusal::Refusal;
use super::reply::{Reply, lasting};
use crate::config::Config;
use crate::dispatch::DispatchLimits;
use crate::error::{Error, Result, Retry};
use crate::io::advertise::advertised_host;
use crate::io::bind::bind_tcp;
use crate::message::RequestContext;
use crate::plane::{Opened, ResponseConnectionInfo};
use crate::stream::{ResponseStream, pipe};
use crate::target::{TransportAddress, TransportId};

/// Answers at once, fetched or waiting to be.
const MAX_ANSWERS: usize = 65_536;

/// Holds answers until their callers fetch them. Binds on first need.
pub struct HttpResponseServer {
    site: Arc<ResponseSite>,
    listening: OnceCell<(Listening, Reaper)>,
    closed: AtomicBool,
}

impl HttpResponseServer {
    /// A server that listens where `config` says.
    pub fn new(config: Arc<Config>) -> Self {
        let answers = Arc::new(LiveStreams::new(MAX_ANSWERS));
        let site = ResponseSite { config, answers, offered: Notify::new() };
        Self { site: Arc::new(site), listening: OnceCell::new(), closed: AtomicBool::new(false) }
    }

    /// Opens the stream of one answer, and says where it can be fetched.
    ///
    /// If nobody fetches it within the call-home timeout, its handler is cancelled. Cancel-safe.
    pub async fn create_response_stream(&self, context: &RequestContext) -> Result<Opened> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed("the response server was closed").with_retry(Retry::Safe));
        }
        let config = &self.site.config;
        let port = self.listening().await?.address().port();
        let (sender, stream) = pipe(DispatchLimits::default().credit, config.limits.max_message_size);
        let token = self.site.answers.offer(stream, Instant::now() + config.limits.call_home_timeout)?;
        self.site.offered.notify_one();
        let host = advertised_host(config, &config.http.response.host);
        let url = format!("http://{host}:{port}{}/{token}", config.http.response_root);
        let info = ResponseConnectionInfo::new(TransportAddress::http(url), context);
        Ok(Opened { sender, located: Some(info) })
    }

    /// Accepts no further reader, lets what is being read finish for at most `grace`. Handlers whose answers nobody came
    /// for are cancelled.
    pub async fn close(&self, grace: Duration) {
        self.closed.store(true, Ordering::Release);
        if let Some((listening, _)) = self.listening.get() {
            listening.close(grace).await;
            self.site.answers.withdraw();
        }
    }

    async fn listening(&self) -> Result<&Listening> {
        let bind = &self.site.config.http.response;
        let start = async || {
            let listener = bind_tcp(bind, "DYN_HTTP_RESPONSE_PORT").await?;
            let reaper = Reaper(tokio::spawn(reap(self.site.clone())).abort_handle());
            Ok((Listening::start(listener, self.site.clone())?, reaper))
        };
        let started = self.listening.get_or_try_init(start).await;
        started.map(|(listening, _)| listening).map_err(|error: Error| error.with_transport(TransportId::HTTP))
    }
}

/// The one task that cancels what nobody fetched.
struct Reaper(AbortHandle);

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn reap(site: Arc<ResponseSite>) {
    loop {
        match site.answers.expire(Instant::now()) {
            Some(next) => tokio::time::sleep_until(next.into()).await,
            None => site.offered.notified().await,
        }
    }
}

struct ResponseSite {
    config: Arc<Config>,
    answers: Arc<LiveStreams<ResponseStream>>,
    offered: Notify,
}

impl Site for ResponseSite {
    async fn answer(&self, request: HttpRequest<Incoming>) -> Response<Body> {
        self.route(&request).unwrap_or_else(Refusal::into_response)
    }
}

impl ResponseSite {
    fn route(&self, request: &HttpRequest<Incoming>) -> Result<Response<Body>, Refusal> {
        let http = &self.config.http;
        let token = token_of(request.uri().path(), &http.response_root).ok_or_else(unknown_token)?;
        match *request.method() {
            Method::GET => {
                let format = negotiate(request.headers(), http.response_format).ok_or_else(Refusal::not_acceptable)?;
                let claim = self.answers.claim(token?).map_err(|no| match no {
                    NoClaim::Unknown => unknown_token(),
                    NoClaim::Taken => {
                        let error = Error::refused("this answer has its reader already: it can be fetched once");
                        Refusal::new(StatusCode::CONFLICT, error)
                    }
                })?;
                Ok(lasting(format, Body::reply(Reply::new(claim, format))))
            }
            Method::DELETE => control(&self.answers, token?, request.uri()),
            _ => Err(Refusal::method("GET, DELETE")),
        }
    }
}
