// SPDX-License-Identifier: Apache-2.0
//! A responder and a caller in one process, wired as the runtime wires them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use biplane::config::*;
use biplane::pair::PlanePair;
use biplane::plane::{Ack, EndpointGuard, ReplyTo, RequestPlane, ResponsePlane, ResponsePlanes};
use biplane::registry::{BuildContext, Factory};
use biplane::telemetry::Telemetry;
use biplane::transport::http::{HTTP_REQUEST, HTTP_RESPONSE};
use biplane::{
    ConnectionInfo, Dispatch, DispatchLimits, Error, Handler, Message, Request, ResponseSender, ResponseStream, Result,
    Subject, TransportAddress, TransportId, handler_fn,
};

pub(crate) const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];
pub(crate) const FORMATS: [StreamFormat; 3] = [StreamFormat::Sse, StreamFormat::Ndjson, StreamFormat::Binary];

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this does not end")
}

pub(crate) fn config(change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::defaults().unwrap();
    let bind = Bind { host: "127.0.0.1".into(), port: Port::Set(0) };
    config.http.request = bind.clone();
    config.http.response = bind;
    config.limits.max_message_size = 1 << 20;
    change(&mut config);
    Arc::new(config)
}

pub(crate) fn speaking(version: HttpVersion, format: StreamFormat) -> Arc<Config> {
    config(|config| {
        config.http.version = version;
        config.http.response_format = format;
    })
}

/// Everything that the http transport registers, built for one runtime.
pub(crate) struct World {
    pub(crate) request: RequestPlane,
    pub(crate) response: Arc<dyn ResponsePlane>,
    planes: Arc<Planes>,
    limits: DispatchLimits,
}

struct Planes(OnceLock<Arc<dyn ResponsePlane>>);

impl ResponsePlanes for Planes {
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        let found = self.0.get().filter(|_| *transport == TransportId::HTTP).cloned();
        found.ok_or_else(|| Error::no_transport(format!("no response transport {transport}; registered: http")))
    }
}

impl World {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let limits = DispatchLimits {
            max_in_flight: config.limits.max_in_flight,
            max_message_size: config.limits.max_message_size,
            ..DispatchLimits::default()
        };
        let context = BuildContext::new(config, Telemetry::default(), 7);
        let (Factory::Request(request), Factory::Response(response)) = (HTTP_REQUEST.factory, HTTP_RESPONSE.factory)
        else {
            panic!("each registration is for its plane")
        };
        let response = response(&context).unwrap();
        let planes = Arc::new(Planes(OnceLock::from(response.clone())));
        Self { request: request(&context).unwrap(), response, planes, limits }
    }

    pub(crate) async fn serve(&self, subject: &'static str, handler: impl Handler) -> EndpointGuard {
        let dispatch = Dispatch::new(handler, self.planes.clone(), self.limits);
        self.request.server.register_endpoint(Subject::from_static(subject), dispatch).await.unwrap()
    }

    /// The request plane as a connection to `to`, answers inline.
    pub(crate) fn connection(&self, to: &TransportAddress) -> PlanePair {
        let info = ConnectionInfo::new(TransportId::HTTP, to.address.clone(), HTTP_REQUEST.capabilities);
        PlanePair::new(self.request.client.clone(), None, to.clone(), info)
    }

    /// Sends to `to`, the answer inline.
    pub(crate) async fn inline(&self, to: &TransportAddress, request: Request) -> Result<ResponseStream> {
        match self.request.client.send_request(to, request, &ReplyTo::Inline).await? {
            Ack::Inline(stream) => Ok(stream),
            other => panic!("{other:?}"),
        }
    }

    /// Sends to `to`, the answer fetched.
    pub(crate) async fn fetched(&self, to: &TransportAddress, request: Request) -> Result<ResponseStream> {
        let reserved = self.response.expect(&request.context, to).await?;
        let reply_to = ReplyTo::To(Box::new(reserved.reply_to));
        match self.request.client.send_request(to, request, &reply_to).await? {
            Ack::Located(info) => reserved.pending.resolve(Some(info)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn call(&self, fetched: bool, to: &TransportAddress, request: Request) -> Result<ResponseStream> {
        if fetched { self.fetched(to, request).await } else { self.inline(to, request).await }
    }
}

pub(crate) fn request(body: impl Into<Message>) -> Request {
    Request::new(Subject::from_static("test"), body)
}

/// Sends its request back, word by word.
pub(crate) fn words() -> impl Handler {
    handler_fn(|request: Request, reply: ResponseSender| async move {
        for word in request.message.text()?.split(' ') {
            reply.send(word.to_owned()).await?;
        }
        Ok(())
    })
}

/// Sends its request back as one item.
pub(crate) fn echo() -> impl Handler {
    handler_fn(|request: Request, reply: ResponseSender| async move { reply.send(request.message).await })
}

/// Sends `items` items, then waits for the end of the world; says when it is dropped.
pub(crate) fn endless(items: usize, dropped: tokio::sync::mpsc::UnboundedSender<()>) -> impl Handler {
    handler_fn(move |_: Request, reply: ResponseSender| {
        let guard = OnDrop(dropped.clone());
        async move {
            let _guard = guard;
            for item in 0..items {
                reply.send(item.to_string()).await?;
            }
            std::future::pending().await
        }
    })
}

pub(crate) struct OnDrop(pub tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

pub(crate) async fn collect(mut stream: ResponseStream) -> Result<Vec<Message>> {
    let mut items = Vec::new();
    while let Some(item) = soon(stream.next()).await {
        items.push(item?);
    }
    Ok(items)
}

pub(crate) async fn texts(stream: ResponseStream) -> Vec<String> {
    collect(stream).await.unwrap().iter().map(|item| item.text().unwrap().to_owned()).collect()
}
