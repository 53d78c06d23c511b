//! Functions of single samples, by tables.

use std::sync::Arc;

use model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Span};

use crate::kernels::ScalarArg;
use crate::row::Row;

use super::classic::{self, ClassicBucket, ForcedMonotonicity};
use super::native::{self, NanNote};
use super::*;

fn row(values: &[Option<f64>]) -> Row {
    let mut row = Row::default();
    row.reset(values.len());
    for (step, value) in values.iter().enumerate() {
        if let Some(value) = value {
            row.set(step, *value);
        }
    }
    row
}

/// What `name` makes of one float.
fn of_float(name: &str, args: &[f64], value: f64) -> Option<f64> {
    let args: Vec<_> = args.iter().map(|arg| ScalarArg::Constant(*arg)).collect();
    let mut row = row(&[None, Some(value)]);
    element_function(name).expect("known").run(&args, &mut row);
    assert_eq!(
        (row.get(0), row.values[0]),
        (None, 0.0),
        "absent steps stay absent"
    );
    row.get(1)
}

fn same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        _ => a == b,
    }
}

#[test]
fn functions_of_floats() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for (name, args, value, want) in [
        ("abs", &[][..], -0.0, Some(0.0)),
        ("ceil", &[], -0.5, Some(-0.0)),
        ("floor", &[], 2.7, Some(2.0)),
        ("sqrt", &[], -1.0, Some(nan)),
        ("ln", &[], 0.0, Some(-inf)),
        ("log2", &[], 8.0, Some(3.0)),
        ("log10", &[], 1000.0, Some(3.0)),
        ("exp", &[], 0.0, Some(1.0)),
        ("deg", &[], std::f64::consts::PI, Some(180.0)),
        ("rad", &[], 180.0, Some(std::f64::consts::PI)),
        ("sgn", &[], -3.0, Some(-1.0)),
        ("sgn", &[], -0.0, Some(-0.0)),
        ("sgn", &[], nan, Some(nan)),
        ("acosh", &[], 0.5, Some(nan)),
        ("acosh", &[], 1e308, Some(709.889355822726)),
        ("asinh", &[], -1e308, Some(-709.889355822726)),
        ("asinh", &[], -inf, Some(-inf)),
        ("round", &[], 0.5, Some(1.0)),
        ("round", &[], -0.5, Some(0.0)),
        ("round", &[5.0], 12.4, Some(10.0)),
        ("round", &[0.0], 1.0, Some(nan)),
        ("clamp", &[-1.0, 1.0], 7.0, Some(1.0)),
        ("clamp", &[-1.0, 1.0], nan, Some(nan)),
        ("clamp", &[1.0, -1.0], 0.0, None),
        ("clamp", &[nan, 1.0], 0.0, Some(nan)),
        ("clamp_min", &[0.0], -0.0, Some(0.0)),
        ("clamp_max", &[3.0], inf, Some(3.0)),
        ("clamp_max", &[-inf], nan, Some(-inf)),
        ("days_in_month", &[], 1_456_790_399.0, Some(29.0)),
        ("day_of_year", &[], 1_483_228_799.0, Some(366.0)),
        ("day_of_week", &[], 1_136_239_445.0, Some(1.0)),
        ("hour", &[], -1.0, Some(23.0)),
        ("year", &[], -1.0, Some(1969.0)),
    ] {
        let got = of_float(name, args, value);
        assert!(
            same(got, want),
            "{name}({value}) with {args:?}: got {got:?}, want {want:?}"
        );
    }
}

#[test]
fn names_are_sorted_and_say_what_they_take() {
    for (name, input, scalars, optional) in [
        ("clamp", ElementInput::Floats, 2, false),
        ("round", ElementInput::Floats, 1, false),
        ("year", ElementInput::Floats, 0, true),
        ("histogram_avg", ElementInput::Histograms, 0, false),
    ] {
        let function = element_function(name).expect("known");
        assert_eq!(
            (function.input, function.scalars, function.vector_optional),
            (input, scalars, optional),
            "{name}"
        );
    }
    assert!(element_function("rate").is_none());
}

/// An exponential histogram of schema 0 with neighbouring buckets from index 1 on: (1, 2], (2, 4] …
fn exponential(positive: &[f64], negative: &[f64], zero_count: f64) -> FloatHistogram {
    let spans = |buckets: &[f64]| match buckets.len() {
        0 => Vec::new(),
        length => vec![Span {
            offset: 1,
            length: length as u32,
        }],
    };
    Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.5,
        zero_count,
        count: positive.iter().chain(negative).sum::<f64>() + zero_count,
        sum: 10.0,
        positive_spans: spans(positive),
        negative_spans: spans(negative),
        positive_buckets: positive.to_vec(),
        negative_buckets: negative.to_vec(),
        custom_values: None,
    }
}

