//! Deltas are added up, so that what is stored counts from a beginning.
//!
//! For each stream (a metric with its attributes, at its scope and resource) the sum so far is kept in memory, as long as
//! the stream goes on. Points that are older than what was added, or overlap with it, are left out in silence, as the
//! reference does; a gap adds up like anything else.

mod exponential;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use model::clock::Clock;

use super::wire::{AnyValue, Attribute, ExponentialPoint, Head, Metric, Number, NumberPoint, Scope};
use exponential::{Exponential, Side};

/// How many streams may be added up at a time.
pub(super) const STREAMS_MAX: usize = 1_000_000;
/// A stream without a point for this long begins anew with the next. Compat: what the reference's processor has.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);
/// How often such streams are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Why a point cannot be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// There are as many streams as may be.
    #[error(
        "{STREAMS_MAX} streams of deltas are added up already; send cumulative metrics, or fewer of them"
    )]
    TooManyStreams,
}

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StreamKey(u128);

/// The streams that are added up.
pub(super) struct Streams {
    clock: Arc<dyn Clock>,
    streams: HashMap<StreamKey, Stream>,
    /// How many there may be.
    max: usize,
    swept: Duration,
    /// Keys of their own for each server, so that nobody can make two streams one.
    hashers: [RandomState; 2],
    /// What has seen all of a stream but the attributes of a point.
    begun: [DefaultHasher; 2],
}

struct Stream {
    start_ns: u64,
    time_ns: u64,
    /// When the last point came.
    seen: Duration,
    sum: Sum,
}

enum Sum {
    Number(Number),
    Histogram {
        count: u64,
        sum: Option<f64>,
        counts: Vec<u64>,
        bounds: Box<[f64]>,
    },
    Exponential(Exponential),
}

/// What is to be done with a point.
enum Verdict<'s> {
    /// It is the first of its stream.
    First,
    /// It belongs to this sum.
    Adds(&'s mut Stream),
    /// It is left out.
    Late,
}

