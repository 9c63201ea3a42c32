// SPDX-License-Identifier: Apache-2.0
//! The suite must fail where it should: transports with one planted bug each, and the case that has to find it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::poll_fn;

use super::case::Case;
use super::harness::{Claims, Harness, Parts};
use super::registered::RegisteredHarness;
use crate::config::Config;
use crate::connection::{Connection, ConnectionInfo, Inbound, Listener, Transport};
use crate::error::{Error, Result};
use crate::message::{Message, Request, Subject};
use crate::stream::{ResponseStream, pipe};
use crate::target::Target;
use crate::transport::mem;

/// What a [`Liar`] does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// The first item of every answer is lost.
    LosesAnItem,
    /// An error becomes a clean end.
    HidesErrors,
    /// The deadline is neither kept nor passed on.
    ForgetsDeadlines,
    /// A dropped stream does not tell the handler.
    DetachesAnswers,
    /// Bodies are cut.
    CutsBodies,
    /// Every answer leaves a task behind.
    LeaksTasks,
    /// Requests work after close.
    IgnoresClose,
    /// Claims duplex, drops the items of requests.
    DropsUploads,
    /// No answer ever comes, whatever the deadline says.
    Hangs,
    /// None: what the liar adds around the bugs is no bug itself.
    Honest,
}

struct LyingHarness(Bug);

#[async_trait]
impl Harness for LyingHarness {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    fn claims(&self) -> Claims {
        RegisteredHarness::connection(mem::CONNECTION).claims()
    }

    async fn start(&self, config: Arc<Config>) -> Result<Parts> {
        let honest = RegisteredHarness::connection(mem::CONNECTION).start(config).await?;
        Ok(match honest {
            Parts::Connection { transport, listen } => {
                Parts::Connection { transport: Arc::new(Liar(transport, self.0)), listen }
            }
            planes => planes,
        })
    }
}

struct Liar(Arc<dyn Transport>, Bug);

#[async_trait]
impl Transport for Liar {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        Ok(Arc::new(LyingConnection { inner: self.0.connect(target).await?, bug: self.1 }))
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        self.0.listen(target).await
    }
}

#[derive(Debug)]
struct LyingConnection {
    inner: Arc<dyn Connection>,
    bug: Bug,
}

#[async_trait]
impl Connection for LyingConnection {
    fn info(&self) -> &ConnectionInfo {
        self.inner.info()
    }

    fn open(&self, mut request: Request) -> Result<ResponseStream> {
        match self.bug {
            Bug::ForgetsDeadlines => request.context.deadline = None,
            Bug::DropsUploads => request.items = None,
            Bug::LeaksTasks => drop(tokio::spawn(std::future::pending::<()>())),
            Bug::Hangs => return Ok(ResponseStream::deferred(std::future::pending())),
            _ => {}
        }
        let mut answer = self.inner.open(request)?;
        let (sender, stream) = pipe(1 << 20, usize::MAX);
        let bug = self.bug;
        let relay = async move {
            let mut first = true;
            while let Some(found) = answer.next().await {
                match found {
                    Ok(_) if bug == Bug::LosesAnItem && std::mem::take(&mut first) => {}
                    Ok(item) if bug == Bug::CutsBodies => sender.send(item.body.slice(..item.body.len() / 2)).await?,
                    Ok(item) => sender.send(item).await?,
                    Err(_) if bug == Bug::HidesErrors => break,
                    Err(error) => {
                        sender.fail(error);
                        return Ok::<_, Error>(());
                    }
                }
            }
            sender.close();
            Ok(())
        };
        if bug == Bug::DetachesAnswers {
            tokio::spawn(relay);
            return Ok(stream);
        }
        let mut relay = Box::pin(relay);
        let mut stream = Some(stream);
        let mut relaying = true;
        Ok(ResponseStream::from_events(poll_fn(move |cx| {
            if relaying && relay.as_mut().poll(cx).is_ready() {
                relaying = false;
            }
            stream.as_mut().map_or(std::task::Poll::Ready(None), |stream| stream.poll_event(cx))
        })))
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.inner.notify(subject, message).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.inner.receive().await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        if self.bug == Bug::IgnoresClose { Ok(()) } else { self.inner.close(grace).await }
    }
}

/// The bug, and a case that must find it.
const PLANTED: [(Bug, &str); 10] = [
    (Bug::LosesAnItem, "items_then_end"),
    (Bug::LosesAnItem, "echo_sizes"),
    (Bug::HidesErrors, "error_after_items"),
    (Bug::HidesErrors, "the_responder_dies_between_items"),
    (Bug::ForgetsDeadlines, "a_deadline_travels"),
    (Bug::DetachesAnswers, "dropping_the_stream_cancels_the_handler"),
    (Bug::CutsBodies, "binary_bodies"),
    (Bug::LeaksTasks, "one_after_another"),
    (Bug::IgnoresClose, "use_after_close"),
    (Bug::DropsUploads, "half_close_then_read"),
];

fn case(name: &str) -> Case {
    super::cases().find(|case| case.name == name).unwrap_or_else(|| panic!("no case is named {name}"))
}

#[test]
fn every_planted_bug_is_found() {
    // Side by side: some bugs are found by waiting for what does not come.
    std::thread::scope(|scope| {
        for (bug, name) in PLANTED {
            scope.spawn(move || {
                let harness: Arc<dyn Harness> = Arc::new(LyingHarness(bug));
                assert!(case(name).run(&harness).is_err(), "{name} did not find {bug:?}");
            });
        }
    });
    let honest: Arc<dyn Harness> = Arc::new(LyingHarness(Bug::Honest));
    for (_, name) in PLANTED {
        case(name).run(&honest).unwrap_or_else(|failure| panic!("{name} found a bug that is not there: {failure}"));
    }
}
#[test]
fn a_hang_is_a_failure_and_names_itself() {
    let harness: Arc<dyn Harness> = Arc::new(LyingHarness(Bug::Hangs));
    let case = Case { limit: Duration::from_millis(300), ..case("binary_bodies") };
    let failure = case.run(&harness).unwrap_err().to_string();
    assert!(failure.contains("hung"), "{failure}");
}

#[test]
fn names_are_unique_and_reasons_are_given() {
    let mut names: Vec<_> = super::cases().map(|case| (case.group, case.name)).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    let claims = RegisteredHarness::connection(mem::CONNECTION).claims();
    assert_eq!(case("split_at_every_byte").outside(&claims).as_deref(), Some("has no TCP address for the fault proxy"));
    assert_eq!(case("echo_sizes").outside(&claims), None);
}
