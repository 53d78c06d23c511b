//! The series notation of tests: `metric{label="value"} 1 2+3x5 _ stale {{schema:0 buckets:[1 2]}}`.
//!
//! The metric is read by the parser of queries; the values behind it are a language of their own, read with nom.

use std::sync::Arc;

use model::histogram::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Span as BucketSpan,
};
use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use model::sample::stale_nan;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::character::complete::{char, digit1, one_of, space0, space1};
use nom::combinator::{map, map_res, opt, recognize, value};
use nom::multi::separated_list0;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser as _};

use super::error::{ParseError, Problem};
use super::scan::{self, Scan};
use super::{ParseOptions, Parser, Step, literal, run};
use crate::ast::Span;

/// Most values that one series may be written to have.
pub const SEQUENCE_VALUES_MAX: usize = 20_000_000;
/// Most histograms among them: each takes some hundred bytes.
const SEQUENCE_HISTOGRAMS_MAX: usize = 1_000_000;

/// One place of a sequence of values.
#[derive(Clone, Debug, PartialEq)]
pub enum SequenceValue {
    /// No sample here.
    Omitted,
    /// A float; `stale` is the staleness marker.
    Float(f64),
    /// A native histogram.
    Histogram {
        /// The histogram.
        histogram: Arc<FloatHistogram>,
        /// Whether its counter reset hint was written, and so is to be compared.
        hint_given: bool,
    },
}

/// Reads a series: a metric and the values that it takes step by step.
///
/// `1x3` is 1 four times, `1+2x3` is 1, 3, 5, 7, `_x3` is three gaps.
///
/// # Errors
/// When it is not one, or has more than [`SEQUENCE_VALUES_MAX`] values.
pub fn parse_series(text: &str) -> Result<(Labels, Vec<SequenceValue>), ParseError> {
    run(text, &ParseOptions::ALL, |parser| {
        let labels = parser.series_metric()?;
        let start = parser.lexer.position();
        let mut values = Vec::new();
        let mut rest = &text[start..];
        while !rest.trim_start().is_empty() {
            let spaced: Scan<'_> = space1(rest);
            let Ok((behind, _)) = spaced else {
                return parser.bad_values(text, rest);
            };
            if behind.is_empty() {
                break;
            }
            let Ok((behind, item)) = item(behind) else {
                return parser.bad_values(text, behind);
            };
            if let Err(problem) = item.expand(&mut values) {
                return parser.fail(span_of(text, rest), problem);
            }
            rest = behind;
        }
        Ok((labels, values))
    })
}

fn span_of(text: &str, rest: &str) -> Span {
    let start = text.len() - rest.trim_start().len();
    let word = text[start..].split(char::is_whitespace).next().unwrap_or("");
    Span {
        start: start as u32,
        end: (start + word.len()) as u32,
    }
}

impl Parser<'_> {
    /// A metric with nothing between its name and its braces: behind a space come values, and histograms have braces.
    fn series_metric(&mut self) -> Step<Labels> {
        let starts_with_digit = self.input.starts_with(|c: char| c.is_ascii_digit());
        let (behind, name) = match scan::name(self.input) {
            Ok((behind, name)) if !starts_with_digit => (behind, name),
            _ => (self.input, ""),
        };
        self.lexer.jump(name.len());
        let mut labels = LabelsBuilder::new();
        if behind.starts_with('{') && !behind.starts_with("{{") {
            self.labels_in_braces(&mut labels)?;
        }
        if !name.is_empty() {
            labels.set(METRIC_NAME, name);
        }
        Ok(labels.build())
    }

    fn bad_values<T>(&mut self, text: &str, rest: &str) -> Step<T> {
        let span = span_of(text, rest);
        let word = span.of(text).to_owned();
        self.fail(span, Problem::SeriesValue(word))
    }
}

/// One item of a sequence, before it is repeated.
enum Item {
    Omitted {
        times: usize,
    },
    Float {
        first: f64,
        step: f64,
        times: usize,
    },
    Histogram {
        first: Box<Described>,
        step: Option<Box<(bool, Described)>>,
        times: usize,
    },
}

/// A histogram as it was described.
#[derive(Clone)]
struct Described {
    histogram: FloatHistogram,
    hint_given: bool,
}

