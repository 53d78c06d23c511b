//! Bits in, bits out: high bit first, as every chunk encoding stores them.

use super::ChunkError;

/// Reads bits from bytes that may be anything.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Next bit, counted from the start of `bytes`.
    pos: usize,
}

/// The stream ended; callers add which sample they were reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfBits;

impl<'a> BitReader<'a> {
    /// Starts at byte `offset`.
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Self {
        BitReader {
            bytes,
            pos: offset * 8,
        }
    }

    /// Starts at bit `pos`, which lies in `bytes`.
    pub(crate) fn at_bit(bytes: &'a [u8], pos: usize) -> Self {
        BitReader { bytes, pos }
    }

    /// Bits from the start of the bytes to the next one.
    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    /// Bits that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() * 8 - self.pos
    }

    /// The next 64 bits, the first one highest; zeros after the end.
    #[inline]
    pub(crate) fn peek(&self) -> u64 {
        let (byte, shift) = (self.pos >> 3, self.pos & 7);
        let rest = self.bytes.get(byte..).unwrap_or(&[]);
        if let Some(window) = rest.first_chunk() {
            return peek_window(window, shift);
        }
        let mut window = [0; 9];
        window[..rest.len()].copy_from_slice(rest);
        peek_window(&window, shift)
    }

    #[inline]
    pub(crate) fn bit(&mut self) -> Result<bool, OutOfBits> {
        let byte = self.bytes.get(self.pos >> 3).ok_or(OutOfBits)?;
        let bit = byte >> (7 - (self.pos & 7)) & 1;
        self.pos += 1;
        Ok(bit == 1)
    }

    /// The next `n` bits (0 to 64), the last one lowest.
    #[inline]
    pub(crate) fn bits(&mut self, n: u32) -> Result<u64, OutOfBits> {
        if n as usize > self.remaining() {
            return Err(OutOfBits);
        }
        let bits = self.peek().checked_shr(64 - n).unwrap_or(0);
        self.pos += n as usize;
        Ok(bits)
    }

    /// Passes over `n` bits.
    #[inline]
    pub(crate) fn skip(&mut self, n: u32) -> Result<(), OutOfBits> {
        if n as usize > self.remaining() {
            return Err(OutOfBits);
        }
        self.pos += n as usize;
        Ok(())
    }

    /// How many 1 bits come before the next 0, at most `max`; the 0 is consumed when it is seen.
    #[inline]
    pub(crate) fn ones(&mut self, max: u32) -> Result<u32, OutOfBits> {
        let ones = self.peek().leading_ones().min(max);
        let taken = (ones + u32::from(ones < max)) as usize;
        if taken > self.remaining() {
            return Err(OutOfBits);
        }
        self.pos += taken;
        Ok(ones)
    }

    /// A two's complement number of `n` bits whose range is moved up by one: `-(2^(n-1)-1) ..= 2^(n-1)`.
    #[inline]
    pub(crate) fn signed(&mut self, n: u32) -> Result<i64, OutOfBits> {
        Ok(sign(self.bits(n)?, n))
    }

    /// A little-endian base-128 number, at most ten bytes.
    pub(crate) fn uvarint(&mut self) -> Result<u64, OutOfBits> {
        let mut value = 0;
        for i in 0..10 {
            let byte = self.bits(8)?;
            value |= (byte & 0x7f).wrapping_shl(7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(OutOfBits)
    }

    /// A base-128 number with the sign in its lowest bit.
    pub(crate) fn varint(&mut self) -> Result<i64, OutOfBits> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

/// The 64 bits that start `shift` (0 to 7) bits into `window`.
#[inline(always)]
pub(crate) fn peek_window(window: &[u8; 9], shift: usize) -> u64 {
    let (high, low) = (window.first_chunk::<8>(), window[8]);
    let high = high.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    high << shift | u64::from(low) >> (8 - shift)
}

/// Takes `n` bits (1 to 64) as the moved two's complement number described at [`BitReader::signed`].
#[inline(always)]
pub(crate) fn sign(bits: u64, n: u32) -> i64 {
    if n < 64 && bits > 1 << (n - 1) {
        (bits as i64).wrapping_sub(1 << n)
    } else {
        bits as i64
    }
}

/// Whether `x` fits the moved two's complement of `n` bits.
#[inline(always)]
pub(crate) fn fits(x: i64, n: u32) -> bool {
    (-((1 << (n - 1)) - 1)..=1 << (n - 1)).contains(&x)
}

/// `x` as a base-128 number in the bits of an integer, first byte highest, and how many bits that is.
pub(crate) fn uvarint_bits(mut x: u64) -> (u128, u32) {
    let (mut bits, mut n) = (0u128, 0);
    loop {
        let more = x >= 0x80;
        bits = bits << 8 | u128::from(x as u8 & 0x7f) | if more { 0x80 } else { 0 };
        n += 8;
        x >>= 7;
        if !more {
            return (bits, n);
        }
    }
}

/// `x` as a base-128 number with the sign in its lowest bit, like [`uvarint_bits`].
pub(crate) fn varint_bits(x: i64) -> (u128, u32) {
    uvarint_bits((x << 1 ^ x >> 63) as u64)
}

/// Writes the low `n` (1 to 120) bits of `bits` into `buf` behind a stream of `*len` bytes whose last byte has `*free`
/// unused bits, which are 0. `buf` must have room; what it holds behind the stream does not matter and may change.
#[inline]
pub(crate) fn put(buf: &mut [u8], len: &mut usize, free: &mut u8, bits: u128, n: u32) {
    let used = (8 - u32::from(*free)) & 7;
    let start = *len - usize::from(used > 0);
    let total = used + n;
    let bytes = total.div_ceil(8) as usize;
    let rest = &mut buf[start..];
    let mut out = bits << (128 - total);
    if used > 0 {
        out |= u128::from(rest[0]) << 120;
    }
    // A store of fixed size where there is room, since one of any size is a call.
    match rest.first_chunk_mut() {
        Some(room) => *room = out.to_be_bytes(),
        None => rest[..bytes].copy_from_slice(&out.to_be_bytes()[..bytes]),
    }
    *len = start + bytes;
    *free = (bytes as u32 * 8 - total) as u8;
}

/// Most bits that [`put_short`] takes.
pub(crate) const SHORT_BITS_MAX: u32 = 57;

/// [`put`] for 1 to [`SHORT_BITS_MAX`] bits, which is what most samples take; higher bits must be 0.
#[inline]
pub(crate) fn put_short(buf: &mut [u8], len: &mut usize, free: &mut u8, bits: u64, n: u32) {
    let used = (8 - u32::from(*free)) & 7;
    let start = *len - usize::from(used > 0);
    let total = used + n;
    let bytes = total.div_ceil(8) as usize;
    let rest = &mut buf[start..];
    let mut out = bits << (64 - total);
    if used > 0 {
        out |= u64::from(rest[0]) << 56;
    }
    match rest.first_chunk_mut() {
        Some(room) => *room = out.to_be_bytes(),
        None => rest[..bytes].copy_from_slice(&out.to_be_bytes()[..bytes]),
    }
    *len = start + bytes;
    *free = (bytes as u32 * 8 - total) as u8;
}

/// A growing stream of bits.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Unused bits of the last byte.
    free: u8,
}

/// Where bits can be added.
pub(crate) trait PutBits {
    /// Adds the low `n` bits (1 to 120); the others must be 0.
    fn put_wide(&mut self, bits: u128, n: u32);

    /// Adds the low `n` bits (0 to 64).
    #[inline]
    fn put(&mut self, bits: u64, n: u32) {
        if n > 0 {
            self.put_wide(u128::from(bits) & (u128::MAX >> (128 - n)), n);
        }
    }

    /// Adds a number in the variable code of histograms: see [`VARBIT_WIDTHS`].
    fn put_varbit(&mut self, x: i64) {
        let class = VARBIT_WIDTHS.iter().position(|n| fits(x, *n));
        self.put_class(x == 0, class, x as u64);
    }

    /// Adds a number without sign in the variable code of histograms.
    fn put_varbit_unsigned(&mut self, x: u64) {
        let class = VARBIT_WIDTHS.iter().position(|n| x >> n == 0);
        self.put_class(x == 0, class, x);
    }

    /// Adds a number of this class of the variable code.
    fn put_class(&mut self, zero: bool, class: Option<usize>, x: u64) {
        match class {
            _ if zero => self.put(0, 1),
            Some(class) => {
                let (ones, width) = (class as u32 + 1, VARBIT_WIDTHS[class]);
                let number = x & (u64::MAX >> (64 - width));
                let control = (1u128 << (ones + 1)) - 2;
                self.put_wide(control << width | u128::from(number), ones + 1 + width);
            }
            None => self.put_wide(0xff << 64 | u128::from(x), 72),
        }
    }
}

impl BitWriter {
    /// Continues `bytes`, of whose last byte `free` bits are unused.
    pub(crate) fn resume(bytes: Vec<u8>, free: u8) -> Self {
        BitWriter { bytes, free }
    }

    /// The bytes so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes so far, to patch a header.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The finished bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl PutBits for BitWriter {
    #[inline]
    fn put_wide(&mut self, bits: u128, n: u32) {
        let mut len = self.bytes.len();
        self.bytes.resize(len + 16, 0);
        put(&mut self.bytes, &mut len, &mut self.free, bits, n);
        self.bytes.truncate(len);
    }
}

/// Bits of one sample, on the stack: 47 bytes at most.
#[derive(Debug)]
pub(crate) struct SampleBits {
    bytes: [u8; 64],
    len: usize,
    free: u8,
}

impl SampleBits {
    /// Continues a stream whose last byte is `last` with `free` (0 to 7) unused bits; 0 means that it ended before.
    #[inline]
    pub(crate) fn behind(last: u8, free: u8) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = last;
        SampleBits {
            bytes,
            len: usize::from(free > 0),
            free,
        }
    }

    /// The bytes so far, the continued one included.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Unused bits of the last byte.
    #[inline]
    pub(crate) fn free(&self) -> u8 {
        self.free
    }
}

