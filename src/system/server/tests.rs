// SPDX-License-Identifier: Apache-2.0
//! Over real sockets: what an operator's tools see.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::error::{ErrorKind, Phase};
use crate::plane::PlaneType;
use crate::system::Status;
use crate::target::TransportId;
use crate::telemetry::page;

const LOOPBACK: &str = "127.0.0.1";

/// Generous: only a hang is as slow as this.
const SAFETY: Duration = Duration::from_secs(30);

fn config(port: u16) -> SystemConfig {
    SystemConfig { host: LOOPBACK.to_owned(), port: Some(port) }
}

async fn start(telemetry: &Telemetry, health: &Health) -> SystemServer {
    SystemServer::bind(&config(0), telemetry.clone(), health.clone()).await.unwrap()
}

/// Sends `text` as it is and reads to the end of the connection: head and body.
async fn exchange(server: &SystemServer, text: &str) -> (String, String) {
    let run = async {
        let mut socket = TcpStream::connect(server.local_addr()).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    };
    tokio::time::timeout(SAFETY, run).await.unwrap()
}

async fn get(server: &SystemServer, path: &str) -> (String, String) {
    exchange(server, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
}

#[tokio::test]
async fn health_follows_the_life_of_the_process() {
    let health = Health::new(7_587_886_113);
    let server = start(&Telemetry::default(), &health).await;
    let _words = health.add_endpoint("words", || 3);

    for (status, line) in [("starting", "http/1.1 503"), ("ready", "http/1.1 200"), ("draining", "http/1.1 503")] {
        match status {
            "ready" => health.advance(Status::Ready),
            "draining" => health.advance(Status::Draining),
            _ => {}
        }
        let (head, body) = get(&server, "/health").await;
        assert!(head.starts_with(line) && head.contains("content-type: application/json"), "{head}");
        let expected = serde_json::json!({
            "status": status, "instance_id": 7_587_886_113_u64, "endpoints": [{"name": "words", "in_flight": 3}],
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap(), expected);
        assert!(get(&server, "/live").await.0.starts_with("http/1.1 200"));
    }
}

#[tokio::test]
async fn metrics_are_a_page_that_a_scraper_can_read() {
    let telemetry = Telemetry::default();
    drop(telemetry.plane(&TransportId::TCP, PlaneType::Request).begin());
    let server = start(&telemetry, &Health::new(1)).await;
    let (head, body) = get(&server, "/metrics?debug=1").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("version=0.0.4"), "{head}");
    let samples = page::parse(&body).unwrap();
    assert_eq!(samples[r#"transport_requests_total{transport="tcp",plane="request"}"#], 1.0);
}

#[tokio::test]
async fn other_methods_and_paths_are_told_what_there_is() {
    let server = start(&Telemetry::default(), &Health::new(1)).await;
    let (head, _) = exchange(&server, "POST /live HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi").await;
    assert!(head.starts_with("http/1.1 405") && head.contains("allow: get, head"), "{head}");
    let (head, body) = get(&server, "/").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    for path in ["/health", "/live", "/metrics"] {
        assert!(body.contains(path), "{body}");
    }
    let (head, body) = exchange(&server, "HEAD /live HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 5") && body.is_empty(), "{head}");
    let (head, _) = exchange(&server, "no such protocol\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_address_and_variable() {
    let server = start(&Telemetry::default(), &Health::new(1)).await;
    let port = server.local_addr().port();
    let error = SystemServer::bind(&config(port), Telemetry::default(), Health::new(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Some(Phase::Listen)));
    let text = error.to_string();
    assert!(text.contains(&format!("{LOOPBACK}:{port}")) && text.contains("DYN_SYSTEM_PORT"), "{text}");

    let off = SystemConfig { host: LOOPBACK.to_owned(), port: None };
    let error = SystemServer::bind(&off, Telemetry::default(), Health::new(2)).await.unwrap_err();
    assert!(error.hint().unwrap().contains("DYN_SYSTEM_PORT"));
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_and_are_served() {
    let server = start(&Telemetry::default(), &Health::new(1)).await;
    // These say nothing and hold every place.
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(server.local_addr()).await.unwrap());
    }
    let mut late = tokio::spawn({
        let address = server.local_addr();
        async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET /live HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            answer
        }
    });
    // Not yet, for all that can be seen from outside; and as soon as one of the others goes.
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut late).await.is_err());
    drop(silent.pop());
    let answer = tokio::time::timeout(SAFETY, late).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_ends_its_head_is_shown_the_door() {
    let server = start(&Telemetry::default(), &Health::new(1)).await;
    let mut socket = TcpStream::connect(server.local_addr()).await.unwrap();
    socket.write_all(b"GET /live HTTP/1.1\r\nHost:").await.unwrap();
    let began = tokio::time::Instant::now();
    // However it ends: a reset is an end too.
    let ended = tokio::time::timeout(SAFETY, socket.read_to_end(&mut Vec::new())).await;
    // The clock is the test's: it moves only when nothing else can.
    assert!(ended.is_ok() && began.elapsed() < EXCHANGE, "{ended:?} after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_connections() {
    let server = start(&Telemetry::default(), &Health::new(1)).await;
    let address = server.local_addr();
    let mut open = TcpStream::connect(address).await.unwrap();
    // An answer on a later connection means that the first has been accepted too.
    get(&server, "/live").await;
    drop(server);
    let ended = tokio::time::timeout(SAFETY, open.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
    let free = async {
        while SystemServer::bind(&config(address.port()), Telemetry::default(), Health::new(1)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SAFETY, free).await.unwrap();
}
