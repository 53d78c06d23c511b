//! Writing protocol buffers into a buffer that is reused: what [`model::protobuf::Message`] does with an allocation a
//! message. Lengths are worked out before, or mended behind, so that nothing is copied twice for a float.

use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::protobuf::{put_varint, to_zigzag};

/// Bytes of a number.
pub(crate) fn varint_len(number: u64) -> usize {
    // Seven bits a byte, at least one.
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn put_tag(out: &mut Vec<u8>, field: u64, kind: u64) {
    put_varint(out, field << 3 | kind);
}

/// A number, unless it is 0.
pub(crate) fn put_uint(out: &mut Vec<u8>, field: u64, number: u64) {
    if number != 0 {
        put_tag(out, field, 0);
        put_varint(out, number);
    }
}

/// A float, unless it is 0 of positive sign. (The reference leaves out negative zeros too, and so changes them.)
pub(crate) fn put_double(out: &mut Vec<u8>, field: u64, number: f64) {
    if number.to_bits() != 0 {
        put_always_double(out, field, number);
    }
}

fn put_always_double(out: &mut Vec<u8>, field: u64, number: f64) {
    put_tag(out, field, 1);
    out.extend_from_slice(&number.to_bits().to_le_bytes());
}

/// A text, unless it is empty.
pub(crate) fn put_text(out: &mut Vec<u8>, field: u64, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_tag(out, field, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message: `fill` writes it, and its length is put before it afterwards. The bytes are moved only where the length takes
/// more than the one byte that is left for it.
pub(crate) fn put_message(out: &mut Vec<u8>, field: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, field, 2);
    let at = out.len();
    out.push(0);
    fill(out);
    let len = out.len() - at - 1;
    let extra = varint_len(len as u64) - 1;
    if extra > 0 {
        out.resize(out.len() + extra, 0);
        out.copy_within(at + 1..at + 1 + len, at + 1 + extra);
    }
    let mut rest = len;
    for byte in &mut out[at..at + extra] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[at + extra] = rest as u8;
}

/// Bytes of a sample's fields: value, timestamp, and in version 2.0 the start.
pub(crate) fn sample_len(value: f64, timestamp_ms: i64, start_ms: i64) -> usize {
    let value = if value.to_bits() == 0 { 0 } else { 9 };
    let number = |number: i64| {
        if number == 0 {
            0
        } else {
            1 + varint_len(number as u64)
        }
    };
    value + number(timestamp_ms) + number(start_ms)
}

/// A sample's fields, without its length.
pub(crate) fn put_sample(out: &mut Vec<u8>, value: f64, timestamp_ms: i64, start_ms: i64) {
    put_double(out, 1, value);
    put_uint(out, 2, timestamp_ms as u64);
    put_uint(out, 3, start_ms as u64);
}

/// A histogram's fields, which have the same numbers in both versions; only 2.0 has the start.
pub(crate) fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram, timestamp_ms: i64, start_ms: i64) {
    match histogram {
        Histogram::Int(h) => {
            // One of two: said even where it is 0.
            put_tag(out, 1, 0);
            put_varint(out, h.count);
            put_rest(
                out,
                h,
                |out| {
                    put_tag(out, 6, 0);
                    put_varint(out, h.zero_count);
                },
                |out, field, deltas| {
                    put_packed(out, field - 1, deltas, |out, d| put_varint(out, to_zigzag(*d)));
                },
            );
        }
        Histogram::Float(h) => {
            put_always_double(out, 2, h.count);
            put_rest(
                out,
                h,
                |out| put_always_double(out, 7, h.zero_count),
                |out, field, counts| {
                    put_packed(out, field, counts, |out, c| {
                        out.extend_from_slice(&c.to_bits().to_le_bytes());
                    });
                },
            );
        }
    }
    let (hint, bounds) = match histogram {
        Histogram::Int(h) => (h.counter_reset_hint, &h.custom_values),
        Histogram::Float(h) => (h.counter_reset_hint, &h.custom_values),
    };
    let hint = match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    put_uint(out, 14, hint);
    put_uint(out, 15, timestamp_ms as u64);
    if let Some(bounds) = bounds {
        put_packed(out, 16, bounds, |out, b| {
            out.extend_from_slice(&b.to_bits().to_le_bytes());
        });
    }
    put_uint(out, 17, start_ms as u64);
}

/// What both kinds have alike. Lists of buckets are fields 10 and 13, as deltas one less.
fn put_rest<B, C>(
    out: &mut Vec<u8>,
    h: &Buckets<B, C>,
    zero_count: impl FnOnce(&mut Vec<u8>),
    buckets: impl Fn(&mut Vec<u8>, u64, &[B]),
) {
    put_double(out, 3, h.sum);
    put_uint(out, 4, to_zigzag(i64::from(h.schema)));
    put_double(out, 5, h.zero_threshold);
    zero_count(out);
    put_spans(out, 8, &h.negative_spans);
    buckets(out, 10, &h.negative_buckets);
    put_spans(out, 11, &h.positive_spans);
    buckets(out, 13, &h.positive_buckets);
}

fn put_spans(out: &mut Vec<u8>, field: u64, spans: &[Span]) {
    for span in spans {
        put_message(out, field, |out| {
            put_uint(out, 1, to_zigzag(i64::from(span.offset)));
            put_uint(out, 2, u64::from(span.length));
        });
    }
}

/// A packed list, unless it is empty.
pub(crate) fn put_packed<T>(out: &mut Vec<u8>, field: u64, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    if !list.is_empty() {
        put_message(out, field, |out| list.iter().for_each(|item| put(out, item)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::protobuf::Message;

    #[test]
    fn numbers_are_as_long_as_they_are_said_to_be() {
        for shift in 0..64 {
            for number in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, number);
                assert_eq!(out.len(), varint_len(number), "{number}");
            }
        }
        for (value, at, start) in [
            (0.0, 0, 0),
            (-0.0, 1, 0),
            (1.5, 1_700_000_000_000, 5),
            (f64::NAN, -1, i64::MIN),
        ] {
            let mut out = Vec::new();
            put_sample(&mut out, value, at, start);
            assert_eq!(out.len(), sample_len(value, at, start));
        }
    }

    #[test]
    fn messages_of_all_lengths_stand_behind_their_lengths() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let content: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let (mut out, mut expected) = (vec![9], Message::default());
            put_message(&mut out, 5, |out| out.extend_from_slice(&content));
            expected.bytes(5, &content);
            assert_eq!(out[1..], expected.into_bytes(), "{len}");
        }
    }
}
