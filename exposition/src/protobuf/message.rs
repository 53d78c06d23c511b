//! The messages of the format, decoded into reusable structs.

use model::histogram::Span;
use model::sample::MetricType;

use super::wire::{Fields, zigzag};
use crate::error::{Expected, Fault};

/// A `MetricFamily` without its metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
    pub(super) kind: MetricType,
    /// Metrics, still encoded, and where each starts in the body.
    pub(super) metrics: Vec<(&'a [u8], usize)>,
}

impl<'a> Family<'a> {
    /// Replaces the contents by those of `message`.
    pub(super) fn read(&mut self, message: &'a [u8], base: usize) -> Result<(), Fault> {
        self.metrics.clear();
        (self.name, self.help, self.unit) = ("", "", "");
        let mut word = 0;
        let mut fields = Fields::new(message, base);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.name = field.text()?,
                2 => self.help = field.text()?,
                3 => word = field.uint()?,
                4 => self.metrics.push(field.bytes()?),
                5 => self.unit = field.text()?,
                _ => {}
            }
        }
        if self.metrics.is_empty() {
            return Ok(());
        }
        if self.name.is_empty() {
            return Err(Fault::new(base, Expected::ProtobufMetricName));
        }
        self.kind = match word {
            0 => MetricType::Counter,
            1 => MetricType::Gauge,
            2 => MetricType::Summary,
            3 => MetricType::Unknown,
            4 => MetricType::Histogram,
            5 => MetricType::GaugeHistogram,
            _ => return Err(Fault::new(base, Expected::MetricType)),
        };
        Ok(())
    }
}

/// A `Metric`.
#[derive(Clone, Debug, Default)]
pub(super) struct Metric<'a> {
    pub(super) labels: Vec<(&'a str, &'a str)>,
    pub(super) timestamp_ms: i64,
    /// Of counter, gauge or untyped, whichever the family is.
    pub(super) value: f64,
    pub(super) start_ms: i64,
    pub(super) exemplar: Option<ExemplarMessage<'a>>,
    /// Of summary or histogram.
    pub(super) count: f64,
    pub(super) sum: f64,
    /// Bounds and values: quantiles of a summary, cumulative buckets of a classic histogram.
    pub(super) points: Vec<Point<'a>>,
    pub(super) native: Native<'a>,
}

/// A quantile or a classic bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    pub(super) bound: f64,
    pub(super) value: f64,
    pub(super) exemplar: Option<ExemplarMessage<'a>>,
}

/// The native part of a `Histogram`.
#[derive(Clone, Debug, Default)]
pub(super) struct Native<'a> {
    pub(super) count: u64,
    pub(super) count_float: f64,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: u64,
    pub(super) zero_count_float: f64,
    pub(super) negative: Side,
    pub(super) positive: Side,
    pub(super) exemplars: Vec<ExemplarMessage<'a>>,
}

/// Buckets on one side of zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) spans: Vec<Span>,
    pub(super) deltas: Vec<i64>,
    pub(super) counts: Vec<f64>,
}

impl Side {
    fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.counts.clear();
    }
}

/// An `Exemplar`, its labels still encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExemplarMessage<'a> {
    pub(super) message: &'a [u8],
    pub(super) value: f64,
    pub(super) timestamp_ms: Option<i64>,
}

impl Native<'_> {
    fn clear(&mut self) {
        self.negative.clear();
        self.positive.clear();
        self.exemplars.clear();
        (self.count, self.zero_count, self.schema) = (0, 0, 0);
        (self.count_float, self.zero_count_float, self.zero_threshold) = (0.0, 0.0, 0.0);
    }

    /// Whether there is a native histogram at all: one without observations needs a span of no length to say so.
    pub(super) fn is_present(&self) -> bool {
        !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// Whether counts are floats.
    pub(super) fn is_float(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }
}

