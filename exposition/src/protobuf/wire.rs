//! Protobuf's wire format, the part of it that the format needs.

use crate::error::{Expected, Fault};

/// Walks the fields of one message.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
    /// Where the message starts in the body, for errors.
    base: usize,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    value: Value<'a>,
    /// Where the value starts in the body.
    at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Fields<'a> {
    /// Fields of `message`, which starts at `base` in the body.
    pub(super) fn new(message: &'a [u8], base: usize) -> Self {
        Fields { message, at: 0, base }
    }

    /// The next field, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Fault> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|n| *n > 0)
            .ok_or(self.fault(Expected::ProtobufField))?;
        let at = self.base + self.at;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let start = self.base + self.at;
                let bytes = self.take(length)?;
                return Ok(Some(Field {
                    number,
                    value: Value::Bytes(bytes),
                    at: start,
                }));
            }
            5 => {
                self.array::<4>()?;
                Value::Fixed32
            }
            // Groups are no part of proto3.
            _ => return Err(self.fault(Expected::ProtobufField)),
        };
        Ok(Some(Field { number, value, at }))
    }

    fn fault(&self, expected: Expected) -> Fault {
        Fault::new(self.base + self.at, expected)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let (value, length) = varint(&self.message[self.at..]).ok_or(self.fault(Expected::ProtobufField))?;
        self.at += length;
        Ok(value)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let rest = &self.message[self.at..];
        let bytes = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
            .ok_or(self.fault(Expected::ProtobufLength))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let fault = self.fault(Expected::ProtobufLength);
        self.take(N as u64)?.try_into().map_err(|_| fault)
    }
}

/// Reads a varint; gives it and its length.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Zigzag to two's complement.
pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

impl<'a> Field<'a> {
    fn wrong<T>(&self) -> Result<T, Fault> {
        Err(Fault::new(self.at, Expected::ProtobufField))
    }

    /// The value as an unsigned integer.
    pub(super) fn uint(&self) -> Result<u64, Fault> {
        if let Value::Varint(value) = self.value {
            Ok(value)
        } else {
            self.wrong()
        }
    }

    /// The value as a double.
    pub(super) fn double(&self) -> Result<f64, Fault> {
        if let Value::Fixed64(bits) = self.value {
            Ok(f64::from_bits(bits))
        } else {
            self.wrong()
        }
    }

    /// The value as bytes or a nested message, and where they start in the body.
    pub(super) fn bytes(&self) -> Result<(&'a [u8], usize), Fault> {
        if let Value::Bytes(bytes) = self.value {
            Ok((bytes, self.at))
        } else {
            self.wrong()
        }
    }

    /// The value as text.
    pub(super) fn text(&self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?.0).map_err(|_| Fault::new(self.at, Expected::Utf8))
    }

    /// Passes the value, or all values of a packed field, to `push`.
    pub(super) fn repeated_varint(&self, mut push: impl FnMut(u64)) -> Result<(), Fault> {
        match self.value {
            Value::Varint(value) => push(value),
            Value::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    let Some((value, length)) = varint(bytes) else {
                        return self.wrong();
                    };
                    push(value);
                    bytes = &bytes[length..];
                }
            }
            _ => return self.wrong(),
        }
        Ok(())
    }

    /// Passes the value, or all values of a packed field, to `push`.
    pub(super) fn repeated_double(&self, mut push: impl FnMut(f64)) -> Result<(), Fault> {
        match self.value {
            Value::Fixed64(bits) => push(f64::from_bits(bits)),
            Value::Bytes(bytes) if bytes.len().is_multiple_of(8) => {
                for chunk in bytes.chunks_exact(8) {
                    push(f64::from_le_bytes(chunk.try_into().unwrap_or_default()));
                }
            }
            _ => return self.wrong(),
        }
        Ok(())
    }
}
