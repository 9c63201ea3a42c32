// SPDX-License-Identifier: Apache-2.0
//! `serve`: a server that ends when its standard input does, so that nothing is left behind by whoever started it.

use std::io::{BufRead, Write};

use tokio::sync::oneshot;

use crate::{Outcome, Peer, Usage};

/// Serves, and says what it has used whenever it gets a line.
pub(crate) async fn until_input_ends<P: Peer>(peer: &P) -> Outcome {
    let serving = peer.serve().await?;
    let processes: Vec<String> =
        std::iter::once(std::process::id()).chain(serving.processes).map(|id| id.to_string()).collect();
    say(&format!("{{\"address\":\"{}\",\"processes\":[{}]}}", serving.address, processes.join(",")))?;
    let (ended, end) = oneshot::channel();
    // A thread, because it has nothing to do while anything is measured, and a blocked read holds no runtime up.
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            if say(&format!("{{{}}}", Usage::now().json())).is_err() {
                break;
            }
        }
        let _ = ended.send(());
    });
    let _ = end.await;
    drop(serving.server);
    say(&format!("{{{}}}", Usage::now().json()))
}

/// A line for whoever started this process, at once.
pub(crate) fn say(line: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
