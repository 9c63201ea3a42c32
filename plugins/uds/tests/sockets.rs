// SPDX-License-Identifier: Apache-2.0
//! What is this transport's own: sockets, their files, their addresses. What all transports share is in `conformance.rs`.

use std::fs;
use std::future::Future;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use biplane::capability::Requirements;
use biplane::config::{Inputs, load};
use biplane::registry::{BuildContext, TransportRegistry};
use biplane::telemetry::Telemetry;
use biplane::{Biplane, Connection, Error, ErrorKind, Inbound, PlaneType, Request, ResponseSender, Result};
use biplane::{Subject, Target, Transport, handler_fn};
use biplane_uds::REGISTRATIONS;
use tempfile::TempDir;

const GRACE: Duration = Duration::from_secs(5);

fn id() -> &'static str {
    REGISTRATIONS[0].transport_id
}

fn url(path: &Path) -> String {
    format!("{}://{}", REGISTRATIONS[0].schemes[0], path.display())
}

/// A registry of this plugin alone, bound to a runtime whose sockets are in `dir`.
fn registry(dir: &Path) -> TransportRegistry {
    let variable = REGISTRATIONS[0].env[0].name;
    let env = [(variable, dir.to_str().unwrap()), ("DYN_REQUEST_PLANE", id()), ("DYN_RESPONSE_PLANE", id())];
    let registry = TransportRegistry::builder().collected().unwrap().build().unwrap();
    let inputs =
        Inputs { env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), ..Inputs::default() };
    let config = load(inputs, registry.registrations()).unwrap().config;
    registry.bind(BuildContext::new(Arc::new(config), Telemetry::default(), 7))
}

fn transport() -> Arc<dyn Transport> {
    registry(Path::new("/nowhere")).get_transport(&id().into()).unwrap()
}

/// A runtime that finds others through the file store in `home` and has its sockets there, as a program would by default.
fn runtime(home: &Path) -> Biplane {
    let env = [("DYN_FILE_KV", home.to_str().unwrap()), ("DYN_REQUEST_PLANE", id()), ("DYN_RESPONSE_PLANE", id())];
    Biplane::builder().env(env).build().unwrap()
}

fn target(url: &str) -> Target {
    Target::parse(url, |_| false).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("hangs")
}

fn sockets(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| fs::symlink_metadata(path).unwrap().file_type().is_socket()).collect()
}

/// Answers the first request that comes with its own message.
async fn echo_once(connection: Arc<dyn Connection>) -> Result<()> {
    match connection.receive().await? {
        Some(Inbound::Request(request, reply)) => {
            reply.send(request.message).await?;
            reply.close();
            Ok(())
        }
        other => Err(Error::unexpected(format!("expected a request, got {other:?}"))),
    }
}

#[tokio::test]
async fn a_connection_carries_requests_and_its_socket_goes_with_the_listener() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("with space.sock");
    let listener = transport().listen(&target(&url(&path))).await.unwrap();
    let address = listener.local_address();
    assert_eq!((address.transport.as_str(), address.address.as_str()), (id(), path.to_str().unwrap()));
    within(async {
        let client = transport().connect(&target(&url(&path))).await.unwrap();
        let server = tokio::spawn(echo_once(listener.accept().await.unwrap().unwrap()));
        let answer = client.request(Request::new(Subject::from_static("echo"), "hello")).await.unwrap();
        assert_eq!(answer.body, "hello");
        server.await.unwrap().unwrap();
        client.close(GRACE).await.unwrap();
        drop(listener);
        while path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_is_found_and_answers_inline_and_by_call_home() {
    let home = TempDir::new().unwrap();
    within(async {
        let (worker, caller) = (runtime(home.path()), runtime(home.path()));
        let echo =
            handler_fn(|request: Request, reply: ResponseSender| async move { reply.send(request.message).await });
        let serving = worker.serve("echo", echo).start().await.unwrap();

        let mut answer = caller.call("echo", "by name").await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap().body, "by name");
        assert!(answer.next().await.is_none());

        let requests = sockets(&home.path().join("sockets"));
        let [socket] = &requests[..] else { panic!("expected one socket, got {requests:?}") };
        let mut answer = caller.call(&format!("{}?subject=echo", url(socket)), "by URL").await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap().body, "by URL");

        // The same endpoint for a caller whose request comes one way and whose answer goes another.
        let client = caller.registry().get_request_client(&id().into()).unwrap();
        let plane = caller.registry().get_response_client(&id().into()).unwrap();
        let address = biplane::TransportAddress::new(id(), socket.to_str().unwrap());
        for round in 0..3 {
            let request = Request::new(Subject::from_static("echo"), format!("round {round}"));
            let pending = plane.expect(&request.context, &address).await.unwrap();
            let reply_to = biplane::plane::ReplyTo::To(Box::new(pending.reply_to.clone()));
            let ack = client.send_request(&address, request, &reply_to).await.unwrap();
            assert!(matches!(ack, biplane::plane::Ack::Accepted), "{ack:?}");
            let mut answer = pending.pending.resolve(None).unwrap();
            assert_eq!(answer.next().await.unwrap().unwrap().body, format!("round {round}"));
            assert!(answer.next().await.is_none());
        }

        assert!(serving.stop(GRACE).await);
        caller.shutdown(GRACE).await;
        worker.shutdown(GRACE).await;
        let left = sockets(&home.path().join("sockets"));
        assert!(left.is_empty(), "closed, and the files remain: {left:?}");
    })
    .await;
}

