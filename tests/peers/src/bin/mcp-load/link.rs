// SPDX-License-Identifier: Apache-2.0
//! One HTTP/1.1 connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where a server is.
#[derive(Clone)]
pub(crate) struct Place {
    address: SocketAddr,
    path: String,
}

impl Place {
    /// Of `http://127.0.0.1:PORT/PATH`.
    pub(crate) fn of(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or(format!("{url:?} is no http URL"))?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = address.parse().map_err(|_| format!("{address:?} is no address with a port"))?;
        Ok(Self { address, path: format!("/{path}") })
    }
}

pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    place: Place,
}

impl Link {
    pub(crate) async fn connect(place: &Place) -> Result<Self, String> {
        let stream = TcpStream::connect(place.address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(Self { sender, place: place.clone() })
    }

    /// Sends a request, and reads the head of the answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder().method(method).uri(&self.place.path);
        request = request.header("host", self.place.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        self.sender.send_request(request).await.map_err(|error| error.to_string())
    }

    /// Sends a request, and reads the answer to its end.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let answer = self.send(method, headers, body).await?;
        let session = answer.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status, session, body })
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    pub(crate) body: Bytes,
}
