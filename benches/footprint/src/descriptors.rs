// SPDX-License-Identifier: Apache-2.0
//! Files that are open while answers call home over TCP to a caller whose requests go over HTTP.

use std::time::Duration;

use futures_util::future::try_join_all;

use crate::reading::{Reading, allow_files};
use crate::report::Report;
use crate::server::Server;
use crate::settings::{OPEN, echo, request, runtime, still_open};
use crate::{Failure, Outcome};

/// Long enough for what is over to be gone.
const REST: Duration = Duration::from_millis(500);

pub(crate) async fn measure(count: usize) -> Outcome<Report> {
    allow_files(count)?;
    let mut report = Report::new(&format!("files that are open with {count} answers under way that call home"));
    for (how, enabled) in [("with the pool", true), ("without", false)] {
        let pooled = format!("DYN_TCP_POOL_ENABLED={enabled}");
        // As many links as come, so that no figure is a limit: the one to a target holds without the pool, too.
        let most = count + 16;
        let (serves, dials) =
            (format!("DYN_TCP_REQUEST_MAX_CONNECTIONS={most}"), format!("DYN_TCP_POOL_MAX_PER_TARGET={most}"));
        let settings = [pooled.as_str(), &serves, &dials];
        let mut server = Server::start("http", &settings)?;
        let biplane = runtime("http", "tcp", &settings)?;
        let (connection, _) = biplane.request_face(&server.url).await?;
        let before = (Reading::here()?, server.reading()?);
        echo(&*connection).await?;
        let opening = (0..count).map(|_| async {
            let mut answer = connection.open(request(OPEN))?;
            answer.next().await.ok_or("an answer without an item")??;
            Ok::<_, Failure>(answer)
        });
        let mut answers = try_join_all(opening).await?;
        let open = (Reading::here()?, server.reading()?);
        report.figure(&format!("{how}: at the caller"), (open.0.files - before.0.files) as f64, "");
        report.figure(&format!("{how}: at the responder"), (open.1.files - before.1.files) as f64, "");
        still_open(&mut answers)?;
        drop(answers);
        // The responder lets go of what nobody reads when it is asked, and its links end after that.
        tokio::time::sleep(REST).await;
        server.reading()?;
        tokio::time::sleep(REST).await;
        let over = server.reading()?;
        report.figure(
            &format!("{how}: at the responder when all are over"),
            over.files as f64 - before.1.files as f64,
            "",
        );
    }
    Ok(report)
}
