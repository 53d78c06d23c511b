//! The body of what is pushed: within a bound, at a pace, in room that senders share.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::room::{Places, Room, Sender};
use super::{Intake, PushState};
use crate::web::params::DISCARDED_BYTES_MAX;

/// Bodies of up to this many bytes take no room.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// Longest wait for room.
pub(super) const ROOM_PATIENCE: Duration = Duration::from_secs(30);
/// A body may take this long, whatever its size ...
const BODY_PATIENCE: Duration = Duration::from_secs(15);
/// ... and a second more for as many bytes as these ...
const BODY_BYTES_PER_SECOND: usize = 64 << 10;
/// ... but must never pause for longer than this.
const BODY_PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(in crate::web) enum BodyError {
    /// It is larger than it may be.
    #[error("request body too large: it may have {bytes_max} bytes")]
    TooLarge {
        /// How many there may be.
        bytes_max: usize,
    },
    /// The connection, or what is said about lengths in it, is broken.
    #[error("request body cannot be read after {seen} bytes: {source}")]
    Broken {
        /// How much had come.
        seen: usize,
        /// What happened.
        source: axum::Error,
    },
    /// It comes too slowly to go on holding the room for it.
    #[error("request body comes too slowly: {seen} bytes in {}s", after.as_secs())]
    TooSlow {
        /// How much had come.
        seen: usize,
        /// Within which time.
        after: Duration,
    },
    /// Others, or others of the same sender, take all room.
    #[error("too many request bodies at the same time; try again later")]
    NoRoom,
}

/// A request whose body is there.
#[derive(Debug)]
pub(in crate::web) struct Pushed {
    pub(super) parts: Parts,
    pub(super) sender: Sender,
    pub(super) body: Bytes,
    /// Held while the body lives.
    _room: Option<Places>,
}

impl Pushed {
    /// The body.
    pub(in crate::web) fn bytes(&self) -> &[u8] {
        &self.body
    }
}

impl PushState {
    /// As [`Intake::read`].
    ///
    /// # Errors
    /// When it does not come whole.
    pub(in crate::web) async fn read(&self, request: Request, bytes_max: usize) -> Result<Pushed, BodyError> {
        self.intake.read(request, bytes_max).await
    }
}

impl Intake {
    /// Reads a body of at most `bytes_max`. What says that it is longer is refused before room is made for it.
    ///
    /// # Errors
    /// When it does not come whole.
    pub(in crate::web) async fn read(&self, request: Request, bytes_max: usize) -> Result<Pushed, BodyError> {
        let sender = Sender::of(&request);
        let (parts, body) = request.into_parts();
        let told = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let (body, _room) = read(&self.bodies, &sender, told, body, bytes_max).await?;
        Ok(Pushed {
            parts,
            sender,
            body,
            _room,
        })
    }
}

async fn read(
    room: &Room,
    sender: &Sender,
    told: Option<usize>,
    body: Body,
    bytes_max: usize,
) -> Result<(Bytes, Option<Places>), BodyError> {
    if told.is_some_and(|bytes| bytes > bytes_max) {
        discard(body).await;
        return Err(BodyError::TooLarge { bytes_max });
    }
    let expected = told.unwrap_or(bytes_max);
    let places = match expected <= SMALL_BODY_BYTES {
        true => None,
        false => {
            let taking = room.take(sender, expected.div_ceil(1 << 20));
            Some(
                timeout(ROOM_PATIENCE, taking)
                    .await
                    .map_err(|_| BodyError::NoRoom)?,
            )
        }
    };
    let bytes = collect(body, told.unwrap_or(0), bytes_max).await?;
    Ok((bytes, places))
}

