// SPDX-License-Identifier: Apache-2.0
//! `lines+tcp:` and `lines+unix:` beside the suite: sockets, limits, and links of another sort.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use biplane::{Biplane, Connection, ErrorKind, Inbound, Listener, Request, Subject};

/// Against a hang; nothing that works takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(20);

fn runtime(settings: &[(&str, &str)]) -> Biplane {
    settings.iter().fold(Biplane::builder(), |builder, (key, value)| builder.set(*key, value)).build().unwrap()
}

fn ping() -> Request {
    Request::new(Subject::from_static("ping"), "{}").with_timeout(PATIENCE)
}

/// Answers `{}` to everything. The addresses dial it.
async fn serve(biplane: &Biplane, url: &str) -> String {
    let listener = biplane.listen(url).await.unwrap();
    let address = listener.local_address().address;
    tokio::spawn(accept(listener));
    address
}

async fn accept(listener: Box<dyn Listener>) {
    while let Ok(Some(connection)) = listener.accept().await {
        tokio::spawn(answer(connection));
    }
}

async fn answer(connection: Arc<dyn Connection>) {
    while let Ok(Some(inbound)) = connection.receive().await {
        if let Inbound::Request(_, reply) = inbound
            && reply.send("{}").await.is_ok()
        {
            reply.close();
        }
    }
}

#[tokio::test]
async fn a_socket_is_its_users_own_and_a_stale_one_gives_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mcp.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let biplane = runtime(&[]);
    let address = serve(&biplane, &format!("lines+unix://{}", path.display())).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let connection = biplane.connect(&format!("lines+{address}")).await.unwrap();
    connection.request(ping()).await.unwrap();
    let taken = biplane.listen(&format!("lines+{address}")).await.err().unwrap();
    assert_eq!(taken.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_connection_too_many_is_refused_and_a_place_is_given_back() {
    let biplane = runtime(&[("transport.lines.max_connections", "1")]);
    let address = serve(&biplane, "lines+tcp://127.0.0.1:0").await;
    let first = biplane.connect(&format!("lines+{address}")).await.unwrap();
    first.request(ping()).await.unwrap();
    let second = biplane.connect(&format!("lines+{address}")).await.unwrap();
    assert_eq!(second.request(ping()).await.unwrap_err().kind(), ErrorKind::Closed);
    first.close(PATIENCE).await.unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let next = biplane.connect(&format!("lines+{address}")).await.unwrap();
        match next.request(ping()).await {
            Ok(_) => break,
            Err(error) => assert!(std::time::Instant::now() < until, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn links_of_another_sort_are_told_apart_both_ways() {
    let biplane = runtime(&[]);
    let lines = serve(&biplane, "lines+tcp://127.0.0.1:0").await;
    let error = biplane.connect(&lines).await.unwrap_err();
    assert!(error.to_string().contains("lines+"), "{error}");

    let mux = biplane.listen("tcp://127.0.0.1:0").await.unwrap();
    let address = mux.local_address().address;
    tokio::spawn(accept(mux));
    let connection = biplane.connect(&format!("lines+tcp://{address}")).await.unwrap();
    let error = connection.request(ping()).await.unwrap_err();
    assert!(error.to_string().contains("multiplexed links") && error.to_string().contains("lines+"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_dialled_says_why() {
    let biplane = runtime(&[]);
    for (url, kind) in [
        ("lines+tcp://127.0.0.1:1", ErrorKind::Connect),
        ("lines+unix:///no/such/socket", ErrorKind::Connect),
        ("lines+unix:///", ErrorKind::Config),
        ("lines+tcp://127.0.0.1", ErrorKind::Config),
    ] {
        let error = biplane.connect(url).await.unwrap_err();
        assert!(error.kind() == kind && error.hint().is_some(), "{url}: {error:?}");
    }
}