fn custom(bounds: &[f64], buckets: &[f64]) -> FloatHistogram {
    Buckets {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        positive_spans: vec![Span {
            offset: 0,
            length: buckets.len() as u32,
        }],
        custom_values: Some(Arc::from(bounds)),
        ..exponential(buckets, &[], 0.0)
    }
}

#[test]
fn floats_and_histograms_do_not_mix() {
    let mut mixed = row(&[Some(1.0), None, None]);
    mixed.push_histogram(1, Arc::new(exponential(&[2.0, 6.0], &[], 0.0)));
    let mut floats = mixed.clone();
    element_function("abs").expect("known").run(&[], &mut floats);
    assert_eq!(
        (floats.get(0), floats.get(1), floats.histograms.len()),
        (Some(1.0), None, 0)
    );
    for (name, want) in [
        ("histogram_count", 8.0),
        ("histogram_sum", 10.0),
        ("histogram_avg", 1.25),
    ] {
        let mut histograms = mixed.clone();
        element_function(name).expect("known").run(&[], &mut histograms);
        assert_eq!(
            (histograms.get(0), histograms.get(1)),
            (None, Some(want)),
            "{name}"
        );
        assert!(histograms.histograms.is_empty());
    }
}

fn near(got: f64, want: f64) -> bool {
    got == want || got.is_nan() && want.is_nan() || (got - want).abs() < 1e-12
}

#[test]
fn quantiles_of_native_histograms() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let sqrt2 = std::f64::consts::SQRT_2;
    let two_sided = exponential(&[4.0], &[4.0], 2.0);
    let bounds = [1.0, 5.0];
    let cases = [
        (exponential(&[], &[], 0.0), 0.5, nan),
        (exponential(&[1.0], &[], 0.0), -0.1, -inf),
        (exponential(&[1.0], &[], 0.0), 1.1, inf),
        (exponential(&[1.0], &[], 0.0), nan, nan),
        // Half way on the logarithmic scale.
        (exponential(&[2.0], &[], 0.0), 0.5, sqrt2),
        (exponential(&[0.0, 2.0], &[], 0.0), 0.5, 2.0 * sqrt2),
        (exponential(&[], &[2.0], 0.0), 0.5, -sqrt2),
        (two_sided.clone(), 0.5, 0.0),
        (two_sided.clone(), 0.2, -sqrt2),
        (two_sided, 0.8, sqrt2),
        // The zero bucket ends at 0 where there is but one side.
        (exponential(&[2.0], &[], 2.0), 0.25, 0.25),
        (exponential(&[], &[2.0], 2.0), 0.75, -0.25),
        (exponential(&[], &[], 2.0), 0.75, 0.25),
        (custom(&bounds, &[2.0, 2.0, 2.0]), 0.5, 3.0),
        (custom(&bounds, &[2.0, 2.0, 2.0]), 1.0 / 6.0, 0.5),
        (custom(&bounds, &[2.0, 2.0, 2.0]), 0.9, 5.0),
        (custom(&[-1.0, 5.0], &[2.0, 0.0, 0.0]), 0.5, -1.0),
    ];
    for (histogram, q, want) in cases {
        let (got, note) = native::quantile(q, &histogram);
        assert!(
            near(got, want) && note.is_none(),
            "{q} of {histogram}: {got}, not {want}"
        );
    }
    // NaN observations: counted, but in no bucket.
    let with_nan = FloatHistogram {
        count: 4.0,
        sum: nan,
        ..exponential(&[2.0], &[], 0.0)
    };
    assert_eq!(
        native::quantile(0.25, &with_nan),
        (sqrt2, Some(NanNote::QuantileIsSkewed))
    );
    let (got, note) = native::quantile(0.75, &with_nan);
    assert!(got.is_nan() && note == Some(NanNote::QuantileIsNan));
    assert_eq!(
        native::fraction(-inf, inf, &with_nan),
        (0.5, Some(NanNote::NotInFractions))
    );
}

#[test]
fn fractions_of_native_histograms() {
    let inf = f64::INFINITY;
    for (histogram, lower, upper, want) in [
        (exponential(&[], &[], 0.0), 0.0, 1.0, f64::NAN),
        (exponential(&[2.0], &[], 0.0), f64::NAN, 1.0, f64::NAN),
        (exponential(&[2.0], &[], 0.0), 2.0, 1.0, 0.0),
        (exponential(&[2.0], &[], 0.0), -inf, inf, 1.0),
        (
            exponential(&[2.0, 2.0], &[], 0.0),
            std::f64::consts::SQRT_2,
            2.0,
            0.25,
        ),
        (exponential(&[2.0], &[2.0], 4.0), 0.0, 0.25, 0.125),
        (exponential(&[2.0], &[], 2.0), 0.0, 0.25, 0.25),
        (custom(&[1.0, 5.0], &[2.0, 4.0, 2.0]), 2.0, 3.0, 0.125),
        // Observations are taken to be positive where the first bound is.
        (custom(&[1.0, 5.0], &[2.0, 4.0, 2.0]), -inf, 0.5, 0.125),
        (custom(&[-1.0, 5.0], &[2.0, 4.0, 2.0]), -inf, -3.0, 0.25),
        (custom(&[1.0, 5.0], &[2.0, 4.0, 2.0]), 7.0, inf, 0.25),
    ] {
        let (got, note) = native::fraction(lower, upper, &histogram);
        assert!(
            near(got, want) && note.is_none(),
            "{lower} to {upper} of {histogram}: {got}, not {want}"
        );
    }
}

