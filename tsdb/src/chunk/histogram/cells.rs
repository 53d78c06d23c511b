//! How one number of a histogram is stored from sample to sample.

use crate::chunk::ChunkError;
use crate::chunk::bits::{BitReader, BitWriter, OutOfBits, PutBits};
use crate::chunk::xor::{Window, read_xor};

/// `None` where the bits end.
pub(crate) type CellError = Option<ChunkError>;

/// A number that every sample has, with what its encoding remembers.
#[doc(hidden)]
pub trait Cell: Copy + std::fmt::Debug {
    /// The number's type.
    type Value: Copy;

    /// Writes the chunk's first one.
    fn first(out: &mut BitWriter, value: Self::Value) -> Self;
    /// Writes the next one.
    fn next(&mut self, out: &mut BitWriter, value: Self::Value);
    /// Reads the chunk's first one.
    fn read_first(bits: &mut BitReader<'_>) -> Result<Self, CellError>;
    /// Reads the next one.
    fn read_next(&mut self, bits: &mut BitReader<'_>) -> Result<(), CellError>;
    /// The last one.
    fn value(&self) -> Self::Value;
    /// Writes a place holder that a staleness marker needs, and whose value does not matter.
    fn skip(&mut self, out: &mut BitWriter);
}

pub(crate) fn ended(_: OutOfBits) -> CellError {
    None
}

/// A whole number: itself at first, then the change of its change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaCell {
    value: i64,
    delta: i64,
}

impl DeltaCell {
    fn write_change(&mut self, out: &mut BitWriter, value: i64) {
        let delta = value.wrapping_sub(self.value);
        out.put_varbit(delta.wrapping_sub(self.delta));
        *self = DeltaCell { value, delta };
    }

    fn read_change(&mut self, bits: &mut BitReader<'_>) -> Result<(), CellError> {
        self.delta = self.delta.wrapping_add(bits.varbit().map_err(ended)?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }
}

impl Cell for DeltaCell {
    type Value = i64;

    fn first(out: &mut BitWriter, value: i64) -> Self {
        out.put_varbit(value);
        DeltaCell { value, delta: 0 }
    }

    fn next(&mut self, out: &mut BitWriter, value: i64) {
        self.write_change(out, value);
    }

    fn read_first(bits: &mut BitReader<'_>) -> Result<Self, CellError> {
        let value = bits.varbit().map_err(ended)?;
        Ok(DeltaCell { value, delta: 0 })
    }

    fn read_next(&mut self, bits: &mut BitReader<'_>) -> Result<(), CellError> {
        self.read_change(bits)
    }

    fn value(&self) -> i64 {
        self.value
    }

    fn skip(&mut self, out: &mut BitWriter) {
        out.put_varbit(0);
        self.value = self.value.wrapping_add(self.delta);
    }
}

/// A count: a [`DeltaCell`] whose first number has no sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountCell(DeltaCell);

impl Cell for CountCell {
    type Value = u64;

    fn first(out: &mut BitWriter, value: u64) -> Self {
        out.put_varbit_unsigned(value);
        CountCell(DeltaCell {
            value: value as i64,
            delta: 0,
        })
    }

    fn next(&mut self, out: &mut BitWriter, value: u64) {
        self.0.write_change(out, value as i64);
    }

    fn read_first(bits: &mut BitReader<'_>) -> Result<Self, CellError> {
        let value = bits.varbit_unsigned().map_err(ended)? as i64;
        Ok(CountCell(DeltaCell { value, delta: 0 }))
    }

    fn read_next(&mut self, bits: &mut BitReader<'_>) -> Result<(), CellError> {
        self.0.read_change(bits)
    }

    fn value(&self) -> u64 {
        self.0.value as u64
    }

    fn skip(&mut self, out: &mut BitWriter) {
        self.0.skip(out);
    }
}

/// A float: itself at first, then an XOR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorCell {
    bits: u64,
    window: Window,
}

impl Cell for XorCell {
    type Value = f64;

    fn first(out: &mut BitWriter, value: f64) -> Self {
        out.put(value.to_bits(), 64);
        XorCell {
            bits: value.to_bits(),
            window: Window::NONE,
        }
    }

    fn next(&mut self, out: &mut BitWriter, value: f64) {
        let xor = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if xor == 0 {
            out.put(0, 1);
            return;
        }
        if self.window.holds(xor) {
            out.put(0b10, 2);
        } else {
            out.put(0b11 << 11 | self.window.header(), 13);
        }
        out.put(xor >> self.window.trailing, self.window.width());
    }

    fn read_first(bits: &mut BitReader<'_>) -> Result<Self, CellError> {
        Ok(XorCell {
            bits: bits.bits(64).map_err(ended)?,
            window: Window::NONE,
        })
    }

    fn read_next(&mut self, bits: &mut BitReader<'_>) -> Result<(), CellError> {
        self.bits ^= read_xor(bits, &mut self.window)?;
        Ok(())
    }

    fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    fn skip(&mut self, out: &mut BitWriter) {
        self.next(out, 0.0);
    }
}
