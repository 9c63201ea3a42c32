// SPDX-License-Identifier: Apache-2.0
//! Faults on purpose: the fault proxy before a plain socket, and the fault options of `mem`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use biplane::config::Limits;
use biplane::conformance::proxy::{Action, FaultProxy, Plan};
use biplane::plane::{ReplyTo, ResponsePlane, ResponsePlanes};
use biplane::transport::mem::MemNetwork;
use biplane::{
    Connection, Dispatch, DispatchLimits, Error, ErrorKind, Inbound, Listener, Request, ResponseSender, Result, Retry,
    Subject, Target, Transport, TransportAddress, TransportId, handler_fn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SUBJECT: Subject = Subject::from_static("count");

/// A server that sends `bytes` to everyone and then reads until the end.
async fn sends(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let _ = socket.write_all(&bytes).await;
                let _ = socket.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    address
}

/// A server that sends back what it gets.
async fn echoes() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

fn ramp(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn without_a_plan_everything_passes() {
    let proxy = FaultProxy::start(echoes().await, Plan::new()).await.unwrap();
    let mut socket = TcpStream::connect(proxy.local_addr()).await.unwrap();
    let sent = ramp(100_000);
    let (mut read, mut write) = socket.split();
    let mut got = Vec::new();
    let (written, read) = tokio::join!(
        async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await
        },
        read.read_to_end(&mut got)
    );
    written.unwrap();
    read.unwrap();
    assert_eq!(got, sent);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_cut_is_an_orderly_end_after_exactly_so_many_bytes() {
    for cut in [0, 1, 99] {
        let proxy = FaultProxy::start(sends(ramp(100)).await, Plan::new().to_caller(cut, Action::Cut)).await.unwrap();
        let mut socket = TcpStream::connect(proxy.local_addr()).await.unwrap();
        let mut got = Vec::new();
        socket.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, ramp(cut as usize));
    }
}

#[tokio::test]
async fn a_reset_is_no_orderly_end() {
    let proxy = FaultProxy::start(sends(ramp(100)).await, Plan::new().to_caller(50, Action::Reset)).await.unwrap();
    let mut socket = TcpStream::connect(proxy.local_addr()).await.unwrap();
    let mut got = Vec::new();
    let error = socket.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(got.len() <= 50);
}

#[tokio::test]
async fn a_flip_changes_one_byte_and_a_split_none() {
    let plan = Plan::new()
        .seed(3)
        .to_caller(10, Action::Flip(0x80))
        .to_caller(0, Action::Split(7))
        .to_caller(100, Action::Cut);
    let proxy = FaultProxy::start(sends(ramp(200)).await, plan).await.unwrap();
    let mut socket = TcpStream::connect(proxy.local_addr()).await.unwrap();
    let mut got = Vec::new();
    socket.read_to_end(&mut got).await.unwrap();
    let mut expected = ramp(100);
    expected[10] ^= 0x80;
    assert_eq!(got, expected);
}

#[tokio::test]
async fn a_hold_is_silence_in_one_direction() {
    let proxy = FaultProxy::start(echoes().await, Plan::new().to_caller(3, Action::Hold)).await.unwrap();
    let mut socket = TcpStream::connect(proxy.local_addr()).await.unwrap();
    socket.write_all(b"abcdef").await.unwrap();
    let mut got = [0; 3];
    socket.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"abc");
    let more = tokio::time::timeout(Duration::from_millis(100), socket.read(&mut got)).await;
    assert!(more.is_err(), "{more:?}");
    socket.write_all(b"still open").await.unwrap();
}

#[tokio::test]
async fn a_throttle_and_a_delay_lose_nothing() {
    let plan =
        Plan::new().to_caller(0, Action::Throttle(200_000)).to_caller(500, Action::Delay(Duration::from_millis(20)));
    let proxy = FaultProxy::start(sends(ramp(20_000)).await, plan.to_caller(20_000, Action::Cut)).await.unwrap();
    let mut socket = TcpStream::connect(proxy.local_addr()).await.unwrap();
    let mut got = Vec::new();
    socket.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, ramp(20_000));
}

#[tokio::test]
async fn a_new_plan_is_for_new_connections_and_dropping_the_proxy_ends_all() {
    let proxy = FaultProxy::start(echoes().await, Plan::new().to_caller(0, Action::Reset)).await.unwrap();
    let mut first = TcpStream::connect(proxy.local_addr()).await.unwrap();
    assert!(first.read(&mut [0; 1]).await.is_err());
    proxy.set_plan(Plan::new());
    let mut second = TcpStream::connect(proxy.local_addr()).await.unwrap();
    second.write_all(b"x").await.unwrap();
    second.read_exact(&mut [0; 1]).await.unwrap();
    drop(proxy);
    let mut rest = Vec::new();
    // An end or a reset, but not silence.
    let _ = second.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

fn limits() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(5),
        read_timeout: None,
        write_timeout: Duration::from_secs(5),
        call_home_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(60),
        max_message_size: 64 << 10,
        max_in_flight: 100,
    }
}

