// SPDX-License-Identifier: Apache-2.0
//! Both ends as we ship them.

use std::time::Duration;

use biplane::io::PRINCIPAL;
use biplane::io::admission::{Admission, Token};
use biplane::{Connection, Detail, Inbound, Message, Request, Subject, TlsReason};

use crate::certs::Certs;
use crate::world::{echo, plain, runtime, within};

fn request(body: impl Into<Message>) -> Request {
    Request::new(Subject::from_static("tools/call"), body)
}

async fn round_trips(connection: &dyn Connection) {
    let asked = (0..100).map(|number| connection.request(request(format!("{{\"number\":{number}}}"))));
    for (number, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().text().unwrap(), format!("{{\"number\":{number}}}"));
    }
    let large = format!("{{\"text\":\"{}\"}}", "é".repeat(2 << 20));
    assert!(connection.request(request(large.clone())).await.unwrap().body == large.as_bytes());
    let method = Subject::from_static("notifications/message");
    connection.notify(&method, "{\"a\":1}".into()).await.unwrap();
    let Some(Inbound::Notification(told, message)) = connection.receive().await.unwrap() else { panic!("nothing") };
    assert_eq!((told.as_str(), message.text().unwrap()), (method.as_str(), "{\"a\":1}"));
}

#[tokio::test]
async fn requests_and_notifications_in_clear_text() {
    let server = plain();
    let url = echo(&server, "ws://127.0.0.1:0/mcp").await;
    assert!(url.starts_with("ws://127.0.0.1:") && url.ends_with("/mcp"), "{url}");
    let connection = plain().connect(&url).await.unwrap();
    assert_eq!(connection.info().transport.as_str(), "ws");
    within(round_trips(&*connection)).await;
    within(connection.close(Duration::from_secs(5))).await.unwrap();
    assert!(connection.request(request("")).await.is_err());
}

#[tokio::test]
async fn requests_and_notifications_over_tls_with_an_own_authority() {
    let certs = Certs::new();
    certs.server();
    certs.client_with_certificate();
    let server = [("cert", "server.pem"), ("key", "server.key"), ("client_ca", "ca.pem")];
    let server = runtime(&server.map(|(key, file)| (key, certs.path(file))), Admission::default());
    let url = echo(&server, "wss://127.0.0.1:0/mcp").await;

    let client = [("ca", "ca.pem"), ("client_cert", "client.pem"), ("client_key", "client.key")];
    let client = runtime(&client.map(|(key, file)| (key, certs.path(file))), Admission::default());
    within(round_trips(&*client.connect(&url).await.unwrap())).await;

    let foreign = Certs::named("somebody else");
    let stranger = runtime(&[("ca", foreign.path("ca.pem"))], Admission::default());
    let error = within(stranger.connect(&url)).await.unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::Tls { reason: TlsReason::UnknownCa }), "{error:?}");

    let nobody = runtime(&[("ca", certs.path("ca.pem"))], Admission::default());
    let error = within(nobody.connect(&url)).await.unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::Tls { reason: TlsReason::NoClientCertificate }), "{error:?}");

    let error = within(client.connect(&url.replace("wss:", "ws:"))).await.unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("wss: for TLS")), "{error:?}");
}

#[tokio::test]
async fn clear_text_where_tls_was_dialled() {
    let server = plain();
    let url = echo(&server, "ws://127.0.0.1:0/mcp").await;
    let error = within(plain().connect(&url.replace("ws:", "wss:"))).await.unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::Tls { reason: TlsReason::NotTls }), "{error:?}");
    let error = server.listen("wss://127.0.0.1:0/").await.map(drop).unwrap_err();
    assert!(error.to_string().contains("set tls.cert and tls.key"), "{error}");
}

#[tokio::test]
async fn the_server_asks_its_client() {
    let server = plain();
    let listener = server.listen("ws://127.0.0.1:0").await.unwrap();
    let url = listener.local_address().address;
    let client = plain();
    let (near, far) = within(async { tokio::join!(client.connect(&url), listener.accept()) }).await;
    let (near, far) = (near.unwrap(), far.unwrap().unwrap());
    let answering = async {
        let Some(Inbound::Request(request, reply)) = near.receive().await.unwrap() else { panic!("no request") };
        assert_eq!(request.subject.as_str(), "tools/call");
        reply.send("{\"is\":\"answered\"}").await.unwrap();
        reply.close();
    };
    let (answer, ()) = within(async { tokio::join!(far.request(request("{}")), answering) }).await;
    assert_eq!(answer.unwrap().text().unwrap(), "{\"is\":\"answered\"}");
    // The one end learns that the other is gone.
    drop(near);
    assert!(within(far.receive()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_goes_away_fails_what_is_under_way() {
    let server = plain();
    let listener = server.listen("ws://127.0.0.1:0").await.unwrap();
    let url = listener.local_address().address;
    let client = plain();
    let (near, far) = within(async { tokio::join!(client.connect(&url), listener.accept()) }).await;
    let (near, far) = (near.unwrap(), far.unwrap().unwrap());
    let asked = tokio::spawn(async move { near.request(request("{}")).await });
    // It is at work on the request when it goes.
    let _working = within(far.receive()).await.unwrap().unwrap();
    within(far.close(Duration::ZERO)).await.unwrap();
    let error = within(asked).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), biplane::ErrorKind::Closed, "{error:?}");
}

#[tokio::test]
async fn whoever_authenticated_is_named_on_what_it_sends() {
    let server = runtime(&[], Admission::default().token("alice", Token::of("s3cret")));
    let listener = server.listen("ws://127.0.0.1:0/mcp").await.unwrap();
    let url = listener.local_address().address;
    // Our own dialler has no token to send, and learns that one is wanted.
    let error = within(plain().connect(&url)).await.unwrap_err();
    assert!(error.to_string().contains("it wants a token"), "{error}");

    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = url.as_str().into_client_request().unwrap();
    request.headers_mut().insert("authorization", "Bearer s3cret".parse().unwrap());
    let stream = tokio::net::TcpStream::connect(url.split('/').nth(2).unwrap()).await.unwrap();
    let dialling = tokio_tungstenite::client_async(request, stream);
    let (dialled, accepted) = within(async { tokio::join!(dialling, listener.accept()) }).await;
    let (mut socket, _) = dialled.unwrap();
    use futures_util::SinkExt;
    socket.send("{\"jsonrpc\":\"2.0\",\"method\":\"hello\"}".into()).await.unwrap();
    let Some(Inbound::Notification(_, message)) = within(accepted.unwrap().unwrap().receive()).await.unwrap() else {
        panic!("nothing came")
    };
    assert_eq!(message.headers.get_str(PRINCIPAL), Some("alice"));
}
