//! Numbers and texts as the reference's files hold them, and errors that say where.

use std::path::{Path, PathBuf};

use model::storage::StorageError;

/// CRC-32C (Castagnoli), the checksum of every block file.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A file's path, kept for its errors.
#[derive(Clone, Debug)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl FilePath {
    /// An error about byte `offset` of the file.
    pub(crate) fn corrupt(&self, offset: usize, what: impl Into<String>) -> StorageError {
        StorageError::Corrupt {
            path: self.0.clone(),
            offset: offset as u64,
            what: what.into(),
        }
    }
}

impl From<&Path> for FilePath {
    fn from(path: &Path) -> Self {
        FilePath(path.to_owned())
    }
}

/// The bytes ended, or a number is longer than any number can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads from bytes that may be anything.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at byte `pos`; at the end where the bytes are shorter.
    pub(crate) fn new(bytes: &'a [u8], pos: usize) -> Self {
        Cursor {
            bytes,
            pos: pos.min(bytes.len()),
        }
    }

    /// Bytes from the start to the next one.
    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.pos
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.bytes[self.pos..].get(..n).ok_or(Malformed)?;
        self.pos += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let array = *self.bytes[self.pos..].first_chunk().ok_or(Malformed)?;
        self.pos += N;
        Ok(array)
    }

    /// A byte.
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// 32 bits, high byte first.
    pub(crate) fn be32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// 64 bits, high byte first.
    pub(crate) fn be64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A base-128 number, low bits first.
    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u64, Malformed> {
        match self.bytes[self.pos..].first_chunk() {
            Some(word) => {
                let word = u64::from_le_bytes(*word);
                // The first byte without its upper bit is the last of the number.
                let ends = !word & 0x8080_8080_8080_8080;
                if ends == 0 {
                    return self.uvarint_long();
                }
                let last = ends.trailing_zeros();
                self.pos += last as usize / 8 + 1;
                Ok(join_sevens(word & (u64::MAX >> (63 - last))))
            }
            None => self.uvarint_long(),
        }
    }

    fn uvarint_long(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, byte) in self.bytes[self.pos..].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.pos += i + 1;
                // The tenth byte has room for one bit.
                return if i == 9 && *byte > 1 {
                    Err(Malformed)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed)
    }

    /// A base-128 number that fits 32 bits.
    pub(crate) fn uvarint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.uvarint()?).map_err(|_| Malformed)
    }

    /// A base-128 number with the sign in its lowest bit.
    pub(crate) fn varint(&mut self) -> Result<i64, Malformed> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Bytes behind their length as a base-128 number.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.uvarint()?).map_err(|_| Malformed)?;
        self.take(len)
    }
}

/// The lower seven bits of each byte, put together.
#[inline]
fn join_sevens(word: u64) -> u64 {
    let pairs = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let quads = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    (quads & 0x0fff_ffff) | (quads & 0x0fff_ffff_0000_0000) >> 4
}

/// Appends a base-128 number.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a base-128 number with the sign in its lowest bit.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, (value << 1 ^ value >> 63) as u64);
}

/// Appends bytes behind their length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_with_and_without_bytes_behind() {
        let mut values = vec![0, 1, 127, 128, 16383, 16384, u64::MAX];
        values.extend((0..64).flat_map(|bit| [1u64 << bit, (1u64 << bit) - 1, (1u64 << bit) | 0x55]));
        for value in values {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, value);
            let len = bytes.len();
            for behind in 0..12 {
                bytes.resize(len + behind, 0xff);
                let mut cursor = Cursor::new(&bytes, 0);
                assert_eq!(cursor.uvarint(), Ok(value));
                assert_eq!(cursor.position(), len);
            }
            for cut in 0..len {
                assert_eq!(Cursor::new(&bytes[..cut], 0).uvarint(), Err(Malformed));
            }
        }
        assert_eq!(Cursor::new(&[0xff; 20], 0).uvarint(), Err(Malformed));
    }
}
