//! Start timestamps inside chunks: when each sample's counter started.
//!
//! One header byte says whether sample 0 has one (bit 7) and from which sample on (bits 0 to 6, 0: none) there is one
//! more number behind each sample. Sample 0 stores `timestamp - start`; sample `n` stores `timestamp of n-1 - start`, as
//! the number itself at the first change and as the change of that number from then on.

use super::bits::{BitReader, OutOfBits, PutBits, varint_bits};

/// Sample at which start timestamps are written even when none has changed: the header byte cannot name later ones.
const CHANGE_ON_MAX: u16 = 0x7f;
/// Bit of the header byte: sample 0 has a start timestamp.
pub(super) const FIRST_KNOWN: u8 = 0x80;

/// Where a chunk stands with its start timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartTrack {
    /// Start timestamp of the last sample, 0 where unknown.
    pub(crate) start_ms: i64,
    diff: i64,
    /// The header byte.
    pub(crate) header: u8,
}

impl StartTrack {
    /// Before the first sample of a chunk with this header byte.
    pub(crate) fn new(header: u8) -> Self {
        StartTrack {
            header,
            ..StartTrack::default()
        }
    }

    fn change_on(&self) -> u16 {
        u16::from(self.header & !FIRST_KNOWN)
    }

    /// Writes what sample `n` needs; the caller stores the header byte.
    pub(crate) fn write(
        &mut self,
        out: &mut impl PutBits,
        n: u16,
        time_ms: i64,
        previous_ms: i64,
        start_ms: i64,
    ) {
        let diff = previous_ms.wrapping_sub(start_ms);
        if n == 0 {
            if start_ms != 0 {
                let (bits, width) = varint_bits(time_ms.wrapping_sub(start_ms));
                out.put_wide(bits, width);
                self.header |= FIRST_KNOWN;
            }
        } else if self.change_on() > 0 {
            out.put_varbit(diff.wrapping_sub(self.diff));
            self.diff = diff;
        } else if start_ms != self.start_ms || n == CHANGE_ON_MAX {
            out.put_varbit(diff);
            self.header |= n as u8;
            self.diff = diff;
        }
        self.start_ms = start_ms;
    }

    /// Reads what sample `n` stored.
    pub(crate) fn read(
        &mut self,
        bits: &mut BitReader<'_>,
        n: u16,
        time_ms: i64,
        previous_ms: i64,
    ) -> Result<(), OutOfBits> {
        if n == 0 {
            if self.header & FIRST_KNOWN != 0 {
                self.start_ms = time_ms.wrapping_sub(bits.varint()?);
            }
        } else if self.change_on() > 0 && n >= self.change_on() {
            let change = bits.varbit()?;
            self.diff = if n == self.change_on() {
                change
            } else {
                self.diff.wrapping_add(change)
            };
            self.start_ms = previous_ms.wrapping_sub(self.diff);
        }
        Ok(())
    }
}
