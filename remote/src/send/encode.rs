//! Messages of remote write, 1.0 and 2.0: <https://prometheus.io/docs/specs/prw/remote_write_spec/>,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.
//!
//! Each sample, histogram and exemplar is a time series of its own, in the order in which they came, as the reference sends
//! them. A float costs no allocation: labels of version 1.0 are copied as they stand in every message, the table of version
//! 2.0 lies in buffers that are kept.

use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::labels::Labels;
use model::protobuf::put_varint;
use model::sample::{Exemplar, Metadata, MetricType};

use super::config::MessageKind;
use super::item::{Form, Item, ItemValue, Sent};
use crate::wire::{
    put_bytes, put_double, put_histogram, put_message, put_sample, put_tag, put_text, put_uint, sample_len,
    varint_len,
};

/// Names of labels that may say what kind of metric a series is of, and in which unit.
const TYPE_LABEL: &str = "__type__";
const UNIT_LABEL: &str = "__unit__";

/// A message cannot be compressed.
#[derive(Debug, thiserror::Error)]
#[error("a message of {bytes} bytes cannot be compressed: {source}; lower queue_config.max_samples_per_send")]
pub(super) struct EncodeError {
    bytes: usize,
    source: snap::Error,
}

/// A metric family, as messages of version 1.0 tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// What is said of it.
    pub metadata: Metadata,
}

/// A message, compressed.
pub(super) struct Encoded {
    pub(super) body: Bytes,
    /// Series that tell their metadata.
    pub(super) metadata: u64,
}

/// Writes messages, one at a time, into buffers of its own.
pub(super) struct Encoder {
    kind: MessageKind,
    /// Whether labels say of which type and unit a series is.
    type_and_unit_labels: bool,
    plain: Vec<u8>,
    series: Vec<u8>,
    compressed: Vec<u8>,
    symbols: Symbols,
    references: Vec<u32>,
    snappy: snap::raw::Encoder,
}

impl Encoder {
    pub(super) fn new(kind: MessageKind, type_and_unit_labels: bool) -> Self {
        Encoder {
            kind,
            type_and_unit_labels,
            plain: Vec::new(),
            series: Vec::new(),
            compressed: Vec::new(),
            symbols: Symbols::default(),
            references: Vec::new(),
            snappy: snap::raw::Encoder::new(),
        }
    }

    /// The message of these items.
    pub(super) fn encode(&mut self, items: &[Item]) -> Result<Encoded, EncodeError> {
        self.plain.clear();
        let mut metadata = 0;
        match self.kind {
            MessageKind::V1 => items.iter().for_each(|item| put_v1(&mut self.plain, item)),
            MessageKind::V2 => {
                self.symbols.clear();
                self.series.clear();
                for item in items {
                    metadata += self.put_v2(item);
                }
                for symbol in self.symbols.iter() {
                    put_bytes(&mut self.plain, 4, symbol);
                }
                self.plain.extend_from_slice(&self.series);
            }
        }
        let body = self.compress()?;
        Ok(Encoded { body, metadata })
    }

    /// A message of version 1.0 that tells of families and has no samples.
    pub(super) fn encode_families(&mut self, families: &[Family]) -> Result<Bytes, EncodeError> {
        self.plain.clear();
        for family in families {
            put_message(&mut self.plain, 3, |out| {
                put_uint(out, 1, type_number(family.metadata.metric_type));
                put_text(out, 2, &family.name);
                put_text(out, 4, &family.metadata.help);
                put_text(out, 5, &family.metadata.unit);
            });
        }
        self.compress()
    }

    fn compress(&mut self) -> Result<Bytes, EncodeError> {
        let needed = snap::raw::max_compress_len(self.plain.len());
        if self.compressed.len() < needed {
            self.compressed.resize(needed, 0);
        }
        let done = self.snappy.compress(&self.plain, &mut self.compressed);
        let len = done.map_err(|source| EncodeError {
            bytes: self.plain.len(),
            source,
        })?;
        Ok(Bytes::copy_from_slice(&self.compressed[..len]))
    }

    /// Adds an item; 1 where it tells metadata.
    fn put_v2(&mut self, item: &Item) -> u64 {
        let Form::V2(labels) = &item.series.form else {
            return 0;
        };
        let symbols = &mut self.symbols;
        // In this order, which receivers see in the table: help, unit, labels, those of exemplars.
        let said = said_of(&item.series, labels, self.type_and_unit_labels);
        let help = symbols.reference(said.help);
        let unit = symbols.reference(said.unit);
        self.references.clear();
        symbols.add_labels(labels, &mut self.references);
        let references = &mut self.references;
        put_message(&mut self.series, 5, |out| {
            put_references(out, 1, references);
            match &item.value {
                ItemValue::Float(value) => {
                    put_tag(out, 2, 2);
                    put_varint(out, sample_len(*value, item.timestamp_ms, item.start_ms) as u64);
                    put_sample(out, *value, item.timestamp_ms, item.start_ms);
                }
                ItemValue::Histogram(histogram) => put_message(out, 3, |out| {
                    put_histogram(out, histogram, item.timestamp_ms, item.start_ms);
                }),
                ItemValue::Exemplar(exemplar) => {
                    references.clear();
                    symbols.add_labels(&exemplar.labels, references);
                    put_message(out, 4, |out| {
                        put_references(out, 1, references);
                        put_double(out, 2, exemplar.value);
                        put_uint(out, 3, item.timestamp_ms as u64);
                    });
                }
            }
            put_message(out, 5, |out| {
                put_uint(out, 1, type_number(said.metric_type));
                put_uint(out, 3, u64::from(help));
                put_uint(out, 4, u64::from(unit));
            });
        });
        u64::from(item.series.metadata.is_some())
    }
}

