//! What an output remembers of a group during an interval, and what it gives at the end.

use foldhash::HashSet;

use crate::buckets::{self, Buckets};
use crate::output::Output;
use crate::reservoir::Reservoir;

/// Most different values that `unique_samples` tells apart in a group; a group with more gives this number.
pub const UNIQUE_MAX: usize = 100_000;
/// Most values that all groups of a rule keep together for quantiles, different values and ranges: 128 MiB and what tables
/// take besides. What would be one more is not looked at, and counted.
pub const VALUES_MAX: usize = 16 << 20;
/// From here on whole numbers have no floats of their own: totals begin anew.
const EXACT_MAX: f64 = (1u64 << 53) as f64;

/// What a sample is to the counter that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Nobody asked.
    Unknown,
    /// It is older than another that was there before it.
    Late,
    /// The first of its series: the increase, where series begin at 0, and none where they do not.
    First(f64),
    /// By how much the counter has risen since the last one.
    Rise(f64),
}

/// A sample on its way into a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) value: f64,
    pub(crate) timestamp_ms: i64,
    pub(crate) step: Step,
    /// Whether it is the first of its series in the interval.
    pub(crate) is_new: bool,
}

/// Tells series of one output apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// There is one.
    Whole,
    /// A quantile, by its place in the list.
    Quantile(u16),
    /// A range of values.
    Range(u16),
}

/// How many values a rule keeps.
#[derive(Debug, Default)]
pub(crate) struct Kept(usize);

