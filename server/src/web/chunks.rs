//! Answers that are sent while they are still being written.

use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::Frame;
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
