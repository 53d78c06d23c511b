//! Metric families as they are kept: labels read, everything else as it was pushed.
//!
//! What a metric says beside its labels stays the bytes of its message, so that what is pushed as protobuf (native
//! histograms, exemplars, start times) is given away unchanged; [`Value`](super::Value) is read where somebody asks.

use std::collections::BTreeMap;

use exposition::strict;
use model::labels::NameScheme;
use model::protobuf::{Fields, Message, take_delimited};
use model::sample::MetricType;

use super::error::BodyError;
use super::value;

/// Most metrics of a push: a line may be four bytes, and what is made of it takes some hundred.
pub const METRICS_MAX: usize = 250_000;
/// Most families of a push, and of a group.
pub const FAMILIES_MAX: usize = 50_000;

/// A label's name or value. What is pushed as protobuf, or in base64, need not be text.
pub type Text = Box<[u8]>;
/// Names and values of labels.
pub type LabelSet = Vec<(Text, Text)>;

/// Kind of a family; the numbers are protobuf's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What a message that says nothing means.
    #[default]
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// Quantiles.
    Summary = 2,
    /// Not known.
    Untyped = 3,
    /// Buckets.
    Histogram = 4,
    /// Buckets that do not only grow.
    GaugeHistogram = 5,
}

impl Kind {
    fn from_number(number: u64) -> Self {
        match number {
            1 => Kind::Gauge,
            2 => Kind::Summary,
            3 => Kind::Untyped,
            4 => Kind::Histogram,
            5 => Kind::GaugeHistogram,
            // Compat: what is unknown counts as not said (protobuf's rule for enumerations).
            _ => Kind::Counter,
        }
    }

    /// The name that messages of the format have for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "COUNTER",
            Kind::Gauge => "GAUGE",
            Kind::Summary => "SUMMARY",
            Kind::Untyped => "UNTYPED",
            Kind::Histogram => "HISTOGRAM",
            Kind::GaugeHistogram => "GAUGE_HISTOGRAM",
        }
    }

    /// The field of a metric's message that holds its value.
    pub(super) fn value_field(self) -> u64 {
        match self {
            Kind::Gauge => 2,
            Kind::Counter => 3,
            Kind::Summary => 4,
            Kind::Untyped => 5,
            Kind::Histogram | Kind::GaugeHistogram => 7,
        }
    }

    fn of_text(kind: MetricType) -> Self {
        match kind {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge => Kind::Gauge,
            MetricType::Summary => Kind::Summary,
            MetricType::Histogram => Kind::Histogram,
            MetricType::GaugeHistogram => Kind::GaugeHistogram,
            _ => Kind::Untyped,
        }
    }
}

/// Metrics of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Its help text.
    pub help: Option<String>,
    /// Its kind.
    pub kind: Kind,
    /// Its unit, which only messages say.
    pub unit: Option<String>,
    /// In the order in which they came.
    pub metrics: Vec<Metric>,
}

/// One metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// Sorted by name once it is in a group.
    pub labels: LabelSet,
    /// All other fields of its message, as they were pushed.
    pub fields: Box<[u8]>,
}

/// Bytes beside its texts that a metric or label counts as taking.
const OVERHEAD_BYTES: usize = 48;

