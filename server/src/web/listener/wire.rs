//! The bytes of a connection: watched as they are read and written ([`Meter`]), and read through [`Heads`] ([`Wire`]), with
//! TLS in between where there is such a thing.
//!
//! A client may end its side of a connection as soon as it has asked (`nc -N`, some health checkers); one that is gone
//! looks the same. So the end is kept back for a while as long as a request is being answered, and for longer once some
//! of the answer is on its way: a client that is gone is found out by what is written to it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::conn::Conn;
use super::heads::{Heads, Protocol};
use super::tls::{Channel, agreed_protocol};

/// Bytes that are read at a time.
const READ_BYTES: usize = 8 << 10;
/// A buffer that a long head has made larger than this is given back.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// How long a client that has ended its side may wait for the beginning of its answer, before it counts as gone.
pub(super) const HALF_CLOSED_PATIENCE: Duration = Duration::from_secs(1);

/// What connections are made over.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Lets the end be a reset, so that nothing more is sent and the client knows.
    fn end_by_reset(&self);
}

/// A socket, whose writing is watched: below TLS, since that takes bytes before the system does.
pub(super) struct Meter<S: Socket> {
    socket: S,
    conn: Arc<Conn>,
    /// Looked at, and not yet read.
    ahead: Option<u8>,
}

impl<S: Socket> Meter<S> {
    pub(super) fn new(socket: S, conn: Arc<Conn>) -> Self {
        Meter {
            socket,
            conn,
            ahead: None,
        }
    }

    /// The first byte, which stays to be read; `None` at the end.
    pub(super) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        if self.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        self.ahead = Some(byte[0]);
        Ok(self.ahead)
    }

    fn wrote(&self, polled: Poll<io::Result<usize>>, wanted: usize) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(bytes)) => self.conn.wrote(*bytes as u64, *bytes == wanted),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.conn.stuck(),
        }
        polled
    }
}

impl<S: Socket> AsyncRead for Meter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() > 0
            && let Some(byte) = self.ahead.take()
        {
            into.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl<S: Socket> AsyncWrite for Meter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wrote(polled, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.wrote(polled, parts.iter().map(|part| part.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl<S: Socket> Drop for Meter<S> {
    fn drop(&mut self) {
        if self.conn.resets() {
            self.socket.end_by_reset();
        }
    }
}

/// A connection's bytes.
pub(super) struct Wire<S: Socket> {
    channel: Channel<S>,
    conn: Arc<Conn>,
    heads: Heads,
    /// As they came.
    raw: BytesMut,
    /// As they are handed on.
    ready: BytesMut,
    ended: bool,
    /// Nothing of what was to be written waits any more.
    flushed: bool,
    /// Runs while the end is kept back.
    kept_back: Option<Pin<Box<Sleep>>>,
}

impl<S: Socket> Wire<S> {
    pub(super) fn new(channel: Channel<S>, conn: Arc<Conn>) -> Self {
        let heads = match agreed_protocol(&channel) {
            Some(Protocol::Http2) => Heads::opaque(),
            _ => Heads::new(),
        };
        Wire {
            channel,
            conn,
            heads,
            raw: BytesMut::new(),
            ready: BytesMut::new(),
            ended: false,
            flushed: true,
            kept_back: None,
        }
    }

    /// Reads until the protocol is known; `None` when the connection ends before. Where another one was agreed upon than is
    /// spoken, the library says what it thinks of that.
    pub(super) async fn protocol(&mut self) -> io::Result<Option<Protocol>> {
        loop {
            if let Some(spoken) = self.heads.protocol(&self.raw).filter(|_| !self.raw.is_empty()) {
                return Ok(agreed_protocol(&self.channel).or(Some(spoken)));
            }
            if self.ended {
                return Ok(None);
            }
            poll_fn(|context| self.poll_more(context)).await?;
        }
    }

    /// Reads more into `raw`.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.raw.reserve(READ_BYTES);
        let before = self.raw.len();
        self.raw.resize(before + READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut self.raw[before..]);
        let polled = Pin::new(&mut self.channel).poll_read(context, &mut buffer);
        let bytes = buffer.filled().len();
        self.raw.truncate(before + bytes);
        ready!(polled)?;
        self.ended = bytes == 0;
        if bytes > 0 {
            self.conn.read();
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for as long as the client's end is not to be told.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Where a body breaks off, whoever reads it is to know at once.
        while self.heads.in_head() && (self.conn.is_running() || !self.flushed) {
            let clock = self
                .kept_back
                .get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED_PATIENCE)));
            ready!(clock.as_mut().poll(context));
            if self.flushed && !self.conn.is_answering() {
                break;
            }
            clock.as_mut().reset(Instant::now() + HALF_CLOSED_PATIENCE);
        }
        Poll::Ready(())
    }
}

impl<S: Socket> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let bytes = this.ready.len().min(into.remaining());
                into.put_slice(&this.ready[..bytes]);
                this.ready.advance(bytes);
                if this.ready.is_empty() && this.ready.capacity() > KEPT_BYTES_MAX {
                    this.ready = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.heads.is_opaque() && this.raw.is_empty() {
                let before = into.filled().len();
                ready!(Pin::new(&mut this.channel).poll_read(context, into))?;
                if into.filled().len() > before {
                    this.conn.read();
                }
                return Poll::Ready(Ok(()));
            }
            this.heads
                .feed(&mut this.raw, &mut this.ready, &this.conn.targets);
            if this.ready.is_empty() && this.ended {
                ready!(this.poll_end(context));
                // What is left is no whole head; the library says what it thinks of that.
                std::mem::swap(&mut this.raw, &mut this.ready);
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            } else if this.ready.is_empty() {
                ready!(this.poll_more(context))?;
            }
        }
    }
}

impl<S: Socket> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.flushed = false;
        Pin::new(&mut self.channel).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.flushed = false;
        Pin::new(&mut self.channel).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.channel.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.channel).poll_flush(context))?;
        // The library flushes once it holds nothing back.
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_shutdown(context)
    }
}
