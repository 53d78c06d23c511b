//! From records of the log to what is sent.

use std::sync::Arc;

use model::histogram::Histogram;
use model::log::{LogPosition, LogReader, LogRecord, LogStep};
use model::storage::StorageError;

use super::config::{MessageKind, RemoteWriteConfig};
use super::deliver::Sending;
use super::item::{Counts, Item, ItemValue, Sent};
use super::metrics::Dropped;
use super::series::Table;

/// Items after which a chunk is handed on; the last record of it may bring more.
const CHUNK_ITEMS: usize = 4_096;
/// Records after which a chunk is handed on although it brings nothing, so that an end is noticed.
const CHUNK_RECORDS: usize = 4_096;

/// Reads a log for one queue. Waits for disks, so it works on threads for that.
pub(super) struct Reader {
    log: Box<dyn LogReader>,
    table: Table,
    record: LogRecord,
    sending: Arc<Sending>,
    /// Samples up to this time are none of the queue's.
    since_ms: i64,
}

/// What was read in one go.
#[derive(Default)]
pub(super) struct Chunk {
    /// Of each record, in order.
    pub(super) items: Vec<Item>,
    /// Where each record ends, and how many items it has. Items are told their numbers by who sends them.
    pub(super) records: Vec<(LogPosition, u64)>,
    /// Whether that was all for now.
    pub(super) is_all: bool,
}

impl Chunk {
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.records.clear();
        self.is_all = false;
    }
}

impl Reader {
    pub(super) fn new(log: Box<dyn LogReader>, table: Table, sending: Arc<Sending>, since_ms: i64) -> Self {
        Reader {
            log,
            table,
            record: LogRecord::default(),
            sending,
            since_ms,
        }
    }

    fn config(&self) -> &RemoteWriteConfig {
        &self.sending.config
    }

    /// Reads on.
    pub(super) fn fill(&mut self, chunk: &mut Chunk) -> Result<(), StorageError> {
        chunk.clear();
        for _ in 0..CHUNK_RECORDS {
            let step = self.log.read(&mut self.record)?;
            let segment = self.log.position().segment;
            match step {
                LogStep::End => {
                    chunk.is_all = true;
                    break;
                }
                LogStep::Gone { segments } => {
                    tracing::error!(
                        remote_name = self.config().name,
                        segments,
                        "Segments of the log are gone before they were sent by remote write: the receiver was away for longer \
                         than --storage.remote.spool.size or --storage.remote.spool.age allow"
                    );
                    self.sending.metrics.segments_lost.add_count(segments);
                    chunk.records.push((self.log.position(), 0));
                }
                LogStep::Torn { .. } => {
                    self.sending.metrics.unreadable.inc();
                    self.sending.metrics.segments_lost.inc();
                    chunk.records.push((self.log.position(), 0));
                }
                LogStep::Before => self.names(segment),
                LogStep::Record => {
                    self.sending.metrics.read(kind_of(&self.record));
                    self.names(segment);
                    self.items(chunk);
                }
            }
            if chunk.items.len() >= CHUNK_ITEMS {
                break;
            }
        }
        self.sending
            .metrics
            .read_to_segment
            .set(self.log.position().segment as f64);
        self.forget()
    }

    /// What a record says of series.
    fn names(&mut self, segment: u64) {
        for (reference, labels) in &self.record.series {
            self.table.name(reference.0, labels, segment);
        }
        for (reference, metadata) in self.record.metadata.drain(..) {
            self.table.describe(reference.0, metadata);
        }
    }

    /// Forgets series that the log no longer names.
    fn forget(&mut self) -> Result<(), StorageError> {
        let table = &mut self.table;
        let mut living = Vec::new();
        if let Some(number) = self.log.checkpoint(&mut |reference| living.push(reference.0))? {
            living
                .into_iter()
                .for_each(|reference| table.touch(reference, number));
            table.forget_before(number);
            tracing::debug!(
                series = table.len(),
                checkpoint = number,
                "series that are no longer in the log are forgotten"
            );
        }
        Ok(())
    }

