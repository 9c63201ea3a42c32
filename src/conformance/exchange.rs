// SPDX-License-Identifier: Apache-2.0
//! One message for one message: sizes, bytes, headers, many at once.

use tokio::task::JoinSet;

use super::case::{Case, Check, Failure, Need, ensure};
use super::echo::Echo;
use super::fixture::Fixture;
use super::service::{Behaviour, item};
use crate::error::ErrorKind;
use crate::message::Message;

const fn case(name: &'static str, needs: &'static [Need], body: super::case::Body) -> Case {
    Case::new("exchange", name, needs, body)
}

pub(super) const CASES: &[Case] = &[
    case("echo_sizes", &[], |fixture| Box::pin(async move { fixture.echo().sizes().await })),
    case("echo_at_limit", &[], |fixture| Box::pin(async move { fixture.echo().at_limit().await })),
    case("request_over_limit_is_too_large", &[], |fixture| Box::pin(async move { fixture.echo().over_limit().await })),
    case("item_over_limit_is_too_large", &[Need::Streaming], |fixture| Box::pin(item_over_limit(fixture))),
    case("binary_bodies", &[], |fixture| Box::pin(async move { fixture.echo().binary().await })),
    case("request_headers", &[Need::ItemHeaders], |fixture| Box::pin(headers(fixture))),
    case("one_after_another", &[], |fixture| Box::pin(async move { fixture.echo().in_turn().await })),
    case("a_thousand_at_once", &[], |fixture| Box::pin(async move { fixture.echo().concurrent().await })),
    case("answers_out_of_order", &[], |fixture| Box::pin(out_of_order(fixture))),
    case("order_within_a_stream", &[Need::Streaming], |fixture| Box::pin(in_order(fixture))),
    case("unary_needs_exactly_one_item", &[Need::Streaming], |fixture| Box::pin(exactly_one(fixture))),
];

impl Fixture {
    /// The echo endpoint, by the first caller.
    pub(super) fn echo(&self) -> Echo {
        self.echo_by(self.caller.clone())
    }

    /// The echo endpoint, by another caller.
    pub(super) fn echo_by(&self, connection: std::sync::Arc<dyn crate::Connection>) -> Echo {
        Echo {
            connection,
            subject: self.subject(Behaviour::Echo),
            limit: self.max_message_size(),
            timeout: std::time::Duration::from_secs(15),
            payload: self.claims.payload,
        }
    }
}

async fn item_over_limit(fixture: &Fixture) -> Check {
    let size = (fixture.max_message_size() + 1).to_string();
    let answer = fixture.caller.request(fixture.ask(Behaviour::Oversize, size)).await?;
    ensure!(answer.body == "small", "the item over the limit arrived, with {} bytes", answer.body.len());
    let oversize = fixture.probe.log().oversize;
    ensure!(oversize == ["too_large"], "the sender was told {oversize:?}, not TooLarge");
    fixture.echo().in_turn().await
}

async fn headers(fixture: &Fixture) -> Check {
    let sent =
        Message::new("body").with_header("x-plain", "value").with_header("x-empty", "").with_header("x-plain", "two");
    let answer = fixture.caller.request(fixture.ask(Behaviour::Echo, sent.clone())).await?;
    ensure!(answer.body == sent.body, "headers changed the body");
    for (name, value) in sent.headers.iter() {
        let values: Vec<_> = answer.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).collect();
        ensure!(values.iter().any(|(_, other)| *other == value), "header {name} came back as {values:?}");
    }
    Ok(())
}

async fn out_of_order(fixture: &Fixture) -> Check {
    let mut callers = JoinSet::new();
    for (index, millis) in [120, 0, 60].into_iter().enumerate() {
        let request = fixture.ask(Behaviour::Slow, format!("{millis} caller {index}"));
        let caller = fixture.caller.clone();
        callers.spawn(async move { caller.request(request).await.map(|answer| (index, answer)) });
    }
    while let Some(done) = callers.join_next().await {
        let (index, answer) = done.map_err(|error| Failure::new(format!("a caller panicked: {error}")))??;
        let text = answer.text()?;
        ensure!(text.ends_with(&format!("caller {index}")), "caller {index} got the answer {text:?}");
    }
    Ok(())
}

async fn in_order(fixture: &Fixture) -> Check {
    let mut stream = fixture.open(Behaviour::Count, "2000 1")?;
    let mut index = 0;
    while let Some(found) = stream.next().await {
        ensure!(found?.body == item(index, 1), "item {index} is another one");
        index += 1;
    }
    ensure!(index == 2000, "{index} of 2000 items came");
    Ok(())
}

async fn exactly_one(fixture: &Fixture) -> Check {
    for items in [0, 2] {
        match fixture.caller.request(fixture.ask(Behaviour::Count, format!("{items} 0"))).await {
            Ok(_) => return Err(Failure::new(format!("{items} items passed as the answer to a unary request"))),
            Err(error) => ensure!(error.kind() == ErrorKind::Protocol, "{items} items: got {error:?}"),
        }
    }
    Ok(())
}