async fn collect(body: Body, capacity: usize, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut body = Paced::new(body);
    let mut bytes = BytesMut::new();
    while let Some(data) = body.next().await? {
        if data.len() > bytes_max - bytes.len() {
            drop(bytes);
            discard(body.body).await;
            return Err(BodyError::TooLarge { bytes_max });
        }
        if bytes.is_empty() {
            // Not before something has come.
            bytes.reserve(capacity.max(data.len()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// A body that has to come at a pace. Only waiting for it counts: whoever reads may take its time.
pub(super) struct Paced {
    body: Body,
    seen: usize,
    waited: Duration,
    /// How long it may still be waited for.
    patience: Duration,
}

impl Paced {
    pub(super) fn new(body: Body) -> Self {
        Paced {
            body,
            seen: 0,
            waited: Duration::ZERO,
            patience: BODY_PATIENCE,
        }
    }

    /// What comes next; nothing at the end.
    ///
    /// # Errors
    /// When it comes too slowly, or not as it should.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let begin = Instant::now();
            let frame = timeout_at(begin + self.patience, self.body.frame()).await;
            self.waited += begin.elapsed();
            self.patience = self.patience.saturating_sub(begin.elapsed());
            let Ok(frame) = frame else {
                return Err(BodyError::TooSlow {
                    seen: self.seen,
                    after: self.waited,
                });
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|source| BodyError::Broken {
                seen: self.seen,
                source,
            })?;
            let Ok(data) = frame.into_data() else { continue };
            self.seen += data.len();
            let earned = Duration::from_secs_f64(data.len() as f64 / BODY_BYTES_PER_SECOND as f64);
            self.patience = (self.patience + earned).min(BODY_PATIENCE_MAX);
            return Ok(Some(data));
        }
    }

    /// As much of what comes next as is some `bytes`, unless it ends before; nothing at the end.
    ///
    /// # Errors
    /// As [`Paced::next`].
    pub(super) async fn piece(&mut self, bytes: usize) -> Result<Option<Bytes>, BodyError> {
        let Some(first) = self.next().await? else {
            return Ok(None);
        };
        let mut piece = BytesMut::from(first);
        while piece.len() < bytes {
            match self.next().await? {
                Some(data) => piece.extend_from_slice(&data),
                None => break,
            }
        }
        Ok(Some(piece.freeze()))
    }
}

/// Reads on for a while and throws it away, so that the client gets to see the answer.
async fn discard(mut body: Body) {
    let mut seen = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DISCARDED_BYTES_MAX {
                return;
            }
        }
    };
    // Whether it ends or not, the answer is the same.
    let _ = timeout(BODY_PATIENCE, reading).await;
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    use crate::web::push::BODY_BYTES_MAX;

    const NOBODY: Sender = Sender::Peer(None);

    fn slow(pause: Duration, bytes: usize) -> Body {
        let chunks = stream::repeat_with(move || Bytes::from(vec![b'x'; bytes]));
        Body::from_stream(chunks.then(move |chunk| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(chunk)
        }))
    }

    async fn read_one(told: Option<usize>, body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
        let room = Room::new(8);
        read(&room, &NOBODY, told, body, bytes_max)
            .await
            .map(|(bytes, _)| bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_comes_whole_or_is_refused() {
        let whole = read_one(Some(3), Body::from("abc"), 3).await.expect("fits");
        assert_eq!(whole, "abc");
        let large = |told| read_one(told, Body::from("abcd"), 3);
        assert!(matches!(
            large(Some(4)).await,
            Err(BodyError::TooLarge { bytes_max: 3 })
        ));
        assert!(matches!(
            large(None).await,
            Err(BodyError::TooLarge { bytes_max: 3 })
        ));
        // One that would never come costs nothing but its head.
        let told = read_one(
            Some(usize::MAX),
            Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()),
            3,
        );
        assert!(matches!(told.await, Err(BodyError::TooLarge { .. })));
        let broken = Body::from_stream(stream::iter([Ok("ab"), Err(std::io::Error::other("reset"))]));
        assert!(matches!(
            read_one(None, broken, 9).await,
            Err(BodyError::Broken { seen: 2, .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_ends_and_one_that_is_slow_does_not() {
        let drip = read_one(None, slow(Duration::from_secs(1), 1), BODY_BYTES_MAX).await;
        let Err(BodyError::TooSlow { seen, after }) = drip else {
            panic!("{drip:?}")
        };
        assert!(
            seen < 20 && after <= BODY_PATIENCE + Duration::from_secs(1),
            "{seen} {after:?}"
        );
        // Forty seconds, and within its pace.
        let slow = slow(Duration::from_secs(1), 2 * BODY_BYTES_PER_SECOND)
            .into_data_stream()
            .take(40);
        let read = read_one(None, Body::from_stream(slow), BODY_BYTES_MAX).await;
        assert_eq!(read.expect("comes").len(), 80 * BODY_BYTES_PER_SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_earns_no_pauses_beyond_a_minute() {
        let fast = stream::repeat_with(|| Bytes::from(vec![b'x'; 1 << 20])).take(100);
        let never = stream::pending::<Bytes>();
        let mut body = Paced::new(Body::from_stream(fast.chain(never).map(Ok::<_, std::io::Error>)));
        let mut pieces = 0;
        let after = loop {
            // Whoever reads may take its time.
            tokio::time::sleep(Duration::from_secs(300)).await;
            match body.piece(3 << 20).await {
                Ok(piece) => pieces += piece.map_or(0, |piece| piece.len() >> 20),
                Err(BodyError::TooSlow { after, .. }) => break after,
                Err(other) => panic!("{other}"),
            }
        };
        // What had come of the last piece is not one.
        assert_eq!((pieces, after), (99, BODY_PATIENCE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn no_room_is_waited_for_for_ever() {
        let room = Room::new(2);
        let _all = (
            room.take(&Sender::Token("a".into()), 1).await,
            room.take(&Sender::Token("b".into()), 1).await,
        );
        let large = || Body::from(vec![0; SMALL_BODY_BYTES + 1]);
        let refused = read(&room, &NOBODY, Some(SMALL_BODY_BYTES + 1), large(), 1 << 20).await;
        assert!(matches!(refused, Err(BodyError::NoRoom)));
        let small = read(&room, &NOBODY, Some(3), Body::from("abc"), 1 << 20).await;
        assert!(small.is_ok(), "small ones need none");
    }
}