impl Kept {
    fn has_room(&self) -> bool {
        self.0 < VALUES_MAX
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Accumulator {
    /// Means: sum and number.
    Avg(f64, u64),
    Count(u64),
    Last(Option<(i64, f64)>),
    Least(Option<f64>),
    Largest(Option<f64>),
    Increase(Option<f64>),
    /// Sum of rates and number of series, known when the interval ends.
    Rate(f64, u64),
    /// Welford's: number, mean, sum of squared distances.
    Spread(f64, f64, f64),
    Sum(f64),
    /// What was there before the interval, and what came in it.
    Total(f64, f64),
    Unique(HashSet<u64>),
    Quantiles(Reservoir),
    Ranges(Buckets),
}

impl Accumulator {
    pub(crate) fn new(output: &Output) -> Self {
        match output {
            Output::Avg => Accumulator::Avg(0.0, 0),
            Output::CountSamples | Output::CountSeries => Accumulator::Count(0),
            Output::HistogramBucket => Accumulator::Ranges(Buckets::default()),
            Output::Increase | Output::IncreasePrometheus => Accumulator::Increase(None),
            Output::Last => Accumulator::Last(None),
            Output::Max => Accumulator::Largest(None),
            Output::Min => Accumulator::Least(None),
            Output::Quantiles(_) => Accumulator::Quantiles(Reservoir::default()),
            Output::RateAvg | Output::RateSum => Accumulator::Rate(0.0, 0),
            Output::Stddev | Output::Stdvar => Accumulator::Spread(0.0, 0.0, 0.0),
            Output::SumSamples => Accumulator::Sum(0.0),
            Output::SumSamplesTotal | Output::Total | Output::TotalPrometheus => Accumulator::Total(0.0, 0.0),
            Output::UniqueSamples => Accumulator::Unique(HashSet::default()),
        }
    }

    /// Adds a sample; `false` where memory keeps it out.
    #[inline]
    pub(crate) fn add(&mut self, output: &Output, sample: Arrived, kept: &mut Kept) -> bool {
        let value = sample.value;
        match self {
            Accumulator::Avg(sum, count) => {
                *sum += value;
                *count += 1;
            }
            Accumulator::Count(count) => {
                *count += u64::from(*output == Output::CountSamples || sample.is_new);
            }
            Accumulator::Last(last) => {
                if last.is_none_or(|(newest_ms, _)| sample.timestamp_ms >= newest_ms) {
                    *last = Some((sample.timestamp_ms, value));
                }
            }
            Accumulator::Least(least) => {
                if least.is_none_or(|least| value < least) {
                    *least = Some(value);
                }
            }
            Accumulator::Largest(largest) => {
                if largest.is_none_or(|largest| value > largest) {
                    *largest = Some(value);
                }
            }
            Accumulator::Increase(sum) => {
                // A sample that adds nothing still says that there is something.
                *sum.get_or_insert(0.0) += rise(output, sample.step);
            }
            Accumulator::Rate(..) => {}
            Accumulator::Spread(count, mean, squares) => {
                *count += 1.0;
                let next = *mean + (value - *mean) / *count;
                *squares += (value - *mean) * (value - next);
                *mean = next;
            }
            Accumulator::Sum(sum) => *sum += value,
            Accumulator::Total(_, added) => {
                *added += match output {
                    Output::SumSamplesTotal => value,
                    _ => rise(output, sample.step),
                };
            }
            Accumulator::Unique(values) => return add_unique(values, value, kept),
            Accumulator::Quantiles(reservoir) => match reservoir.add(value, kept.has_room()) {
                Some(grown) => kept.0 += usize::from(grown),
                None => return false,
            },
            Accumulator::Ranges(ranges) => kept.0 += usize::from(ranges.add(value)),
        }
        true
    }

    /// Adds the rate of one series.
    pub(crate) fn add_rate(&mut self, per_second: f64) {
        if let Accumulator::Rate(sum, count) = self {
            *sum += per_second;
            *count += 1;
        }
    }

    /// Ends the interval: gives what there is to tell, and begins the next.
    pub(crate) fn finish(&mut self, output: &Output, kept: &mut Kept, mut tell: impl FnMut(Part, f64)) {
        match self {
            Accumulator::Avg(sum, count) => {
                if *count > 0 {
                    tell(Part::Whole, *sum / *count as f64);
                }
                (*sum, *count) = (0.0, 0);
            }
            Accumulator::Count(count) => {
                if *count > 0 {
                    tell(Part::Whole, *count as f64);
                }
                *count = 0;
            }
            Accumulator::Last(last) => {
                if let Some((_, value)) = last.take() {
                    tell(Part::Whole, value);
                }
            }
            Accumulator::Least(value) | Accumulator::Largest(value) | Accumulator::Increase(value) => {
                if let Some(value) = value.take() {
                    tell(Part::Whole, value);
                }
            }
            Accumulator::Rate(sum, count) => {
                let divisor = if *output == Output::RateAvg {
                    *count as f64
                } else {
                    1.0
                };
                if *count > 0 {
                    tell(Part::Whole, *sum / divisor);
                }
                (*sum, *count) = (0.0, 0);
            }
            Accumulator::Spread(count, mean, squares) => {
                let variance = *squares / *count;
                match output {
                    _ if *count == 0.0 => {}
                    Output::Stddev => tell(Part::Whole, variance.sqrt()),
                    _ => tell(Part::Whole, variance),
                }
                (*count, *mean, *squares) = (0.0, 0.0, 0.0);
            }
            Accumulator::Sum(sum) => tell(Part::Whole, std::mem::take(sum)),
            Accumulator::Total(before, added) => {
                let total = *before + std::mem::take(added);
                *before = if total.abs() >= EXACT_MAX { 0.0 } else { total };
                tell(Part::Whole, total);
            }
            Accumulator::Unique(values) => {
                if !values.is_empty() {
                    tell(Part::Whole, values.len() as f64);
                }
                kept.0 -= values.len();
                // Not what one interval of many values took, for ever.
                *values = HashSet::default();
            }
            Accumulator::Quantiles(reservoir) => {
                let mut ended = std::mem::take(reservoir);
                kept.0 -= ended.len();
                if let (Output::Quantiles(phis), false) = (output, ended.is_empty()) {
                    ended.sort();
                    for (place, phi) in phis.iter().enumerate() {
                        tell(Part::Quantile(place as u16), ended.quantile(*phi));
                    }
                }
            }
            Accumulator::Ranges(ranges) => {
                ranges
                    .iter()
                    .for_each(|(range, count)| tell(Part::Range(range), count as f64));
            }
        }
    }

    /// Begins the group anew.
    pub(crate) fn reset(&mut self, output: &Output, kept: &mut Kept) {
        kept.0 -= match self {
            Accumulator::Unique(values) => values.len(),
            Accumulator::Quantiles(reservoir) => reservoir.len(),
            Accumulator::Ranges(ranges) => ranges.len(),
            _ => 0,
        };
        *self = Accumulator::new(output);
    }

    /// Goes on from what a journal tells.
    pub(crate) fn restore(&mut self, from: Accumulator, kept: &mut Kept) {
        if let Accumulator::Ranges(ranges) = &from {
            kept.0 += ranges.len();
        }
        *self = from;
    }
}

fn rise(output: &Output, step: Step) -> f64 {
    match step {
        Step::Rise(rise) => rise,
        Step::First(value) if matches!(output, Output::Total | Output::Increase) => value,
        _ => 0.0,
    }
}

fn add_unique(values: &mut HashSet<u64>, value: f64, kept: &mut Kept) -> bool {
    // Both zeros are one value.
    let bits = (value + 0.0).to_bits();
    if values.contains(&bits) {
        return true;
    }
    if values.len() >= UNIQUE_MAX || !kept.has_room() {
        return false;
    }
    kept.0 += 1;
    values.insert(bits)
}

/// The label that tells a part of an output from its others.
pub(crate) fn part_label(output: &Output, part: Part) -> Option<(&'static str, String)> {
    match (output, part) {
        (Output::Quantiles(phis), Part::Quantile(place)) => {
            let phi = phis.get(usize::from(place)).copied().unwrap_or_default();
            Some(("quantile", phi.to_string()))
        }
        (_, Part::Range(range)) => Some(("vmrange", buckets::name_of(usize::from(range)).to_owned())),
        _ => None,
    }
}
