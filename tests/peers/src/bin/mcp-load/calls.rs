// SPDX-License-Identifier: Apache-2.0
//! Calls in a closed loop: how many, and how long each takes.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Options;
use crate::session::Client;

/// Calls that are not counted: buffers grow and code is read for the first time.
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) async fn run(options: &Options) -> Result<String, String> {
    let place = options.url()?;
    let mut clients = Vec::new();
    for number in 0..options.sessions {
        clients.push(match options.modern {
            true => Client::modern(&place, format!("client {number}")).await?,
            false => Client::legacy(&place).await?,
        });
    }
    let clients = all(clients, &options.tool, WARM_UP).await?.1;
    // Whoever measures the server's CPU looks now, and again when we are done.
    println!("began");
    let began = Instant::now();
    let (times, clients) = all(clients, &options.tool, options.time).await?;
    let took = began.elapsed();
    let line = summary(times, took);
    println!("{line}");
    for client in clients {
        client.close().await?;
    }
    Ok("closed".to_owned())
}

/// Every client calls until `time` is over.
async fn all(clients: Vec<Client>, tool: &str, time: Duration) -> Result<(Vec<u32>, Vec<Client>), String> {
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let tool = tool.to_owned();
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                client.call(&tool).await?;
                times.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            Ok::<_, String>((times, client))
        });
    }
    let (mut times, mut clients) = (Vec::new(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (own, client) = ended.map_err(|error| error.to_string())??;
        times.extend(own);
        clients.push(client);
    }
    Ok((times, clients))
}

/// One line about calls that took so many nanoseconds each.
pub(crate) fn summary(mut times: Vec<u32>, took: Duration) -> String {
    times.sort_unstable();
    let at = |share: usize| {
        times.get(times.len().saturating_sub(1) * share / 100).map_or(0.0, |time| f64::from(*time) / 1000.0)
    };
    let rate = times.len() as f64 / took.as_secs_f64();
    format!("calls={} rate={rate:.0} p50_us={:.1} p99_us={:.1}", times.len(), at(50), at(99))
}
