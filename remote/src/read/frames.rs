//! Frames of a streamed answer: the length as a number of variable length, the Castagnoli checksum with its highest byte
//! first, and the message.

use crc_fast::crc32_iscsi as crc32c;
use model::protobuf::put_varint;

/// Longest length field: ten bytes are 64 bits.
const LENGTH_BYTES_MAX: usize = 10;
const CRC_BYTES: usize = 4;

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FrameError {
    /// A length that has more than 64 bits.
    #[error("a frame's length is no number")]
    Length,
    /// A frame that is longer than one may be.
    #[error("message size exceeded the limit {limit} bytes; got: {bytes} bytes")]
    TooLong {
        /// How long it says it is.
        bytes: u64,
        /// How long it may be.
        limit: u64,
    },
    /// Its bytes are not those that were sent.
    #[error("corrupted frame; checksum mismatch")]
    Checksum,
    /// The stream ends within a frame.
    #[error("unexpected EOF: the stream ends within a frame")]
    Cut,
}

/// Writes a message as a frame.
pub(super) fn put_frame(out: &mut Vec<u8>, message: &[u8]) {
    put_varint(out, message.len() as u64);
    out.extend_from_slice(&crc32c(message).to_be_bytes());
    out.extend_from_slice(message);
}

/// Cuts a stream into frames, whatever pieces it comes in.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// How much of them has been taken.
    taken: usize,
    limit: u64,
}

impl Frames {
    /// No frame may be longer than `limit`.
    pub(super) fn new(limit: u64) -> Self {
        Frames {
            bytes: Vec::new(),
            taken: 0,
            limit,
        }
    }

    /// What holds the bytes that have come and belong to no whole frame yet.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds what has come.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// When it is damaged, or says that it is too long: before the rest of it has come.
    pub(super) fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.bytes[self.taken..];
        let Some((length, field_len)) = length(rest)? else {
            return Ok(None);
        };
        if length > self.limit {
            return Err(FrameError::TooLong {
                bytes: length,
                limit: self.limit,
            });
        }
        let too_long = FrameError::TooLong {
            bytes: length,
            limit: self.limit,
        };
        let length = usize::try_from(length).map_err(|_| too_long)?;
        let begins = self.taken + field_len + CRC_BYTES;
        let ends = begins.checked_add(length).ok_or(too_long)?;
        let Some(message) = self.bytes.get(begins..ends) else {
            return Ok(None);
        };
        if self.bytes[begins - CRC_BYTES..begins] != crc32c(message).to_be_bytes() {
            return Err(FrameError::Checksum);
        }
        self.taken = ends;
        Ok(Some(&self.bytes[begins..ends]))
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// When it ends within a frame.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        match self.taken == self.bytes.len() {
            true => Ok(()),
            false => Err(FrameError::Cut),
        }
    }
}

/// A length and the bytes that it takes, if all of them are there.
fn length(bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let mut length = 0u64;
    for (at, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        let part = u64::from(byte & 0x7f);
        if at == LENGTH_BYTES_MAX - 1 && *byte > 1 {
            return Err(FrameError::Length);
        }
        length |= part << (7 * at);
        if *byte < 0x80 {
            return Ok(Some((length, at + 1)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Vec<u8>, Vec<Vec<u8>>) {
        let messages: Vec<Vec<u8>> = [0, 1, 127, 128, 20_000]
            .map(|len| (0..len).map(|n| n as u8).collect())
            .into();
        let mut out = Vec::new();
        for message in &messages {
            put_frame(&mut out, message);
        }
        (out, messages)
    }

    fn read(stream: &[u8], piece: usize, limit: u64) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Frames::new(limit);
        let mut found = Vec::new();
        for piece in stream.chunks(piece) {
            frames.push(piece);
            while let Some(message) = frames.next_frame()? {
                found.push(message.to_vec());
            }
        }
        frames.finish().map(|()| found)
    }

    #[test]
    fn frames_come_whole_in_whatever_pieces() {
        let (stream, messages) = stream();
        for piece in [1, 2, 3, 7, 1000, 1 << 20] {
            assert_eq!(read(&stream, piece, 20_000).as_ref(), Ok(&messages), "{piece}");
        }
    }

    #[test]
    fn damage_is_found() {
        let (stream, messages) = stream();
        let boundaries: Vec<usize> = messages
            .iter()
            .scan(0, |at, message| {
                *at += if message.len() < 128 {
                    5
                } else {
                    6 + usize::from(message.len() > 16_383)
                } + message.len();
                Some(*at)
            })
            .collect();
        for len in 1..600 {
            let whole = boundaries.contains(&len);
            assert_eq!(read(&stream[..len], 64, 20_000).is_ok(), whole, "{len}");
        }
        for at in 0..400 {
            let mut damaged = stream.clone();
            damaged[at] ^= 0x10;
            assert!(read(&damaged, 64, 20_000).is_err(), "{at}");
        }
        let too_long = FrameError::TooLong {
            bytes: 128,
            limit: 127,
        };
        assert_eq!(read(&stream, 64, 127), Err(too_long));
        assert_eq!(read(&[0xff; 10], 64, 127), Err(FrameError::Length));
    }

    #[test]
    fn frames_are_those_of_the_reference() {
        // push/remote-read: range-single-millisecond/chunks has a frame of 72 bytes with this checksum.
        let mut out = Vec::new();
        put_frame(&mut out, b"123456789");
        assert_eq!(out, [&[9, 0xe3, 0x06, 0x92, 0x83][..], b"123456789"].concat());
    }
}
