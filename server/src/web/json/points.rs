//! Points of series: large answers are made of nearly nothing else.
//!
//! A point is put together in a buffer of fixed size and copied at once, the bytes behind its end included: copies of
//! known length are a few instructions, where each short text of its own would be a call. Neighbours share the beginning
//! of their timestamps, and samples are whole numbers as a rule; everything else goes the general way.

/// Length of the buffer: `[1795406431.560,"9007199254740992"]` and some.
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
            put_whole(&mut self.begin, 1, high.unsigned_abs());
        }
        let mut text = [0; POINT_BYTES];
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
        // -0 keeps its sign, and NaN is no number at all.
        let is_whole = value.is_sign_positive() && value < WHOLE_MAX && value as i64 as f64 == value;
        if is_whole {
            end = put_whole(&mut text, end, value as u64);
            text[end..end + 2].copy_from_slice(b"\"]");
            put(out, &text, end + 2);
        } else {
            put(out, &text, end);
            model::float::write_json(out, value);
            out.extend_from_slice(b"\"]");
        }
    }
}

/// Appends the first `len` bytes of `text`.
#[inline]
fn put(out: &mut Vec<u8>, text: &[u8; POINT_BYTES], len: usize) {
    let before = out.len();
    out.extend_from_slice(text);
    out.truncate(before + len);
}

/// Writes `number` at `start`; the end of its digits.
#[inline]
fn put_whole(text: &mut [u8], start: usize, mut number: u64) -> usize {
    let end = start + number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let mut at = end;
    while number >= 100 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    match number {
        0..10 => text[at - 1] = b'0' + number as u8,
        _ => text[at - 2..at].copy_from_slice(&PAIRS[number as usize]),
    }
    end
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
