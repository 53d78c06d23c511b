//! What the reference's files are made of, beyond [`model::protobuf`]: times, and things without which a message means
//! nothing.

use jiff::Timestamp;
use model::protobuf::{self, Field, Fields, Message};

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They are malformed.
    #[error(transparent)]
    Form(#[from] protobuf::WireError),
    /// A time with more of a second than a second has.
    #[error("a time is malformed")]
    Time,
    /// Something without which the message means nothing is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number that stands for nothing.
    #[error("{0} {1} is unknown")]
    Unknown(&'static str, u64),
    /// A pattern that is none.
    #[error("a pattern is malformed")]
    Pattern,
}

/// Nanoseconds of a second.
const NANOS_A_SECOND: u32 = 1_000_000_000;

/// Fields that hold a `google.protobuf.Timestamp`.
pub(crate) trait ReadTime {
    /// The time; one beyond what can be told is the last, or the first, that can.
    fn time(&self) -> Result<Timestamp, WireError>;
}

/// Messages that get a `google.protobuf.Timestamp`.
pub(crate) trait PutTime {
    fn time(&mut self, field: u64, time: Timestamp) -> &mut Self;
}

impl ReadTime for Field<'_> {
    fn time(&self) -> Result<Timestamp, WireError> {
        let (mut seconds, mut nanos) = (0, 0);
        let mut fields = Fields::new(self.bytes());
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => seconds = field.number() as i64,
                2 => nanos = field.number() as i32,
                _ => {}
            }
        }
        if nanos.unsigned_abs() >= NANOS_A_SECOND {
            return Err(WireError::Time);
        }
        // What others call for ever lies beyond what we can tell; whatever has such a time is not to be lost for it.
        Ok(Timestamp::new(seconds, nanos).unwrap_or(match seconds < 0 {
            true => Timestamp::MIN,
            false => Timestamp::MAX,
        }))
    }
}

impl PutTime for Message {
    fn time(&mut self, field: u64, time: Timestamp) -> &mut Self {
        let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
        // Jiff's fraction of a second has the sign of the whole.
        if nanos < 0 {
            seconds -= 1;
            nanos += 1_000_000_000;
        }
        self.message(field, |message| {
            message.uint(1, seconds as u64).uint(2, nanos as u64);
        })
    }
}

#[cfg(test)]
mod tests;