/// A listener on `network` that answers every request with ten items.
async fn serve(network: &MemNetwork, name: &str) -> TransportAddress {
    let target = Target::parse(&format!("mem://{name}"), |_| false).unwrap();
    let listener: Box<dyn Listener> = network.transport(&limits()).listen(&target).await.unwrap();
    let address = listener.local_address();
    tokio::spawn(async move {
        while let Ok(Some(connection)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(Some(Inbound::Request(_, reply))) = connection.receive().await {
                    tokio::spawn(ten(reply));
                }
            });
        }
    });
    address
}

async fn ten(reply: ResponseSender) -> Result<()> {
    for item in 0..10 {
        reply.send(item.to_string()).await?;
    }
    reply.close();
    Ok(())
}

async fn dial(network: &MemNetwork, url: &str) -> Result<Arc<dyn Connection>> {
    let transport: Arc<dyn Transport> = network.transport(&limits());
    transport.connect(&Target::parse(url, |_| false)?).await
}

#[tokio::test]
async fn mem_cuts_its_link_after_so_many_items() {
    let network = MemNetwork::new();
    serve(&network, "a").await;
    for cut in [0, 1, 9, 10] {
        let connection = dial(&network, &format!("mem://a?cut_after={cut}")).await.unwrap();
        let mut neighbour = connection.open(Request::new(SUBJECT, "")).unwrap();
        let mut stream = connection.open(Request::new(SUBJECT, "")).unwrap();
        let error = loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("a clean end on a dead link"),
            }
        };
        assert_eq!((error.kind(), error.items_seen()), (ErrorKind::Closed, Some(cut)));
        assert_eq!(neighbour.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed, "the link is dead for all");
        assert_eq!(connection.open(Request::new(SUBJECT, "")).unwrap_err().kind(), ErrorKind::Closed);
        assert!(connection.receive().await.unwrap().is_none());
    }
    let whole = dial(&network, "mem://a?cut_after=11").await.unwrap();
    let mut stream = whole.open(Request::new(SUBJECT, "")).unwrap();
    while let Some(item) = stream.next().await {
        item.unwrap();
    }
    assert_eq!(stream.items_seen(), 10);
}

#[tokio::test(start_paused = true)]
async fn mem_delays_items_but_not_beyond_the_deadline() {
    let network = MemNetwork::new();
    serve(&network, "a").await;
    let connection = dial(&network, "mem://a?delay=1s").await.unwrap();
    let before = tokio::time::Instant::now();
    let mut stream = connection.open(Request::new(SUBJECT, "")).unwrap();
    while let Some(item) = stream.next().await {
        item.unwrap();
    }
    assert_eq!(before.elapsed().as_secs(), 10, "virtual time");

    let mut request = Request::new(SUBJECT, "");
    request.context.deadline = Some((tokio::time::Instant::now() + Duration::from_millis(2500)).into_std());
    let mut stream = connection.open(request).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert!(stream.next().await.unwrap().is_ok());
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.items_seen()), (ErrorKind::Timeout, Some(2)));
}

#[tokio::test]
async fn mem_refuses_what_its_url_says() {
    let network = MemNetwork::new();
    let address = serve(&network, "a").await;
    let error = dial(&network, "mem://a?refuse=true").await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe));
    let error = dial(&network, "mem://b").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("listening here: a"), "{error}");
    assert_eq!(dial(&network, "mem://a?speed=1").await.unwrap_err().kind(), ErrorKind::Config);
    let small = dial(&network, "mem://a?max_message_size=10").await.unwrap();
    assert_eq!(small.open(Request::new(SUBJECT, vec![0; 11])).unwrap_err().kind(), ErrorKind::TooLarge);
    // The published address leads to the same place, and only on its own network.
    dial(&network, &format!("mem://{}", address.address)).await.unwrap();
    let elsewhere = MemNetwork::new();
    serve(&elsewhere, "a").await;
    let error = dial(&elsewhere, &format!("mem://{}", address.address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

struct NoPlanes;

impl ResponsePlanes for NoPlanes {
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        Err(Error::refused(format!("no response transport {transport}")))
    }
}

#[tokio::test]
async fn mem_planes_take_faults_in_the_address() {
    let network = MemNetwork::new();
    let plane = network.request_plane(&limits());
    let handler = handler_fn(|_, reply| ten(reply));
    let dispatch = Dispatch::new(handler, Arc::new(NoPlanes), DispatchLimits::default());
    let guard = plane.server.register_endpoint(SUBJECT, dispatch).await.unwrap();
    let faulty = TransportAddress::new(TransportId::MEM, format!("{}?cut_after=4", guard.address().address));
    for address in [faulty.clone(), guard.address().clone(), faulty] {
        let ack = plane.client.send_request(&address, Request::new(SUBJECT, ""), &ReplyTo::Inline).await.unwrap();
        let biplane::plane::Ack::Inline(mut stream) = ack else { panic!("not inline: {ack:?}") };
        let mut last = None;
        while let Some(found) = stream.next().await {
            last = Some(found);
        }
        let cut = address.address.contains("cut_after");
        assert_eq!(stream.items_seen(), if cut { 4 } else { 10 });
        assert_eq!(last.unwrap().is_err(), cut, "one caller's cut is not another's");
    }
}
