//! Answers against expectations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::float::format_general;
use model::histogram::{FloatHistogram, Span};
use model::labels::Labels;
use model::sample::is_stale_nan;

use crate::annotations::Severity;
use crate::parser::SequenceValue;
use crate::script::evaluate::Answer;
use crate::script::{Expect, Steps, TextMatch};
use crate::value::{Sample, SampleValue, Series, Value};

/// Largest relative difference of floats that count as equal: as the reference's own scripts are compared.
const EPSILON: f64 = 1e-6;

/// How an answer differs from what is expected.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each one and its data are")]
pub enum Mismatch {
    #[error("expected {expected}, got {found}")]
    Kind { expected: &'static str, found: String },
    #[error("expected {expected:?}, got {found:?}")]
    Text { expected: String, found: String },
    #[error("expected {}, got {}", format_general(*.expected), format_general(*.found))]
    Scalar { expected: f64, found: f64 },
    #[error("unexpected series {labels}: {found}")]
    UnexpectedSeries { labels: Labels, found: String },
    #[error("missing series {0}")]
    MissingSeries(Labels),
    #[error("series {0} occurs twice")]
    Twice(Labels),
    #[error("series {labels}: expected place {expected}, got {found}")]
    Order {
        labels: Labels,
        expected: usize,
        found: usize,
    },
    #[error("matrix is not sorted by labels at {0}")]
    Unsorted(Labels),
    #[error("series {labels}: expected {expected}, got {found}")]
    Values {
        labels: Labels,
        expected: String,
        found: String,
    },
    #[error("expected {0} and there is none")]
    MissingAnnotation(String),
    #[error("unexpected annotation {0:?}")]
    UnexpectedAnnotation(String),
}

impl Expect {
    /// Compares warnings and infos.
    pub(super) fn check_annotations(&self, answer: &Answer, query: &str) -> Result<(), Mismatch> {
        for (severity, expected, none) in [
            (Severity::Warning, &self.warn, self.no_warn),
            (Severity::Info, &self.info, self.no_info),
        ] {
            let of_kind = answer
                .annotations
                .iter()
                .filter(|annotation| annotation.severity == severity);
            let found: Vec<String> = of_kind.map(|annotation| annotation.text(query)).collect();
            if let Some(text) = found.first().filter(|_| none) {
                return Err(Mismatch::UnexpectedAnnotation(text.clone()));
            }
            if let Some(missing) = expected
                .iter()
                .find(|e| !found.iter().any(|text| e.matches(text)))
            {
                let found = if found.is_empty() {
                    String::new()
                } else {
                    format!(" (only {found:?})")
                };
                return Err(Mismatch::MissingAnnotation(format!(
                    "{severity:?} {missing}{found}"
                )));
            }
            let unexpected = found
                .iter()
                .find(|text| !expected.iter().any(|e| e.matches(text)));
            if let Some(text) = unexpected.filter(|_| !expected.is_empty()) {
                return Err(Mismatch::UnexpectedAnnotation(text.clone()));
            }
        }
        Ok(())
    }

    /// Compares a value; `steps` are those of a range.
    pub(super) fn check_value(&self, value: &Value, steps: Option<Steps>) -> Result<(), Mismatch> {
        let kind = |expected| {
            let found = format!("{value:?}");
            Mismatch::Kind { expected, found }
        };
        match (value, steps.or(self.range_vector)) {
            (Value::Scalar { value: found, .. }, _) => match self.scalar {
                Some(expected) if almost_equal(expected, *found) => Ok(()),
                Some(expected) => Err(Mismatch::Scalar {
                    expected,
                    found: *found,
                }),
                None => Err(kind("a vector or a matrix")),
            },
            (Value::String { value: found, .. }, _) => {
                let expected = self.string.clone().unwrap_or_default();
                if expected == *found {
                    Ok(())
                } else {
                    Err(Mismatch::Text {
                        expected,
                        found: found.clone(),
                    })
                }
            }
            _ if self.scalar.is_some() => Err(kind("a scalar")),
            (Value::Vector(_), _) if self.range_vector.is_some() => Err(kind("a range vector")),
            (Value::Vector(samples), _) => self.check_vector(samples),
            (Value::Matrix(_), _) if self.ordered => Err(kind("a vector in a certain order")),
            (Value::Matrix(_), None) => Err(kind("a vector")),
            (Value::Matrix(series), Some(steps)) => self.check_matrix(series, steps),
        }
    }

