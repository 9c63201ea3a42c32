// SPDX-License-Identifier: Apache-2.0
//! What JSON-RPC adds: text that stays as it was written, and names that stay on their link.

use super::case::{Body, Case, Check, Failure, Need, ensure};
use super::fixture::Fixture;
use super::service::{Behaviour, FAILURE_CODE};
use crate::connection::Inbound;
use crate::message::Message;
use crate::proto::json;
use crate::stream::{Event, ResponseStream};

const fn case(name: &'static str, body: Body) -> Case {
    Case::new("jsonrpc", name, &[Need::JsonRpc, Need::Connection], body)
}

pub(super) const CASES: &[Case] = &[
    case("text_stays_as_it_was_written", |fixture| Box::pin(exact(fixture))),
    case("error_data_stays_as_it_was_written", |fixture| Box::pin(exact_error(fixture))),
    case("progress_comes_before_its_answer", |fixture| Box::pin(progress(fixture))),
    case("equal_progress_tokens_do_not_cross", |fixture| Box::pin(equal_tokens(fixture))),
];

/// Spellings that a reader and writer of values would change.
const SPELLINGS: [&str; 6] = [
    r#"{"n":1.0,"m":1e2,"big":123456789012345678901234567890,"neg":-0}"#,
    r#"{ "spaced" :  [ 1 , 2 ] , "order":1,"b":2,"a":3 }"#,
    r#"{"escaped":"\u0041\/\u00e4\ud83d\ude00","plain":"A/ä😀"}"#,
    r#"{"twice":1,"twice":2}"#,
    r#"{"_meta":{"x.example/unknown":{"deep":[[[[]]]]}},"extra":null}"#,
    r#"{}"#,
];

async fn exact(fixture: &Fixture) -> Check {
    for spelling in SPELLINGS {
        let params = fixture.with_meta(spelling);
        let answer = fixture.caller.request(fixture.ask(Behaviour::Exact, params.clone())).await?;
        let seen = fixture.probe.log().one_way.last().map(|message| message.body.clone());
        ensure!(seen.as_ref() == Some(&params), "{spelling} reached the handler as {seen:?}");
        // A carrier may mark results with members of its own; what was there stays.
        ensure!(contains(&answer.body, &params), "{spelling} came back as {:?}", answer.text());
    }
    Ok(())
}

async fn exact_error(fixture: &Fixture) -> Check {
    for spelling in SPELLINGS {
        let mut stream = fixture.caller.open(fixture.ask(Behaviour::FailExact, fixture.with_meta(spelling)))?;
        let error = super::streams::fails(&mut stream).await?;
        let peer = error.peer().ok_or_else(|| Failure::new(format!("not the service's own error: {error:?}")))?;
        ensure!(peer.code == FAILURE_CODE, "the code became {}", peer.code);
        ensure!(peer.data == fixture.with_meta(spelling), "the data {spelling} became {:?}", peer.data);
    }
    Ok(())
}

async fn progress(fixture: &Fixture) -> Check {
    for token in ["7", "\"seven\""] {
        let params = fixture.with_token(token);
        let seen = told(fixture.caller.open(fixture.ask(Behaviour::ToldExact, params))?).await?;
        ensure!(seen == [token, token, "result"], "of two notifications for {token} and a result came {seen:?}");
    }
    Ok(())
}

async fn equal_tokens(fixture: &Fixture) -> Check {
    let params = fixture.with_token("1");
    let open = || fixture.caller.open(fixture.ask(Behaviour::ToldExact, params.clone()));
    let (one, other) = (open()?, open()?);
    let (one, other) = tokio::join!(told(one), told(other));
    for seen in [one?, other?] {
        ensure!(seen == ["1", "1", "result"], "of two notifications for token 1 and a result came {seen:?}");
    }
    Ok(())
}

/// The tokens of the notifications as they came, then `result`.
async fn told(mut stream: ResponseStream) -> Result<Vec<String>, Failure> {
    let mut seen = Vec::new();
    while let Some(event) = stream.next_event().await {
        match event? {
            Event::Item(_) => seen.push("result".to_owned()),
            Event::Inbound(Inbound::Notification(_, message)) => seen.push(token(&message)),
            Event::Inbound(other) => return Err(Failure::new(format!("unexpected {other:?}"))),
        }
    }
    Ok(seen)
}

fn token(message: &Message) -> String {
    let raw = json::get(&message.body, &["progressToken"]).unwrap_or_default();
    String::from_utf8_lossy(&raw).into_owned()
}

/// Whether every member of `text` stands in `body`, as it was written.
fn contains(body: &[u8], text: &[u8]) -> bool {
    let theirs: Vec<_> = json::members(body).collect();
    json::members(text).all(|member| theirs.contains(&member))
}
