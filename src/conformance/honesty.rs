// SPDX-License-Identifier: Apache-2.0
//! What is not claimed is refused at once; what is said about a connection is what was claimed.

use std::time::Duration;

use super::case::{Body, Case, Check, Failure, Need, ensure};
use super::fixture::Fixture;
use super::life::is_refusal;
use super::service::Behaviour;
use crate::error::ErrorKind;
use crate::message::{Message, Request, Subject};
use crate::stream::pipe;
use crate::target::Target;

const fn case(name: &'static str, needs: &'static [Need], body: Body) -> Case {
    Case::new("honesty", name, needs, body)
}

pub(super) const CASES: &[Case] = &[
    case("info_says_what_was_claimed", &[Need::Connection], |fixture| Box::pin(info(fixture))),
    case("streaming_requests_that_are_not_claimed", &[Need::NoUploads], |fixture| Box::pin(no_uploads(fixture))),
    case("server_push_that_is_not_claimed", &[Need::NoServerPush], |fixture| Box::pin(no_push(fixture))),
    case("one_way_that_is_not_claimed", &[Need::NoOneWay], |fixture| Box::pin(no_one_way(fixture))),
    case("a_foreign_address_is_refused", &[Need::Planes], |fixture| Box::pin(foreign(fixture))),
    case("a_foreign_url_is_unsupported", &[Need::Connection], |fixture| Box::pin(foreign_url(fixture))),
];

async fn info(fixture: &Fixture) -> Check {
    let info = fixture.caller.info();
    let needs = (&fixture.claims.capabilities).into();
    let mut said = info.capabilities;
    // What was negotiated may be less than what the transport could do; the other claims may not.
    said.max_message_size = None;
    let missing = said.check(&needs);
    ensure!(missing.is_empty(), "the connection says less than its registration: {missing:?}");
    ensure!(
        fixture.caller.is_multiplexed() || fixture.claims.capabilities.sharing == Default::default(),
        "shared, not multiplexed"
    );
    Ok(())
}

async fn no_uploads(fixture: &Fixture) -> Check {
    let (_upload, items) = pipe(1024, 1024);
    let Request { subject, context, message, .. } = fixture.ask(Behaviour::Upload, "");
    let request = Request::streaming(subject, message, items).with_context(context);
    let error = match fixture.caller.open(request) {
        Err(error) => error,
        Ok(mut stream) => super::streams::fails(&mut stream).await?,
    };
    ensure!(error.kind() == ErrorKind::Unsupported, "expected Unsupported, got {error:?}");
    ensure!(fixture.probe.log().started == 0, "the request was sent all the same");
    Ok(())
}

async fn no_push(fixture: &Fixture) -> Check {
    let responder = fixture.accepted().await?;
    let subject = Subject::from_static("news");
    match responder.notify(&subject, Message::new("")).await {
        Ok(()) => return Err(Failure::new("a notification was taken by one who does not claim server push")),
        Err(error) => ensure!(error.kind() == ErrorKind::Unsupported, "expected Unsupported, got {error:?}"),
    }
    let asked = responder.request(Request::new(subject, "").with_timeout(Duration::from_secs(5))).await;
    ensure!(
        asked.is_err_and(|error| error.kind() == ErrorKind::Unsupported),
        "a request from the responder is not Unsupported"
    );
    Ok(())
}

async fn no_one_way(fixture: &Fixture) -> Check {
    match fixture.caller.notify(&fixture.subject(Behaviour::OneWay), Message::new("")).await {
        Ok(()) => Err(Failure::new("a one-way message was taken by one who does not claim them")),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Unsupported, "expected Unsupported, got {error:?}");
            Ok(())
        }
    }
}

async fn foreign(fixture: &Fixture) -> Check {
    let parts = fixture.planes().ok_or_else(|| Failure::new("no planes"))?;
    let address = crate::TransportAddress::new(crate::TransportId::from_static("no.such.transport"), "nowhere");
    let sent =
        parts.client.send_request(&address, fixture.ask(Behaviour::Echo, ""), &crate::plane::ReplyTo::Nothing).await;
    match sent {
        Ok(ack) => Err(Failure::new(format!("an address of another transport was served: {ack:?}"))),
        Err(error) => {
            // A client may well not look at whose address it is given; it may not take the request for delivered.
            let refusal =
                matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Config) || is_refusal(error.kind());
            ensure!(refusal, "expected a refusal, got {error:?}");
            Ok(())
        }
    }
}

async fn foreign_url(fixture: &Fixture) -> Check {
    let transport = fixture.transport().ok_or_else(|| Failure::new("no transport"))?;
    let target = Target::parse("no-such-scheme://127.0.0.1:1/", |_| false)?;
    match transport.connect(&target).await {
        Ok(connection) => Err(Failure::new(format!("a URL of another scheme was served by {connection:?}"))),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Unsupported, "expected Unsupported, got {error:?}");
            Ok(())
        }
    }
}
