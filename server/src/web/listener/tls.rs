//! TLS in front of a connection: the handshake, and what comes in its place.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::heads::Protocol;
use super::wire::{Meter, Socket};

/// The first byte of a handshake.
const HANDSHAKE: u8 = 0x16;
/// What begins like one of these speaks HTTP. Compat: the reference looks at five bytes, for these methods alone.
const PLAIN: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// What is said to it, in the reference's letters.
const PLAIN_ANSWER: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// Bytes that are read of what is no TLS, before the connection ends.
const UNREAD_BYTES_MAX: u64 = 64 << 10;
/// How long they are waited for.
const UNREAD_PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the client speaks HTTP where TLS is expected")]
    PlainHttp,
    #[error("what the client sent is no TLS")]
    NoTls,
    #[error("TLS handshake: {0}")]
    Failed(#[source] io::Error),
}

/// What requests come over: the connection itself, or TLS on it.
pub(super) type Channel<S> = Either<Meter<S>, Box<TlsStream<Meter<S>>>>;

/// The protocol that was agreed upon; `None` where the first bytes say it.
pub(super) fn agreed_protocol<S: Socket>(channel: &Channel<S>) -> Option<Protocol> {
    let Either::Right(stream) = channel else {
        return None;
    };
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        // Compat: who agrees upon nothing speaks HTTP/1.
        _ => Some(Protocol::Http1),
    }
}

/// Does the handshake; `None` where the client says nothing at all and goes.
pub(super) async fn accept<S: Socket>(
    mut meter: Meter<S>,
    config: Arc<ServerConfig>,
) -> Result<Option<Channel<S>>, HandshakeError> {
    match meter.first_byte().await {
        Ok(Some(HANDSHAKE)) => {}
        Ok(Some(_)) => return Err(no_tls(meter).await),
        Ok(None) => return Ok(None),
        Err(error) => return Err(HandshakeError::Failed(error)),
    }
    match TlsAcceptor::from(config).accept(meter).await {
        Ok(stream) => Ok(Some(Either::Right(Box::new(stream)))),
        Err(error) => Err(HandshakeError::Failed(error)),
    }
}

/// Tells a client that speaks HTTP what is wrong.
async fn no_tls<S: Socket>(mut meter: Meter<S>) -> HandshakeError {
    let mut begin = [0; 5];
    let is_plain = meter.read_exact(&mut begin).await.is_ok() && PLAIN.contains(&&begin);
    // It may have gone.
    if is_plain {
        let _ = meter.write_all(PLAIN_ANSWER).await;
    }
    let _ = meter.shutdown().await;
    // Unread bytes would make a reset of the end, and the answer be lost.
    let mut rest = meter.take(UNREAD_BYTES_MAX);
    let _ = timeout(
        UNREAD_PATIENCE,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
    match is_plain {
        true => HandshakeError::PlainHttp,
        false => HandshakeError::NoTls,
    }
}
