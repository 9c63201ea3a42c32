// SPDX-License-Identifier: Apache-2.0
//! Deadlines, cancellation, closing, dropping.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::case::{Body, Case, Check, Failure, Need, ensure};
use super::fixture::Fixture;
use super::service::Behaviour;
use super::streams::{ends, fails, poll_once, poll_until};
use crate::connection::Connection;
use crate::error::ErrorKind;

const fn case(name: &'static str, body: Body) -> Case {
    Case::new("life", name, &[], body)
}

pub(super) const CASES: &[Case] = &[
    case("a_deadline_ends_a_silent_request", |fixture| Box::pin(deadline(fixture))),
    Case::new("life", "a_deadline_ends_an_answer_in_progress", &[Need::Streaming], |fixture| {
        Box::pin(deadline_mid_answer(fixture))
    }),
    Case::new("life", "a_deadline_travels", &[Need::Deadlines], |fixture| Box::pin(deadline_travels(fixture))),
    case("a_deadline_in_the_past", |fixture| Box::pin(async move { fixture.echo().past_deadline().await })),
    case("cancel_at_every_poll", |fixture| Box::pin(cancel_everywhere(fixture))),
    case("cancelled_dials_leave_nothing", |fixture| Box::pin(cancelled_dials(fixture))),
    case("close_finishes_what_is_in_flight", |fixture| Box::pin(graceful(fixture))),
    case("close_without_grace_cuts", |fixture| Box::pin(cut(fixture))),
    case("use_after_close", |fixture| Box::pin(async move { fixture.echo().use_after_close().await })),
    case("the_responder_closes_in_order", |fixture| Box::pin(responder_closes(fixture))),
    case("connect_again", |fixture| Box::pin(reconnect(fixture))),
    case("unregistered_is_refused", |fixture| Box::pin(unregistered(fixture))),
    Case::new("life", "links_outlive_a_request", &[Need::Persistent], |fixture| {
        Box::pin(async move { fixture.echo().in_turn().await })
    }),
    case("drop_in_every_order", |fixture| Box::pin(drop_orders(fixture))),
];

async fn deadline(fixture: &Fixture) -> Check {
    let request = fixture.ask(Behaviour::Hang, "").with_timeout(Duration::from_millis(200));
    let error = fails(&mut fixture.caller.open(request)?).await?;
    ensure!(error.kind() == ErrorKind::Timeout, "expected Timeout, got {error:?}");
    fixture.probe.until("the late handler dropped", |log| log.dropped == log.started).await?;
    fixture.echo().in_turn().await
}

async fn deadline_mid_answer(fixture: &Fixture) -> Check {
    let request = fixture.ask(Behaviour::Stoppable, "").with_timeout(Duration::from_millis(300));
    let mut stream = fixture.caller.open(request)?;
    let error = fails(&mut stream).await?;
    ensure!(error.kind() == ErrorKind::Timeout, "expected Timeout, got {error:?}");
    // The responder's word of the same deadline, which may be first, does not know what was read.
    let seen = stream.items_seen();
    ensure!(
        error.items_seen().is_none_or(|counted| counted == seen),
        "{seen} items were read, the error says {error:?}"
    );
    fixture.probe.until("the late handler ended", |log| log.dropped + log.finished == log.started).await
}

async fn deadline_travels(fixture: &Fixture) -> Check {
    let request = fixture.ask(Behaviour::Deadline, "").with_timeout(Duration::from_secs(10));
    let answer = fixture.caller.request(request).await?;
    let left: u64 = answer.text()?.parse().map_err(|_| Failure::new("the handler saw no deadline"))?;
    ensure!((1..=10_000).contains(&left), "of 10 seconds the handler saw {left} ms");
    Ok(())
}

async fn cancel_everywhere(fixture: &Fixture) -> Check {
    for polls in 0..40 {
        let mut stream = fixture.open(Behaviour::Hang, "")?;
        for _ in 0..polls {
            ensure!(poll_once(&mut stream).is_pending(), "a silent handler's stream gave something");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(stream);
    }
    fixture.echo().in_turn().await?;
    fixture.probe.until("every cancelled handler dropped", |log| log.dropped + log.finished == log.started).await
}

async fn cancelled_dials(fixture: &Fixture) -> Check {
    for polls in 0..10 {
        let mut dialling = Box::pin(fixture.dial());
        for _ in 0..polls {
            let polled = dialling.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(connection) = polled {
                connection?.close(Duration::ZERO).await?;
                dialling = Box::pin(fixture.dial());
            }
            tokio::task::yield_now().await;
        }
    }
    fixture.echo().in_turn().await
}

async fn graceful(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Slow, "200")?;
    poll_until(&mut stream, || fixture.probe.log().started == 1).await?;
    let closing = tokio::spawn({
        let caller = fixture.caller.clone();
        async move { caller.close(Duration::from_secs(10)).await }
    });
    let found = stream.next().await.transpose()?;
    ensure!(found.is_some_and(|found| found.body == "200"), "what was in flight did not finish");
    ends(&mut stream).await?;
    closing.await.map_err(|error| Failure::new(format!("close() panicked: {error}")))??;
    refuses(&fixture.caller, fixture).await
}