impl Item {
    fn expand(self, values: &mut Vec<SequenceValue>) -> Result<(), Problem> {
        let (Item::Omitted { times } | Item::Float { times, .. } | Item::Histogram { times, .. }) = self;
        let most = match self {
            Item::Histogram { .. } => SEQUENCE_HISTOGRAMS_MAX,
            _ => SEQUENCE_VALUES_MAX,
        };
        if times > most.saturating_sub(values.len()) {
            return Err(Problem::TooManyValues(most));
        }
        match self {
            Item::Omitted { times } => values.extend((0..times).map(|_| SequenceValue::Omitted)),
            Item::Float { first, step, times } => {
                // Nothing is added where there is no step: a sum would make an ordinary NaN of a staleness marker.
                let next = |value: &f64| Some(if step == 0.0 { *value } else { value + step });
                let sums = std::iter::successors(Some(first), next);
                values.extend(sums.take(times).map(SequenceValue::Float));
            }
            Item::Histogram { first, step, times } => {
                expand_histogram(*first, step.as_deref(), times, values)?;
            }
        }
        Ok(())
    }
}

fn expand_histogram(
    first: Described,
    step: Option<&(bool, Described)>,
    times: usize,
    values: &mut Vec<SequenceValue>,
) -> Result<(), Problem> {
    let hint_given = step
        .as_ref()
        .map_or(first.hint_given, |(_, step)| step.hint_given);
    let mut current = first.histogram;
    for i in 0..times {
        if let (Some((subtract, Described { histogram: step, .. })), 1..) = (step, i) {
            if current.schema > step.schema {
                return Err(Problem::CombineHistogramSchemas {
                    from: step.schema,
                    to: current.schema,
                });
            }
            if *subtract {
                current.sub(step)
            } else {
                current.add(step)
            }?;
        }
        values.push(SequenceValue::Histogram {
            histogram: Arc::new(current.clone()),
            hint_given,
        });
    }
    Ok(())
}

fn item(text: &str) -> Scan<'_, Item> {
    let (rest, item) = alt((omitted, histograms, stale, floats)).parse(text)?;
    if rest.is_empty() || rest.starts_with([' ', '\t']) {
        return Ok((rest, item));
    }
    Err(nom::Err::Error(nom::error::Error::new(
        rest,
        nom::error::ErrorKind::Eof,
    )))
}

/// `x5`: how many times more.
fn repetition(text: &str) -> Scan<'_, usize> {
    preceded(char('x'), map_res(digit1, |digits: &str| digits.parse::<usize>())).parse(text)
}

fn omitted(text: &str) -> Scan<'_, Item> {
    let (rest, times) = preceded(char('_'), opt(repetition)).parse(text)?;
    Ok((
        rest,
        Item::Omitted {
            times: times.unwrap_or(1),
        },
    ))
}

fn stale(text: &str) -> Scan<'_, Item> {
    let (rest, times) = preceded(tag("stale"), opt(repetition)).parse(text)?;
    Ok((
        rest,
        Item::Float {
            first: stale_nan(),
            step: 0.0,
            times: times.map_or(1, |times| times.saturating_add(1)),
        },
    ))
}

fn floats(text: &str) -> Scan<'_, Item> {
    let (rest, first) = signed(text)?;
    let (rest, repeated) = opt((opt((one_of("+-"), unsigned)), repetition)).parse(rest)?;
    let (step, times) = match repeated {
        None => (0.0, 0),
        Some((None, times)) => (0.0, times),
        Some((Some(('-', step)), times)) => (-step, times),
        Some((Some((_, step)), times)) => (step, times),
    };
    // The value itself comes on top of its repetitions.
    Ok((
        rest,
        Item::Float {
            first,
            step,
            times: times.saturating_add(1),
        },
    ))
}

fn unsigned(text: &str) -> Scan<'_, f64> {
    alt((
        value(f64::INFINITY, tag_no_case("inf")),
        value(f64::NAN, tag_no_case("nan")),
        map_res(scan::decimal, literal::number),
    ))
    .parse(text)
}

