// SPDX-License-Identifier: Apache-2.0
//! `https:`, where our client and server agree on HTTP/2.

use biplane::io::admission::Admission;
use biplane::{Biplane, Message, Request, Subject};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::world::World;

#[tokio::test]
async fn a_session_under_tls_over_http2() {
    let files = TempDir::new().unwrap();
    let write = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let runtime = Biplane::builder()
        .set("tls.ca", write("ca.pem", authority.pem()))
        .set("tls.cert", write("server.pem", server.pem()))
        .set("tls.key", write("server.key", key.serialize_pem()));

    let world = World::on(runtime, "https://127.0.0.1:0/mcp", |_| {}, Admission::default()).await;
    let client = world.biplane.connect(&format!("https://{}/mcp", world.address)).await.unwrap();
    let ask = async |method: &'static str, params: &'static str| {
        client.request(Request::new(Subject::from_static(method), params)).await.unwrap()
    };
    ask("initialize", r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#).await;
    client.notify(&Subject::from_static("notifications/initialized"), Message::default()).await.unwrap();
    assert_eq!(world.saw().await, "notifications/initialized ");
    assert!(ask("echo", r#"{"a":1}"#).await.text().unwrap().contains(r#"{"a":1}"#));
    assert_eq!(ask("progress", "{}").await.body, "{}");
    client.close(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(world.saw().await, "closed");
}

#[tokio::test]
async fn listening_with_tls_needs_a_certificate() {
    let biplane = Biplane::builder().build().unwrap();
    let error = biplane.listen("https://127.0.0.1:0/mcp").await.err().unwrap();
    assert!(error.to_string().contains("tls.cert"), "{error}");
}