impl Family {
    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.name.len() + self.help.as_ref().map_or(0, String::len);
        let metrics = self.metrics.iter().map(|metric| {
            let labels = metric.labels.iter();
            let labels = labels.map(|(name, value)| name.len() + value.len() + OVERHEAD_BYTES);
            metric.fields.len() + OVERHEAD_BYTES + labels.sum::<usize>()
        });
        texts + 4 * OVERHEAD_BYTES + metrics.sum::<usize>()
    }

    /// As a message.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = Message::default();
        message.bytes(1, self.name.as_bytes());
        if let Some(help) = &self.help {
            message.bytes(2, help.as_bytes());
        }
        message.always_uint(3, self.kind as u64);
        for metric in &self.metrics {
            message.message(4, |out| {
                for (name, value) in &metric.labels {
                    out.message(1, |out| {
                        out.bytes(1, name).bytes(2, value);
                    });
                }
                out.raw(&metric.fields);
            });
        }
        if let Some(unit) = &self.unit {
            message.bytes(5, unit.as_bytes());
        }
        message.into_bytes()
    }

    /// Reads a message; `room` is how many metrics it may have, and less afterwards.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn decode(message: &[u8], room: &mut usize) -> Result<Self, BodyError> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| BodyError::NameNotUtf8);
        let mut family = Family::default();
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => family.name = text(field.bytes())?,
                2 => family.help = Some(text(field.bytes())?),
                3 => family.kind = Kind::from_number(field.number()),
                4 => {
                    *room = room.checked_sub(1).ok_or(BodyError::TooManyMetrics)?;
                    family.metrics.push(Metric::decode(field.bytes())?);
                }
                5 => family.unit = Some(text(field.bytes())?),
                _ => {}
            }
        }
        if family.name.is_empty() {
            return Err(BodyError::NoName);
        }
        Ok(family)
    }
}

impl Metric {
    fn decode(message: &[u8]) -> Result<Self, BodyError> {
        let mut metric = Metric::default();
        let mut rest = Vec::with_capacity(message.len());
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => metric.labels.push(label(field.bytes())?),
                number => {
                    value::check(number, field.bytes())?;
                    rest.extend_from_slice(field.whole);
                }
            }
        }
        metric.fields = rest.into();
        Ok(metric)
    }

    /// Whether its message has the field `number`.
    pub(super) fn has(&self, number: u64) -> bool {
        let mut fields = Fields::new(&self.fields);
        std::iter::from_fn(|| fields.next_field().ok().flatten()).any(|field| field.number == number)
    }

    /// Whether it says when it was measured.
    pub(super) fn has_timestamp(&self) -> bool {
        self.has(6)
    }
}

fn label(message: &[u8]) -> Result<(Text, Text), BodyError> {
    let (mut name, mut value) = (Text::default(), Text::default());
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => name = field.bytes().into(),
            2 => value = field.bytes().into(),
            _ => {}
        }
    }
    Ok((name, value))
}

/// The families of a body of messages, each behind its length. Of two of one name the later counts.
///
/// # Errors
/// When the bytes are no such messages, or there are too many.
pub(super) fn from_protobuf(mut body: &[u8]) -> Result<BTreeMap<String, Family>, BodyError> {
    let mut families = BTreeMap::new();
    let mut room = METRICS_MAX;
    while !body.is_empty() {
        let family = Family::decode(take_delimited(&mut body)?, &mut room)?;
        families.insert(family.name.clone(), family);
        if families.len() > FAMILIES_MAX {
            return Err(BodyError::TooManyFamilies);
        }
    }
    Ok(families)
}

/// The families of a body of text.
///
/// # Errors
/// When it is no such text, or there are too many.
pub(super) fn from_text(body: &[u8], names: NameScheme) -> Result<BTreeMap<String, Family>, BodyError> {
    // Before anything is made of them.
    if body.iter().filter(|byte| **byte == b'\n').count() > METRICS_MAX {
        return Err(BodyError::TooManyMetrics);
    }
    let found = strict::families(body, names)?;
    if found.len() > FAMILIES_MAX {
        return Err(BodyError::TooManyFamilies);
    }
    let families = found.into_iter().map(|(name, family)| {
        let kind = Kind::of_text(family.kind());
        let metrics = family.metrics.into_iter().map(|metric| Metric {
            fields: value::of_text(kind, &metric).into(),
            labels: metric
                .labels
                .into_iter()
                .map(|(name, value)| (name.into_bytes().into(), value.into_bytes().into()))
                .collect(),
        });
        let family = Family {
            name: name.clone(),
            help: family.help,
            kind,
            unit: None,
            metrics: metrics.collect(),
        };
        (name, family)
    });
    Ok(families.collect())
}
