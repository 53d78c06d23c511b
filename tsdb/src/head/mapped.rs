//! The full chunks of a series as a few bytes each: what is at the front of its string in the page's arena.
//!
//! A chunk is three uvarints: the difference of its reference to that of the chunk before (0 for the first), the
//! milliseconds from the end of the chunk before (0 for the first), and its length in milliseconds. Differences wrap, so
//! that any chunk can be described.

use super::chunk_files::MappedChunk;

/// Bytes that a chunk takes at most.
pub(crate) const MAPPED_BYTES_MAX: usize = 30;

/// What the first chunk is described relative to.
const BEFORE_FIRST: MappedChunk = MappedChunk {
    chunk: 0,
    min_ms: 0,
    max_ms: 0,
};

/// The chunks of a list, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct MappedList<'a> {
    rest: &'a [u8],
    last: MappedChunk,
}

impl<'a> MappedList<'a> {
    /// The list that these bytes are.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        MappedList {
            rest: bytes,
            last: BEFORE_FIRST,
        }
    }

    fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Iterator for MappedList<'_> {
    type Item = MappedChunk;

    fn next(&mut self) -> Option<MappedChunk> {
        if self.rest.is_empty() {
            return None;
        }
        let chunk = self.last.chunk.wrapping_add(self.uvarint()?);
        let min_ms = self.last.max_ms.wrapping_add(self.uvarint()? as i64);
        let max_ms = min_ms.wrapping_add(self.uvarint()? as i64);
        self.last = MappedChunk {
            chunk,
            min_ms,
            max_ms,
        };
        Some(self.last)
    }
}

/// A chunk as the list has it behind `before`: the bytes, and how many they are.
pub(crate) fn mapped_bytes(
    before: Option<MappedChunk>,
    chunk: &MappedChunk,
) -> ([u8; MAPPED_BYTES_MAX], usize) {
    let before = before.unwrap_or(BEFORE_FIRST);
    let (mut bytes, mut len) = ([0; MAPPED_BYTES_MAX], 0);
    for mut value in [
        chunk.chunk.wrapping_sub(before.chunk),
        chunk.min_ms.wrapping_sub(before.max_ms) as u64,
        chunk.max_ms.wrapping_sub(chunk.min_ms) as u64,
    ] {
        while value >= 0x80 {
            bytes[len] = value as u8 | 0x80;
            value >>= 7;
            len += 1;
        }
        bytes[len] = value as u8;
        len += 1;
    }
    (bytes, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_chunks_come_back() {
        let chunk = |chunk, min_ms, max_ms| MappedChunk {
            chunk,
            min_ms,
            max_ms,
        };
        let chunks = [
            chunk(1 << 32 | 8, 1_795_400_000_000, 1_795_401_785_000),
            chunk(1 << 32 | 90_000_000, 1_795_401_800_000, 1_795_403_585_000),
            chunk(u64::MAX, i64::MIN, i64::MAX),
            chunk(0, -1, -1),
        ];
        let (mut bytes, mut before) = (Vec::new(), None);
        for (i, chunk) in chunks.iter().enumerate() {
            let (own, len) = mapped_bytes(before, chunk);
            bytes.extend_from_slice(&own[..len]);
            before = Some(*chunk);
            if i == 1 {
                assert_eq!(len, 4 + 2 + 3, "what a usual chunk takes");
            }
        }
        assert!(MappedList::new(&bytes).eq(chunks));
        assert_eq!(MappedList::new(&[]).next(), None);
    }
}
