//! Bodies that come compressed: inflated as a whole within a bound, or piece by piece.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::write::MultiGzDecoder;

/// Why a body does not inflate: nothing else can happen, and each way in has a word of its own for both.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// It is not compressed in the way that it is said to be.
    #[error(transparent)]
    Malformed(#[from] std::io::Error),
    /// There is more than may be.
    #[error("more than {bytes_max} bytes once it is inflated")]
    TooLong {
        /// How much there may be.
        bytes_max: usize,
    },
}

/// All that `decoder` gives, which is never asked for more than `bytes_max` and one.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflated = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut inflated)?;
    match inflated.len() > bytes_max {
        true => Err(InflateError::TooLong { bytes_max }),
        false => Ok(inflated),
    }
}

/// The same of gzip, all its members.
///
/// # Errors
/// See [`InflateError`].
pub fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    inflate(flate2::bufread::MultiGzDecoder::new(body), bytes_max)
}

/// Memory that bodies take together once they are inflated, whoever sends them: counted while it grows, since nothing says
/// before how long a body will be.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicUsize,
    max: usize,
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub struct Taken<'b> {
    budget: &'b Budget,
    bytes: usize,
}

/// Others take all memory that there is for inflated bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many bodies are read at the same time; try again later")]
pub struct NoRoom;

impl Budget {
    /// One of so many bytes.
    pub const fn new(max: usize) -> Self {
        Budget {
            taken: AtomicUsize::new(0),
            max,
        }
    }

    /// A part of it, empty yet.
    pub fn part(&self) -> Taken<'_> {
        Taken {
            budget: self,
            bytes: 0,
        }
    }
}

impl Taken<'_> {
    /// Takes more.
    ///
    /// # Errors
    /// When there is not as much left; nothing more is taken then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let Budget { taken, max } = self.budget;
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| taken <= max);
        let grown = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        grown.map_err(|_| NoRoom)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Counts what is read against a budget.
struct Counted<'t, 'b, R> {
    reader: R,
    taken: &'t mut Taken<'b>,
    full: bool,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        match self.taken.grow(read) {
            Ok(()) => Ok(read),
            Err(NoRoom) => {
                self.full = true;
                Err(io::Error::other(NoRoom))
            }
        }
    }
}

/// As [`gunzip`], with what it takes counted in `taken`.
///
/// # Errors
/// [`NoRoom`], or what is wrong with the body.
pub fn gunzip_counted(
    body: &[u8],
    bytes_max: usize,
    taken: &mut Taken<'_>,
) -> Result<Result<Vec<u8>, InflateError>, NoRoom> {
    let mut counted = Counted {
        reader: flate2::bufread::MultiGzDecoder::new(body),
        taken,
        full: false,
    };
    let inflated = inflate(&mut counted, bytes_max);
    match counted.full {
        true => Err(NoRoom),
        false => Ok(inflated),
    }
}

/// Compressed bytes that are inflated at a time: they become some 16 MiB at most.
const PIECE_BYTES: usize = 16 << 10;

/// A stream of any length, compressed or not.
pub struct Stream(Option<MultiGzDecoder<Vec<u8>>>);

impl Stream {
    /// One that is as the header `Content-Encoding` says, if that is gzip or nothing.
    pub fn of_encoding(content_encoding: &str) -> Option<Self> {
        match content_encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Stream(None)),
            "gzip" | "x-gzip" => Some(Stream(Some(MultiGzDecoder::new(Vec::new())))),
            _ => None,
        }
    }

    /// Shows `each` what becomes of the bytes that come next.
    ///
    /// # Errors
    /// When they are not gzip; what came before them was shown.
    pub fn inflate(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let Some(decoder) = &mut self.0 else {
            each(bytes);
            return Ok(());
        };
        for piece in bytes.chunks(PIECE_BYTES) {
            let written = decoder.write_all(piece);
            each(decoder.get_ref());
            decoder.get_mut().clear();
            written?;
        }
        Ok(())
    }

    /// The stream has ended: the same of what is left.
    ///
    /// # Errors
    /// When it should go on.
    pub fn finish(self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let Some(mut decoder) = self.0 else {
            return Ok(());
        };
        let finished = decoder.try_finish();
        each(decoder.get_ref());
        finished
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    fn unpacked(pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut stream = Stream::of_encoding("gzip").expect("known");
        let mut seen = Vec::new();
        for piece in pieces {
            stream.inflate(piece, |bytes| seen.extend_from_slice(bytes))?;
        }
        stream.finish(|bytes| seen.extend_from_slice(bytes))?;
        Ok(seen)
    }

    #[test]
    fn bodies_share_a_budget_and_give_it_back() {
        let budget = Budget::new(100);
        let body = packed(&[7; 60]);
        let mut first = budget.part();
        assert!(matches!(gunzip_counted(&body, 1000, &mut first), Ok(Ok(bytes)) if bytes.len() == 60));
        assert!(matches!(
            gunzip_counted(&body, 1000, &mut budget.part()),
            Err(NoRoom)
        ));
        assert!(matches!(
            gunzip_counted(&body, 30, &mut budget.part()),
            Ok(Err(InflateError::TooLong { .. }))
        ));
        drop(first);
        assert!(matches!(
            gunzip_counted(&body, 1000, &mut budget.part()),
            Ok(Ok(_))
        ));
        assert!(budget.part().grow(100).is_ok() && budget.part().grow(101).is_err());
    }

    #[test]
    fn streams_are_inflated_however_they_are_cut() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let bytes = [packed(&text), packed(b"and more")].concat();
        let whole = [&text[..], b"and more"].concat();
        for at in [0, 1, 9, 11, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
            assert!(
                unpacked(&[&bytes[..at], &bytes[at..]]).expect("gzip") == whole,
                "{at}"
            );
        }
        assert!(unpacked(&[&bytes[..bytes.len() - 1]]).is_err());
        assert!(unpacked(&[b"plain text that is not packed"]).is_err());
        assert!(Stream::of_encoding("br").is_none());
    }

    #[test]
    fn what_inflates_to_very_much_comes_in_pieces() {
        let bomb = packed(&vec![0; 40 << 20]);
        let mut stream = Stream::of_encoding("gzip").expect("known");
        let (mut most, mut all) = (0, 0);
        stream
            .inflate(&bomb, |bytes| {
                most = most.max(bytes.len());
                all += bytes.len();
            })
            .expect("gzip");
        assert!(all >= 39 << 20 && most <= 20 << 20, "{most} of {all}");
    }
}
