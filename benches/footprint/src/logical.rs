// SPDX-License-Identifier: Apache-2.0
//! Logical connections over few links: a hundred on each. An idle one has nothing under way; one that is in use, an open
//! answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use biplane::{Biplane, Connection, Request, ResponseStream};
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::reading::Reading;
use crate::report::Report;
use crate::server::Server;
use crate::settings::{ECHO, OPEN, echo, request, runtime, still_open};
use crate::{Failure, Outcome};

/// Logical connections on a link.
pub(crate) const ON_A_LINK: usize = 100;
/// Requests that are offered in a second, by all together.
const OFFERED: f64 = 1e6;
/// For how long.
const LOAD: Duration = Duration::from_secs(3);
/// How long a link rests before it counts as idle: after two seconds without a byte it has given its buffers back.
const REST: Duration = Duration::from_secs(3);
/// Between two looks at links that come up.
const LOOK: Duration = Duration::from_millis(100);

const MEGABYTE: f64 = 1e6;

/// How long links may take to come up that the pool keeps warm.
const WARM_UP: Duration = Duration::from_secs(20);

/// Connections that come to one link each, or to one each on the average where the plane's pool shares them out.
pub(crate) struct Link {
    url: String,
    pub(crate) connections: Vec<Arc<dyn Connection>>,
}

impl Link {
    /// One more connection, which is used once.
    pub(crate) async fn connect(&mut self, biplane: &Biplane) -> Outcome {
        let (connection, _) = biplane.request_face(&self.url).await?;
        echo(&*connection).await?;
        self.connections.push(connection);
        Ok(())
    }
}

/// A caller with that many idle links to one server.
pub(crate) struct Caller {
    pub(crate) biplane: Biplane,
    pub(crate) links: Vec<Link>,
    server: Server,
}

