// SPDX-License-Identifier: Apache-2.0
//! Many items for one message: ends, errors, credit, cancel, duplex.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::case::{Body, Case, Check, Failure, Need, ensure};
use super::fixture::Fixture;
use super::service::{Behaviour, FAILURE_CODE, FLOOD_ITEM, item};
use crate::error::ErrorKind;
use crate::message::{ControlMessage, Message, Request};
use crate::stream::{ResponseStream, pipe};

/// What may wait between a handler and a reader that does not read: generous, because sockets have buffers too.
const UNREAD_BOUND: usize = 64 << 20;

const fn case(name: &'static str, body: Body) -> Case {
    Case::new("streams", name, &[Need::Streaming], body)
}

/// What makes sense without many items too.
const fn unary(name: &'static str, body: Body) -> Case {
    Case::new("streams", name, &[], body)
}

const fn upload(name: &'static str, body: Body) -> Case {
    Case::new("streams", name, &[Need::Uploads], body)
}

pub(super) const CASES: &[Case] = &[
    case("items_then_end", |fixture| Box::pin(items_then_end(fixture))),
    case("no_items", |fixture| Box::pin(no_items(fixture))),
    case("empty_items", |fixture| Box::pin(empty_items(fixture))),
    case("error_after_items", |fixture| Box::pin(error_after(fixture, 5))),
    unary("error_at_once", |fixture| Box::pin(error_after(fixture, 0))),
    case("close_implies_flush", |fixture| Box::pin(close_implies_flush(fixture))),
    unary("an_abandoned_answer_is_no_clean_end", |fixture| Box::pin(no_clean_end(fixture, Behaviour::Abandon))),
    unary("a_panic_is_no_clean_end", |fixture| Box::pin(no_clean_end(fixture, Behaviour::Panic))),
    case("a_slow_reader_stalls_nobody_else", |fixture| Box::pin(slow_reader(fixture))),
    case("a_sender_waits_for_its_reader", |fixture| Box::pin(sender_waits(fixture))),
    case("dropping_the_stream_cancels_the_handler", |fixture| Box::pin(drop_cancels(fixture))),
    case("stop_lets_the_handler_finish", |fixture| Box::pin(stop_drains(fixture))),
    unary("kill_ends_the_handler", |fixture| Box::pin(kill_ends(fixture))),
    upload("half_close_then_read", |fixture| Box::pin(half_close(fixture))),
    Case::new("streams", "duplex_interleaves", &[Need::Duplex], |fixture| Box::pin(duplex_interleaves(fixture))),
    upload("a_failed_upload_is_no_clean_end", |fixture| Box::pin(failed_upload(fixture))),
];

async fn items_then_end(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Count, "10 100")?;
    for index in 0..10 {
        match stream.next().await {
            Some(found) => ensure!(found?.body == item(index, 100), "item {index} is another one"),
            None => return Err(Failure::new(format!("the answer ended before item {index}"))),
        }
    }
    ends(&mut stream).await?;
    ensure!(stream.next().await.is_none(), "something came after the end");
    ensure!(stream.items_seen() == 10, "{} items were counted", stream.items_seen());
    Ok(())
}

async fn no_items(fixture: &Fixture) -> Check {
    ends(&mut fixture.open(Behaviour::Count, "0 0")?).await
}

async fn empty_items(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Echo, "")?;
    match stream.next().await {
        Some(found) => ensure!(found?.body.is_empty(), "an empty item came back with bytes"),
        None => return Err(Failure::new("an empty item was lost")),
    }
    ends(&mut stream).await
}