impl Streams {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        Streams {
            begun: [hashers[0].build_hasher(), hashers[1].build_hasher()],
            swept: clock.elapsed(),
            streams: HashMap::new(),
            max: STREAMS_MAX,
            hashers,
            clock,
        }
    }

    /// Forgets streams that have ended.
    pub(super) fn sweep(&mut self) {
        let now = self.clock.elapsed();
        if now.saturating_sub(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.streams
                .retain(|_, stream| now.saturating_sub(stream.seen) <= IDLE_MAX);
        }
    }

    /// The following keys are of streams of this metric.
    pub(super) fn begin(
        &mut self,
        resource: &[Attribute<'_>],
        scope: &Scope<'_>,
        scope_attributes: &[Attribute<'_>],
        metric: &Metric<'_>,
    ) {
        for (begun, hasher) in self.begun.iter_mut().zip(&self.hashers) {
            *begun = hasher.build_hasher();
            hash_attributes(begun, resource);
            hash_attributes(begun, scope_attributes);
            for text in [scope.name, scope.version, metric.name, metric.unit] {
                hash_bytes(begun, text);
            }
            begun.write(&[metric.kind as u8, u8::from(metric.monotonic)]);
        }
    }

    /// The stream of a point with these attributes.
    pub(super) fn key(&self, attributes: &[Attribute<'_>]) -> StreamKey {
        let [high, low] = [&self.begun[0], &self.begun[1]].map(|begun| {
            let mut hasher = begun.clone();
            hash_attributes(&mut hasher, attributes);
            hasher.finish()
        });
        StreamKey(u128::from(high) << 64 | u128::from(low))
    }

    fn judge(&mut self, key: StreamKey, head: &Head) -> Result<Verdict<'_>, DeltaError> {
        let full = self.streams.len() >= self.max;
        let Some(stream) = self.streams.get_mut(&key) else {
            return if full {
                Err(DeltaError::TooManyStreams)
            } else {
                Ok(Verdict::First)
            };
        };
        stream.seen = self.clock.elapsed();
        if stream.time_ns == 0 {
            return Ok(Verdict::First);
        }
        if head.start_ns < stream.start_ns || head.time_ns <= stream.time_ns {
            return Ok(Verdict::Late);
        }
        stream.time_ns = head.time_ns;
        Ok(Verdict::Adds(stream))
    }

    fn start(&mut self, key: StreamKey, head: &Head, sum: Sum) {
        let seen = self.clock.elapsed();
        let (start_ns, time_ns) = (head.start_ns, head.time_ns);
        let stream = Stream {
            start_ns,
            time_ns,
            seen,
            sum,
        };
        self.streams.insert(key, stream);
    }

    /// Makes `point` the sum up to it; whether there is one.
    pub(super) fn number(&mut self, key: StreamKey, point: &mut NumberPoint) -> Result<bool, DeltaError> {
        match self.judge(key, &point.head)? {
            Verdict::Late => return Ok(false),
            Verdict::First => self.start(key, &point.head, Sum::Number(point.value)),
            Verdict::Adds(stream) => {
                if let Sum::Number(sum) = &mut stream.sum {
                    *sum = add(*sum, point.value);
                    point.value = *sum;
                }
                point.head.start_ns = stream.start_ns;
            }
        }
        Ok(true)
    }

    /// The same for a histogram.
    pub(super) fn histogram(
        &mut self,
        key: StreamKey,
        head: &mut Head,
        count: &mut u64,
        sum: &mut Option<f64>,
        counts: &mut Vec<u64>,
        bounds: &[f64],
    ) -> Result<bool, DeltaError> {
        match self.judge(key, head)? {
            Verdict::Late => return Ok(false),
            Verdict::First => {
                let sum = Sum::Histogram {
                    count: *count,
                    sum: *sum,
                    counts: counts.clone(),
                    bounds: bounds.into(),
                };
                self.start(key, head, sum);
            }
            Verdict::Adds(stream) => {
                if let Sum::Histogram {
                    count: all,
                    sum: total,
                    counts: so_far,
                    bounds: same,
                } = &mut stream.sum
                {
                    if **same == *bounds {
                        *all = all.wrapping_add(*count);
                        *total = both(*total, *sum);
                        for (so_far, count) in so_far.iter_mut().zip(counts.iter()) {
                            *so_far = so_far.wrapping_add(*count);
                        }
                    } else {
                        // Nothing can be added to other bounds.
                        (*all, *total, *same) = (*count, *sum, bounds.into());
                        so_far.clone_from(counts);
                        stream.start_ns = head.start_ns;
                    }
                    (*count, *sum) = (*all, *total);
                    counts.clone_from(so_far);
                }
                head.start_ns = stream.start_ns;
            }
        }
        Ok(true)
    }

    /// The same for an exponential histogram, whose buckets lie in the two lists.
    pub(super) fn exponential(
        &mut self,
        key: StreamKey,
        point: &mut ExponentialPoint,
        positive: &mut Vec<u64>,
        negative: &mut Vec<u64>,
    ) -> Result<bool, DeltaError> {
        let side = |offset: i32, counts: &mut Vec<u64>| Side {
            offset: i64::from(offset),
            counts: std::mem::take(counts),
        };
        let verdict = self.judge(key, &point.head)?;
        if let Verdict::Late = verdict {
            return Ok(false);
        }
        let added = Exponential {
            scale: point.scale,
            count: point.count,
            sum: point.sum,
            zero_count: point.zero_count,
            zero_threshold: point.zero_threshold,
            positive: side(point.positive.offset, positive),
            negative: side(point.negative.offset, negative),
        };
        let sum = match verdict {
            Verdict::Adds(stream) => {
                point.head.start_ns = stream.start_ns;
                match &mut stream.sum {
                    Sum::Exponential(sum) => {
                        sum.add(added);
                        sum.clone()
                    }
                    _ => added,
                }
            }
            _ => {
                self.start(key, &point.head, Sum::Exponential(added.clone()));
                added
            }
        };
        (point.scale, point.count, point.sum) = (sum.scale, sum.count, sum.sum);
        point.zero_count = sum.zero_count;
        let clamp = |offset: i64| offset.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        (point.positive.offset, *positive) = (clamp(sum.positive.offset), sum.positive.counts);
        (point.negative.offset, *negative) = (clamp(sum.negative.offset), sum.negative.counts);
        Ok(true)
    }
}

fn hash_bytes(hasher: &mut DefaultHasher, bytes: &[u8]) {
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}

/// Whatever order they come in.
fn hash_attributes(hasher: &mut DefaultHasher, attributes: &[Attribute<'_>]) {
    hasher.write_usize(attributes.len());
    let mut hash = |attribute: &Attribute<'_>| {
        hash_bytes(hasher, attribute.key);
        match attribute.value {
            AnyValue::Missing => hasher.write_u8(0),
            AnyValue::Text(bytes) => {
                hasher.write_u8(1);
                hash_bytes(hasher, bytes);
            }
            AnyValue::Bool(bool) => hasher.write(&[2, u8::from(bool)]),
            AnyValue::Int(int) => {
                hasher.write_u8(3);
                hasher.write_i64(int);
            }
            AnyValue::Double(double) => {
                hasher.write_u8(4);
                hasher.write_u64(double.to_bits());
            }
            AnyValue::Array(bytes) => {
                hasher.write_u8(5);
                hash_bytes(hasher, bytes);
            }
            AnyValue::Map(bytes) => {
                hasher.write_u8(6);
                hash_bytes(hasher, bytes);
            }
            AnyValue::Bytes(bytes) => {
                hasher.write_u8(7);
                hash_bytes(hasher, bytes);
            }
        }
    };
    if attributes.is_sorted_by_key(|attribute| attribute.key) {
        return attributes.iter().for_each(hash);
    }
    let mut sorted: Vec<&Attribute<'_>> = attributes.iter().collect();
    sorted.sort_by_key(|attribute| attribute.key);
    sorted.into_iter().for_each(&mut hash);
}

/// Whole numbers stay whole.
fn add(a: Number, b: Number) -> Number {
    match (a, b) {
        (Number::Missing, other) | (other, Number::Missing) => other,
        (Number::Int(a), Number::Int(b)) => Number::Int(a.wrapping_add(b)),
        (a, b) => Number::Double(a.value().unwrap_or_default() + b.value().unwrap_or_default()),
    }
}

/// A sum is known as long as each part is.
fn both(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? + b?)
}

#[cfg(test)]
mod tests {
    use model::clock::ManualClock;

    use super::*;

    fn point(value: i64, minute: u64) -> NumberPoint {
        let head = Head {
            start_ns: minute,
            time_ns: minute + 1,
            ..Head::default()
        };
        NumberPoint {
            head,
            value: Number::Int(value),
        }
    }

    #[test]
    fn streams_are_bounded_and_those_that_are_known_go_on() {
        let mut streams = Streams::new(Arc::new(ManualClock::new(0)));
        streams.max = 2;
        let mut add = |key, value, minute| {
            let mut point = point(value, minute);
            let taken = streams.number(StreamKey(key), &mut point)?;
            Ok((taken, point.value.value()))
        };
        assert_eq!(add(1, 10, 1), Ok((true, Some(10.0))));
        assert_eq!(add(2, 20, 1), Ok((true, Some(20.0))));
        assert_eq!(add(3, 30, 1), Err(DeltaError::TooManyStreams));
        assert_eq!(add(1, 1, 2), Ok((true, Some(11.0))));
    }
}
