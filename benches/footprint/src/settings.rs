// SPDX-License-Identifier: Apache-2.0
//! Runtimes that listen on the loopback interface, each on ports of its own, and find each other by URL.

use biplane::{Biplane, Connection, Message, Request, ResponseStream, Subject};
use biplane_cells::on_loopback;
use bytes::Bytes;
use futures_util::FutureExt;

use crate::Outcome;

/// Answers with what it gets.
pub(crate) const ECHO: &str = "footprint.echo";
/// Answers with one item, and keeps the answer open.
pub(crate) const OPEN: &str = "footprint.open";

/// What is sent.
pub(crate) const BODY: Bytes = Bytes::from_static(&[b'x'; 128]);

/// A runtime whose requests go over `request` and whose answers come over `response`; `more` are variables, or
/// keys of the file: `NAME=value`.
pub(crate) fn runtime(request: &str, response: &str, more: &[&str]) -> Outcome<Biplane> {
    let builder = Biplane::builder().env(on_loopback(request, response)).env([("DYN_DISCOVERY_BACKEND", "mem")]);
    let more = more.iter().filter_map(|setting| setting.split_once('='));
    let set = more.fold(builder, |builder, (name, value)| match name.contains('.') {
        true => builder.set(name, value),
        false => builder.env([(name, value)]),
    });
    Ok(set.build()?)
}

/// A request of [`BODY`] to `subject`.
pub(crate) fn request(subject: &'static str) -> Request {
    Request::new(Subject::from_static(subject), Message::new(BODY))
}

/// One request and its answer.
pub(crate) async fn echo(connection: &dyn Connection) -> Outcome {
    let answer = connection.request(request(ECHO)).await?;
    if answer.body != BODY { Err("another body came back".into()) } else { Ok(()) }
}

/// Fails if one of them has more than its first item.
pub(crate) fn still_open(answers: &mut [ResponseStream]) -> Outcome {
    for answer in answers {
        match answer.next().now_or_never() {
            None => {}
            Some(Some(Err(error))) => return Err(error.into()),
            Some(_) => return Err("an answer is over, or went on, that should wait".into()),
        }
    }
    Ok(())
}