async fn error_after(fixture: &Fixture, items: u64) -> Check {
    let mut stream = fixture.open(Behaviour::Fail, items.to_string())?;
    for index in 0..items {
        match stream.next().await {
            Some(Ok(_)) => {}
            other => return Err(Failure::new(format!("expected item {index}, got {other:?}"))),
        }
    }
    let error = fails(&mut stream).await?;
    let peer = error.peer().ok_or_else(|| Failure::new(format!("not the service's own error: {error:?}")))?;
    ensure!(peer.code == FAILURE_CODE, "the code became {}", peer.code);
    ensure!(peer.message == "failed as asked", "the message became {:?}", peer.message);
    ensure!(peer.data == items.to_string(), "the data became {:?}", peer.data);
    ensure!(stream.next().await.is_none(), "something came after the error");
    Ok(())
}

async fn close_implies_flush(fixture: &Fixture) -> Check {
    let size = fixture.max_message_size();
    let mut stream = fixture.open(Behaviour::Count, format!("3 {size}"))?;
    for index in 0..3 {
        match stream.next().await {
            Some(found) => ensure!(found?.body == item(index, size), "the large item {index} is another one"),
            None => return Err(Failure::new(format!("the end overtook item {index}"))),
        }
    }
    ends(&mut stream).await
}

async fn no_clean_end(fixture: &Fixture, behaviour: Behaviour) -> Check {
    fails(&mut fixture.open(behaviour, "")?).await?;
    fixture.echo().in_turn().await
}

async fn slow_reader(fixture: &Fixture) -> Check {
    // Not read at all while the others are served.
    let mut slow = fixture.open(Behaviour::Flood, "")?;
    ensure!(slow.next().await.is_some_and(|found| found.is_ok()), "the flood did not begin");
    for _ in 0..20 {
        let mut neighbour = fixture.open(Behaviour::Count, "20 1000")?;
        for index in 0..20 {
            ensure!(neighbour.next().await.is_some_and(|found| found.is_ok()), "the neighbour lost item {index}");
        }
        ends(&mut neighbour).await?;
    }
    // It was stalled, not lost.
    for _ in 0..100 {
        ensure!(slow.next().await.is_some_and(|found| found.is_ok()), "the slow reader's stream broke");
    }
    Ok(())
}

async fn sender_waits(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Flood, "")?;
    ensure!(stream.next().await.is_some_and(|found| found.is_ok()), "the flood did not begin");
    let mut before = usize::MAX;
    loop {
        let sent = fixture.probe.log().sent;
        ensure!(sent * FLOOD_ITEM < UNREAD_BOUND, "{sent} items of {FLOOD_ITEM} bytes were sent to nobody");
        if sent == before {
            break;
        }
        before = sent;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Reading gives credit again.
    for _ in 0..before + 10 {
        ensure!(stream.next().await.is_some_and(|found| found.is_ok()), "the stream broke after the stall");
    }
    Ok(())
}

async fn drop_cancels(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Stoppable, "")?;
    ensure!(stream.next().await.is_some_and(|found| found.is_ok()), "the answer did not begin");
    drop(stream);
    fixture.probe.until("a handler that notices its caller's going", |log| log.finished + log.dropped == 1).await?;

    let mut stream = fixture.open(Behaviour::Hang, "")?;
    poll_until(&mut stream, || fixture.probe.log().started == 2).await?;
    drop(stream);
    fixture.probe.until("a silent handler dropped with its caller", |log| log.dropped >= 1).await?;
    fixture.echo().in_turn().await
}

async fn stop_drains(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Stoppable, "")?;
    ensure!(stream.next().await.is_some_and(|found| found.is_ok()), "the answer did not begin");
    stream.control(ControlMessage::Stop);
    let mut last = None;
    while let Some(found) = stream.next().await {
        last = Some(found?);
    }
    ensure!(last.is_some_and(|last| last.body == "last"), "what the handler sent after Stop did not arrive");
    let log = fixture.probe.log();
    ensure!(log.stopped == [ControlMessage::Stop], "the handler was told {:?}", log.stopped);
    Ok(())
}

async fn kill_ends(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Hang, "")?;
    poll_until(&mut stream, || fixture.probe.log().started == 1).await?;
    stream.control(ControlMessage::Kill);
    let error = fails(&mut stream).await?;
    ensure!(matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Closed), "a killed request ended with {error:?}");
    fixture.probe.until("the killed handler dropped", |log| log.dropped == 1).await?;
    fixture.echo().in_turn().await
}

