//! Classic histograms converted to native ones with custom bounds, as `load_with_nhcb` loads them beside the classic.

use std::collections::BTreeMap;

use model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Span};
use model::labels::{BUCKET_LABEL, Labels, METRIC_NAME};

use crate::parser::SequenceValue;
use crate::script::LoadedSeries;

/// What the classic series say about one histogram at one time.
#[derive(Default)]
struct Classic {
    /// Upper bounds with their cumulative counts.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Which part of a histogram a classic series tells.
#[derive(Clone, Copy)]
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// Why classic series make no histogram.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A bucket holds less than the one before it.
    #[error("the buckets of {0} are not cumulative")]
    NotCumulative(Labels),
    /// `_count` is not what the last bucket says.
    #[error("the count of {0} is not that of its last bucket")]
    CountMismatch(Labels),
}

/// The native histograms of the classic ones among `series`: labels, step and histogram.
pub(super) fn convert(series: &[LoadedSeries]) -> Result<Vec<(Labels, usize, FloatHistogram)>, ConvertError> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for LoadedSeries { labels, values, .. } in series {
        let name = labels.metric_name();
        let bound = labels
            .value(BUCKET_LABEL)
            .parse::<f64>()
            .ok()
            .filter(|bound| !bound.is_nan());
        let part = |suffix, part| Some((name.strip_suffix(suffix)?, part));
        let bucket = bound.and_then(|bound| part("_bucket", Part::Bucket(bound)));
        let Some((base, part)) = bucket
            .or_else(|| part("_count", Part::Count))
            .or_else(|| part("_sum", Part::Sum))
        else {
            continue;
        };
        let mut labels = labels.to_builder();
        labels.set(METRIC_NAME, base).remove(BUCKET_LABEL);
        let steps = found.entry(labels.build()).or_default();
        for (step, value) in values.iter().enumerate() {
            if let SequenceValue::Float(value) = value {
                steps.entry(step).or_default().put(part, *value);
            }
        }
    }
    let mut converted = Vec::new();
    for (labels, steps) in found {
        for (step, classic) in steps {
            converted.push((labels.clone(), step, classic.convert(&labels)?));
        }
    }
    Ok(converted)
}

impl Classic {
    fn put(&mut self, part: Part, value: f64) {
        match part {
            Part::Count => self.count = Some(value),
            Part::Sum => self.sum = value,
            // Bounds that are written in two ways are one bound; the first counts.
            Part::Bucket(bound) if self.buckets.iter().any(|(known, _)| *known == bound) => {}
            Part::Bucket(bound) => self.buckets.push((bound, value)),
        }
    }

    fn convert(mut self, labels: &Labels) -> Result<FloatHistogram, ConvertError> {
        self.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        if self.buckets.last().is_some_and(|(_, last)| *last != count) {
            return Err(ConvertError::CountMismatch(labels.clone()));
        }
        let mut below = 0.0;
        let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut gap = 0;
        for (_, cumulative) in &self.buckets {
            let count = cumulative - below;
            below = *cumulative;
            if count < 0.0 {
                return Err(ConvertError::NotCumulative(labels.clone()));
            }
            if count == 0.0 {
                gap += 1;
                continue;
            }
            match spans.last_mut() {
                Some(span) if gap == 0 => span.length += 1,
                _ => spans.push(Span {
                    offset: gap,
                    length: 1,
                }),
            }
            gap = 0;
            counts.push(count);
        }
        let bounds = self
            .buckets
            .iter()
            .map(|(bound, _)| *bound)
            .filter(|bound| *bound != f64::INFINITY);
        Ok(Buckets {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count,
            sum: self.sum,
            positive_spans: spans,
            negative_spans: Vec::new(),
            positive_buckets: counts,
            negative_buckets: Vec::new(),
            custom_values: Some(bounds.collect()),
        })
    }
}