    /// What is expected of each series, with its place. Of several lines for one series the last counts.
    fn expected(&self) -> BTreeMap<&Labels, (usize, &[SequenceValue])> {
        let series = self.series.iter().enumerate();
        series
            .map(|(place, (labels, values))| (labels, (place, &values[..])))
            .collect()
    }

    fn check_vector(&self, samples: &[Sample]) -> Result<(), Mismatch> {
        let mut expected = self.expected();
        let all: Vec<&Labels> = expected.keys().copied().collect();
        for (place, sample) in samples.iter().enumerate() {
            let found = point_text(&sample.value);
            let Some((expected_place, values)) = expected.remove(&sample.labels) else {
                let labels = sample.labels.clone();
                if all.contains(&&labels) {
                    return Err(Mismatch::Twice(labels));
                }
                return Err(Mismatch::UnexpectedSeries { labels, found });
            };
            if self.ordered && expected_place != place {
                let labels = sample.labels.clone();
                return Err(Mismatch::Order {
                    labels,
                    expected: expected_place,
                    found: place,
                });
            }
            let value = values.first().unwrap_or(&SequenceValue::Omitted);
            if !same_point(value, &sample.value) {
                let (labels, expected) = (sample.labels.clone(), expected_text(values));
                return Err(Mismatch::Values {
                    labels,
                    expected,
                    found,
                });
            }
        }
        missing(expected)
    }

    fn check_matrix(&self, series: &[Series], steps: Steps) -> Result<(), Mismatch> {
        sorted(series)?;
        let mut expected = self.expected();
        for found in series {
            let Some((_, values)) = expected.remove(&found.labels) else {
                let (labels, found) = (found.labels.clone(), series_text(found));
                return Err(Mismatch::UnexpectedSeries { labels, found });
            };
            let mut points = found.points();
            let fits = values.iter().enumerate().all(|(i, value)| {
                let at_ms = steps.start_ms + i as i64 * steps.step_ms;
                match value {
                    SequenceValue::Omitted => true,
                    _ => {
                        let point = points.next();
                        at_ms <= steps.end_ms
                            && point.is_some_and(|(found_ms, point)| {
                                found_ms == at_ms && same_point(value, &point)
                            })
                    }
                }
            });
            if !fits || points.next().is_some() {
                let (labels, expected) = (found.labels.clone(), expected_text(values));
                return Err(Mismatch::Values {
                    labels,
                    expected,
                    found: series_text(found),
                });
            }
        }
        missing(expected)
    }
}

fn missing(expected: BTreeMap<&Labels, (usize, &[SequenceValue])>) -> Result<(), Mismatch> {
    match expected.into_keys().next() {
        Some(labels) => Err(Mismatch::MissingSeries(labels.clone())),
        None => Ok(()),
    }
}

/// Matrices are sorted by labels.
pub(super) fn sorted(series: &[Series]) -> Result<(), Mismatch> {
    match series.windows(2).find(|pair| pair[0].labels > pair[1].labels) {
        Some(pair) => Err(Mismatch::Unsorted(pair[1].labels.clone())),
        None => Ok(()),
    }
}

impl Series {
    /// Floats and histograms together, by time.
    pub(super) fn points(&self) -> impl Iterator<Item = (i64, SampleValue)> {
        let floats = self
            .floats()
            .map(|(at_ms, value)| (at_ms, SampleValue::Float(value)));
        let histograms = self
            .histograms
            .iter()
            .map(|(at_ms, h)| (*at_ms, SampleValue::Histogram(Arc::clone(h))));
        let mut points: Vec<_> = floats.chain(histograms).collect();
        points.sort_by_key(|(at_ms, _)| *at_ms);
        points.into_iter()
    }
}

fn same_point(expected: &SequenceValue, found: &SampleValue) -> bool {
    match (expected, found) {
        (SequenceValue::Float(expected), SampleValue::Float(found)) => almost_equal(*expected, *found),
        (
            SequenceValue::Histogram {
                histogram,
                hint_given,
            },
            SampleValue::Histogram(found),
        ) => {
            same_histogram(histogram, found)
                && (!hint_given || histogram.counter_reset_hint == found.counter_reset_hint)
        }
        _ => false,
    }
}

/// Whether two floats are equal up to a millionth of their sum. NaN equals NaN, the staleness marker only itself.
pub fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// Whether two histograms have the same layout and almost the same counts. Empty buckets are the same as none, and
/// counter reset hints are not looked at.
pub fn same_histogram(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let bounds = |h: &FloatHistogram| h.custom_values.as_deref().unwrap_or_default().to_vec();
    a.schema == b.schema
        && bounds(a) == bounds(b)
        && a.zero_threshold == b.zero_threshold
        && [(a.count, b.count), (a.sum, b.sum), (a.zero_count, b.zero_count)]
            .iter()
            .all(|(a, b)| almost_equal(*a, *b))
        && same_buckets(
            (&a.positive_spans, &a.positive_buckets),
            (&b.positive_spans, &b.positive_buckets),
        )
        && same_buckets(
            (&a.negative_spans, &a.negative_buckets),
            (&b.negative_spans, &b.negative_buckets),
        )
}

fn same_buckets(a: (&[Span], &[f64]), b: (&[Span], &[f64])) -> bool {
    let (a, b) = (cells(a), cells(b));
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|((i, a), (j, b))| i == j && almost_equal(*a, *b))
}

