// SPDX-License-Identifier: Apache-2.0
//! Sessions over a pipe: what both ends agree on, and how each disagreement is told.

use biplane::config::TlsConfig;
use biplane::io::tls::{ClientTls, ServerTls, TlsStream};
use biplane::{Detail, Error, ErrorKind, Result, TlsReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::certs::{Certs, expired, not_yet_valid, with_tls12};

type Session = TlsStream<DuplexStream>;

/// Both ends of a handshake.
async fn meet(server: &TlsConfig, client: TlsConfig, name: &str) -> (Result<Session>, Result<Session>) {
    let server = ServerTls::new(server).unwrap().with_alpn(&[b"one", b"two"]);
    let client = ClientTls::new(client);
    let (near, far) = duplex(4096);
    tokio::join!(client.connect(near, name, &[b"two"]), server.accept(far))
}

fn reason(error: &Error) -> TlsReason {
    match error.detail() {
        Some(Detail::Tls { reason }) => *reason,
        other => panic!("{error:?} has the detail {other:?}"),
    }
}

#[track_caller]
fn failed(outcome: Result<Session>, expected: TlsReason, told: &str) -> Error {
    let error = outcome.unwrap_err();
    assert_eq!(reason(&error), expected, "{error:?}");
    assert!(error.to_string().contains(told), "{told:?} is not in {error}");
    error
}

/// Bytes go both ways, and the peers know each other.
async fn talk(near: &mut Session, far: &mut Session) {
    near.write_all(b"ping").await.unwrap();
    near.flush().await.unwrap();
    let mut read = [0; 4];
    far.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ping");
    far.write_all(b"pong").await.unwrap();
    far.flush().await.unwrap();
    near.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"pong");
}

#[tokio::test]
async fn a_session_with_an_own_authority() {
    let certs = Certs::new();
    for name in ["localhost", "127.0.0.1"] {
        let (near, far) = meet(&certs.server(), certs.client(), name).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert_eq!((near.negotiated_alpn(), far.negotiated_alpn()), (Some(&b"two"[..]), Some(&b"two"[..])));
        assert!(near.peer_certificate().is_some() && far.peer_certificate().is_none());
        talk(&mut near, &mut far).await;
    }
}

#[tokio::test]
async fn both_ends_prove_who_they_are() {
    let certs = Certs::new();
    let server = TlsConfig { client_ca: certs.client().ca, ..certs.server() };
    let (near, far) = meet(&server, certs.client_with_certificate(), "localhost").await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    assert!(far.peer_certificate().is_some());
    talk(&mut near, &mut far).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_learns_what_it_lacks_at_its_first_read() {
    let certs = Certs::new();
    let server = TlsConfig { client_ca: certs.client().ca, ..certs.server() };
    let (near, far) = meet(&server, certs.client(), "localhost").await;
    failed(far, TlsReason::NoClientCertificate, "tls.client_ca");
    let error = near.unwrap().read_u8().await.unwrap_err();
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).unwrap();
    assert_eq!(reason(told), TlsReason::NoClientCertificate);
    assert!(error.to_string().contains("set tls.client_cert and tls.client_key"), "{error}");
}

#[tokio::test]
async fn a_client_of_a_foreign_authority_is_refused() {
    let (certs, foreign) = (Certs::new(), Certs::named("somebody else"));
    let server = TlsConfig { client_ca: certs.client().ca, ..certs.server() };
    let client = TlsConfig { ca: certs.client().ca, ..foreign.client_with_certificate() };
    let (near, far) = meet(&server, client, "localhost").await;
    failed(far, TlsReason::UnknownCa, "the client's certificate");
    let error = near.unwrap().read_u8().await.unwrap_err();
    assert!(error.to_string().contains("tls.client_cert"), "{error}");
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_told_apart() {
    let (certs, foreign) = (Certs::new(), Certs::named("somebody else"));
    let (near, far) = meet(&certs.server(), foreign.client(), "localhost").await;
    failed(near, TlsReason::UnknownCa, "not known here; if it is to be believed");
    failed(far, TlsReason::Refused, "give the client our authority");

    let (near, _) = meet(&certs.server(), Certs::new().client(), "localhost").await;
    failed(near, TlsReason::UnknownCa, "another key than that of the authority known here");

    let (near, _) = meet(&certs.server(), certs.client(), "other.example").await;
    failed(near, TlsReason::WrongName, "not for other.example, but for");

    let (near, _) = meet(&certs.server_for(&["localhost"], not_yet_valid), certs.client(), "localhost").await;
    failed(near, TlsReason::NotYetValid, "clocks");
}

/// We never start with an expired certificate, so it expires in the hands of somebody else.
#[tokio::test]
async fn an_expired_certificate_of_a_foreign_server() {
    let certs = Certs::new();
    certs.issue("old", &["localhost"], expired);
    let pem = |name: &str| std::fs::read(certs.path(name)).unwrap();
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(&pem("old.pem")).unwrap()];
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(&pem("old.key")).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let (near, far) = duplex(4096);
    let client = ClientTls::new(certs.client());
    let (near, _) = tokio::join!(client.connect(near, "localhost", &[]), acceptor.accept(far));
    failed(near, TlsReason::Expired, "renew it at the server");
}

