//! Answers that are sent while they are still being written.
//!
//! Writing takes a thread, waiting for the client takes none: what writes an answer is a future ([`write()`]) that is
//! polled on blocking threads and, where the buffers are full, put aside until the client has taken some of them. So
//! no number of clients that do not read keeps a thread from anybody.

use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::Frame;
use supervise::Supervisor;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

/// Bytes that are collected before they are handed on.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait for a slow client; the writer is put aside then.
const CHUNKS_WAITING: usize = 4;

/// A part of an answer.
struct Chunk {
    bytes: Bytes,
    /// None comes after it. Told with it, because a reader that waited to see would be woken twice.
    last: bool,
}

/// A buffer that is handed on when it is full.
pub(crate) struct ChunkSink {
    buffer: Vec<u8>,
    sender: mpsc::Sender<Chunk>,
    /// The client is gone: what is written goes nowhere.
    closed: bool,
}

impl ChunkSink {
    /// Whether the buffer is to be handed on now. Asked where a client's bytes may be cut: anywhere.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= CHUNK_BYTES
    }

    /// Hands the buffer on, once there is room for it; false when the client is gone, and what is still to be written
    /// need not be.
    pub(crate) async fn hand_on(&mut self) -> bool {
        let next = Vec::with_capacity(if self.closed { 0 } else { CHUNK_BYTES + 1024 });
        let full = std::mem::replace(&mut self.buffer, next);
        self.send(full, false).await;
        !self.closed
    }

    /// Whether somebody still waits for the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Hands on what there is: the answer is whole.
    pub(crate) async fn finish(mut self) {
        let rest = std::mem::take(&mut self.buffer);
        self.send(rest, true).await;
    }

    async fn send(&mut self, bytes: Vec<u8>, last: bool) {
        let chunk = Chunk {
            bytes: Bytes::from(bytes),
            last,
        };
        self.closed = self.closed
            || match self.sender.try_send(chunk) {
                Ok(()) => false,
                Err(TrySendError::Closed(_)) => true,
                // Taking a thread again is worth while for more than one chunk.
                Err(TrySendError::Full(chunk)) => match self.sender.reserve_many(CHUNKS_WAITING / 2).await {
                    Ok(mut room) => {
                        if let Some(room) = room.next() {
                            room.send(chunk);
                        }
                        false
                    }
                    Err(_) => true,
                },
            };
    }
}

impl Deref for ChunkSink {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.buffer
    }
}

impl DerefMut for ChunkSink {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

/// Writes an answer: on this thread, which is one for work that takes long, as long as there is room for what is
/// written, and on others of that kind from then on. Called within a runtime.
pub(crate) fn write(supervisor: &Supervisor, writer: impl Future<Output = ()> + Send + 'static) {
    let mut writer = Writer {
        future: Box::pin(writer),
        room: Arc::default(),
        supervisor: supervisor.clone(),
    };
    if writer.goes_on() {
        tokio::spawn(writer.follow());
    }
}

/// What writes an answer.
struct Writer {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    room: Arc<Room>,
    supervisor: Supervisor,
}

/// Tells that there is room in the buffers again.
#[derive(Default)]
struct Room(Notify);

impl Wake for Room {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Writer {
    /// Writes as long as there is room; whether there is more to write.
    fn goes_on(&mut self) -> bool {
        let waker = Waker::from(self.room.clone());
        let poll = || self.future.as_mut().poll(&mut Context::from_waker(&waker));
        // A writer that panicked has left its answer without an end: the client sees it broken off.
        self.supervisor
            .catch("answer", poll)
            .is_ok_and(|polled| polled.is_pending())
    }

    /// Writes the rest. What it holds is large: it is dropped where it was made.
    async fn follow(mut self) {
        loop {
            self.room.0.notified().await;
            let gone_on = tokio::task::spawn_blocking(move || self.goes_on().then_some(self));
            match gone_on.await {
                Ok(Some(writer)) => self = writer,
                _ => return,
            }
        }
    }
}

/// The reading end, and a body that ends cleanly only where the writer said so.
///
/// Compressing layers poll a body again after its end; a body has to bear that.
pub(crate) struct Chunks {
    receiver: mpsc::Receiver<Chunk>,
    /// Taken from the receiver already, to see what kind of answer it is.
    first: Option<Chunk>,
    ended: bool,
}

/// The writer of an answer ended in its midst: what was sent is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer was given up while it was being written")]
pub(crate) struct BrokenOff;

/// Both ends.
pub(crate) fn channel() -> (ChunkSink, Chunks) {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    (
        ChunkSink {
            buffer: Vec::with_capacity(4096),
            sender,
            closed: false,
        },
        Chunks {
            receiver,
            first: None,
            ended: false,
        },
    )
}

impl Chunks {
    /// A body: whole, with its length known, if all fits one chunk; a stream otherwise. `None` when the writer gave up
    /// before it had a chunk.
    pub(crate) async fn into_body(mut self) -> Option<Body> {
        let first = self.receiver.recv().await?;
        if first.last {
            return Some(Body::from(first.bytes));
        }
        self.first = Some(first);
        Some(Body::new(self))
    }
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = match self.first.take() {
            Some(first) => Some(first),
            None => std::task::ready!(self.receiver.poll_recv(context)),
        };
        self.ended = next.as_ref().is_none_or(|chunk| chunk.last);
        // Whoever sends the answer cuts the connection then; a clean end would pass a part off as the whole.
        let frame = next.map(|chunk| Frame::data(chunk.bytes)).ok_or(BrokenOff);
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests;
