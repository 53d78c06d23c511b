//! From families to entries in the order in which text formats would have them.

use std::borrow::Cow;

use model::sample::MetricType;

use super::message::{ExemplarMessage, Family, Metric, Point};
use super::{SEPARATOR, histogram, wire};
use crate::classic::ClassicHistogram;
use crate::entry::{Entry, ExemplarText, Format, HistogramSeries, Series};
use crate::error::{Expected, Fault, ParseError};
use crate::number;

/// What becomes of histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HistogramOptions {
    /// Pass over the native parts of histograms.
    pub ignore_native: bool,
    /// Give the classic series of histograms that also have a native part, or are converted.
    pub keep_classic: bool,
    /// Convert classic histograms to native ones with custom buckets.
    pub convert_classic: bool,
}

/// Reads a body of delimited `MetricFamily` messages entry by entry.
#[derive(Clone, Debug)]
pub struct ProtobufParser<'a> {
    body: &'a [u8],
    at: usize,
    options: HistogramOptions,
    family: Family<'a>,
    metric: Metric<'a>,
    /// Metrics of the family that were decoded.
    metrics_read: usize,
    step: Step,
    /// Series text of the entry at hand.
    text: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Family,
    Unit,
    Type,
    Metric,
    Native,
    /// Parts of a summary or a classic histogram.
    Count,
    Sum,
    Point(usize),
    Converted,
}

impl<'a> ProtobufParser<'a> {
    /// A parser at the start of `body`.
    pub fn new(body: &'a [u8], options: HistogramOptions) -> Self {
        ProtobufParser {
            body,
            at: 0,
            options,
            family: Family::default(),
            metric: Metric::default(),
            metrics_read: 0,
            step: Step::Family,
            text: Vec::new(),
        }
    }

    /// Kind of the family at hand.
    pub fn kind(&self) -> MetricType {
        self.family.kind
    }

