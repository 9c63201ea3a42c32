// SPDX-License-Identifier: Apache-2.0
//! What can go wrong where requests and answers go different ways.

use std::collections::HashMap;
use std::time::Duration;

use super::case::{Body, Case, Check, Failure, Need, ensure};
use super::fixture::Fixture;
use super::service::Behaviour;
use super::streams::{fails, poll_until};
use crate::connection::{Connection, ConnectionInfo};
use crate::error::ErrorKind;
use crate::message::{ControlMessage, RequestContext};
use crate::pair::PlanePair;
use crate::plane::{Ack, Opened, ReplyTo, ResponseConnectionInfo};
use crate::stream::ResponseSender;
use crate::target::{TransportAddress, TransportId};

/// The window of an answer in the case about its end.
const SHORT_WINDOW: Duration = Duration::from_millis(100);

const fn case(name: &'static str, needs: &'static [Need], body: Body) -> Case {
    Case::new("planes", name, needs, body)
}

pub(super) const CASES: &[Case] = &[
    case("an_answer_overtakes_its_ack", &[Need::Planes], |fixture| Box::pin(overtakes(fixture))),
    case("unknown_response_transport", &[Need::Planes], |fixture| Box::pin(unknown_transport(fixture))),
    case("the_responder_dies_before_an_item", &[], |fixture| Box::pin(dies_before(fixture))),
    case("the_responder_dies_between_items", &[Need::Streaming], |fixture| Box::pin(dies_between(fixture))),
    case("a_wrong_token_is_refused", &[Need::CallHome], |fixture| Box::pin(wrong_token(fixture))),
    case("a_used_token_is_refused", &[Need::CallHome], |fixture| Box::pin(used_token(fixture))),
    case("an_expired_token_is_refused", &[Need::CallHome], |fixture| Box::pin(expired_token(fixture)))
        .tuned(|config| config.limits.call_home_timeout = SHORT_WINDOW),
    case("a_returned_reservation_is_refused", &[Need::CallHome], |fixture| Box::pin(returned(fixture))),
    case("a_wrong_location_is_an_error", &[Need::Fetch], |fixture| Box::pin(wrong_location(fixture))),
    case("inline_and_elsewhere_at_once", &[Need::InlineToo], |fixture| Box::pin(mixed(fixture))),
];

async fn overtakes(fixture: &Fixture) -> Check {
    // The echo is there before its handler yields once, so it is sent before, or with, the acknowledgement.
    for _ in 0..50 {
        let answer = fixture.caller.request(fixture.ask(Behaviour::Echo, "quick")).await?;
        ensure!(answer.body == "quick", "the answer was lost on its way");
    }
    Ok(())
}

async fn unknown_transport(fixture: &Fixture) -> Check {
    let parts = fixture.planes().ok_or_else(|| Failure::new("no planes"))?;
    let request = fixture.ask(Behaviour::Echo, "");
    let nowhere = TransportAddress::new(TransportId::from_static("no.such.transport"), "nowhere");
    let reply_to = ReplyTo::To(Box::new(ResponseConnectionInfo::new(nowhere, &request.context)));
    match parts.client.send_request(&fixture.address(Behaviour::Echo), request, &reply_to).await {
        Ok(ack) => return Err(Failure::new(format!("a reply-to that nobody can serve was acknowledged: {ack:?}"))),
        Err(error) => ensure!(
            matches!(error.kind(), ErrorKind::Refused | ErrorKind::NoTransport | ErrorKind::Unsupported),
            "expected a refusal, got {error:?}"
        ),
    }
    ensure!(fixture.probe.log().started == 0, "the handler ran for an answer that cannot be delivered");
    fixture.echo().in_turn().await
}

async fn dies_before(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Hang, "")?;
    poll_until(&mut stream, || fixture.probe.log().started == 1).await?;
    fixture.kill_responder().await;
    died(&fails(&mut stream).await?, 0)
}

async fn dies_between(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Stoppable, "")?;
    for index in 0..3 {
        ensure!(stream.next().await.is_some_and(|found| found.is_ok()), "item {index} did not come");
    }
    fixture.kill_responder().await;
    let error = fails(&mut stream).await?;
    died(&error, stream.items_seen())
}

/// Any typed error will do but one that says that time passed; where it counts items, it counts right.
fn died(error: &crate::Error, seen: u64) -> Check {
    ensure!(
        matches!(error.kind(), ErrorKind::Closed | ErrorKind::Cancelled | ErrorKind::Connect | ErrorKind::Unexpected),
        "the responder's death was reported as {error:?}"
    );
    ensure!(
        error.items_seen().is_none_or(|counted| counted == seen),
        "{seen} items were read, the error says {error:?}"
    );
    Ok(())
}

async fn wrong_token(fixture: &Fixture) -> Check {
    let (caller, responder) = fixture.response_planes()?;
    let context = RequestContext::new();
    let reserved = caller.expect(&context, &fixture.address(Behaviour::Echo)).await?;
    for forged in forgeries(&reserved.reply_to) {
        refused("a forged token", responder.create_response_stream(&context, &forged).await).await?;
    }
    // The true one is as good as before.
    let opened = responder.create_response_stream(&context, &reserved.reply_to).await?;
    deliver(opened, reserved).await
}

