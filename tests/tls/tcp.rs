// SPDX-License-Identifier: Apache-2.0
//! The tcp planes and connections over TLS: two runtimes that meet through a file store.

use std::time::Duration;

use biplane::{
    Biplane, Detail, Error, ErrorKind, Request, ResponseSender, Result, Serving, Subject, TlsReason, handler_fn,
};
use tempfile::TempDir;

use crate::certs::Certs;

/// A variable and the file of [`Certs`] that it names.
type Files = &'static [(&'static str, &'static str)];

const CERT: (&str, &str) = ("DYN_TCP_TLS_CERT_PATH", "server.pem");
const KEY: (&str, &str) = ("DYN_TCP_TLS_KEY_PATH", "server.key");
const CA: (&str, &str) = ("DYN_TCP_TLS_CA_CERT_PATH", "ca.pem");
const CLIENT_CERT: (&str, &str) = ("DYN_TCP_TLS_CLIENT_CERT_PATH", "client.pem");
const CLIENT_KEY: (&str, &str) = ("DYN_TCP_TLS_CLIENT_KEY_PATH", "client.key");
const CLIENT_CA: (&str, &str) = ("DYN_TCP_TLS_CLIENT_CA_CERT_PATH", "ca.pem");

const BOTH_WAYS: Files = &[CERT, KEY, CA];
const MUTUAL: Files = &[CERT, KEY, CA, CLIENT_CERT, CLIENT_KEY, CLIENT_CA];

struct World {
    store: TempDir,
    certs: Certs,
}

impl World {
    fn new() -> Self {
        let certs = Certs::new();
        certs.server();
        certs.client_with_certificate();
        Self { store: tempfile::tempdir().unwrap(), certs }
    }

    fn runtime(&self, files: Files) -> Biplane {
        self.runtime_of(&self.certs, files)
    }

    fn runtime_of(&self, certs: &Certs, files: Files) -> Biplane {
        let fixed = [
            ("DYN_DISCOVERY_BACKEND", "file"),
            ("DYN_FILE_KV", self.store.path().to_str().unwrap()),
            ("DYN_TCP_REQUEST_HOST", "127.0.0.1"),
            ("DYN_TCP_REQUEST_PORT", "0"),
            ("DYN_TCP_RESPONSE_STREAM_HOST", "127.0.0.1"),
        ];
        let files = files.iter().map(|(name, file)| (*name, certs.path(file).into_os_string()));
        Biplane::builder().env(fixed).env(files).build().unwrap()
    }

    async fn worker(&self, files: Files) -> (Biplane, Serving) {
        let worker = self.runtime(files);
        let echo = handler_fn(|request: Request, reply: ResponseSender| async move {
            reply.send(request.message).await?;
            reply.send("and again").await
        });
        let serving = worker.serve("echo", echo).start().await.unwrap();
        (worker, serving)
    }
}

/// Over both planes: the request out, the answer called home.
async fn ask(caller: &Biplane) -> Result<Vec<String>> {
    let asking = async {
        let mut answer = caller.call("echo", "hello").await?;
        let mut items = Vec::new();
        while let Some(item) = answer.next().await {
            items.push(item?.text()?.to_owned());
        }
        Ok(items)
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap()
}

#[track_caller]
fn failed(error: &Error, expected: TlsReason, told: &str) {
    assert!(matches!(error.detail(), Some(Detail::Tls { reason }) if *reason == expected), "{error:?}");
    assert!(error.to_string().contains(told), "{told:?} is not in {error}");
}

#[tokio::test]
async fn requests_and_answers_over_tls() {
    let world = World::new();
    for files in [BOTH_WAYS, MUTUAL] {
        let (_worker, serving) = world.worker(files).await;
        assert_eq!(ask(&world.runtime(files)).await.unwrap(), ["hello", "and again"]);
        serving.stop(Duration::ZERO).await;
    }
}

/// Nobody dials a second time, so only the worker listens.
#[tokio::test]
async fn a_caller_whose_answers_come_inline_needs_the_authority_alone() {
    let world = World::new();
    let (_worker, _serving) = world.worker(BOTH_WAYS).await;
    assert_eq!(ask(&world.runtime(&[CA])).await.unwrap(), ["hello", "and again"]);
}

#[tokio::test]
async fn a_connection_by_url_over_tls() {
    let world = World::new();
    let server = world.runtime(MUTUAL);
    let listener = server.listen("tcp://127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_address().address.replace("127.0.0.1", "localhost"));
    let caller = world.runtime(MUTUAL);
    let (accepted, dialled) = tokio::join!(listener.accept(), caller.connect(&url));
    let (accepted, dialled) = (accepted.unwrap().unwrap(), dialled.unwrap());
    dialled.notify(&Subject::from_static("hello"), "there".into()).await.unwrap();
    assert!(accepted.receive().await.unwrap().is_some());
}

#[tokio::test]
async fn a_caller_of_another_authority_learns_it_at_once() {
    let world = World::new();
    let (_worker, _serving) = world.worker(BOTH_WAYS).await;
    let foreign = Certs::named("somebody else");
    foreign.server();
    let error = ask(&world.runtime_of(&foreign, BOTH_WAYS)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    failed(&error, TlsReason::UnknownCa, "DYN_TCP_TLS_CA_CERT_PATH");
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_told_what_to_set() {
    let world = World::new();
    let (_worker, _serving) = world.worker(MUTUAL).await;
    let error = ask(&world.runtime(BOTH_WAYS)).await.unwrap_err();
    failed(&error, TlsReason::NoClientCertificate, "set DYN_TCP_TLS_CLIENT_CERT_PATH and DYN_TCP_TLS_CLIENT_KEY_PATH");
}

#[tokio::test]
async fn clear_text_and_tls_do_not_meet_and_do_not_wait() {
    let world = World::new();
    let (_worker, serving) = world.worker(BOTH_WAYS).await;
    failed(&ask(&world.runtime(&[])).await.unwrap_err(), TlsReason::NotTls, "the peer speaks TLS, this end does not");
    serving.stop(Duration::ZERO).await;
    let (_worker, _serving) = world.worker(&[]).await;
    failed(&ask(&world.runtime(BOTH_WAYS)).await.unwrap_err(), TlsReason::NotTls, "the server does not speak TLS");
}

#[tokio::test]
async fn with_tls_on_nothing_listens_in_clear_text() {
    let world = World::new();
    let worker = world.runtime(&[CA]);
    let echo = handler_fn(|_: Request, reply: ResponseSender| async move { reply.send("x").await });
    let error = worker.serve("echo", echo).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("set DYN_TCP_TLS_CERT_PATH and DYN_TCP_TLS_KEY_PATH"), "{error}");
}

#[tokio::test]
async fn a_dialler_that_never_shakes_hands_holds_up_nobody() {
    let world = World::new();
    let (_worker, serving) = world.worker(BOTH_WAYS).await;
    let address = serving.instance().request_endpoints()[0].address.address.clone();
    let _silent = tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&world.runtime(BOTH_WAYS)).await.unwrap().len(), 2);
}