impl Caller {
    /// Links with a connection on each that was used.
    pub(crate) async fn start(plane: &str, count: usize) -> Outcome<Self> {
        let mut server = Server::start(plane, &[])?;
        let without = server.reading()?.files;
        let (least, most) =
            (format!("transport.http.pool.min_idle={count}"), format!("transport.http.pool.max_per_target={count}"));
        let biplane = runtime(plane, plane, &[&most, &least])?;
        // Over tcp a URL has a link of its own, and what it names beside the address is a subject; http pools them.
        let url = |number| if plane == "http" { server.url.clone() } else { format!("{}/link{number}", server.url) };
        let links = (0..count).map(|number| Link { url: url(number), connections: Vec::new() }).collect();
        let mut caller = Self { biplane, links, server };
        for link in &mut caller.links {
            link.connect(&caller.biplane).await?;
        }
        let start = Instant::now();
        while caller.server.reading()?.files < without + count as u64 {
            if start.elapsed() > WARM_UP {
                return Err(format!("the links did not come up within {} s", WARM_UP.as_secs()).into());
            }
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(REST).await;
        Ok(caller)
    }

    /// A hundred connections on each link.
    pub(crate) async fn connect(&mut self) -> Outcome {
        for link in &mut self.links {
            for _ in 1..ON_A_LINK {
                link.connect(&self.biplane).await?;
            }
        }
        Ok(())
    }

    /// What caller and server have now.
    fn readings(&mut self) -> Outcome<(Reading, Reading)> {
        Ok((Reading::here()?, self.server.reading()?))
    }
}

pub(crate) async fn measure(plane: &str, count: usize) -> Outcome<Report> {
    let of_links = count.div_ceil(ON_A_LINK);
    let mut caller = Caller::start(plane, of_links).await?;
    let before = caller.readings()?;

    let mut report = Report::new(&format!("{count} logical connections over {of_links} links on {plane}"));
    caller.connect().await?;
    tokio::time::sleep(REST).await;
    let idle = caller.readings()?;
    report.figure("descriptors of the server", idle.1.files as f64, "");
    both(&mut report, "idle", idle, before, true);

    let mut answers = keep_open(&caller.links).await?;
    tokio::time::sleep(REST).await;
    let open = caller.readings()?;
    still_open(&mut answers)?;
    both(&mut report, "an open answer on each", open, before, true);
    report.figure("  allocated for each at the caller", open.0.growth(idle.0, count).1, "B");
    report.figure("  allocated for each at the server", open.1.growth(idle.1, count).1, "B");
    drop(answers);
    tokio::time::sleep(REST).await;

    let used = caller.readings()?;
    let (answered, most_tasks) = offer(&caller.links).await?;
    let loaded = caller.readings()?;
    let took = (loaded.0.cpu - used.0.cpu) + (loaded.1.cpu - used.1.cpu);
    report.figure("requests offered in a second", OFFERED, "");
    report.figure("requests answered in a second", answered / LOAD.as_secs_f64(), "");
    report.figure("CPU of both ends for a request", took.as_secs_f64() * 1e6 / answered, "us");
    // The tasks that offer them are this program's own.
    report.figure("tasks at the caller meanwhile", most_tasks - of_links as f64, "");
    both(&mut report, "after the load", loaded, before, false);
    Ok(report)
}

/// Tasks of both processes, and their memory above what it was.
fn both(report: &mut Report, when: &str, now: (Reading, Reading), before: (Reading, Reading), judged: bool) {
    let above = |now: Reading, before: Reading| (now.rss as f64 - before.rss as f64) / MEGABYTE;
    let (client, server) = (above(now.0, before.0), above(now.1, before.1));
    let tasks = (now.0.tasks + now.1.tasks) as f64;
    let of_tasks = format!("{when}: tasks of both ends");
    let of_memory = format!("{when}: RSS of both ends above the same links");
    if judged {
        report.goal(&of_tasks, tasks, 250.0, "");
        report.goal(&of_memory, client + server, 10.0, "MB");
    } else {
        report.figure(&of_tasks, tasks, "");
        report.figure(&of_memory, client + server, "MB");
    }
    report.figure("  tasks at the caller", now.0.tasks as f64, "");
    report.figure("  tasks at the server", now.1.tasks as f64, "");
    report.figure("  RSS at the caller", client, "MB");
    report.figure("  RSS at the server", server, "MB");
}

/// Offers requests at a steady rate, one at a time on each connection; what comes too fast for them is not made up for. How
/// many were answered, and the tasks meanwhile.
async fn offer(links: &[Link]) -> Outcome<(f64, f64)> {
    let (share, until) = (OFFERED / links.len() as f64, Instant::now() + LOAD);
    let offering: Vec<JoinHandle<Outcome<u64>>> =
        links.iter().map(|link| tokio::spawn(offer_on(link.connections.clone(), share, until))).collect();
    tokio::time::sleep(LOAD / 2).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut answered = 0;
    for part in offering {
        answered += part.await??;
    }
    Ok((answered as f64, tasks as f64))
}

async fn offer_on(connections: Vec<Arc<dyn Connection>>, rate: f64, until: Instant) -> Outcome<u64> {
    let mut free: Vec<&Arc<dyn Connection>> = connections.iter().collect();
    let mut busy = FuturesUnordered::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut answered, mut last, mut due) = (0, Instant::now(), 0.0);
    while last < until {
        tokio::select! {
            Some(done) = busy.next() => {
                free.push(done?);
                answered += 1;
            }
            _ = tick.tick() => {
                let now = Instant::now();
                due = f64::min(due + rate * now.duration_since(last).as_secs_f64(), connections.len() as f64);
                last = now;
            }
        }
        while due >= 1.0
            && let Some(connection) = free.pop()
        {
            due -= 1.0;
            busy.push(async move {
                connection.request(request(ECHO)).await?;
                Ok::<_, Failure>(connection)
            });
        }
    }
    while let Some(done) = busy.next().await {
        done?;
    }
    Ok(answered)
}

/// An answer on each connection that stays open after its first item.
async fn keep_open(links: &[Link]) -> Outcome<Vec<ResponseStream>> {
    let mut open = Vec::new();
    for link in links {
        let opening = link.connections.iter().map(|connection| first(&**connection, request(OPEN)));
        open.extend(try_join_all(opening).await?);
    }
    Ok(open)
}

async fn first(connection: &dyn Connection, request: Request) -> Outcome<ResponseStream> {
    let mut answer = connection.open(request)?;
    answer.next().await.ok_or("an answer without an item")??;
    Ok(answer)
}