    /// The next entry, or `None` at the end.
    ///
    /// # Errors
    /// At the first message that the format does not allow; calling again is pointless then.
    #[expect(
        clippy::should_implement_trait,
        reason = "entries borrow the parser's buffers"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        let step = match self.advance() {
            Ok(step) => step,
            Err(fault) => {
                let found = &self.body[fault.at.min(self.body.len())..];
                return Err(fault.in_binary(&found[..found.len().min(16)]));
            }
        };
        let Some(step) = step else { return Ok(None) };
        let name = self.family.name.as_bytes();
        Ok(Some(match step {
            Step::Family => Entry::Help {
                name,
                text: Cow::Borrowed(self.family.help),
            },
            Step::Unit => Entry::Unit {
                name,
                unit: self.family.unit.as_bytes(),
            },
            Step::Type => Entry::Type {
                name,
                kind: self.family.kind,
            },
            Step::Native | Step::Converted => return self.histogram(step).map(|h| Some(Entry::Histogram(h))),
            Step::Metric | Step::Count | Step::Sum | Step::Point(_) => Entry::Series(self.series(step)),
        }))
    }

    /// Goes to the next entry and says which it is; `self.step` is then what follows it.
    fn advance(&mut self) -> Result<Option<Step>, Fault> {
        loop {
            let step = self.step;
            match step {
                Step::Family => {
                    if !self.next_family()? {
                        return Ok(None);
                    }
                    // Compat: a family without metrics gives nothing at all (`a_family_without_metrics_gives_nothing`).
                    if self.family.metrics.is_empty() {
                        continue;
                    }
                    self.step = if self.family.unit.is_empty() {
                        Step::Type
                    } else {
                        Step::Unit
                    };
                }
                Step::Unit => self.step = Step::Type,
                Step::Type => self.step = Step::Metric,
                Step::Metric => {
                    if !self.next_metric()? {
                        self.step = Step::Family;
                        continue;
                    }
                    let next = self.first_of_metric();
                    if next != Step::Metric {
                        self.step = next;
                        continue;
                    }
                }
                Step::Native => {
                    let classic = self.options.keep_classic && !self.metric.points.is_empty();
                    self.step = if classic { Step::Count } else { Step::Metric };
                }
                Step::Count => self.step = Step::Sum,
                Step::Sum => self.step = self.after_points(0),
                Step::Point(i) => {
                    let last = self
                        .metric
                        .points
                        .get(i)
                        .is_none_or(|p| self.is_histogram() && p.bound == f64::INFINITY);
                    self.step = self.after_points(if last { usize::MAX } else { i + 1 });
                }
                Step::Converted => self.step = Step::Metric,
            }
            self.build_text(step);
            return Ok(Some(step));
        }
    }

    fn is_histogram(&self) -> bool {
        matches!(
            self.family.kind,
            MetricType::Histogram | MetricType::GaugeHistogram
        )
    }

    fn is_native(&self) -> bool {
        !self.options.ignore_native && self.metric.native.is_present()
    }

    fn first_of_metric(&self) -> Step {
        if self.family.kind == MetricType::Summary {
            Step::Count
        } else if !self.is_histogram() {
            Step::Metric
        } else if self.is_native() {
            Step::Native
        } else if self.options.convert_classic && !self.options.keep_classic {
            Step::Converted
        } else {
            Step::Count
        }
    }

    /// What follows when the next quantile or bucket would be number `next`. A histogram has one more bucket than the
    /// message says if the last one's bound is not infinite.
    fn after_points(&self, next: usize) -> Step {
        let points = self.metric.points.len() + usize::from(self.is_histogram());
        if next < points {
            Step::Point(next)
        } else if self.is_histogram() && !self.is_native() && self.options.convert_classic {
            Step::Converted
        } else {
            Step::Metric
        }
    }

    fn next_family(&mut self) -> Result<bool, Fault> {
        let rest = &self.body[self.at..];
        if rest.is_empty() {
            return Ok(false);
        }
        let (length, prefix) = wire::varint(rest)
            .filter(|(_, prefix)| *prefix <= 5)
            .ok_or(Fault::new(self.at, Expected::ProtobufField))?;
        let message = usize::try_from(length)
            .ok()
            .and_then(|length| rest[prefix..].get(..length))
            .ok_or(Fault::new(self.at, Expected::ProtobufLength))?;
        let base = self.at + prefix;
        self.at = base + message.len();
        self.metrics_read = 0;
        self.family.read(message, base)?;
        Ok(true)
    }

    fn next_metric(&mut self) -> Result<bool, Fault> {
        let Some((message, base)) = self.family.metrics.get(self.metrics_read).copied() else {
            return Ok(false);
        };
        self.metrics_read += 1;
        self.metric.read(message, base, self.family.kind)?;
        Ok(true)
    }

    /// Point number `i`; the implied last bucket if there is none.
    fn point(&self, i: usize) -> Point<'a> {
        let implied = Point {
            bound: f64::INFINITY,
            value: self.metric.count,
            exemplar: None,
        };
        self.metric.points.get(i).copied().unwrap_or(implied)
    }

    fn build_text(&mut self, step: Step) {
        let suffix = match step {
            Step::Family | Step::Unit | Step::Type => return,
            Step::Count => "_count",
            Step::Sum => "_sum",
            Step::Point(_) if self.is_histogram() => "_bucket",
            _ => "",
        };
        let text = &mut self.text;
        text.clear();
        text.extend_from_slice(self.family.name.as_bytes());
        text.extend_from_slice(suffix.as_bytes());
        for (name, value) in &self.metric.labels {
            text.push(SEPARATOR);
            text.extend_from_slice(name.as_bytes());
            text.push(SEPARATOR);
            text.extend_from_slice(value.as_bytes());
        }
        if let Step::Point(i) = step {
            let name = if self.is_histogram() { "le" } else { "quantile" };
            let bound = number::format_bound(self.point(i).bound);
            let text = &mut self.text;
            text.push(SEPARATOR);
            text.extend_from_slice(name.as_bytes());
            text.push(SEPARATOR);
            text.extend_from_slice(bound.as_bytes());
        }
    }

    /// Compat: a timestamp of 0 cannot be told from none (`a_timestamp_of_zero_is_none`).
    fn timestamp_ms(&self) -> Option<i64> {
        Some(self.metric.timestamp_ms).filter(|ms| *ms != 0)
    }

    fn series(&self, step: Step) -> Series<'_> {
        let (value, exemplar) = match step {
            Step::Count => (self.metric.count, None),
            Step::Sum => (self.metric.sum, None),
            Step::Point(i) => (self.point(i).value, self.point(i).exemplar),
            _ => (self.metric.value, self.metric.exemplar),
        };
        Series {
            text: &self.text,
            value,
            timestamp_ms: self.timestamp_ms(),
            start_ms: self.metric.start_ms,
            exemplar: exemplar.map(exemplar_text),
        }
    }

    fn histogram(&self, step: Step) -> Result<HistogramSeries<'_>, ParseError> {
        let gauge = self.family.kind == MetricType::GaugeHistogram;
        let histogram = if step == Step::Native {
            histogram::native(&self.metric, gauge)
        } else {
            self.converted(gauge)
        };
        let histogram = histogram.map_err(|expected| {
            let base = self
                .family
                .metrics
                .get(self.metrics_read.wrapping_sub(1))
                .map_or(0, |(_, base)| *base);
            Fault::new(base, expected).in_binary(self.family.name.as_bytes())
        })?;
        // Compat: exemplars of native histograms count only with a timestamp; without any of its own the histogram
        // takes those of its classic buckets (conformance `exposition/prometheus.proto.bin`).
        let own = &self.metric.native.exemplars;
        let of_buckets = self.metric.points.iter().filter_map(|p| p.exemplar);
        let timed = |e: &ExemplarMessage<'_>| e.timestamp_ms.is_some();
        let exemplars = if own.is_empty() {
            of_buckets.filter(timed).map(exemplar_text).collect()
        } else {
            own.iter().copied().filter(timed).map(exemplar_text).collect()
        };
        Ok(HistogramSeries {
            text: &self.text,
            histogram,
            timestamp_ms: self.timestamp_ms(),
            start_ms: self.metric.start_ms,
            exemplars,
        })
    }

    fn converted(&self, gauge: bool) -> Result<model::histogram::Histogram, Expected> {
        let mut classic = ClassicHistogram::default();
        classic.set_count(self.metric.count);
        classic.set_sum(self.metric.sum);
        for point in &self.metric.points {
            classic.set_bucket(point.bound, point.value);
        }
        classic.convert(gauge).ok_or(Expected::ClassicHistogram)
    }
}

fn exemplar_text(exemplar: ExemplarMessage<'_>) -> ExemplarText<'_> {
    ExemplarText {
        format: Format::Protobuf,
        text: exemplar.message,
        value: exemplar.value,
        timestamp_ms: exemplar.timestamp_ms,
    }
}
