// SPDX-License-Identifier: Apache-2.0
//! Servers that refuse, that send too much or nonsense, and what is shown to them of us.

use std::time::Duration;

use biplane::{Biplane, ErrorKind, Retry, Target};
use serde_json::json;

use crate::script::*;

async fn fails(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> (ErrorKind, Retry, String) {
    let server = Server::start(modern(act)).await;
    let biplane = Biplane::builder().set("limits.max_message_size", 1000);
    let connection = soon(biplane.build().unwrap().connect(&server.url())).await.unwrap();
    let error = soon(connection.request(request("ping", &described(json!({}))))).await.unwrap_err();
    (error.kind(), error.retry(), error.to_string())
}

#[tokio::test]
async fn statuses_have_their_kinds() {
    for (status, kind, retry) in [
        (401, ErrorKind::Refused, Retry::Never),
        (403, ErrorKind::Refused, Retry::Never),
        (404, ErrorKind::Refused, Retry::Never),
        (302, ErrorKind::Refused, Retry::Never),
        (413, ErrorKind::TooLarge, Retry::Never),
        (429, ErrorKind::Overloaded, Retry::Safe),
        (503, ErrorKind::Overloaded, Retry::Safe),
        (504, ErrorKind::Timeout, Retry::Never),
        (500, ErrorKind::Protocol, Retry::Never),
        (202, ErrorKind::Protocol, Retry::Never),
    ] {
        let (found, again, text) = fails(move |_| Act::whole(status, "text/plain", "so it is")).await;
        assert_eq!((found, again), (kind, retry), "{status}: {text}");
    }
    let (_, _, text) = fails(|_| Act::whole(400, "text/plain", "line\nbreak")).await;
    assert!(text.contains("line break"), "{text}");
}

#[tokio::test]
async fn nonsense_and_excess_end_the_request_alone() {
    for act in [
        Act::whole(200, "text/html", "<h1>hello</h1>"),
        Act::whole(200, "application/json", "{\"jsonrpc\":"),
        Act::whole(200, "application/json", "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}"),
        Act::events(&["data: {nonsense\n\n"]),
    ] {
        let shown = format!("{act:?}");
        let (kind, _, text) = fails(move |_| act.clone()).await;
        assert_eq!(kind, ErrorKind::Protocol, "{shown}: {text}");
    }
    let long = "x".repeat(20_000);
    for act in [Act::whole(200, "application/json", &format!("\"{long}\"")), Act::events(&["data: ", &long, "\n\n"])] {
        assert_eq!(fails(move |_| act.clone()).await.0, ErrorKind::TooLarge);
    }
    // Lines without an end.
    let endless = vec!["data: x\n"; 20_000];
    assert_eq!(fails(move |_| Act::events(&endless).hang()).await.0, ErrorKind::TooLarge);
    let (kind, retry, _) =
        fails(|_| Act::whole(200, "application/json", "{}").cut().with("content-length", "99")).await;
    assert_eq!(retry, Retry::Never);
    assert!(matches!(kind, ErrorKind::Closed | ErrorKind::Protocol));
}

#[tokio::test]
async fn what_the_target_configures_is_shown_to_its_server_alone() {
    let server = Server::start(modern(|asked| asked.result(json!({})))).await;
    let biplane = biplane();
    let target = biplane.target(&server.url()).unwrap().with_header("authorization", "Bearer s3cret");
    assert!(!format!("{target:?} {target}").contains("s3cret"));
    let connection = soon(biplane.connect_to(&target)).await.unwrap();
    soon(connection.request(request("ping", &described(json!({}))))).await.unwrap();
    for asked in server.asked() {
        assert_eq!(asked.header("authorization"), Some("Bearer s3cret"));
    }
    let url = server.url().replace("http://", "http://ann:p%40ss@");
    let target: Target = biplane.target(&url).unwrap();
    let connection = soon(biplane.connect_to(&target)).await.unwrap();
    assert!(!connection.info().peer.contains("p%40ss"));
    soon(connection.request(request("tools/list", &described(json!({}))))).await.unwrap();
    let asked = server.seen("tools/list").await;
    assert_eq!(asked.header("authorization"), Some("Basic YW5uOnBAc3M="));
    assert_eq!(asked.header("host"), Some(server.address.to_string().as_str()));
}

#[tokio::test]
async fn metadata_services_are_not_asked() {
    let biplane = biplane();
    let connecting = biplane.connect("http://169.254.169.254/latest");
    let error = tokio::time::timeout(Duration::from_secs(5), connecting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("allow_link_local"), "{error}");
}
