// SPDX-License-Identifier: Apache-2.0
//! What the system server answers. No sockets here.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::health::{Health, Status};
use crate::telemetry::Telemetry;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The version is that of the text format, by which a scraper tells it from OpenMetrics.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The pages of one runtime.
pub(super) struct Pages {
    pub(super) telemetry: Telemetry,
    pub(super) health: Health,
}

impl Pages {
    /// The answer to a request without regard to its body. For `HEAD` the server leaves the body out.
    pub(super) fn answer(&self, method: &Method, path: &str) -> Response<String> {
        let known = matches!(path, "/health" | "/live" | "/metrics");
        if known && method != Method::GET && method != Method::HEAD {
            let text = format!("{path} answers GET and HEAD\n");
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/health" => self.health(),
            // Being answered at all is the news: whether the process wants requests is `/health`'s business.
            "/live" => page(StatusCode::OK, TEXT, "live\n".to_owned()),
            "/metrics" => page(StatusCode::OK, METRICS, self.telemetry.render()),
            _ => page(StatusCode::NOT_FOUND, TEXT, "the paths here are /health, /live and /metrics\n".to_owned()),
        }
    }

    fn health(&self) -> Response<String> {
        let report = self.health.report();
        let status = match report.status {
            Status::Ready => StatusCode::OK,
            Status::Starting | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
        };
        match serde_json::to_string(&report) {
            Ok(json) => page(status, JSON, json + "\n"),
            Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("no report: {error}\n")),
        }
    }
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
