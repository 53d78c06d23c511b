//! Points of series: large answers are made of nearly nothing else.
//!
//! Room for the longest point is made first, its parts are stored into it in pieces of known length, and what was too
//! much is cut off: a few instructions, where each short text of its own would be a call. Neighbours share the beginning
//! of their timestamps, and samples are whole numbers as a rule; everything else goes the general way.

/// Room for a point: `[1795406431.560,"9007199254740992"]`, and what is stored behind its end.
const POINT_BYTES: usize = 48;
/// Milliseconds of a timestamp that are written anew for each point: four digits of the seconds, and the fraction.
const LOW_MS: i64 = 10_000_000;
/// Timestamps whose seconds have ten digits: from 2001 to 2286.
const TEN_DIGITS_MS: std::ops::Range<i64> = 1_000_000_000_000..10_000_000_000_000;
/// Whole numbers below are floats exactly.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The numbers from 0 to 99 in two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Writes points, one after the other.
pub(super) struct Points {
    /// What the timestamp of the last point began with: all above [`LOW_MS`].
    high: i64,
    /// The same as text, behind a bracket.
    begin: [u8; 7],
}

impl Points {
    pub(super) fn new() -> Self {
        Points {
            high: 0,
            begin: *b"[000000",
        }
    }

    /// `[1795406431.560,"0"]`
    #[inline]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
        if !TEN_DIGITS_MS.contains(&timestamp_ms) {
            return general(out, timestamp_ms, value);
        }
        let (high, low) = (timestamp_ms / LOW_MS, (timestamp_ms % LOW_MS) as usize);
        if high != self.high {
            self.high = high;
            self.begin[1..].copy_from_slice(&eight_digits(high.unsigned_abs()).to_le_bytes()[2..]);
        }
        let before = out.len();
        out.extend_from_slice(&[0; POINT_BYTES]);
        let Some(text) = out.last_chunk_mut::<POINT_BYTES>() else {
            return;
        };
        text[..7].copy_from_slice(&self.begin);
        let (seconds, milliseconds) = (low / 1000, low % 1000);
        text[7..9].copy_from_slice(&PAIRS[seconds / 100]);
        text[9..11].copy_from_slice(&PAIRS[seconds % 100]);
        let mut end = 11;
        if milliseconds != 0 {
            text[11..13].copy_from_slice(&[b'.', b'0' + (milliseconds / 100) as u8]);
            text[13..15].copy_from_slice(&PAIRS[milliseconds % 100]);
            end = 15;
        }
        text[end..end + 2].copy_from_slice(b",\"");
        end += 2;
        // -0 keeps its sign, and NaN is not a number at all.
        let is_whole = value.is_sign_positive() && value < WHOLE_MAX && value as i64 as f64 == value;
        if is_whole {
            end = put_whole(text, end, value as u64);
            text[end..end + 2].copy_from_slice(b"\"]");
            out.truncate(before + end + 2);
        } else {
            out.truncate(before + end);
            model::float::write_json(out, value);
            out.extend_from_slice(b"\"]");
        }
    }
}

/// Writes `number`, which has at most sixteen digits, at `start`; the end of its digits.
#[inline]
fn put_whole(text: &mut [u8; POINT_BYTES], start: usize, number: u64) -> usize {
    const EIGHT: u64 = 100_000_000;
    let (high, low) = (number / EIGHT, number % EIGHT);
    if high == 0 {
        return put_first(text, start, low);
    }
    let middle = put_first(text, start, high);
    text[middle..middle + 8].copy_from_slice(&eight_digits(low).to_le_bytes());
    middle + 8
}

/// Writes a number of at most eight digits without the zeros before it; eight bytes are stored in any case.
#[inline]
fn put_first(text: &mut [u8; POINT_BYTES], start: usize, number: u64) -> usize {
    let digits = eight_digits(number);
    let zeros = ((digits ^ ZEROS).trailing_zeros() / 8).min(7);
    text[start..start + 8].copy_from_slice(&(digits >> (8 * zeros)).to_le_bytes());
    start + 8 - zeros as usize
}

/// `00000000`.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The eight digits of `number`, the first in the lowest byte: halves, quarters and eighths are taken apart in parallel,
/// division being multiplication by a reciprocal that is exact for numbers so small.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | (number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | (twos - 10 * tens) << 8) + ZEROS
}

/// Any point.
#[cold]
fn general(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    model::float::write_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",\"");
    model::float::write_json(out, value);
    out.extend_from_slice(b"\"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_those_of_the_general_way() {
        let mut seed = 3_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 11
        };
        let mut times = vec![
            0,
            -1,
            999,
            1_000_000_000_000,
            999_999_999_999,
            9_999_999_999_999,
            10_000_000_000_000,
        ];
        times.extend([
            i64::MIN,
            i64::MAX,
            1_795_406_431_000,
            1_795_406_431_007,
            1_795_406_431_560,
        ]);
        let mut values = vec![
            0.0, -0.0, 1.0, -1.0, 9.0, 10.0, 99.0, 100.0, 0.5, 1e-7, 1e21, 123_456.75,
        ];
        values.extend([WHOLE_MAX, WHOLE_MAX - 1.0, WHOLE_MAX + 2.0, 1e300, 5e-324]);
        values.extend([
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::from_bits(0x7ff0_0000_0000_0002),
        ]);
        for _ in 0..2000 {
            times.push(1_700_000_000_000 + (next() % 100_000_000_000) as i64);
            values.push((next() % 10_u64.pow((next() % 17) as u32)) as f64);
            values.push((next() % 1_000_000_000) as f64 / 1024.0);
            values.push(f64::from_bits(next() << 11));
        }
        let (mut points, mut fast, mut slow) = (Points::new(), Vec::new(), Vec::new());
        for at in 0..times.len().max(values.len()) {
            let (time, value) = (times[at % times.len()], values[at % values.len()]);
            points.write(&mut fast, time, value);
            general(&mut slow, time, value);
            assert_eq!(
                String::from_utf8_lossy(&fast),
                String::from_utf8_lossy(&slow),
                "{time} {value:?}"
            );
            fast.clear();
            slow.clear();
        }
    }
}
