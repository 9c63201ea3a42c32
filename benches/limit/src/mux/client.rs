// SPDX-License-Identifier: Apache-2.0
//! The calling side: slots with wakers in them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use biplane_cells::{Ask, Caller, Failure, Outcome};
use bytes::Bytes;
use tokio::net::TcpStream;

use super::Kind;
use super::line::Line;
use super::reading::Reading;

/// The callers of a connection.
#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_flight: usize,
    lost: bool,
}

#[derive(Default)]
struct Slot {
    caller: Option<Waker>,
    answer: Option<Bytes>,
    /// Items that nobody has taken yet.
    items: VecDeque<Bytes>,
    ended: bool,
}

impl Slots {
    fn take(&mut self, caller: Option<Waker>) -> u32 {
        self.in_flight += 1;
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.caller = caller;
        }
        number
    }

    fn give_back(&mut self, slot: u32) {
        self.in_flight -= 1;
        self.free.push(slot);
    }

    /// Puts a frame where its caller finds it.
    fn arrive(&mut self, kind: Kind, slot: u32, body: Bytes, wake: &mut Vec<Waker>) {
        let Some(slot) = self.slots.get_mut(slot as usize) else { return };
        match kind {
            Kind::Echo => slot.answer = Some(body),
            Kind::Item => slot.items.push_back(body),
            Kind::End => slot.ended = true,
        }
        if let Some(caller) = slot.caller.take() {
            wake.push(caller);
        }
    }

    fn lose(&mut self, wake: &mut Vec<Waker>) {
        self.lost = true;
        wake.extend(self.slots.iter_mut().filter_map(|slot| slot.caller.take()));
    }
}

pub(super) struct Client(Arc<Line<Slots>>);

pub(super) fn connect(stream: TcpStream) -> io::Result<Client> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let line = Arc::new(Line::new(write, Slots::default()));
    let (reader, writer) = (line.clone(), line.clone());
    tokio::spawn(async move {
        let _ = receive(&reader, Reading::new(read)).await;
        let mut wake = Vec::new();
        reader.lock().rest.lose(&mut wake);
        wake.into_iter().for_each(Waker::wake);
    });
    tokio::spawn(async move { writer.write(|slots| slots.in_flight > 1).await });
    Ok(Client(line))
}

async fn receive(line: &Line<Slots>, mut reading: Reading) -> io::Result<()> {
    let mut wake = Vec::new();
    loop {
        reading.fill().await?;
        {
            let mut state = line.lock();
            while let Some((kind, slot, body)) = reading.frame() {
                state.rest.arrive(kind, slot, body, &mut wake);
            }
        }
        wake.drain(..).for_each(Waker::wake);
    }
}

/// One caller's share of a connection.
pub(crate) struct Handle {
    client: Arc<Client>,
    /// Room for items, kept from stream to stream.
    taken: VecDeque<Bytes>,
}

impl Handle {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self { client: client.clone(), taken: VecDeque::new() }
    }

    /// Takes a slot and sends: the whole first poll.
    fn begin(&self, kind: Kind, body: &Bytes, caller: Option<Waker>) -> u32 {
        let line = &self.client.0;
        let mut state = line.lock();
        let slot = state.rest.take(caller);
        state.batch.put(kind, slot, body);
        if state.rest.in_flight == 1 && state.writer_is_parked() {
            line.send_now(&mut state);
        } else {
            state.wake_writer();
        }
        slot
    }

    fn poll_answer(&self, number: u32, cx: &mut Context<'_>) -> Poll<Outcome<Bytes>> {
        let mut state = self.client.0.lock();
        let slots = &mut state.rest;
        let Some(slot) = slots.slots.get_mut(number as usize) else { return Poll::Ready(Err(lost())) };
        match slot.answer.take() {
            Some(body) => {
                slots.give_back(number);
                Poll::Ready(Ok(body))
            }
            None if slots.lost => Poll::Ready(Err(lost())),
            None => {
                slot.caller = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Everything that has come, into `taken`; whether there will be more.
    fn poll_items(&self, number: u32, taken: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Outcome<bool>> {
        let mut state = self.client.0.lock();
        let slots = &mut state.rest;
        let Some(slot) = slots.slots.get_mut(number as usize) else { return Poll::Ready(Err(lost())) };
        if slot.items.is_empty() && !slot.ended {
            if slots.lost {
                return Poll::Ready(Err(lost()));
            }
            slot.caller = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut slot.items, taken);
        let ended = std::mem::take(&mut slot.ended);
        if ended {
            slots.give_back(number);
        }
        Poll::Ready(Ok(!ended))
    }
}

impl Caller for Handle {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        let mut slot = None;
        poll_fn(|cx| match slot {
            None => {
                slot = Some(self.begin(Kind::Echo, &body, Some(cx.waker().clone())));
                Poll::Pending
            }
            Some(slot) => self.poll_answer(slot, cx),
        })
        .await
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let slot = self.begin(Kind::Item, &ask.encode(), None);
        let (mut items, mut taken) = (0, std::mem::take(&mut self.taken));
        loop {
            let more = poll_fn(|cx| self.poll_items(slot, &mut taken, cx)).await?;
            for item in taken.drain(..) {
                if item.len() != ask.size as usize {
                    return Err("an item of another size".into());
                }
                items += 1;
            }
            if !more {
                self.taken = taken;
                return Ok(items);
            }
        }
    }
}

#[cold]
fn lost() -> Failure {
    "the connection is lost".into()
}
