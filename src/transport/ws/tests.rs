// SPDX-License-Identifier: Apache-2.0
//! One end as we ship it, the other by hand: what breaks a link, and what each end is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::frame::{self, CloseFrame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::burst::Burst;
use super::wire::Wire;
use super::{CLAIMS, ENVELOPE, ID};
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Detail, Error, ErrorKind};
use crate::io::BoxedBytes;
use crate::io::messages::{self, Settings};
use crate::message::{Message, Request, Subject};

/// Of a frame and of a message.
const MAX_FRAME: usize = MAX_MESSAGE + ENVELOPE;
const MAX_MESSAGE: usize = 4 << 20;

type Hand = WebSocketStream<DuplexStream>;

/// A client by hand, and the connection of the server that it talks to; `pipe` bytes are between them.
async fn server(pipe: usize) -> (Hand, Arc<dyn Connection>) {
    let (near, far) = duplex(pipe);
    let far: BoxedBytes = Box::new(far);
    let config = super::settings(MAX_MESSAGE);
    let socket = WebSocketStream::from_raw_socket(Burst::new(far), Role::Server, Some(config)).await;
    let wire = Wire::new(socket, Duration::from_secs(10), None);
    let settings = Settings::listener(MAX_MESSAGE);
    let connection = messages::connection(wire, ConnectionInfo::new(ID, "by hand", CLAIMS), settings);
    let hand = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    (WebSocketStream::from_raw_socket(near, Role::Client, Some(hand)).await, connection)
}

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned().into())
}

/// A request under way, so that the end of the link has somebody to tell.
fn ask(connection: &Arc<dyn Connection>, body: impl Into<Bytes>) -> tokio::task::JoinHandle<Error> {
    let connection = connection.clone();
    let request = Request::new(Subject::from_static("x"), Message::new(body.into()));
    tokio::spawn(async move { connection.request(request).await.unwrap_err() })
}

/// Reads by hand until the server closes.
async fn closed(hand: &mut Hand) -> Option<CloseFrame> {
    loop {
        match hand.next().await {
            Some(Ok(Frame::Close(frame))) => return frame,
            Some(Ok(_)) => {}
            other => panic!("the link ended without a close: {other:?}"),
        }
    }
}