    /// Adds what a record brings.
    fn items(&mut self, chunk: &mut Chunk) {
        let mut tally = Tally {
            oldest_ms: self.sending.oldest_ms(),
            items: &mut chunk.items,
            table: &self.table,
            old: Counts::default(),
            dropped: Counts::default(),
            unknown: Counts::default(),
        };
        let before = tally.items.len();
        for sample in &self.record.floats {
            if sample.timestamp_ms > self.since_ms {
                let value = ItemValue::Float(sample.value);
                tally.take(sample.series.0, sample.timestamp_ms, sample.start_ms, value);
            }
        }
        let (is_v1, with_histograms, with_exemplars) = (
            self.sending.config.protobuf_message == MessageKind::V1,
            self.sending.config.send_native_histograms,
            self.sending.config.send_exemplars,
        );
        let mut without_place = Counts::default();
        for sample in self.record.histograms.drain(..) {
            if !with_histograms || sample.timestamp_ms <= self.since_ms {
                continue;
            }
            if is_v1 && sample.timestamp_ms >= tally.oldest_ms && has_custom_buckets(&sample.histogram) {
                without_place.histograms += 1;
                continue;
            }
            let value = ItemValue::Histogram(sample.histogram);
            tally.take(sample.series.0, sample.timestamp_ms, sample.start_ms, value);
        }
        for (reference, exemplar) in self.record.exemplars.drain(..) {
            if with_exemplars {
                let timestamp_ms = exemplar.timestamp_ms.unwrap_or(0);
                tally.take(
                    reference.0,
                    timestamp_ms,
                    0,
                    ItemValue::Exemplar(Box::new(exemplar)),
                );
            }
        }
        let Tally {
            old,
            dropped,
            unknown,
            ..
        } = tally;
        let metrics = &self.sending.metrics;
        metrics.drop(old, Dropped::TooOld);
        metrics.drop(without_place, Dropped::CustomBuckets);
        metrics.drop(dropped, Dropped::Series);
        metrics.drop(unknown, Dropped::UnknownSeries);
        self.sending.traffic.dropped.add(dropped.all() + unknown.all());
        let added = (chunk.items.len() - before) as u64;
        chunk.records.push((self.log.position(), added));
    }
}

fn has_custom_buckets(histogram: &Histogram) -> bool {
    match histogram {
        Histogram::Int(h) => h.uses_custom_buckets(),
        Histogram::Float(h) => h.uses_custom_buckets(),
    }
}

/// What a record is called in metrics.
fn kind_of(record: &LogRecord) -> &'static str {
    if !record.series.is_empty() {
        "series"
    } else if !record.floats.is_empty() {
        "samples"
    } else if !record.histograms.is_empty() {
        "histogram_samples"
    } else if !record.exemplars.is_empty() {
        "exemplars"
    } else if !record.metadata.is_empty() {
        "metadata"
    } else {
        "unknown"
    }
}

/// Sorts what comes into what is sent and what is not.
struct Tally<'t> {
    items: &'t mut Vec<Item>,
    table: &'t Table,
    oldest_ms: i64,
    old: Counts,
    dropped: Counts,
    unknown: Counts,
}

impl Tally<'_> {
    fn take(&mut self, reference: u64, timestamp_ms: i64, start_ms: i64, value: ItemValue) {
        let one = match &value {
            ItemValue::Float(_) => |counts: &mut Counts| counts.floats += 1,
            ItemValue::Histogram(_) => |counts: &mut Counts| counts.histograms += 1,
            ItemValue::Exemplar(_) => |counts: &mut Counts| counts.exemplars += 1,
        };
        if timestamp_ms < self.oldest_ms {
            one(&mut self.old);
            return;
        }
        let series: Arc<Sent> = match self.table.get(reference) {
            Some(Some(series)) => series.clone(),
            Some(None) => return one(&mut self.dropped),
            None => return one(&mut self.unknown),
        };
        self.items.push(Item {
            series,
            start_ms,
            timestamp_ms,
            value,
            record: 0,
            reference,
        });
    }
}