impl<'a> Metric<'a> {
    /// Replaces the contents by those of `message`, a metric of a family of this `kind`.
    pub(super) fn read(&mut self, message: &'a [u8], base: usize, kind: MetricType) -> Result<(), Fault> {
        self.labels.clear();
        self.points.clear();
        self.native.clear();
        self.exemplar = None;
        (self.timestamp_ms, self.start_ms) = (0, 0);
        (self.value, self.count, self.sum) = (0.0, 0.0, 0.0);
        let mut fields = Fields::new(message, base);
        while let Some(field) = fields.next()? {
            match (field.number, kind) {
                (1, _) => {
                    let (label, at) = field.bytes()?;
                    let (name, value) = label_pair(label, at)?;
                    if name.is_empty() {
                        return Err(Fault::new(at, Expected::ProtobufLabelName));
                    }
                    self.labels.push((name, value));
                }
                (6, _) => self.timestamp_ms = field.uint()? as i64,
                (2, MetricType::Gauge) | (3, MetricType::Counter) | (5, MetricType::Unknown) => {
                    self.read_plain(field.bytes()?)?;
                }
                (4, MetricType::Summary) => self.read_summary(field.bytes()?)?,
                (7, MetricType::Histogram | MetricType::GaugeHistogram) => {
                    self.read_histogram(field.bytes()?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `Counter`, `Gauge` and `Untyped` agree in the fields that they have.
    fn read_plain(&mut self, (message, base): (&'a [u8], usize)) -> Result<(), Fault> {
        let mut fields = Fields::new(message, base);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.value = field.double()?,
                2 => self.exemplar = Some(exemplar(field.bytes()?)?),
                3 => self.start_ms = timestamp_ms(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_summary(&mut self, (message, base): (&'a [u8], usize)) -> Result<(), Fault> {
        let mut fields = Fields::new(message, base);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.count = field.uint()? as f64,
                2 => self.sum = field.double()?,
                3 => {
                    let (message, base) = field.bytes()?;
                    let mut point = Point {
                        bound: 0.0,
                        value: 0.0,
                        exemplar: None,
                    };
                    let mut fields = Fields::new(message, base);
                    while let Some(field) = fields.next()? {
                        match field.number {
                            1 => point.bound = field.double()?,
                            2 => point.value = field.double()?,
                            _ => {}
                        }
                    }
                    self.points.push(point);
                }
                4 => self.start_ms = timestamp_ms(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_histogram(&mut self, (message, base): (&'a [u8], usize)) -> Result<(), Fault> {
        let mut fields = Fields::new(message, base);
        while let Some(field) = fields.next()? {
            let native = &mut self.native;
            match field.number {
                1 => native.count = field.uint()?,
                2 => self.sum = field.double()?,
                3 => self.points.push(bucket(field.bytes()?)?),
                4 => native.count_float = field.double()?,
                5 => native.schema = zigzag(field.uint()?) as i32,
                6 => native.zero_threshold = field.double()?,
                7 => native.zero_count = field.uint()?,
                8 => native.zero_count_float = field.double()?,
                9 => native.negative.spans.push(span(field.bytes()?)?),
                10 => field.repeated_varint(|v| native.negative.deltas.push(zigzag(v)))?,
                11 => field.repeated_double(|v| native.negative.counts.push(v))?,
                12 => native.positive.spans.push(span(field.bytes()?)?),
                13 => field.repeated_varint(|v| native.positive.deltas.push(zigzag(v)))?,
                14 => field.repeated_double(|v| native.positive.counts.push(v))?,
                15 => self.start_ms = timestamp_ms(field.bytes()?)?,
                16 => native.exemplars.push(exemplar(field.bytes()?)?),
                _ => {}
            }
        }
        let native = &self.native;
        self.count = if native.count_float == 0.0 {
            native.count as f64
        } else {
            native.count_float
        };
        Ok(())
    }
}

/// Name and value of a `LabelPair`.
pub(super) fn label_pair(message: &[u8], base: usize) -> Result<(&str, &str), Fault> {
    let (mut name, mut value) = ("", "");
    let mut fields = Fields::new(message, base);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn bucket((message, base): (&[u8], usize)) -> Result<Point<'_>, Fault> {
    let mut point = Point {
        bound: 0.0,
        value: 0.0,
        exemplar: None,
    };
    let (mut whole, mut float) = (0, 0.0);
    let mut fields = Fields::new(message, base);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => whole = field.uint()?,
            2 => point.bound = field.double()?,
            3 => point.exemplar = Some(exemplar(field.bytes()?)?),
            4 => float = field.double()?,
            _ => {}
        }
    }
    point.value = if float == 0.0 { whole as f64 } else { float };
    Ok(point)
}

fn span((message, base): (&[u8], usize)) -> Result<Span, Fault> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = Fields::new(message, base);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => span.offset = zigzag(field.uint()?) as i32,
            2 => span.length = field.uint()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn exemplar((message, base): (&[u8], usize)) -> Result<ExemplarMessage<'_>, Fault> {
    let mut read = ExemplarMessage {
        message,
        value: 0.0,
        timestamp_ms: None,
    };
    let mut fields = Fields::new(message, base);
    while let Some(field) = fields.next()? {
        match field.number {
            2 => read.value = field.double()?,
            3 => read.timestamp_ms = Some(timestamp_ms(field.bytes()?)?),
            _ => {}
        }
    }
    Ok(read)
}

/// A `google.protobuf.Timestamp` in milliseconds.
fn timestamp_ms((message, base): (&[u8], usize)) -> Result<i64, Fault> {
    let (mut seconds, mut nanos) = (0i64, 0i32);
    let mut fields = Fields::new(message, base);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => seconds = field.uint()? as i64,
            2 => nanos = field.uint()? as i32,
            _ => {}
        }
    }
    Ok(seconds
        .wrapping_mul(1000)
        .wrapping_add(i64::from(nanos / 1_000_000)))
}