#[tokio::test]
async fn a_stale_socket_gives_way_and_nothing_else_does() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("x.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a killed process leaves its socket");
    let listener = transport().listen(&target(&url(&path))).await.unwrap();

    let error = transport().listen(&target(&url(&path))).await.err().expect("somebody listens there");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("nobody else listens"), "{error}");
    within(transport().connect(&target(&url(&path)))).await.unwrap();
    drop(listener);

    let file = home.path().join("notes.txt");
    fs::write(&file, "mine").unwrap();
    assert!(transport().listen(&target(&url(&file))).await.is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn what_killed_processes_left_is_swept_and_the_living_stay() {
    let home = TempDir::new().unwrap();
    let at = |name: &str| home.path().join(name);
    drop(UnixListener::bind(at("dead.sock")).unwrap());
    drop(UnixListener::bind(at("young.sock")).unwrap());
    let _living = UnixListener::bind(at("living.sock")).unwrap();
    for old in ["dead.sock", "living.sock"] {
        // A socket cannot be opened, so its times cannot be set through a file.
        let touched = std::process::Command::new("touch").args(["-d", "2001-01-01"]).arg(at(old)).status().unwrap();
        assert!(touched.success());
    }
    let registry = registry(home.path());
    let plane = registry.get_response_client(&id().into()).unwrap();
    let anywhere = biplane::TransportAddress::new(id(), "/nowhere");
    let pending = plane.expect(&biplane::RequestContext::new(), &anywhere).await.unwrap();
    let own = PathBuf::from(&pending.reply_to.address.address);
    let mut left = sockets(home.path());
    left.sort();
    let mut expected = vec![own, at("living.sock"), at("young.sock")];
    expected.sort();
    assert_eq!(left, expected);
    plane.close(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_path_that_the_system_does_not_take_is_refused_with_advice() {
    let home = TempDir::new().unwrap();
    let long = home.path().join("x".repeat(120));
    for path in [long.join("a.sock"), home.path().join("odd%3F.sock")] {
        for error in [
            transport().connect(&target(&url(&path))).await.err().unwrap(),
            transport().listen(&target(&url(&path))).await.err().unwrap(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(REGISTRATIONS[0].env[0].name), "{error}");
        }
    }
    let plane = registry(&long).get_response_client(&id().into()).unwrap();
    let anywhere = biplane::TransportAddress::new(id(), "/nowhere");
    let error = plane.expect(&biplane::RequestContext::new(), &anywhere).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn others_may_not_write_where_the_sockets_are() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("shared");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let plane = registry(&dir).get_response_client(&id().into()).unwrap();
    let anywhere = biplane::TransportAddress::new(id(), "/nowhere");
    let error = plane.expect(&biplane::RequestContext::new(), &anywhere).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("by others"), "{error}");

    let dir = home.path().join("made/anew");
    let plane = registry(&dir).get_response_client(&id().into()).unwrap();
    let _pending = plane.expect(&biplane::RequestContext::new(), &anywhere).await.unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn nobody_there_and_foreign_urls_are_typed_errors() {
    let home = TempDir::new().unwrap();
    let error = transport().connect(&target(&url(&home.path().join("none.sock")))).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Connect);
    let scheme = REGISTRATIONS[0].schemes[0];
    for (asked, kind) in [
        ("tcp://127.0.0.1:1".to_owned(), ErrorKind::Unsupported),
        (format!("{scheme}://host/x.sock"), ErrorKind::Config),
        (format!("{scheme}:///"), ErrorKind::Config),
    ] {
        assert_eq!(transport().connect(&target(&asked)).await.err().unwrap().kind(), kind, "{asked}");
    }
}

#[test]
fn it_is_selected_by_what_it_claims() {
    let registry = TransportRegistry::builder().register_all(REGISTRATIONS).unwrap().build().unwrap();
    let needs = Requirements::parse("duplex,persistent_connections,server_push").unwrap();
    assert_eq!(registry.select_transport(PlaneType::Connection, &needs).unwrap(), id());
    let needs = Requirements::parse("streaming,shared").unwrap();
    assert_eq!(registry.select_transport(PlaneType::Response, &needs).unwrap(), id());
    let error =
        registry.select_transport(PlaneType::Request, &Requirements::parse("server_push").unwrap()).unwrap_err();
    assert!(error.to_string().contains(id()), "{error}");
}
