// SPDX-License-Identifier: Apache-2.0
//! The suite against a live endpoint: what a caller alone can find out.
//!
//! The convention: the endpoint answers each request with its body, as one item (`biplane serve NAME --echo`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::case::Check;
use super::echo::Echo;
use super::payload::Payload;
use crate::connection::Connection;
use crate::message::Subject;

/// How to ask.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The endpoint's subject.
    pub subject: Subject,
    /// The largest message that the endpoint should take, in bytes; `None` takes what the connection says, else leaves the
    /// cases about the limit out.
    pub max_message_size: Option<usize>,
    /// When one request gives up.
    pub timeout: Duration,
    /// The last case closes the connection.
    pub may_close: bool,
}

impl LiveOptions {
    /// Fifteen seconds per request; the connection is closed by the last case.
    pub fn new(subject: Subject) -> Self {
        Self { subject, max_message_size: None, timeout: Duration::from_secs(15), may_close: true }
    }
}

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not as it should, with what was found.
    Failed(String),
    /// Not tried, with the reason.
    Skipped(String),
}

/// How all cases went, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Name and outcome.
    pub cases: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.cases.iter().all(|(_, outcome)| !matches!(outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Report {
    /// One line per case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.cases {
            match outcome {
                Outcome::Passed => writeln!(f, "{name} ... ok")?,
                Outcome::Failed(why) => writeln!(f, "{name} ... FAILED: {why}")?,
                Outcome::Skipped(why) => writeln!(f, "{name} ... skipped: {why}")?,
            }
        }
        Ok(())
    }
}

/// Runs the caller's part of the suite against an endpoint that echoes. Each case has a time limit of its own; a case that
/// fails does not keep the others from running.
pub async fn against(connection: Arc<dyn Connection>, options: LiveOptions) -> Report {
    let said = connection.info().capabilities.max_message_size.and_then(|limit| usize::try_from(limit).ok());
    let limit = options.max_message_size.or(said);
    let echo = Echo {
        connection,
        subject: options.subject,
        limit: limit.unwrap_or(128 << 10),
        timeout: options.timeout,
        payload: Payload::Bytes,
    };
    let mut run = Bounded { limit: options.timeout * 2, report: Report::default() };
    run.case("exchange::echo_sizes", echo.sizes()).await;
    run.case("exchange::binary_bodies", echo.binary()).await;
    run.case("exchange::one_after_another", echo.in_turn()).await;
    run.case("exchange::a_thousand_at_once", echo.concurrent()).await;
    match limit {
        Some(_) => {
            run.case("exchange::echo_at_limit", echo.at_limit()).await;
            run.case("exchange::request_over_limit_is_too_large", echo.over_limit()).await;
        }
        None => {
            for name in ["exchange::echo_at_limit", "exchange::request_over_limit_is_too_large"] {
                run.skip(name, "the connection does not say how large a message may be");
            }
        }
    }
    run.case("life::a_deadline_in_the_past", echo.past_deadline()).await;
    run.case("life::dropped_requests_disturb_nobody", echo.dropped_requests()).await;
    if options.may_close {
        run.case("life::use_after_close", echo.use_after_close()).await;
    } else {
        run.skip("life::use_after_close", "the connection is to stay open");
    }
    run.report
}

struct Bounded {
    limit: Duration,
    report: Report,
}

impl Bounded {
    async fn case(&mut self, name: &'static str, case: impl Future<Output = Check>) {
        let outcome = match tokio::time::timeout(self.limit, case).await {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(failure)) => Outcome::Failed(failure.to_string()),
            Err(_) => Outcome::Failed(format!("hung: not done after {:?}", self.limit)),
        };
        self.report.cases.push((name, outcome));
    }

    fn skip(&mut self, name: &'static str, reason: &str) {
        self.report.cases.push((name, Outcome::Skipped(reason.to_owned())));
    }
}

#[cfg(all(test, feature = "mem"))]
mod tests {
    use super::*;
    use crate::conformance::config::suite_config;
    use crate::connection::Inbound;
    use crate::target::Target;
    use crate::transport::mem::MemNetwork;

    /// Runs against a responder that answers with the body, `changed`.
    async fn run(changed: fn(crate::Message) -> crate::Message) -> Report {
        let transport = MemNetwork::new().transport(&suite_config(&[], Vec::new()).unwrap().limits);
        let target = Target::parse("mem://echo", |_| false).unwrap();
        let listener = transport.listen(&target).await.unwrap();
        let connection = transport.connect(&target).await.unwrap();
        let responder = listener.accept().await.unwrap().unwrap();
        tokio::spawn(async move {
            while let Ok(Some(Inbound::Request(request, reply))) = responder.receive().await {
                if reply.send(changed(request.message)).await.is_ok() {
                    reply.close();
                }
            }
        });
        against(connection, LiveOptions::new(Subject::from_static("echo"))).await
    }

    #[tokio::test]
    async fn an_endpoint_that_echoes_passes() {
        let report = run(|message| message).await;
        assert!(report.passed(), "{report}");
        assert!(!report.to_string().contains("skipped"), "mem says how large a message may be: {report}");
    }

    #[tokio::test]
    async fn an_endpoint_that_does_not_fails_by_name() {
        let report = run(|message| crate::Message::new(message.body.to_ascii_uppercase())).await;
        assert!(!report.passed());
        let (_, outcome) = report.cases.iter().find(|(name, _)| *name == "exchange::binary_bodies").unwrap();
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
}