#[test]
fn variances_of_native_histograms() {
    // One observation in (1, 2], at √2, and one in the zero bucket, at 0; the mean is 5.
    let want = ((std::f64::consts::SQRT_2 - 5.0).powi(2) + 25.0) / 2.0;
    assert!(near(native::variance(&exponential(&[1.0], &[], 1.0)), want));
    let want = ((3.0_f64 - 5.0).powi(2) + (-1.0_f64 - 5.0).powi(2)) / 2.0;
    assert!(near(
        native::variance(&custom(&[-2.0, 0.0, 6.0], &[0.0, 1.0, 1.0])),
        want
    ));
}

fn buckets(list: &[(f64, f64)]) -> Vec<ClassicBucket> {
    list.iter()
        .map(|(upper_bound, count)| ClassicBucket {
            upper_bound: *upper_bound,
            count: *count,
        })
        .collect()
}

#[test]
fn quantiles_of_classic_histograms() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let three = [(2.0, 30.0), (inf, 40.0), (1.0, 10.0)];
    for (list, q, want) in [
        (&three[..], 0.125, 0.5),
        (&three, 0.5, 1.5),
        (&three, 0.9, 2.0),
        (&three, -1.0, -inf),
        (&three, 2.0, inf),
        (&three, nan, nan),
        (&[(1.0, 1.0), (2.0, 2.0)], 0.5, nan),
        (&[(inf, 2.0)], 0.5, nan),
        (&[(1.0, 0.0), (inf, 0.0)], 0.5, nan),
        (&[(-1.0, 5.0), (inf, 5.0)], 0.5, -1.0),
        (&[], 0.5, nan),
        // Buckets of one bound are added up.
        (&[(1.0, 5.0), (1.0, 5.0), (2.0, 30.0), (inf, 40.0)], 0.5, 1.5),
    ] {
        let (got, forced) = classic::quantile(q, &mut buckets(list));
        assert!(
            near(got, want) && forced.is_none(),
            "{q} of {list:?}: {got}, not {want}"
        );
    }
}

#[test]
fn classic_counts_are_made_monotonic() {
    let inf = f64::INFINITY;
    let falling = [(1.0, 10.0), (2.0, 8.0), (3.0, 9.5), (4.0, 20.0), (inf, 20.0)];
    let (got, forced) = classic::quantile(0.75, &mut buckets(&falling));
    assert!(near(got, 3.5));
    assert_eq!(
        forced,
        Some(ForcedMonotonicity {
            min_bound: 2.0,
            max_bound: 3.0,
            max_difference: 2.0
        })
    );
    // Rounding errors are levelled without a word.
    let rounding = [(1.0, 10.0), (2.0, 10.0 - 1e-13), (inf, 20.0)];
    assert_eq!(classic::quantile(0.5, &mut buckets(&rounding)), (1.0, None));
}

#[test]
fn fractions_of_classic_histograms() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let three = [(1.0, 10.0), (2.0, 30.0), (inf, 40.0)];
    for (list, lower, upper, want) in [
        (&three[..], 0.0, 1.5, 0.5),
        (&three, -inf, inf, 1.0),
        (&three, 5.0, inf, 0.25),
        (&three, 2.0, 1.0, 0.0),
        (&three, nan, 1.0, nan),
        (&[(1.0, 10.0)], 0.0, 1.0, nan),
        (&[(-1.0, 10.0), (inf, 20.0)], -5.0, -1.0, 0.0),
    ] {
        let got = classic::fraction(lower, upper, &mut buckets(list));
        assert!(
            near(got, want),
            "{lower} to {upper} of {list:?}: {got}, not {want}"
        );
    }
}

#[test]
fn bounds_are_read_as_go_reads_them() {
    for (le, want) in [
        ("0.5", Some(0.5)),
        ("+Inf", Some(f64::INFINITY)),
        ("1e3", Some(1000.0)),
        ("", None),
        ("x", None),
    ] {
        assert_eq!(classic::parse_bound(le), want, "{le:?}");
    }
}