fn signed(text: &str) -> Scan<'_, f64> {
    let (rest, (sign, number)) = (opt(one_of("+-")), unsigned).parse(text)?;
    Ok((rest, if sign == Some('-') { -number } else { number }))
}

fn integer(text: &str) -> Scan<'_, i32> {
    map_res(recognize((opt(char('-')), digit1)), str::parse).parse(text)
}

fn histograms(text: &str) -> Scan<'_, Item> {
    let (rest, first) = histogram(text)?;
    let (rest, repeated) = opt((opt((one_of("+-"), histogram)), repetition)).parse(rest)?;
    let (step, times) = repeated.unwrap_or((None, 0));
    let step = step.map(|(sign, step)| Box::new((sign == '-', step)));
    Ok((
        rest,
        Item::Histogram {
            first: Box::new(first),
            step,
            times: times.saturating_add(1),
        },
    ))
}

/// A key of a histogram's description with its value.
enum Field {
    Schema(i32),
    Sum(f64),
    Count(f64),
    ZeroCount(f64),
    ZeroThreshold(f64),
    CustomValues(Vec<f64>),
    Buckets(Vec<f64>),
    Offset(i32),
    NegativeBuckets(Vec<f64>),
    NegativeOffset(i32),
    Hint(CounterResetHint),
}

/// `{{key:value key:value}}`
fn histogram(text: &str) -> Scan<'_, Described> {
    map_res(
        delimited(
            (tag("{{"), space0),
            separated_list0(space1, field),
            (space0, tag("}}")),
        ),
        describe,
    )
    .parse(text)
}

fn field(text: &str) -> Scan<'_, Field> {
    fn key<'a, T>(
        name: &'static str,
        read: impl Fn(&'a str) -> IResult<&'a str, T>,
        make: impl Fn(T) -> Field,
    ) -> impl Fn(&'a str) -> Scan<'a, Field> {
        move |text| map((tag(name), char(':'), &read), |(_, _, value)| make(value)).parse(text)
    }
    alt((
        key("schema", integer, Field::Schema),
        key("sum", signed, Field::Sum),
        key("count", signed, Field::Count),
        key("z_bucket", signed, Field::ZeroCount),
        key("z_bucket_w", unsigned, Field::ZeroThreshold),
        key("custom_values", numbers, Field::CustomValues),
        key("buckets", numbers, Field::Buckets),
        key("offset", integer, Field::Offset),
        key("n_buckets", numbers, Field::NegativeBuckets),
        key("n_offset", integer, Field::NegativeOffset),
        key("counter_reset_hint", hint, Field::Hint),
    ))
    .parse(text)
}

/// `[1 2 3]`
fn numbers(text: &str) -> Scan<'_, Vec<f64>> {
    delimited(
        (char('['), space0),
        separated_list0(space1, signed),
        (space0, char(']')),
    )
    .parse(text)
}

fn hint(text: &str) -> Scan<'_, CounterResetHint> {
    alt((
        value(CounterResetHint::Unknown, tag("unknown")),
        value(CounterResetHint::NotReset, tag("not_reset")),
        value(CounterResetHint::Reset, tag("reset")),
        value(CounterResetHint::Gauge, tag("gauge")),
    ))
    .parse(text)
}

/// A key that occurs twice in a histogram's description.
struct DuplicateKey;