/// What a message says of a series.
struct Said<'a> {
    metric_type: MetricType,
    unit: &'a str,
    help: &'a str,
}

fn said_of<'a>(series: &'a Sent, labels: &'a Labels, from_labels: bool) -> Said<'a> {
    let metadata = series.metadata.as_ref();
    let mut said = Said {
        metric_type: metadata.map_or(MetricType::Unknown, |m| m.metric_type),
        unit: metadata.map_or("", |m| &m.unit),
        help: metadata.map_or("", |m| &m.help),
    };
    if from_labels {
        said.metric_type = type_named(labels.value(TYPE_LABEL));
        said.unit = labels.value(UNIT_LABEL);
    }
    said
}

fn put_v1(out: &mut Vec<u8>, item: &Item) {
    let Form::V1(labels) = &item.series.form else {
        return;
    };
    match &item.value {
        ItemValue::Float(value) => {
            // The way of nearly all: every length is known before.
            let sample = sample_len(*value, item.timestamp_ms, 0);
            let len = labels.len() + 1 + varint_len(sample as u64) + sample;
            put_tag(out, 1, 2);
            put_varint(out, len as u64);
            out.extend_from_slice(labels);
            put_tag(out, 2, 2);
            put_varint(out, sample as u64);
            put_sample(out, *value, item.timestamp_ms, 0);
        }
        ItemValue::Histogram(histogram) => put_message(out, 1, |out| {
            out.extend_from_slice(labels);
            put_message(out, 4, |out| put_histogram(out, histogram, item.timestamp_ms, 0));
        }),
        ItemValue::Exemplar(exemplar) => put_message(out, 1, |out| {
            out.extend_from_slice(labels);
            put_message(out, 3, |out| put_exemplar_v1(out, exemplar, item.timestamp_ms));
        }),
    }
}

fn put_exemplar_v1(out: &mut Vec<u8>, exemplar: &Exemplar, timestamp_ms: i64) {
    for (name, value) in exemplar.labels.iter() {
        put_message(out, 1, |out| {
            put_text(out, 1, name);
            put_text(out, 2, value);
        });
    }
    put_double(out, 2, exemplar.value);
    put_uint(out, 3, timestamp_ms as u64);
}

fn put_references(out: &mut Vec<u8>, field: u64, references: &[u32]) {
    if references.is_empty() {
        return;
    }
    let len: usize = references.iter().map(|r| varint_len(u64::from(*r))).sum();
    put_tag(out, field, 2);
    put_varint(out, len as u64);
    references.iter().for_each(|r| put_varint(out, u64::from(*r)));
}

fn type_number(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}

fn type_named(word: &str) -> MetricType {
    let all = [
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
    ];
    let found = all.into_iter().find(|metric_type| metric_type.as_str() == word);
    found.unwrap_or(MetricType::Unknown)
}

/// The table of texts of a message; the first is empty.
#[derive(Default)]
struct Symbols {
    texts: Vec<u8>,
    /// Where each ends, the empty one left out.
    ends: Vec<usize>,
    table: HashTable<u32>,
    hasher: FixedState,
}

impl Symbols {
    fn clear(&mut self) {
        self.texts.clear();
        self.ends.clear();
        self.table.clear();
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&[][..])
            .chain((1..=self.ends.len()).map(|at| text_at(&self.texts, &self.ends, at as u32)))
    }

    /// The place of a text in the table.
    fn reference(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let (texts, ends, hasher) = (&self.texts, &self.ends, &self.hasher);
        let hash = hasher.hash_one(text.as_bytes());
        let entry = self.table.entry(
            hash,
            |at| text_at(texts, ends, *at) == text.as_bytes(),
            |at| hasher.hash_one(text_at(texts, ends, *at)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(found) => *found.get(),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let at = self.ends.len() as u32 + 1;
                vacant.insert(at);
                self.texts.extend_from_slice(text.as_bytes());
                self.ends.push(self.texts.len());
                at
            }
        }
    }

    fn add_labels(&mut self, labels: &Labels, references: &mut Vec<u32>) {
        for (name, value) in labels.iter() {
            references.push(self.reference(name));
            references.push(self.reference(value));
        }
    }
}

fn text_at<'t>(texts: &'t [u8], ends: &[usize], at: u32) -> &'t [u8] {
    let at = at as usize - 1;
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &texts[start..ends[at]]
}
