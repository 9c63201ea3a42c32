// SPDX-License-Identifier: Apache-2.0
//! The answering side: one `recv`, all answers, one `send`.

use std::sync::Arc;

use biplane_cells::{Ask, Outcome, Pace};
use bytes::Bytes;
use tokio::net::TcpStream;

use super::Kind;
use super::line::Line;
use super::reading::Reading;

pub(super) async fn answer(stream: TcpStream) -> Outcome {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let line = Arc::new(Line::new(write, ()));
    let writer = line.clone();
    tokio::spawn(async move { writer.write(|()| true).await });
    // So that it is parked, and the first answer need not wait for it.
    tokio::task::yield_now().await;
    let mut reading = Reading::new(read);
    loop {
        reading.fill().await?;
        let mut state = line.lock();
        while let Some((kind, slot, body)) = reading.frame() {
            if kind == Kind::Echo {
                state.batch.put(kind, slot, &body);
                continue;
            }
            let ask = Ask::decode(&body)?;
            let item = ask.item();
            match ask.pace {
                Pace::Ready => {
                    (0..ask.items).for_each(|_| state.batch.put(Kind::Item, slot, &item));
                    state.batch.put(Kind::End, slot, &Bytes::new());
                }
                Pace::Paced => drop(tokio::spawn(produce(line.clone(), slot, ask, item))),
            }
        }
        line.send_now(&mut state);
    }
}

/// A producer that rests between its items.
async fn produce(line: Arc<Line<()>>, slot: u32, ask: Ask, item: Bytes) {
    for _ in 0..ask.items {
        put(&line, Kind::Item, slot, &item);
        ask.pace.rest().await;
    }
    put(&line, Kind::End, slot, &Bytes::new());
}

fn put(line: &Line<()>, kind: Kind, slot: u32, body: &Bytes) {
    let mut state = line.lock();
    state.batch.put(kind, slot, body);
    state.wake_writer();
}
