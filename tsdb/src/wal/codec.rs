//! Numbers and texts as log records store them: big-endian integers, base-128 varints, length-prefixed texts.

use super::RecordError;

/// Reads a record's bytes, which may be anything.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn be32(&mut self) -> Result<u32, RecordError> {
        let (head, rest) = self.rest.split_first_chunk::<4>().ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    pub(crate) fn be64(&mut self) -> Result<u64, RecordError> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*head))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, RecordError> {
        Ok(f64::from_bits(self.be64()?))
    }

    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                if i == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            RecordError::Short
        } else {
            RecordError::Invalid("a varint is longer than 64 bits")
        })
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<i64, RecordError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, RecordError> {
        let len = usize::try_from(self.uvarint()?).map_err(|_| RecordError::Short)?;
        std::str::from_utf8(self.bytes(len)?).map_err(|_| RecordError::Invalid("a text is not UTF-8"))
    }

    /// A number of elements that take at least `bytes_each` bytes: refused where the record cannot hold them.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, RecordError> {
        let count = usize::try_from(self.uvarint()?).map_err(|_| RecordError::Short)?;
        if count > self.rest.len() / bytes_each {
            return Err(RecordError::Short);
        }
        Ok(count)
    }
}

pub(crate) fn put_be64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_f64(out: &mut Vec<u8>, value: f64) {
    put_be64(out, value.to_bits());
}

#[inline]
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, (value << 1 ^ value >> 63) as u64);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