/// Buckets that are not empty, by index.
fn cells((spans, buckets): (&[Span], &[f64])) -> Vec<(i32, f64)> {
    let mut index = 0;
    let mut indices = Vec::new();
    for span in spans {
        index += span.offset;
        for _ in 0..span.length {
            indices.push(index);
            index += 1;
        }
    }
    indices
        .into_iter()
        .zip(buckets.iter().copied())
        .filter(|(_, count)| *count != 0.0)
        .collect()
}

fn expected_text(values: &[SequenceValue]) -> String {
    let texts: Vec<String> = values
        .iter()
        .map(|value| match value {
            SequenceValue::Omitted => "_".to_owned(),
            SequenceValue::Float(value) => format_general(*value),
            SequenceValue::Histogram { histogram, .. } => histogram_text(histogram),
        })
        .collect();
    texts.join(" ")
}

fn point_text(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) => format_general(*value),
        SampleValue::Histogram(histogram) => histogram_text(histogram),
    }
}

fn series_text(series: &Series) -> String {
    let points = series
        .points()
        .map(|(at_ms, value)| format!("{}@{at_ms}", point_text(&value)));
    points.collect::<Vec<_>>().join(" ")
}

/// A histogram in the notation of scripts, as far as that goes: buckets with their indices.
fn histogram_text(h: &FloatHistogram) -> String {
    let mut text = format!("{{{{schema:{} count:{} sum:{}", h.schema, h.count, h.sum);
    if h.zero_count != 0.0 || h.zero_threshold != 0.0 {
        text.push_str(&format!(
            " z_bucket:{} z_bucket_w:{}",
            h.zero_count, h.zero_threshold
        ));
    }
    if let Some(bounds) = &h.custom_values {
        text.push_str(&format!(" custom_values:{bounds:?}"));
    }
    let sides = [
        ("buckets", &h.positive_spans, &h.positive_buckets),
        ("n_buckets", &h.negative_spans, &h.negative_buckets),
    ];
    for (name, spans, buckets) in sides {
        let cells = cells((spans, buckets));
        if !cells.is_empty() {
            let cells: Vec<String> = cells
                .iter()
                .map(|(index, count)| format!("{index}={count}"))
                .collect();
            text.push_str(&format!(" {name}:[{}]", cells.join(" ")));
        }
    }
    text.push_str(&format!(" counter_reset_hint:{:?}}}}}", h.counter_reset_hint));
    text
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextMatch::Any => f.write_str("any message"),
            TextMatch::Text(text) => write!(f, "{text:?}"),
            TextMatch::Pattern(pattern) => write!(f, "/{pattern}/"),
        }
    }
}
