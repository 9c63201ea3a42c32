// SPDX-License-Identifier: Apache-2.0
//! TCP links that were used once and then by nobody.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::Outcome;
use crate::reading::{Reading, allow_files};
use crate::report::Report;
use crate::server::Server;
use crate::settings::{echo, runtime};

/// Long enough for all links to come up before the first of them is pinged.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub(crate) async fn measure(count: usize) -> Outcome<Report> {
    allow_files(count)?;
    let heartbeat = format!("DYN_TCP_REQUEST_HEARTBEAT_INTERVAL_SECS={}s", HEARTBEAT.as_secs());
    let most = format!("DYN_TCP_REQUEST_MAX_CONNECTIONS={}", count + 1);
    let mut server = Server::start("tcp", &[&heartbeat, &most])?;
    let biplane = runtime("tcp", "tcp", &[&heartbeat])?;
    let url = server.url.clone();
    // Whatever the first link makes for all.
    let first = biplane.connect(&url).await?;
    echo(&*first).await?;
    let before = (Reading::here()?, server.reading()?);
    let links: Vec<_> = stream::iter(0..count - 1)
        .map(|_| async {
            let link = biplane.connect(&url).await?;
            echo(&*link).await?;
            Ok::<_, crate::Failure>(link)
        })
        .buffer_unordered(64)
        .try_collect()
        .await?;

    let mut report = Report::new(&format!("{count} idle TCP links, one request done on each"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = (Reading::here()?, server.reading()?);
    for (end, now, before) in [("server", after.1, before.1), ("client", after.0, before.0)] {
        let (rss, heap) = now.growth(before, links.len());
        report.figure(&format!("{end}, after a second: RSS of each"), rss, "B");
        report.figure(&format!("{end}, after a second: allocated for each"), heap, "B");
    }
    tokio::time::sleep(HEARTBEAT + HEARTBEAT / 2).await;
    let after = (Reading::here()?, server.reading()?);
    let (rss, heap) = after.1.growth(before.1, links.len());
    report.goal("server, after a heartbeat: RSS of each", rss, 1536.0, "B");
    report.figure("server, after a heartbeat: allocated for each", heap, "B");
    report.figure("server, tasks for each", crate::reading::each(after.1.tasks, before.1.tasks, links.len()), "");
    let (rss, heap) = after.0.growth(before.0, links.len());
    report.figure("client, after a heartbeat: RSS of each", rss, "B");
    report.figure("client, after a heartbeat: allocated for each", heap, "B");
    report.figure("client, tasks for each", crate::reading::each(after.0.tasks, before.0.tasks, links.len()), "");
    Ok(report)
}
