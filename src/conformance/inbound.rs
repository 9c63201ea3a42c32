// SPDX-License-Identifier: Apache-2.0
//! What nobody asked for: notifications both ways, requests from the responder, messages on account of a request.

use std::time::Duration;

use super::case::{Body, Case, Check, Failure, Need, ensure};
use super::fixture::Fixture;
use super::service::Behaviour;
use crate::connection::{Connection, Inbound};
use crate::error::Error;
use crate::message::{Message, Request, Subject};
use crate::stream::Event;

const fn push(name: &'static str, body: Body) -> Case {
    Case::new("inbound", name, &[Need::ServerPush, Need::Connection], body)
}

/// What comes between two items of an answer.
const fn between(name: &'static str, body: Body) -> Case {
    Case::new("inbound", name, &[Need::ServerPush, Need::Connection, Need::Streaming], body)
}

pub(super) const CASES: &[Case] = &[
    Case::new("inbound", "one_way_messages_arrive", &[Need::OneWay], |fixture| Box::pin(one_way(fixture))),
    push("notifications_in_order", |fixture| Box::pin(notifications(fixture))),
    push("each_message_to_one_receiver", |fixture| Box::pin(one_receiver(fixture))),
    push("a_request_from_the_responder", |fixture| Box::pin(server_request(fixture))),
    push("a_request_from_the_responder_refused", |fixture| Box::pin(server_request_refused(fixture))),
    push("requests_both_ways_at_once", |fixture| Box::pin(both_ways(fixture))),
    between("progress_comes_in_order_on_its_answer", |fixture| Box::pin(progress(fixture))),
    between("unread_progress_goes_to_receive", |fixture| Box::pin(progress_forwarded(fixture))),
    Case::new("inbound", "receive_ends_with_close", &[], |fixture| Box::pin(receive_ends(fixture))),
];

async fn one_way(fixture: &Fixture) -> Check {
    let subject = fixture.subject(Behaviour::OneWay);
    for index in 0..10 {
        fixture.caller.notify(&subject, Message::new(index.to_string())).await?;
    }
    fixture.probe.until("ten one-way messages", |log| log.one_way.len() == 10).await?;
    let mut bodies: Vec<_> = fixture.probe.log().one_way.into_iter().map(|message| message.body).collect();
    // A plane that balances or spawns may reorder one-way messages; none may be lost or doubled.
    bodies.sort_unstable();
    ensure!(bodies.iter().enumerate().all(|(index, body)| *body == index.to_string()), "what arrived is {bodies:?}");
    Ok(())
}

async fn notifications(fixture: &Fixture) -> Check {
    let responder = fixture.accepted().await?;
    for index in 0..50 {
        responder.notify(&Subject::from_static("news"), Message::new(index.to_string())).await?;
    }
    for index in 0..50 {
        let (subject, message) = notification(&*fixture.caller).await?;
        ensure!(subject.as_str() == "news", "the subject became {subject}");
        ensure!(message.body == index.to_string(), "notification {index} came as {:?}", message.text());
    }
    Ok(())
}

async fn one_receiver(fixture: &Fixture) -> Check {
    let other = fixture.dial().await?;
    let (first, second) = (fixture.accepted().await?, fixture.accepted().await?);
    for (index, responder) in [&first, &second, &first, &second].into_iter().enumerate() {
        responder.notify(&Subject::from_static("news"), Message::new(index.to_string())).await?;
    }
    let mut seen = Vec::new();
    for connection in [&fixture.caller, &other, &fixture.caller, &other] {
        seen.push(notification(&**connection).await?.1.body);
    }
    seen.sort_unstable();
    ensure!(seen == ["0", "1", "2", "3"], "two connections received {seen:?} between them");
    other.close(Duration::ZERO).await?;
    Ok(())
}

async fn server_request(fixture: &Fixture) -> Check {
    let responder = fixture.accepted().await?;
    let asking = tokio::spawn(async move {
        let request = Request::new(Subject::from_static("ask"), "question").with_timeout(Duration::from_secs(10));
        responder.request(request).await
    });
    match received(&*fixture.caller).await? {
        Inbound::Request(request, reply) => {
            ensure!(request.subject.as_str() == "ask", "the subject became {}", request.subject);
            ensure!(request.message.body == "question", "the question became {:?}", request.message.text());
            reply.send("answer").await?;
            reply.close();
        }
        other => return Err(Failure::new(format!("expected a request, got {other:?}"))),
    }
    let answer = asking.await.map_err(|error| Failure::new(format!("the responder panicked: {error}")))??;
    ensure!(answer.body == "answer", "the answer became {:?}", answer.text());
    Ok(())
}

