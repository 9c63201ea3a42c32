// SPDX-License-Identifier: Apache-2.0
//! What the peers have in common that listen on a port and multiplex by themselves.

use std::future::Future;

use biplane_cells::{Outcome, Serving};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// Requests at once on one connection. The libraries' own defaults are below the 1024 of a cell.
pub(crate) const STREAMS: u32 = 2048;

/// Connections that may wait to be accepted: those of the largest cell, and none of them is sent away for a second.
const BACKLOG: u32 = 4096;

/// Ends a task when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves on a free port of the loopback interface.
pub(crate) async fn serving<S: Future<Output = Outcome> + Send + 'static>(
    serve: impl FnOnce(TcpListener) -> S,
) -> Outcome<Serving> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok(Serving::new(address, task(serve(listener))))
}

/// Serves until the value is dropped, and says why if it ends before.
pub(crate) fn task(serve: impl Future<Output = Outcome> + Send + 'static) -> impl Drop {
    Task(tokio::spawn(async {
        if let Err(why) = serve.await {
            eprintln!("the server has ended: {why}");
        }
    }))
}

/// A handle for each request in flight.
pub(crate) fn handles<C: Clone>(client: C, count: usize) -> Vec<C> {
    vec![client; count]
}
