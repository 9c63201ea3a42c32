// SPDX-License-Identifier: Apache-2.0
//! The server over Streamable HTTP, at `/mcp` of a loopback port. Says on standard output where it is.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use crate::server::Fixture;
use crate::{Era, old};

type Service = StreamableHttpService<Fixture, LocalSessionManager>;
type Answer = Response<http_body_util::combinators::BoxBody<bytes::Bytes, Infallible>>;

/// Serves until the process is ended.
pub(crate) async fn serve(port: u16, era: Era, json: bool) -> Result<(), String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| format!("port {port}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("http://{address}/mcp");
    let fixture = Fixture::new(era);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(era != Era::Modern && !json)
        .with_json_response(json)
        .with_max_request_body_bytes(64 << 20);
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(fixture.another()), sessions, config);
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
        // Without it every second write of an answer waits for the client's delayed acknowledgement.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let service = service.clone();
        let respond = hyper::service::service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(answer(service, request, era).await) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
    }
}

// A body is held here once more in the legacy era only.
async fn answer(service: Service, request: Request<Incoming>, era: Era) -> Answer {
    if era != Era::Legacy || request.method() != Method::POST {
        return service.handle(request).await;
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match old::request(&head.headers, body) {
        Ok(body) => service.handle(Request::from_parts(head, Full::new(body))).await,
        Err(refusal) => refusal.map(BodyExt::boxed),
    }
}
