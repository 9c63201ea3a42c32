// SPDX-License-Identifier: Apache-2.0
//! A blocking writer, written to by a thread.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::io::AsyncWrite;

/// Bytes that wait for the thread; beyond them the link waits.
const BEHIND: usize = 64 << 10;

/// What the thread is to write. Dropped, the thread writes what waits and ends.
pub(super) struct Output(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BytesMut,
    is_writing: bool,
    is_over: bool,
    failed: Option<io::ErrorKind>,
    writer: Option<Waker>,
}

impl Output {
    pub(super) fn start(into: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new() });
        let theirs = shared.clone();
        std::thread::Builder::new().name("biplane-stdout".to_owned()).spawn(move || theirs.write(into))?;
        Ok(Self(shared))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn write(&self, mut into: impl Write) {
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() {
                if state.is_over {
                    return;
                }
                self.work.wait(&mut state);
            }
            let piece = state.waiting.split();
            state.is_writing = true;
            drop(state);
            let written = into.write_all(&piece).and_then(|()| into.flush());
            let mut state = self.state();
            state.is_writing = false;
            state.failed = written.err().map(|error| error.kind());
            let waker = state.writer.take();
            let has_failed = state.failed.is_some();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
            if has_failed {
                return;
            }
        }
    }
}

impl State {
    /// Ready once `is_done`, or with the thread's error.
    fn poll(&mut self, cx: &Context<'_>, is_done: impl FnOnce(&Self) -> bool) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if is_done(self) {
            return Poll::Ready(Ok(()));
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        std::task::ready!(state.poll(cx, |state| state.waiting.len() < BEHIND))?;
        let count = bytes.len().min(BEHIND);
        state.waiting.extend_from_slice(bytes.get(..count).unwrap_or_default());
        drop(state);
        self.0.work.notify_one();
        Poll::Ready(Ok(count))
    }

    /// Ready when the thread has handed everything to the system.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.state().poll(cx, |state| state.waiting.is_empty() && !state.is_writing)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::AsyncWriteExt;

    use super::*;

    struct Gate(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.1.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_flush_is_done_when_it_is_written_and_a_slow_reader_holds_the_writer() {
        let (open, gate) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let mut output = Output::start(Gate(gate, sender)).unwrap();
        output.write_all(b"one").await.unwrap();
        let early = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut output).poll_flush(cx))).await;
        assert!(early.is_pending());
        open.send(()).unwrap();
        output.flush().await.unwrap();
        assert_eq!(written.try_recv().unwrap(), b"one");
        // The first is with the thread, the next fill the room, and then the writer waits.
        let more = vec![0; BEHIND];
        let took: usize = std::future::poll_fn(|cx| {
            let took = (0..10).map(|_| match Pin::new(&mut output).poll_write(cx, &more) {
                Poll::Ready(count) => count.unwrap(),
                Poll::Pending => 0,
            });
            Poll::Ready(took.sum())
        })
        .await;
        assert!((BEHIND..=2 * BEHIND).contains(&took), "{took}");
        drop(open);
        assert_eq!(output.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
