//! Reading log segments ahead of replay: a thread of its own checks, inflates and decodes their records.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use model::labels::Labels;
use model::storage::StorageError;

use crate::wal::{
    FloatEntry, HistogramEntry, RecordError, RecordType, SegmentReader, decode_floats, decode_histograms,
    decode_series,
};
use files::Files;

/// Records that are read ahead at most.
const AHEAD: usize = 256;
/// Buffers of floats that wait to be filled again.
const FLOATS_MAX: usize = 1 << 16;

/// A segment to read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Where to begin, in bytes from its start.
    pub(super) from: u64,
    /// Whether it is of the log of late samples.
    pub(super) late: bool,
}

/// What a record says, as far as it can be known without the head.
pub(super) enum Content {
    /// Reference, label hash and labels.
    Series(Vec<(u64, u64, Labels)>),
    Floats(Vec<FloatEntry>),
    /// Histograms, and how many were left out.
    Histograms(Vec<HistogramEntry>, u64),
    /// Anything else, as it stands in the log.
    Other(Vec<u8>),
}

/// What comes of a segment, in the order of the log.
pub(super) enum Event {
    /// A segment begins; its length in bytes.
    Segment(Source, u64),
    Record(Record),
    /// The segment ends, and is no longer mapped: where and why it cannot be read to its end.
    End(Option<(u64, &'static str)>),
    Failed(StorageError),
}

/// A record.
pub(super) struct Record {
    /// Where the record before it ends, in bytes from the start of the segment.
    pub(super) offset: u64,
    /// First byte.
    pub(super) kind: u8,
    /// What it says up to where it is damaged.
    pub(super) content: Content,
    pub(super) error: Option<RecordError>,
}

/// What is read ahead.
pub(super) struct ReadAhead {
    events: Receiver<Event>,
    used: Sender<Vec<FloatEntry>>,
}

impl ReadAhead {
    /// Starts reading.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        files: Arc<dyn Files>,
        sources: Vec<Source>,
    ) -> Self {
        let (events, receiver) = sync_channel(AHEAD);
        let (used, empty) = channel();
        // Ends early when nobody listens any more.
        scope.spawn(move || read_all(&*files, sources, &events, &empty));
        ReadAhead {
            events: receiver,
            used,
        }
    }

    /// The next event; `None` at the end.
    pub(super) fn next(&self) -> Option<Event> {
        self.events.recv().ok()
    }

    /// Gives a buffer back.
    pub(super) fn give_back(&self, buffer: Vec<FloatEntry>) {
        if buffer.capacity() <= FLOATS_MAX {
            // At the end nobody takes it.
            let _ = self.used.send(buffer);
        }
    }
}

fn read_all(
    files: &dyn Files,
    sources: Vec<Source>,
    events: &SyncSender<Event>,
    empty: &Receiver<Vec<FloatEntry>>,
) {
    for source in sources {
        let bytes = match files.map(&source.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let _ = events.send(Event::Failed(error));
                return;
            }
        };
        let from = source.from;
        if events.send(Event::Segment(source, bytes.len() as u64)).is_err() {
            return;
        }
        let mut reader = SegmentReader::from(&bytes, from);
        let damage = loop {
            let offset = reader.good_bytes();
            match reader.read() {
                Ok(None) => break None,
                Ok(Some(record)) => {
                    let buffer = || empty.try_recv().unwrap_or_default();
                    if events
                        .send(Event::Record(decode(offset, record, buffer)))
                        .is_err()
                    {
                        return;
                    }
                }
                Err(damage) => break Some((damage.good_bytes, damage.what)),
            }
        };
        // Before the end is reported: whoever receives it may cut the file.
        drop(bytes);
        if events.send(Event::End(damage)).is_err() {
            return;
        }
    }
}

fn decode(offset: u64, record: &[u8], buffer: impl FnOnce() -> Vec<FloatEntry>) -> Record {
    let (content, error) = match RecordType::of(record) {
        Some(RecordType::Series) => {
            let mut series = Vec::new();
            let error = decode_series(record, |reference, pairs| {
                let labels = Labels::from_pairs(pairs.iter().copied());
                series.push((reference, labels.hash64(), labels));
            });
            (Content::Series(series), error.err())
        }
        Some(RecordType::Samples | RecordType::SamplesWithStart) => {
            let mut entries = buffer();
            entries.clear();
            let error = decode_floats(record, &mut entries);
            (Content::Floats(entries), error.err())
        }
        Some(
            RecordType::Histograms
            | RecordType::FloatHistograms
            | RecordType::CustomHistograms
            | RecordType::CustomFloatHistograms
            | RecordType::HistogramsWithStart
            | RecordType::FloatHistogramsWithStart,
        ) => {
            let mut entries = Vec::new();
            match decode_histograms(record, &mut entries) {
                Ok(skipped) => (Content::Histograms(entries, skipped), None),
                Err(error) => (Content::Histograms(entries, 0), Some(error)),
            }
        }
        _ => (Content::Other(record.to_vec()), None),
    };
    Record {
        offset,
        kind: record.first().copied().unwrap_or(0),
        content,
        error,
    }
}