async fn broken_by(frame: Frame) -> (CloseCode, Error) {
    let (mut hand, connection) = server(64 << 10).await;
    let asked = ask(&connection, "");
    assert!(matches!(hand.next().await, Some(Ok(Frame::Text(_)))));
    let sending = async { hand.send(frame).await };
    // Who is refused in mid-frame may not get rid of the rest of it.
    let _ = tokio::time::timeout(Duration::from_secs(5), sending).await;
    let told = closed(&mut hand).await.unwrap();
    drop(hand);
    (told.code, asked.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn each_broken_rule_has_its_code_and_its_error() {
    let (code, error) = broken_by(Frame::Binary(Bytes::from_static(b"{}"))).await;
    assert_eq!((code, error.kind()), (CloseCode::Unsupported, ErrorKind::Protocol), "{error:?}");
    let (code, error) = broken_by(text("{\"a\":")).await;
    assert_eq!((code, error.detail()), (CloseCode::Invalid, Some(&Detail::Malformed)), "{error:?}");
    // A frame by hand, which nobody checks.
    let opcode = frame::coding::OpCode::Data(frame::coding::Data::Text);
    let latin1 = frame::Frame::message(Bytes::from_static(b"\"\xe9\""), opcode, true);
    let (code, error) = broken_by(Frame::Frame(latin1)).await;
    assert_eq!((code, error.detail()), (CloseCode::Invalid, Some(&Detail::Malformed)), "{error:?}");
    let long = format!("\"{}\"", "x".repeat(MAX_FRAME));
    let (code, error) = broken_by(text(&long)).await;
    assert_eq!((code, error.kind()), (CloseCode::Size, ErrorKind::TooLarge), "{error:?}");
    assert_eq!(
        error.detail(),
        Some(&Detail::TooLarge { limit: MAX_FRAME as u64, got: MAX_FRAME as u64 + 2 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_frame_at_the_limit_is_taken() {
    let (mut hand, connection) = server(64 << 10).await;
    let head = "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":[\"";
    let long = format!("{head}{}\"]}}", "x".repeat(MAX_FRAME - head.len() - 3));
    assert_eq!(long.len(), MAX_FRAME);
    let (sent, received) = tokio::join!(hand.send(text(&long)), connection.receive());
    sent.unwrap();
    assert!(matches!(received.unwrap(), Some(Inbound::Notification(method, _)) if method.as_str() == "m"));
}

#[tokio::test]
async fn a_message_over_the_limit_in_small_frames_is_refused_too() {
    let (mut hand, connection) = server(64 << 10).await;
    let asked = ask(&connection, "");
    assert!(matches!(hand.next().await, Some(Ok(Frame::Text(_)))));
    let part = Bytes::from(vec![b' '; MAX_FRAME / 2]);
    let (mut sink, mut stream) = hand.split();
    let sending = tokio::spawn(async move {
        use frame::coding::{Data, OpCode};
        let mut opcode = OpCode::Data(Data::Text);
        for _ in 0..9 {
            let frame = frame::Frame::message(part.clone(), opcode, false);
            if sink.send(Frame::Frame(frame)).await.is_err() {
                return;
            }
            opcode = OpCode::Data(Data::Continue);
        }
    });
    let told = loop {
        match stream.next().await {
            Some(Ok(Frame::Close(frame))) => break frame.unwrap(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told.code, CloseCode::Size);
    assert_eq!(asked.await.unwrap().kind(), ErrorKind::TooLarge);
    sending.await.unwrap();
}

#[tokio::test]
async fn what_we_send_comes_in_frames_that_any_peer_takes() {
    let (mut hand, connection) = server(4096).await;
    let body = format!("[\"{}\"]", "x".repeat(3 << 20));
    let asked = ask(&connection, body.clone());
    let Some(Ok(Frame::Text(received))) = hand.next().await else { panic!("no text") };
    assert!(received.as_str().contains(&body));
    asked.abort();
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_control_frames_ends_the_link() {
    let (mut hand, connection) = server(64 << 10).await;
    let asked = ask(&connection, "");
    for _ in 0..10 {
        hand.send(Frame::Ping(Bytes::new())).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Ten were fine, and ten more a second later are.
    for _ in 0..10 {
        hand.send(Frame::Pong(Bytes::new())).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!asked.is_finished());
    hand.send(Frame::Ping(Bytes::new())).await.unwrap();
    assert_eq!(closed(&mut hand).await.unwrap().code, CloseCode::Policy);
    drop(hand);
    assert_eq!(asked.await.unwrap().kind(), ErrorKind::Protocol);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_then_given_up() {
    let (hand, connection) = server(64 << 10).await;
    let began = Instant::now();
    let error = ask(&connection, "").await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 40);
    assert!(matches!(error.detail(), Some(Detail::PeerTimeout { .. })), "{error:?}");
    assert!(connection.receive().await.unwrap().is_none());
    drop(hand);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_lives_on() {
    let (mut hand, connection) = server(64 << 10).await;
    let asked = ask(&connection, "");
    let began = Instant::now();
    let mut pings = 0;
    while began.elapsed() < Duration::from_secs(600) {
        // Reading answers the pings by itself.
        if let Ok(Some(Ok(Frame::Ping(_)))) = tokio::time::timeout(Duration::from_secs(1), hand.next()).await {
            pings += 1;
            hand.flush().await.unwrap();
        }
    }
    assert!((19..=20).contains(&pings), "{pings}");
    assert!(!asked.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_bytes_is_given_up() {
    let (mut hand, connection) = server(64).await;
    let asked = ask(&connection, format!("\"{}\"", "x".repeat(100_000)));
    let began = Instant::now();
    while !asked.is_finished() {
        // It is not silent, and reads nothing all the same.
        let _ = tokio::time::timeout(Duration::from_millis(500), hand.send(Frame::Pong(Bytes::new()))).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let error = asked.await.unwrap();
    assert!((10..=12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(error.to_string().contains("BIPLANE_WRITE_TIMEOUT"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_altogether_is_given_up_as_soon() {
    let (_hand, connection) = server(64).await;
    let began = Instant::now();
    let error = ask(&connection, format!("\"{}\"", "x".repeat(100_000))).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn the_close_of_a_peer_says_why() {
    for (code, kind) in [
        (CloseCode::Normal, ErrorKind::Closed),
        (CloseCode::Away, ErrorKind::Closed),
        (CloseCode::Policy, ErrorKind::Refused),
        (CloseCode::Size, ErrorKind::TooLarge),
        (CloseCode::Invalid, ErrorKind::Protocol),
        (CloseCode::Restart, ErrorKind::Overloaded),
        (CloseCode::Error, ErrorKind::Closed),
    ] {
        let (mut hand, connection) = server(64 << 10).await;
        let asked = ask(&connection, "");
        assert!(matches!(hand.next().await, Some(Ok(Frame::Text(_)))));
        let reason = Utf8Bytes::from_static("because");
        hand.close(Some(CloseFrame { code, reason })).await.unwrap();
        // Our answer to the close comes back.
        assert!(matches!(hand.next().await, Some(Ok(Frame::Close(_)))));
        let error = asked.await.unwrap();
        assert_eq!(error.kind(), kind, "{error:?}");
        if kind != ErrorKind::Closed || code == CloseCode::Error {
            assert!(error.to_string().contains("because"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_the_close_is_not_waited_for() {
    let (_hand, connection) = server(64 << 10).await;
    let began = Instant::now();
    connection.close(Duration::from_secs(60)).await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_close_is_answered_and_orderly_on_both_ends() {
    let (mut hand, connection) = server(64 << 10).await;
    let began = Instant::now();
    let reading = tokio::spawn(async move { closed(&mut hand).await });
    connection.close(Duration::from_secs(1)).await.unwrap();
    assert_eq!(reading.await.unwrap(), None);
    assert_eq!(began.elapsed(), Duration::ZERO, "the close was waited for to its deadline");
}