async fn cut(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Hang, "")?;
    poll_until(&mut stream, || fixture.probe.log().started == 1).await?;
    fixture.caller.close(Duration::ZERO).await?;
    let error = fails(&mut stream).await?;
    ensure!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Cancelled), "a cut request ended with {error:?}");
    fixture.probe.until("the cut handler dropped", |log| log.dropped == 1).await?;
    refuses(&fixture.caller, fixture).await
}

async fn responder_closes(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Slow, "200")?;
    poll_until(&mut stream, || fixture.probe.log().started == 1).await?;
    let (closed, found) = tokio::join!(fixture.close_responder(Duration::from_secs(10)), async {
        let found = stream.next().await.transpose()?;
        ensure!(found.is_some_and(|found| found.body == "200"), "what was in flight did not finish");
        ends(&mut stream).await
    });
    found?;
    closed?;
    match fixture.caller.request(fixture.ask(Behaviour::Echo, "late")).await {
        Ok(_) => Err(Failure::new("a closed responder answered")),
        Err(error) => {
            ensure!(is_refusal(error.kind()), "a closed responder refused with {error:?}");
            Ok(())
        }
    }
}

async fn reconnect(fixture: &Fixture) -> Check {
    fixture.echo().in_turn().await?;
    fixture.caller.close(Duration::from_secs(5)).await?;
    for _ in 0..5 {
        let again = fixture.dial().await?;
        fixture.echo_by(again.clone()).in_turn().await?;
        again.close(Duration::from_secs(5)).await?;
    }
    Ok(())
}

async fn unregistered(fixture: &Fixture) -> Check {
    fixture.echo().in_turn().await?;
    fixture.unregister(Behaviour::Echo);
    match fixture.caller.request(fixture.ask(Behaviour::Echo, "late")).await {
        Ok(_) => return Err(Failure::new("an endpoint whose guard was dropped answered")),
        Err(error) => ensure!(is_refusal(error.kind()), "an unregistered endpoint refused with {error:?}"),
    }
    // The others are served as before.
    let answer = fixture.caller.request(fixture.ask(Behaviour::Slow, "0")).await?;
    ensure!(answer.body == "0", "a neighbour of the unregistered endpoint answered something else");
    Ok(())
}

/// Every order in which a stream, its caller and the responder can go.
async fn drop_orders(fixture: &Fixture) -> Check {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let before = fixture.probe.log().started;
        let caller = fixture.dial().await?;
        let (mut one, two) =
            (caller.open(fixture.ask(Behaviour::Hang, ""))?, caller.open(fixture.ask(Behaviour::Hang, ""))?);
        poll_until(&mut one, || fixture.probe.log().started > before).await?;
        let mut things: [Option<Box<dyn Send>>; 3] = [Some(Box::new(one)), Some(Box::new(two)), Some(Box::new(caller))];
        for index in order {
            drop(things[index].take());
            tokio::task::yield_now().await;
        }
    }
    fixture.probe.until("every handler gone with its caller", |log| log.dropped + log.finished == log.started).await?;
    // And the responder first, while a caller and a stream are held.
    let before = fixture.probe.log().started;
    let mut stream = fixture.open(Behaviour::Hang, "")?;
    poll_until(&mut stream, || fixture.probe.log().started > before).await?;
    fixture.kill_responder().await;
    fails(&mut stream).await?;
    Ok(())
}

async fn refuses(caller: &Arc<dyn Connection>, fixture: &Fixture) -> Check {
    match caller.request(fixture.ask(Behaviour::Echo, "late")).await {
        Ok(_) => Err(Failure::new("a closed connection answered")),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Closed, "expected Closed, got {error:?}");
            Ok(())
        }
    }
}

/// What one who is not there, or no longer, may say; never a timeout, which would mean that nobody said anything.
pub(super) fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Closed | ErrorKind::Refused | ErrorKind::NoService | ErrorKind::Connect)
}