async fn server_request_refused(fixture: &Fixture) -> Check {
    let responder = fixture.accepted().await?;
    let asking = tokio::spawn(async move {
        let request = Request::new(Subject::from_static("ask"), "question").with_timeout(Duration::from_secs(10));
        responder.request(request).await
    });
    match received(&*fixture.caller).await? {
        Inbound::Request(_, reply) => reply.fail(Error::unsupported("this caller answers nothing")),
        other => return Err(Failure::new(format!("expected a request, got {other:?}"))),
    }
    match asking.await.map_err(|error| Failure::new(format!("the responder panicked: {error}")))? {
        Ok(answer) => Err(Failure::new(format!("a refused request was answered with {:?}", answer.text()))),
        Err(error) => {
            ensure!(error.kind() == crate::ErrorKind::Unsupported, "the refusal became {error:?}");
            Ok(())
        }
    }
}

async fn both_ways(fixture: &Fixture) -> Check {
    let responder = fixture.accepted().await?;
    let caller = fixture.caller.clone();
    let answering = tokio::spawn(async move {
        for _ in 0..20 {
            if let Ok(Some(Inbound::Request(request, reply))) = caller.receive().await {
                reply.send(request.message).await?;
            }
        }
        Ok::<_, Error>(())
    });
    for index in 0..20 {
        let text = index.to_string();
        let theirs = Request::new(Subject::from_static("ask"), text.clone()).with_timeout(Duration::from_secs(10));
        let (ours, theirs) =
            tokio::join!(fixture.caller.request(fixture.ask(Behaviour::Echo, text.clone())), responder.request(theirs));
        // The sender is dropped without close() outside a handler, which is no clean end, unless one item is all there is.
        ensure!(theirs.is_err() || fixture.claims.payload.is_json(), "an answer without an end passed as a whole one");
        ensure!(ours?.body == text, "the caller's request {index} got another answer");
    }
    answering.await.map_err(|error| Failure::new(format!("the caller panicked: {error}")))??;
    Ok(())
}

async fn progress(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Progress, "")?;
    let mut seen = Vec::new();
    while let Some(event) = stream.next_event().await {
        seen.push(match event? {
            Event::Item(item) => item.text()?.to_owned(),
            Event::Inbound(Inbound::Notification(subject, message)) => format!("{subject}={}", message.text()?),
            Event::Inbound(other) => return Err(Failure::new(format!("unexpected {other:?}"))),
        });
    }
    ensure!(seen == ["before", "progress=half", "after"], "the events came as {seen:?}");
    Ok(())
}

async fn progress_forwarded(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Progress, "")?;
    for expected in ["before", "after"] {
        let found = stream.next().await.transpose()?;
        ensure!(found.is_some_and(|found| found.body == expected), "the item {expected:?} did not come");
    }
    let (subject, message) = notification(&*fixture.caller).await?;
    ensure!(subject.as_str() == "progress" && message.body == "half", "received {subject} instead of the progress");
    Ok(())
}

async fn receive_ends(fixture: &Fixture) -> Check {
    let waiting = tokio::spawn({
        let caller = fixture.caller.clone();
        async move { caller.receive().await }
    });
    fixture.echo().sizes().await?;
    fixture.caller.close(Duration::from_secs(5)).await?;
    let ended = waiting.await.map_err(|error| Failure::new(format!("receive() panicked: {error}")))??;
    ensure!(ended.is_none(), "receive() gave {ended:?} upon close");
    ensure!(fixture.caller.receive().await?.is_none(), "receive() after close gave a message");
    Ok(())
}

async fn received(connection: &dyn Connection) -> Result<Inbound, Failure> {
    let found = tokio::time::timeout(Duration::from_secs(10), connection.receive()).await;
    match found {
        Ok(found) => found?.ok_or_else(|| Failure::new("receive() ended while a message was expected")),
        Err(_) => Err(Failure::new("nothing was received")),
    }
}

async fn notification(connection: &dyn Connection) -> Result<(Subject, Message), Failure> {
    match received(connection).await? {
        Inbound::Notification(subject, message) => Ok((subject, message)),
        other => Err(Failure::new(format!("expected a notification, got {other:?}"))),
    }
}