impl PutBits for SampleBits {
    #[inline]
    fn put_wide(&mut self, bits: u128, n: u32) {
        put(&mut self.bytes, &mut self.len, &mut self.free, bits, n);
    }
}

/// Widths of the variable code: 0 is one 0 bit; class `i` is `i + 1` ones, a zero and this many bits of the number;
/// whatever fits none of them is eight ones and 64 bits.
pub(crate) const VARBIT_WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

impl BitReader<'_> {
    /// Reads what [`PutBits::put_varbit`] wrote.
    #[inline]
    pub(crate) fn varbit(&mut self) -> Result<i64, OutOfBits> {
        let (raw, width) = self.class()?;
        Ok(if width == 0 { 0 } else { sign(raw, width) })
    }

    /// Reads what [`PutBits::put_varbit_unsigned`] wrote.
    #[inline]
    pub(crate) fn varbit_unsigned(&mut self) -> Result<u64, OutOfBits> {
        Ok(self.class()?.0)
    }

    /// A number's bits in the variable code and how many there are.
    #[inline]
    fn class(&mut self) -> Result<(u64, u32), OutOfBits> {
        let word = self.peek();
        let ones = word.leading_ones().min(8);
        let (used, width) = match ones {
            0 => (1, 0),
            8 => (8, 64),
            _ => (ones + 1, VARBIT_WIDTHS[ones as usize - 1]),
        };
        if used + width <= 64 {
            // Control bits and number in the one word.
            self.skip(used + width)?;
            return Ok(((word << used).checked_shr(64 - width).unwrap_or(0), width));
        }
        self.skip(used)?;
        Ok((self.bits(width)?, width))
    }

    /// The error for a stream that ends in sample `sample` of `samples`.
    pub(crate) fn short(&self, sample: u16, samples: u16) -> ChunkError {
        ChunkError::Short {
            at_bit: self.pos as u64,
            sample,
            samples,
        }
    }
}