async fn duplex_interleaves(fixture: &Fixture) -> Check {
    let (upload, items) = pipe(64 << 10, fixture.max_message_size());
    let mut stream = fixture.caller.open(streaming(fixture, Behaviour::Duplex, "first", items))?;
    ensure!(stream.next().await.is_some_and(|found| found.is_ok_and(|found| found.body == "first")), "no first echo");
    // Each item is sent only after the echo of the one before: neither side may wait for the other's end.
    for index in 0..50 {
        upload.send(index.to_string()).await?;
        match stream.next().await {
            Some(found) => ensure!(found?.body == index.to_string(), "the echo of item {index} is another one"),
            None => return Err(Failure::new(format!("the answer ended before the echo of item {index}"))),
        }
    }
    upload.close();
    ends(&mut stream).await
}

async fn half_close(fixture: &Fixture) -> Check {
    let (upload, items) = pipe(64 << 10, fixture.max_message_size());
    let mut stream = fixture.caller.open(streaming(fixture, Behaviour::Upload, "12345", items))?;
    let sending = tokio::spawn(async move {
        for _ in 0..200 {
            upload.send(vec![7; 1000]).await?;
        }
        upload.close();
        Ok::<_, crate::Error>(())
    });
    match stream.next().await {
        Some(found) => {
            let answer = found?;
            ensure!(answer.body == "201 200005", "the upload was counted as {:?}", answer.text());
        }
        None => return Err(Failure::new("no answer after the upload")),
    }
    sending.await.map_err(|error| Failure::new(format!("the upload panicked: {error}")))??;
    ends(&mut stream).await
}

async fn failed_upload(fixture: &Fixture) -> Check {
    let (upload, items) = pipe(64 << 10, fixture.max_message_size());
    let mut stream = fixture.caller.open(streaming(fixture, Behaviour::Upload, "", items))?;
    upload.send("half").await?;
    drop(upload);
    match stream.next().await {
        Some(Err(_)) => Ok(()),
        other => Err(Failure::new(format!("the responder took a broken upload for a whole one: {other:?}"))),
    }
}

fn streaming(fixture: &Fixture, behaviour: Behaviour, first: &'static str, items: ResponseStream) -> Request {
    let Request { subject, context, message, .. } = fixture.ask(behaviour, first);
    Request::streaming(subject, message, items).with_context(context)
}

/// The stream ends cleanly now.
pub(super) async fn ends(stream: &mut ResponseStream) -> Check {
    match stream.next().await {
        None => Ok(()),
        other => Err(Failure::new(format!("expected the end, got {other:?}"))),
    }
}

/// The stream fails before it ends; items before the failure are skipped.
pub(super) async fn fails(stream: &mut ResponseStream) -> Result<crate::Error, Failure> {
    while let Some(found) = stream.next().await {
        if let Err(error) = found {
            return Ok(error);
        }
    }
    Err(Failure::new(format!("a clean end after {} items where there should have been an error", stream.items_seen())))
}

/// One poll that nobody is woken from: where a caller may be dropped.
pub(super) fn poll_once(stream: &mut ResponseStream) -> Poll<Option<crate::Result<Message>>> {
    stream.poll_item(&mut Context::from_waker(Waker::noop()))
}

/// Reads from a stream that is to stay silent, until something has happened at the responder.
pub(super) async fn poll_until(stream: &mut ResponseStream, happened: impl Fn() -> bool) -> Check {
    for _ in 0..1000 {
        if happened() {
            return Ok(());
        }
        if let Ok(found) = tokio::time::timeout(Duration::from_millis(10), stream.next()).await {
            return Err(Failure::new(format!("a silent handler's stream gave {found:?}")));
        }
    }
    Err(Failure::new("the request never reached its handler"))
}
