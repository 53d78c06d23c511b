//! How records lie in the file.

use super::Format;

pub(super) const HEADER_BYTES: usize = 16;
/// Length of the body, its checksum, and the checksum of these two.
pub(super) const FRAME_HEADER_BYTES: usize = 12;

impl Format {
    pub(super) fn header(self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&self.magic);
        header[8..12].copy_from_slice(&self.version.to_be_bytes());
        let sum = crc32fast::hash(&header[..12]);
        header[12..].copy_from_slice(&sum.to_be_bytes());
        header
    }
}

/// Records that are written as one.
pub(super) struct Frame {
    /// The header, yet to be filled, and the records.
    bytes: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Frame {
            bytes: vec![0; FRAME_HEADER_BYTES],
        }
    }
}

impl Frame {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == FRAME_HEADER_BYTES
    }

    /// Adds a record, which is shorter than 4 GiB.
    pub(super) fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(&(record.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(record);
    }

    /// The frame as it is written.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let (header, body) = self.bytes.split_at_mut(FRAME_HEADER_BYTES);
        header[..4].copy_from_slice(&(body.len() as u32).to_be_bytes());
        header[4..8].copy_from_slice(&crc32fast::hash(body).to_be_bytes());
        let sum = crc32fast::hash(&header[..8]);
        header[8..].copy_from_slice(&sum.to_be_bytes());
        self.bytes
    }
}

/// What is found at the beginning of some bytes.
pub(super) enum Found<'a> {
    /// A frame of so many bytes with this body.
    Whole(usize, &'a [u8]),
    /// One of so many bytes, which are not all there or not what was written.
    Broken(usize),
    /// None.
    Nothing,
}

/// Looks for a frame at the beginning of `bytes`.
pub(super) fn find(bytes: &[u8]) -> Found<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Found::Nothing;
    };
    let [len, body_sum, sum] = [0, 4, 8].map(|at| {
        let number = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u32::from_be_bytes(number)
    });
    if crc32fast::hash(&header[..8]) != sum {
        return Found::Nothing;
    }
    let len = len as usize;
    match rest.get(..len).filter(|body| crc32fast::hash(body) == body_sum) {
        Some(body) => Found::Whole(FRAME_HEADER_BYTES + len, body),
        None => Found::Broken(FRAME_HEADER_BYTES + len),
    }
}

/// The records of a frame's body.
pub(super) fn records(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = body.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        body = rest;
        Some(record)
    })
}
