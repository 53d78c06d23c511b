//! Numbers and texts as records on disk have them: big-endian integers, base-128 varints, length-prefixed texts.

/// Why the bytes are no record of the kind that they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// They end too early.
    #[error("record ends in the middle of an entry")]
    Short,
    /// They hold what no writer produces.
    #[error("record is damaged: {0}")]
    Invalid(&'static str),
}

/// Reads a record's bytes, which may be anything: each call takes something from the front, or fails with a
/// [`RecordError`] where it is not there.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Whether all was read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(self.bytes(1)?[0])
    }

    /// Four bytes, the highest first.
    #[inline]
    pub fn be32(&mut self) -> Result<u32, RecordError> {
        let (head, rest) = self.rest.split_first_chunk::<4>().ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// Eight bytes, the highest first.
    #[inline]
    pub fn be64(&mut self) -> Result<u64, RecordError> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*head))
    }

    /// The bits of a float, the highest first.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, RecordError> {
        Ok(f64::from_bits(self.be64()?))
    }

    /// A number of at most 64 bits, seven to a byte, the lowest first.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u64, RecordError> {
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

    /// The same with a sign, in zigzag.
    #[inline]
    pub fn varint(&mut self) -> Result<i64, RecordError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A text of UTF-8 behind its length.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, RecordError> {
        let len = usize::try_from(self.uvarint()?).map_err(|_| RecordError::Short)?;
        std::str::from_utf8(self.bytes(len)?).map_err(|_| RecordError::Invalid("a text is not UTF-8"))
    }

    /// A number of elements that take at least `bytes_each` bytes: refused where the record cannot hold them.
    #[inline]
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, RecordError> {
        let count = usize::try_from(self.uvarint()?).map_err(|_| RecordError::Short)?;
        if count > self.rest.len() / bytes_each {
            return Err(RecordError::Short);
        }
        Ok(count)
    }
}

/// Appends what [`Reader::be64`] reads.
#[inline]
pub fn put_be64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends what [`Reader::f64`] reads.
#[inline]
pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    put_be64(out, value.to_bits());
}

/// Appends what [`Reader::uvarint`] reads.
#[inline]
pub fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends what [`Reader::varint`] reads.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, (value << 1 ^ value >> 63) as u64);
}

/// Appends what [`Reader::text`] reads.
#[inline]
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