fn describe(fields: Vec<Field>) -> Result<Described, DuplicateKey> {
    let mut described = Described {
        histogram: Buckets {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            positive_buckets: Vec::new(),
            negative_buckets: Vec::new(),
            custom_values: None,
        },
        hint_given: false,
    };
    let histogram = &mut described.histogram;
    let (mut offset, mut negative_offset) = (0, 0);
    let mut seen = Vec::new();
    for field in fields {
        let kind = std::mem::discriminant(&field);
        if seen.contains(&kind) {
            return Err(DuplicateKey);
        }
        seen.push(kind);
        match field {
            Field::Schema(schema) => histogram.schema = schema,
            Field::Sum(sum) => histogram.sum = sum,
            Field::Count(count) => histogram.count = count,
            Field::ZeroCount(count) => histogram.zero_count = count,
            Field::ZeroThreshold(threshold) => histogram.zero_threshold = threshold,
            Field::CustomValues(bounds) => histogram.custom_values = Some(bounds.into()),
            Field::Buckets(buckets) => histogram.positive_buckets = buckets,
            Field::Offset(first) => offset = first,
            Field::NegativeBuckets(buckets) => histogram.negative_buckets = buckets,
            Field::NegativeOffset(first) => negative_offset = first,
            Field::Hint(hint) => {
                histogram.counter_reset_hint = hint;
                described.hint_given = true;
            }
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        histogram.custom_values.get_or_insert_with(|| [].into());
    }
    histogram.positive_spans = span(offset, &histogram.positive_buckets);
    histogram.negative_spans = span(negative_offset, &histogram.negative_buckets);
    Ok(described)
}

fn span(offset: i32, buckets: &[f64]) -> Vec<BucketSpan> {
    match buckets.len() {
        0 => Vec::new(),
        length => vec![BucketSpan {
            offset,
            length: length as u32,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats_of(text: &str) -> Vec<Option<f64>> {
        let (_, values) = parse_series(text).expect(text);
        values
            .into_iter()
            .map(|value| match value {
                SequenceValue::Float(value) => Some(value),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn sequences_expand() {
        assert_eq!(
            floats_of(r#"m{a="b"} 1 2+3x2 -1-1x1 _ _x2 5x1"#),
            [
                Some(1.0),
                Some(2.0),
                Some(5.0),
                Some(8.0),
                Some(-1.0),
                Some(-2.0),
                None,
                None,
                None,
                Some(5.0),
                Some(5.0)
            ]
        );
        assert_eq!(floats_of("{} 1e3 +Inf"), [Some(1000.0), Some(f64::INFINITY)]);
        assert_eq!(floats_of("m "), []);
        let (labels, values) = parse_series(r#"{"a.b", c="d"} stale NaNx1"#).expect("series");
        assert_eq!(labels.to_string(), r#"{__name__="a.b", c="d"}"#);
        assert_eq!(values.len(), 3);
        assert!(matches!(values[0], SequenceValue::Float(v) if model::sample::is_stale_nan(v)));
    }

    #[test]
    fn histograms_are_described() {
        let text =
            "m {{schema:1 sum:3 count:22 z_bucket:2 buckets:[5 10 7] offset:-1 counter_reset_hint:gauge}}";
        let (_, values) = parse_series(text).expect(text);
        let [
            SequenceValue::Histogram {
                histogram,
                hint_given: true,
            },
        ] = &values[..]
        else {
            panic!("{values:?}")
        };
        assert_eq!((histogram.schema, histogram.sum, histogram.count), (1, 3.0, 22.0));
        assert_eq!(
            histogram.positive_spans,
            [BucketSpan {
                offset: -1,
                length: 3
            }]
        );
        assert_eq!(histogram.counter_reset_hint, CounterResetHint::Gauge);
        let (_, values) =
            parse_series("m {{}} {{ }}+{{count:1}}x2 {{schema:-53 custom_values:[1 2]}}").expect("ok");
        assert_eq!(values.len(), 5);
        let counts: Vec<f64> = values
            .iter()
            .map(|value| match value {
                SequenceValue::Histogram { histogram, .. } => histogram.count,
                _ => f64::NAN,
            })
            .collect();
        assert_eq!(counts, [0.0, 0.0, 1.0, 2.0, 0.0]);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for (text, message) in [
            (
                "m 1 two",
                r#"1:5: parse error: unexpected "two" in series values"#,
            ),
            (
                "m 1+x5",
                r#"1:3: parse error: unexpected "1+x5" in series values"#,
            ),
            (
                "m{a=b} 1",
                "1:5: parse error: unexpected identifier \"b\" in label set, expected string",
            ),
            (
                "m 1x20000000",
                "1:3: parse error: more than 20000000 values in a series",
            ),
            (
                "m _x1 {{}}x999999",
                "1:7: parse error: more than 1000000 values in a series",
            ),
            (
                "m {{sum:1 sum:2}}",
                r#"1:3: parse error: unexpected "{{sum:1" in series values"#,
            ),
        ] {
            assert_eq!(parse_series(text).expect_err(text).to_string(), message);
        }
    }
}
