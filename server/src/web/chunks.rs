//! Answers that are sent while they are still being written.

use std::ops::{Deref, DerefMut};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

/// Bytes that are collected before they are handed on.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait for a slow client; the writer then waits too.
const CHUNKS_WAITING: usize = 4;

/// A part of an answer.
struct Chunk {
    bytes: Bytes,
    /// None comes after it. Told with it, because a reader that waited to see would be woken twice.
    last: bool,
}

/// A buffer that hands itself on when it is full. Filled by a blocking thread.
pub(crate) struct ChunkSink {
    buffer: Vec<u8>,
    sender: mpsc::Sender<Chunk>,
    /// The client is gone: what is written goes nowhere.
    closed: bool,
}

impl ChunkSink {
    /// Hands the buffer on if it is full; false when the client is gone, and what is still to be written need not be.
    /// Called where a client's bytes may be cut: anywhere.
    #[inline]
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.buffer.len() >= CHUNK_BYTES {
            let next = Vec::with_capacity(if self.closed { 0 } else { CHUNK_BYTES + 1024 });
            let full = std::mem::replace(&mut self.buffer, next);
            self.hand_on(full, false);
        }
        !self.closed
    }

    /// Whether somebody still waits for the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Hands on what there is: the answer is whole.
    pub(crate) fn finish(mut self) {
        let rest = std::mem::take(&mut self.buffer);
        self.hand_on(rest, true);
    }

    fn hand_on(&mut self, bytes: Vec<u8>, last: bool) {
        let bytes = Bytes::from(bytes);
        self.closed = self.closed || self.sender.blocking_send(Chunk { bytes, last }).is_err();
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

/// The reading end.
pub(crate) struct Chunks(mpsc::Receiver<Chunk>);

/// Both ends.
pub(crate) fn channel() -> (ChunkSink, Chunks) {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    (
        ChunkSink {
            buffer: Vec::with_capacity(4096),
            sender,
            closed: false,
        },
        Chunks(receiver),
    )
}

impl Chunks {
    /// A body: whole, with its length known, if all fits one chunk; a stream otherwise. `None` when the writer gave up
    /// before it had a chunk.
    pub(crate) async fn into_body(mut self) -> Option<Body> {
        let first = self.0.recv().await?;
        if first.last {
            return Some(Body::from(first.bytes));
        }
        let rest = stream::unfold(self.0, async |mut receiver| {
            let next = receiver.recv().await?;
            Some((next.bytes, receiver))
        });
        let all = futures_util::StreamExt::chain(stream::iter([first.bytes]), rest);
        Some(Body::from_stream(futures_util::StreamExt::map(
            all,
            Ok::<_, std::convert::Infallible>,
        )))
    }
}
