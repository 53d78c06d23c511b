//! Messages that are good, cut and flipped.

use model::protobuf::{Value, WireError as FormError, take_delimited, take_varint};

use super::*;

#[test]
fn messages_are_read_back() {
    let mut message = Message::default();
    let before_epoch: Timestamp = "1969-12-31T23:59:58.5Z".parse().expect("a time");
    message
        .text(1, "größe")
        .uint(2, 300)
        .uint(3, 0)
        .uints(4, &[1, u64::MAX])
        .time(5, before_epoch)
        .always_double(6, 0.5)
        .message(7, |inner| {
            inner.text(1, "x");
        });
    let bytes = message.into_bytes();
    let mut fields = Fields::new(&bytes);
    let mut next = || fields.next_field().expect("good").expect("a field");
    assert_eq!(next().text().as_deref(), Ok("größe"));
    assert_eq!(next().number(), 300);
    let mut numbers = Vec::new();
    next().numbers(&mut numbers).expect("numbers");
    assert_eq!(numbers, [1, u64::MAX]);
    assert_eq!(next().time(), Ok(before_epoch));
    assert!(matches!(next().value, Value::Fixed64(bits) if f64::from_bits(bits) == 0.5));
    assert_eq!(
        Fields::new(next().bytes())
            .next_field()
            .expect("good")
            .expect("a field")
            .text()
            .as_deref(),
        Ok("x")
    );
    assert!(fields.next_field().expect("the end").is_none());
}

#[test]
fn times_beyond_what_can_be_told_are_the_last_or_the_first() {
    let read = |seconds: i64, nanos: i64| {
        let mut message = Message::default();
        message.message(1, |time| {
            time.uint(1, seconds as u64).uint(2, nanos as u64);
        });
        let bytes = message.into_bytes();
        Fields::new(&bytes)
            .next_field()
            .expect("good")
            .expect("a field")
            .time()
    };
    // 9999-12-31T23:59:59.999999999Z, as people write for ever; and the second behind the last that can be told.
    assert_eq!(read(253_402_300_799, 999_999_999), Ok(Timestamp::MAX));
    assert_eq!(read(253_402_207_201, 0), Ok(Timestamp::MAX));
    assert_eq!(read(i64::MAX, 0), Ok(Timestamp::MAX));
    assert_eq!(read(i64::MIN, 0), Ok(Timestamp::MIN));
    assert_eq!(
        read(253_402_207_200, 0).map(Timestamp::as_second),
        Ok(253_402_207_200)
    );
    for nanos in [1_000_000_000, i64::from(i32::MAX), i64::from(i32::MIN)] {
        assert_eq!(read(0, nanos), Err(WireError::Time));
    }
}

/// Walks through all that bytes say, as deep as messages may lie in each other here.
fn walk(bytes: &[u8], depth: usize) {
    let mut fields = Fields::new(bytes);
    while let Ok(Some(field)) = fields.next_field() {
        let _ = (field.text(), field.time(), field.number());
        let _ = field.numbers(&mut Vec::new());
        if depth > 0 {
            walk(field.bytes(), depth - 1);
        }
    }
}

#[test]
fn bytes_that_are_cut_or_flipped_do_no_harm() {
    let mut message = Message::default();
    message
        .text(1, "a text of some length")
        .time(2, Timestamp::UNIX_EPOCH)
        .uints(3, &[1, 1 << 40])
        .message(4, |inner| {
            inner.always_double(5, 1.5);
        });
    let bytes = message.into_bytes();
    for end in 0..bytes.len() {
        walk(&bytes[..end], 3);
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[end] ^= 1 << bit;
            walk(&flipped, 3);
            let mut rest = flipped.as_slice();
            while take_delimited(&mut rest).is_ok_and(|_| !rest.is_empty()) {}
        }
    }
    let endless = [0x80_u8; 11];
    assert_eq!(take_varint(&mut endless.as_slice()), Err(FormError::Number));
}
