// SPDX-License-Identifier: Apache-2.0
//! Very many clients that do little: what each leaves behind is the question.

use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::session::Client;
use crate::{AT_ONCE, Options};

/// Sessions that are opened, used once, and closed or held.
pub(crate) async fn sessions(options: &Options) -> Result<String, String> {
    let place = options.url()?;
    let (tool, hold) = (options.tool.clone(), options.hold);
    let one = move |_| {
        let (place, tool) = (place.clone(), tool.clone());
        async move {
            let mut client = Client::legacy(&place).await?;
            client.call(&tool).await?;
            if hold { Ok(Some(client)) } else { client.close().await.map(|()| None) }
        }
    };
    let began = Instant::now();
    let held = each(options.count, one).await?;
    if hold {
        println!("held={}", held.len());
        // Until the one who measures has seen enough.
        let _ = tokio::io::stdin().read(&mut [0]).await;
        for client in held {
            client.close().await?;
        }
    }
    Ok(format!("sessions={} seconds={:.1}", options.count, began.elapsed().as_secs_f64()))
}

/// Modern clients, each with one call.
pub(crate) async fn clients(options: &Options) -> Result<String, String> {
    let place = options.url()?;
    let tool = options.tool.clone();
    let one = move |number| {
        let (place, tool) = (place.clone(), tool.clone());
        async move {
            let mut client = Client::modern(&place, format!("client {number}")).await?;
            client.call(&tool).await.map(|()| None)
        }
    };
    let began = Instant::now();
    each(options.count, one).await?;
    Ok(format!("clients={} seconds={:.1}", options.count, began.elapsed().as_secs_f64()))
}

/// Does `one` so many times, some at once, and gives what they kept.
async fn each<F>(count: usize, one: impl Fn(usize) -> F) -> Result<Vec<Client>, String>
where
    F: Future<Output = Result<Option<Client>, String>> + Send + 'static,
{
    let mut kept = Vec::new();
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() >= AT_ONCE
            && let Some(ended) = tasks.join_next().await
        {
            kept.extend(ended.map_err(|error| error.to_string())??);
        }
        tasks.spawn(one(number));
    }
    while let Some(ended) = tasks.join_next().await {
        kept.extend(ended.map_err(|error| error.to_string())??);
    }
    Ok(kept)
}
