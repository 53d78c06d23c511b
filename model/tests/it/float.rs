//! Float texts are Go's.

use narthex_model::float::{
    FloatError, Layout, format_exponent, format_float, format_general, format_json, format_precision,
    parse_exposition, parse_float, parse_number, write_json, write_timestamp,
};

fn bits(text: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(text, 16).expect("hexadecimal bits"))
}

#[test]
fn formats_are_gos() {
    let text = super::testdata("float-format.tsv");
    let mut rows = 0;
    for row in super::table(&text) {
        let value = bits(row[0]);
        assert_eq!(format_float(value), row[1], "'f' {}", row[0]);
        assert_eq!(format_exponent(value), row[2], "'e' {}", row[0]);
        assert_eq!(format_general(value), row[3], "'g' {}", row[0]);
        assert_eq!(
            format_precision(value, Layout::General, 4),
            row[4],
            "%.4g {}",
            row[0]
        );
        assert_eq!(
            format_precision(value, Layout::Plain, 2),
            row[5],
            "%.2f {}",
            row[0]
        );
        assert_eq!(
            format_precision(value, Layout::Exponent, 3),
            row[6],
            "%.3e {}",
            row[0]
        );
        assert_eq!(
            format_precision(value, Layout::Plain, 0),
            row[7],
            "%.0f {}",
            row[0]
        );
        assert_eq!(
            format_precision(value, Layout::General, 17),
            row[8],
            "%.17g {}",
            row[0]
        );
        rows += 1;
    }
    assert!(rows > 1000, "{rows} rows");
}

#[test]
fn reading_is_gos() {
    let text = super::testdata("float-parse.tsv");
    for row in super::table(&text) {
        let show = |answer: Result<f64, FloatError>| match answer {
            // Go's NaN has another payload.
            Ok(value) if value.is_nan() => "7ff8000000000001".to_owned(),
            Ok(value) => format!("{:016x}", value.to_bits()),
            Err(e) => e.to_string(),
        };
        assert_eq!(show(parse_float(row[0])), row[1], "{:?}", row[0]);
        assert_eq!(show(parse_number(row[0])), row[2], "{:?} as a number", row[0]);
        let exposed = parse_exposition(row[0].as_bytes());
        if row[0].contains(['p', 'P', '_']) {
            assert_eq!(exposed, Err(FloatError::Unsupported), "{:?}", row[0]);
        } else {
            assert_eq!(show(exposed), row[1], "{:?} in a scrape", row[0]);
        }
    }
}

#[test]
fn api_form_changes_at_its_limits() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1e-6, "0.000001"),
        (9.99999999999999e-7, "9.99999999999999e-07"),
        (1e-7, "1e-07"),
        (1e20, "100000000000000000000"),
        (9.999999999999999e20, "999999999999999900000"),
        (1e21, "1e+21"),
        (-1e100, "-1e+100"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(format_json(value), text);
    }
    let mut bytes = b"x".to_vec();
    write_json(&mut bytes, 1.5);
    assert_eq!(bytes, b"x1.5");
}

#[test]
fn timestamps_have_three_decimals_or_none() {
    for (ms, text) in [
        (0, "0"),
        (1, "0.001"),
        (1_000, "1"),
        (1_435_781_451_781, "1435781451.781"),
        (1_010, "1.010"),
        (-1_500, "-1.500"),
        (-1, "-0.001"),
        (i64::MIN, "-9223372036854775.808"),
    ] {
        let mut out = String::new();
        write_timestamp(&mut out, ms);
        assert_eq!(out, text);
    }
}

#[test]
fn random_bits_survive_a_round_trip() {
    // splitmix64
    let seed: u64 = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(42);
    println!("NARTHEX_SEED={seed}");
    let mut state = seed;
    for _ in 0..20_000 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let value = f64::from_bits(z ^ (z >> 31));
        if value.is_nan() {
            continue;
        }
        for text in [
            format_float(value),
            format_exponent(value),
            format_general(value),
            format_json(value),
        ] {
            let back = parse_float(&text).expect(&text);
            assert_eq!(back.to_bits(), value.to_bits(), "{text}");
            assert_eq!(parse_exposition(text.as_bytes()), Ok(value), "{text}");
        }
    }
}

#[test]
fn precision_far_beyond_the_digits_is_zeros() {
    let text = format_precision(0.5, Layout::Plain, 70_000);
    assert_eq!((text.len(), text.trim_end_matches('0')), (70_002, "0.5"));
}

#[test]
fn digits_are_laid_out_alike_on_both_sides_of_the_digit_generators_bounds() {
    for bound in [1e-7_f64, 1e-6, 1e-5, 1e-4, 0.1, 1.0, 10.0, 1e15, 1e16, 1e17, 1e21] {
        for value in [bound.next_down(), bound, bound.next_up(), bound * 1.5] {
            assert_eq!(format_float(value), format!("{value}"));
            assert_eq!(format_float(-value), format!("{}", -value));
        }
    }
}
