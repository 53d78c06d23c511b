//! The bytes of a connection, watched as they pass: how much of an answer has come, and which version it claims.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

/// Whatever bytes go through: TCP, TLS, a tunnel.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The most that is read at once. The library grows a connection's buffer with what its reads bring, and keeps it while
/// the connection waits: thousands of idle connections would hold the largest answer that each has seen.
const READ_BYTES_MAX: u64 = 16 << 10;

/// Where the digits of `HTTP/1.1` stand.
const MAJOR_AT: u64 = 5;
const MINOR_AT: u64 = 7;

/// What is known about the answer that is being waited for.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Its bytes so far.
    received: AtomicU64,
}

impl Progress {
    /// The next byte to come is the first of an answer.
    pub(crate) fn begin(&self) {
        self.received.store(0, Ordering::Relaxed);
    }

    /// Whether nothing of the answer has come.
    pub(crate) fn is_silent(&self) -> bool {
        self.received.load(Ordering::Relaxed) == 0
    }
}

/// A connection's bytes.
pub(crate) struct Wire {
    /// Takes no more at once than it is told to before each read.
    io: Take<Box<dyn Io>>,
    progress: Arc<Progress>,
    /// HTTP/1 has a status line, HTTP/2 has none.
    has_status_line: bool,
}

impl Wire {
    pub(crate) fn new(io: Box<dyn Io>, progress: Arc<Progress>, has_status_line: bool) -> Self {
        Wire {
            io: io.take(READ_BYTES_MAX),
            progress,
            has_status_line,
        }
    }
}

/// Compat: Go reads a status line of any version of two digits (conformance `http-response-tolerance`, `v12`); the
/// library knows 1.0 and 1.1. A version above is taken for 1.1, which is what its sender speaks.
fn soften_version(came_before: u64, bytes: &mut [u8]) {
    for at in [MAJOR_AT, MINOR_AT] {
        let index = at
            .checked_sub(came_before)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(digit) = index.and_then(|at| bytes.get_mut(at))
            && matches!(digit, b'2'..=b'9')
        {
            *digit = b'1';
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        self.io.set_limit(READ_BYTES_MAX);
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        let new = &mut buf.filled_mut()[filled..];
        if !new.is_empty() {
            let before = self
                .progress
                .received
                .fetch_add(new.len() as u64, Ordering::Relaxed);
            if self.has_status_line && before <= MINOR_AT {
                soften_version(before, new);
            }
        }
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_softened_wherever_reads_are_cut() {
        for (sent, read) in [
            ("HTTP/1.2 200 OK", "HTTP/1.1 200 OK"),
            ("HTTP/2.0 299 99", "HTTP/1.0 299 99"),
            ("HTTP/1.0 200 OK", "HTTP/1.0 200 OK"),
            ("HTTP/1.1 222 2.2", "HTTP/1.1 222 2.2"),
            ("\r\nHTTP/1.1 200", "\r\nHTTP/1.1 200"),
        ] {
            for cut in 0..sent.len() {
                let (mut head, mut tail) = (sent.as_bytes()[..cut].to_vec(), sent.as_bytes()[cut..].to_vec());
                soften_version(0, &mut head);
                soften_version(cut as u64, &mut tail);
                head.append(&mut tail);
                assert_eq!(String::from_utf8_lossy(&head), read, "cut at {cut}");
            }
        }
    }
}