#[tokio::test]
async fn a_name_that_is_set_takes_the_place_of_the_dialled_one() {
    let certs = Certs::new();
    let client = TlsConfig { server_name: Some("localhost".to_owned()), ..certs.client() };
    let (near, far) = meet(&certs.server_for(&["localhost"], |_| {}), client, "192.0.2.1").await;
    assert!(near.is_ok() && far.is_ok());
}

#[tokio::test]
async fn clear_text_is_recognised_on_both_ends_at_once() {
    let certs = Certs::new();
    let (near, mut far) = duplex(4096);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let outcome = ClientTls::new(certs.client()).connect(near, "localhost", &[]).await;
    failed(outcome, TlsReason::NotTls, "the server does not speak TLS");

    let (mut near, far) = duplex(4096);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let outcome = ServerTls::new(&certs.server()).unwrap().accept(far).await;
    failed(outcome, TlsReason::NotTls, "the client does not speak TLS");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let certs = Certs::new();
    let (near, far) = duplex(4096);
    let client = ClientTls::new(certs.client());
    failed(client.connect(near, "localhost", &[]).await, TlsReason::Timeout, "within 5 s");
    drop(far);
    let (_near, far) = duplex(4096);
    failed(ServerTls::new(&certs.server()).unwrap().accept(far).await, TlsReason::Timeout, "within 5 s");
}

#[tokio::test]
async fn a_peer_that_leaves_is_no_riddle() {
    let certs = Certs::new();
    let (near, far) = duplex(4096);
    drop(far);
    failed(ClientTls::new(certs.client()).connect(near, "localhost", &[]).await, TlsReason::Closed, "check the port");
}

#[tokio::test]
async fn application_protocols_must_meet_where_both_name_some() {
    let certs = Certs::new();
    let server = ServerTls::new(&certs.server()).unwrap().with_alpn(&[b"one"]);
    let client = ClientTls::new(certs.client());
    let (near, far) = duplex(4096);
    let (near, far) = tokio::join!(client.connect(near, "localhost", &[b"two"]), server.accept(far));
    failed(near, TlsReason::Protocol, "none of the application protocols that we offer");
    failed(far, TlsReason::Protocol, "none of the application protocols that are spoken here");
    let (near, far) = duplex(4096);
    let (near, _far) = tokio::join!(client.connect(near, "localhost", &[]), server.accept(far));
    assert_eq!(near.unwrap().negotiated_alpn(), None);
}

#[tokio::test]
async fn tls_1_2_is_there_for_who_asks() {
    let certs = Certs::new();
    let only12 = || {
        let roots = rustls::RootCertStore::empty();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
    };
    let name = || rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let (near, far) = duplex(4096);
    let server = ServerTls::new(&certs.server()).unwrap();
    let connector = only12();
    let (_, far) = tokio::join!(connector.connect(name(), near), server.accept(far));
    failed(far, TlsReason::Version, "tls.min_version = \"1.2\"");

    // Its certificate is not believed, which comes after the version.
    let (near, far) = duplex(4096);
    let server = ServerTls::new(&with_tls12(certs.server())).unwrap();
    let (_, far) = tokio::join!(connector.connect(name(), near), server.accept(far));
    failed(far, TlsReason::Refused, "our");
}

#[tokio::test]
async fn what_is_no_name_is_refused_before_anything_is_sent() {
    let (near, _far) = duplex(64);
    let error = ClientTls::system().connect(near, "not a name", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