async fn used_token(fixture: &Fixture) -> Check {
    let (caller, responder) = fixture.response_planes()?;
    let context = RequestContext::new();
    let reserved = caller.expect(&context, &fixture.address(Behaviour::Echo)).await?;
    let opened = responder.create_response_stream(&context, &reserved.reply_to).await?;
    refused("a used token", responder.create_response_stream(&context, &reserved.reply_to).await).await?;
    deliver(opened, reserved).await
}

async fn expired_token(fixture: &Fixture) -> Check {
    let (caller, responder) = fixture.response_planes()?;
    let context = RequestContext::new();
    let reserved = caller.expect(&context, &fixture.address(Behaviour::Echo)).await?;
    tokio::time::sleep(SHORT_WINDOW * 3).await;
    refused("an expired token", responder.create_response_stream(&context, &reserved.reply_to).await).await
}

async fn returned(fixture: &Fixture) -> Check {
    let (caller, responder) = fixture.response_planes()?;
    let context = RequestContext::new();
    let reserved = caller.expect(&context, &fixture.address(Behaviour::Echo)).await?;
    let reply_to = reserved.reply_to.clone();
    drop(reserved);
    refused("a returned reservation", responder.create_response_stream(&context, &reply_to).await).await
}

async fn wrong_location(fixture: &Fixture) -> Check {
    let (caller, responder) = fixture.response_planes()?;
    let context = RequestContext {
        deadline: std::time::Instant::now().checked_add(Duration::from_secs(10)),
        ..RequestContext::new()
    };
    let to = fixture.address(Behaviour::Echo);
    let reserved = caller.expect(&context, &to).await?;
    let opened = responder.create_response_stream(&context, &reserved.reply_to).await?;
    let located = opened.located.clone().ok_or_else(|| Failure::new("a fetched answer has no location"))?;
    for forged in forgeries(&located) {
        let other = caller.expect(&context, &to).await?;
        match other.pending.resolve(Some(forged)) {
            Err(_) => {}
            Ok(mut stream) => drop(fails(&mut stream).await?),
        }
    }
    deliver(opened, reserved).await
}

async fn mixed(fixture: &Fixture) -> Check {
    let parts = fixture.planes().ok_or_else(|| Failure::new("no planes"))?;
    let to = fixture.address(Behaviour::Echo);
    let info = ConnectionInfo::new(to.transport.clone(), "inline", fixture.claims.capabilities);
    let inline: std::sync::Arc<dyn Connection> =
        std::sync::Arc::new(PlanePair::new(parts.client.clone(), None, to, info));
    let (here, there) = (fixture.echo_by(inline), fixture.echo());
    let (one, two) = tokio::join!(here.concurrent(), there.concurrent());
    one.and(two)
}

/// `true_one` with each of its secrets changed in one place.
fn forgeries(true_one: &ResponseConnectionInfo) -> Vec<ResponseConnectionInfo> {
    let mut forged: Vec<_> = true_one
        .metadata
        .iter()
        .map(|(name, value)| {
            let mut metadata: HashMap<_, _> = true_one.metadata.clone();
            metadata.insert(name.clone(), changed(value));
            ResponseConnectionInfo { metadata, ..true_one.clone() }
        })
        .collect();
    if true_one.metadata.is_empty() {
        // The secret is in the name or in the address, at its end.
        forged.push(match &true_one.subject {
            Some(subject) => ResponseConnectionInfo { subject: Some(changed(subject)), ..true_one.clone() },
            None => {
                let address =
                    TransportAddress { address: changed(&true_one.address.address), ..true_one.address.clone() };
                ResponseConnectionInfo { address, ..true_one.clone() }
            }
        });
    }
    forged
}

/// The same text with another last character of the same class.
fn changed(text: &str) -> String {
    let mut text = text.to_owned();
    match text.pop() {
        Some('1') => text.push('2'),
        Some(_) => text.push('1'),
        None => text.push('x'),
    }
    text
}

/// A refusal may come as an error, or as a stream that is killed: the one who dials need not wait for the other's word.
async fn refused(what: &str, opened: crate::Result<Opened>) -> Check {
    let Ok(Opened { sender, .. }) = opened else { return Ok(()) };
    match tokio::time::timeout(Duration::from_secs(10), sender.stopped()).await {
        Ok(ControlMessage::Kill) => Ok(()),
        Ok(ControlMessage::Stop) => Err(Failure::new(format!("{what} was told to stop, not refused"))),
        Err(_) => Err(Failure::new(format!("{what} was accepted"))),
    }
}

/// The reserved answer carries an item and ends.
async fn deliver(opened: Opened, reserved: crate::plane::PendingResponse) -> Check {
    let Opened { sender, located } = opened;
    let ack = located.map_or(Ack::Accepted, Ack::Located);
    let mut stream = match ack {
        Ack::Located(info) => reserved.pending.resolve(Some(info))?,
        _ => reserved.pending.resolve(None)?,
    };
    let answering = tokio::spawn(answer(sender));
    let found = stream.next().await.transpose()?;
    ensure!(found.is_some_and(|found| found.body == "true"), "the true answer was harmed");
    answering.await.map_err(|error| Failure::new(format!("the responder panicked: {error}")))??;
    super::streams::ends(&mut stream).await
}

async fn answer(sender: ResponseSender) -> crate::Result<()> {
    sender.send("true").await?;
    sender.close();
    Ok(())
}
