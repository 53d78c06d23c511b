//! What a store elsewhere has sent: series in memory, as samples or as chunks, and the reading of both answers.
//!
//! Nothing of it is trusted. Label sets must be label sets, samples and chunks must be in order of time, histograms without
//! contradiction; and whoever accounts for the query's memory is told of all of it while it comes.

use std::sync::Arc;

use model::chunk::Chunk;
use model::columns::Columns;
use model::histogram::{Histogram, HistogramError, ReduceError};
use model::labels::{LabelTooLong, Labels, METRIC_NAME};
use model::protobuf::{Fields, WireError};
use model::storage::{Interrupted, SelectHints, SeriesSet, StorageError, TimeRange};
use tsdb::chunk::{ChunkError, Encoding, decode};
use tsdb::columns::merge_into;

use super::frames::{FrameError, Frames};
use crate::budget::OverBudget;

/// Labels that a series may have.
const LABELS_MAX: usize = 4096;
/// Longest chunk, in bytes: a chunk of 120 samples has some hundred, one of large histograms some ten thousand.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// What the chunks of one series may become when they are decoded, in bytes. A bit can stand for eight of them.
const SERIES_BYTES_MAX: usize = 256 << 20;
/// Bytes after which whoever accounts for them is told.
const TOLD_EVERY_BYTES: usize = 64 << 10;

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum AnswerFault {
    /// It is no snappy block.
    #[error("error reading response: {0}")]
    Snappy(#[source] snap::Error),
    /// It would be too large.
    #[error("the answer has more than {bytes_max} bytes")]
    TooLarge {
        /// How many there may be.
        bytes_max: usize,
    },
    /// It is no message.
    #[error("unable to unmarshal response body: {0}")]
    Wire(#[from] WireError),
    /// A histogram stands for too much.
    #[error("a histogram takes more than {max} bytes of memory")]
    HistogramTooLarge {
        /// How much it may be.
        max: usize,
    },
    /// There are not as many results as queries.
    #[error("responses: want 1, got {0}")]
    Results(usize),
    /// The stream is damaged.
    #[error("chunkedReader: {0}")]
    Frame(#[from] FrameError),
    /// Two labels of one name.
    #[error("duplicate label with name: {0}")]
    DuplicateLabel(String),
    /// A label without a name, or with one that is no text.
    #[error("invalid label name: {0:?}")]
    LabelName(String),
    /// A value that is no text, or an empty metric name.
    #[error("invalid value of label {0:?}")]
    LabelValue(String),
    /// More labels than a series may have.
    #[error("a series has more than {LABELS_MAX} labels")]
    TooManyLabels,
    /// A text that is too long.
    #[error(transparent)]
    LabelTooLong(#[from] LabelTooLong),
    /// A histogram that contradicts itself.
    #[error("invalid native histogram: {0}")]
    Histogram(#[from] HistogramError),
    /// A histogram in a schema that is not known.
    #[error("invalid native histogram: {0}")]
    Reduce(#[from] ReduceError),
    /// A chunk that cannot be one.
    #[error("a chunk of {bytes} bytes is longer than the {CHUNK_BYTES_MAX} that one may have")]
    ChunkTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A chunk in an encoding that is not known.
    #[error(transparent)]
    Encoding(#[from] ChunkError),
    /// The query does not go on.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What a histogram of a message may take.
pub(super) const HISTOGRAM_BYTES_MAX: usize = 8 << 20;

impl From<OverBudget> for AnswerFault {
    fn from(_: OverBudget) -> Self {
        AnswerFault::HistogramTooLarge {
            max: HISTOGRAM_BYTES_MAX,
        }
    }
}

/// Tells whoever accounts for a query's memory, a little at a time.
pub(super) struct Account<'h> {
    hints: &'h SelectHints,
    untold: usize,
}

impl<'h> Account<'h> {
    pub(super) fn new(hints: &'h SelectHints) -> Self {
        Account { hints, untold: 0 }
    }

    /// This much more is held.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Interrupted> {
        self.untold += bytes;
        match self.untold >= TOLD_EVERY_BYTES {
            true => self.tell(),
            false => Ok(()),
        }
    }

    /// The same, told at once: before it is taken.
    pub(super) fn tell(&mut self) -> Result<(), Interrupted> {
        match &self.hints.watch {
            Some(watch) => watch.took(std::mem::take(&mut self.untold)),
            None => Ok(()),
        }
    }
}

/// The samples of a series.
#[derive(Debug)]
pub(super) enum Samples {
    /// Decoded.
    Columns(Columns),
    /// As they came.
    Chunks(Vec<Chunk>),
}

/// Series that came.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Whose they are, for errors.
    from: Arc<str>,
    series: Vec<(Labels, Samples)>,
}

impl Fetched {
    pub(super) fn new(from: Arc<str>, series: Vec<(Labels, Samples)>) -> Self {
        Fetched { from, series }
    }

    /// Takes these labels away from all series: they were not asked for, only what belongs to them.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        if !names.is_empty() {
            for (labels, _) in &mut self.series {
                *labels = labels.without(|name| names.contains(&name));
            }
        }
        self
    }

    /// Series in order of their labels.
    pub(super) fn sorted(mut self) -> Self {
        if !self.series.is_sorted_by(|a, b| a.0 <= b.0) {
            self.series.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self
    }

    fn damaged(&self, index: usize, what: impl std::fmt::Display) -> StorageError {
        let labels = &self.series[index].0;
        StorageError::Other(format!("remote_read: {}: series {labels}: {what}", self.from))
    }
}

impl SeriesSet for Fetched {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].0.clone()
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        columns.clear();
        match &self.series[index].1 {
            Samples::Columns(all) => copy_range(all, range, columns),
            Samples::Chunks(chunks) => {
                let (mut read, mut spare) = (Columns::default(), Columns::default());
                let overlapping =
                    |chunk: &&Chunk| TimeRange::new(chunk.min_ms, chunk.max_ms).overlaps(&range);
                for chunk in chunks.iter().filter(overlapping) {
                    read.clear();
                    decode_strictly(chunk, range, &mut read).map_err(|what| self.damaged(index, what))?;
                    merge_into(columns, &read, &mut spare);
                    if columns_bytes(columns) > SERIES_BYTES_MAX {
                        let what =
                            format_args!("its samples take more than {SERIES_BYTES_MAX} bytes of memory");
                        return Err(self.damaged(index, what));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What columns take, in bytes.
pub(super) fn columns_bytes(columns: &Columns) -> usize {
    let histograms: usize = columns.histograms.iter().map(|(_, h)| histogram_bytes(h)).sum();
    16 * columns.len() + 8 * columns.start_timestamps_ms.len() + histograms
}

/// What a histogram takes, in bytes.
pub(super) fn histogram_bytes(histogram: &Histogram) -> usize {
    const ITEM: usize = 8;
    size_of::<(u32, Histogram)>()
        + match histogram {
            Histogram::Float(h) => h.size_bytes(),
            Histogram::Int(h) => {
                let spans = h.positive_spans.len() + h.negative_spans.len();
                let buckets = h.positive_buckets.len() + h.negative_buckets.len();
                size_of_val(&**h) + ITEM * (spans + buckets)
            }
        }
}

/// Appends the rows in `range`.
fn copy_range(all: &Columns, range: TimeRange, columns: &mut Columns) {
    let times_ms = &all.timestamps_ms;
    let first = times_ms.partition_point(|at| *at < range.min_ms);
    let end = times_ms.partition_point(|at| *at <= range.max_ms).max(first);
    columns.timestamps_ms.extend_from_slice(&times_ms[first..end]);
    columns.values.extend_from_slice(&all.values[first..end]);
    let inside = |row: &u32| (first..end).contains(&(*row as usize));
    let histograms = all.histograms.iter().filter(|(row, _)| inside(row));
    columns
        .histograms
        .extend(histograms.map(|(row, h)| (row - first as u32, h.clone())));
}

/// Why a chunk's samples are none.
#[derive(Debug, thiserror::Error)]
enum ChunkFault {
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("a chunk's samples are not in order of time")]
    Order,
    #[error("invalid native histogram: {0}")]
    Histogram(#[from] HistogramError),
}

fn decode_strictly(chunk: &Chunk, range: TimeRange, columns: &mut Columns) -> Result<(), ChunkFault> {
    decode(chunk.encoding, &chunk.bytes, range.min_ms, range.max_ms, columns)?;
    if !columns.timestamps_ms.is_sorted_by(|a, b| a < b) {
        return Err(ChunkFault::Order);
    }
    for (_, histogram) in &columns.histograms {
        validate(histogram)?;
    }
    Ok(())
}

/// Whether a histogram makes sense.
pub(super) fn validate(histogram: &Histogram) -> Result<(), HistogramError> {
    match histogram {
        Histogram::Int(histogram) => histogram.validate(),
        Histogram::Float(histogram) => histogram.validate(),
    }
}

/// Name and value as they came.
pub(super) type Pair<'m> = (&'m [u8], &'m [u8]);

/// Adds a label of a series' message.
pub(super) fn read_label<'m>(message: &'m [u8], pairs: &mut Vec<Pair<'m>>) -> Result<(), AnswerFault> {
    let (mut name, mut value): Pair<'_> = (&[], &[]);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => name = field.expect_bytes()?,
            2 => value = field.expect_bytes()?,
            _ => {}
        }
    }
    if pairs.len() == LABELS_MAX {
        return Err(AnswerFault::TooManyLabels);
    }
    pairs.push((name, value));
    Ok(())
}

/// The label set of a series, whose labels may have come in any order.
pub(super) fn label_set(pairs: &mut [Pair<'_>]) -> Result<Labels, AnswerFault> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    if let Some(twins) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(AnswerFault::DuplicateLabel(lossy(twins[0].0)));
    }
    let mut texts = Vec::with_capacity(pairs.len());
    for (name, value) in pairs.iter() {
        let text = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let text = text.ok_or_else(|| AnswerFault::LabelName(lossy(name)))?;
        let content = std::str::from_utf8(value).ok();
        let content = content.filter(|value| text != METRIC_NAME || !value.is_empty());
        texts.push((text, content.ok_or_else(|| AnswerFault::LabelValue(lossy(name)))?));
    }
    Ok(Labels::try_from_pairs(texts)?)
}

/// What a label set takes in a list, in bytes.
pub(super) fn labels_bytes(labels: &Labels) -> usize {
    size_of::<(Labels, Samples)>() + labels.as_bytes().len()
}

/// Reads a streamed answer as it comes.
pub(super) struct Streamed {
    frames: Frames,
    series: Vec<(Labels, Samples)>,
}

impl Streamed {
    /// No frame may be longer than `frame_bytes_max`.
    pub(super) fn new(frame_bytes_max: u64) -> Self {
        Streamed {
            frames: Frames::new(frame_bytes_max),
            series: Vec::new(),
        }
    }

    /// Takes a piece of the body.
    pub(super) fn push(&mut self, piece: &[u8], account: &mut Account<'_>) -> Result<(), AnswerFault> {
        let before = self.frames.capacity();
        self.frames.push(piece);
        account.add(self.frames.capacity() - before)?;
        while let Some(message) = self.frames.next_frame()? {
            read_frame(message, &mut self.series, account)?;
        }
        Ok(())
    }

    /// All series, when the body has ended.
    pub(super) fn finish(self, account: &mut Account<'_>) -> Result<Vec<(Labels, Samples)>, AnswerFault> {
        self.frames.finish()?;
        account.tell()?;
        Ok(self.series)
    }
}

/// Reads the message `prometheus.ChunkedReadResponse`.
fn read_frame(
    message: &[u8],
    list: &mut Vec<(Labels, Samples)>,
    account: &mut Account<'_>,
) -> Result<(), AnswerFault> {
    let mut pairs = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        if field.number != 1 {
            continue;
        }
        pairs.clear();
        let mut chunks = Vec::new();
        let mut series = Fields::new(field.expect_bytes()?);
        while let Some(field) = series.next_field()? {
            match field.number {
                1 => read_label(field.expect_bytes()?, &mut pairs)?,
                2 => {
                    let chunk = read_chunk(field.expect_bytes()?)?;
                    account.add(size_of::<Chunk>() + chunk.bytes.len())?;
                    chunks.push(chunk);
                }
                _ => {}
            }
        }
        let labels = label_set(&mut pairs)?;
        match list.last_mut() {
            // A series that is too large for a frame goes on in the next one.
            Some((last, Samples::Chunks(more))) if *last == labels => more.append(&mut chunks),
            _ => {
                account.add(labels_bytes(&labels))?;
                list.push((labels, Samples::Chunks(chunks)));
            }
        }
    }
    Ok(())
}

fn read_chunk(message: &[u8]) -> Result<Chunk, AnswerFault> {
    let mut chunk = Chunk {
        min_ms: 0,
        max_ms: 0,
        encoding: 0,
        bytes: Vec::new(),
    };
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => chunk.min_ms = field.expect_varint()? as i64,
            2 => chunk.max_ms = field.expect_varint()? as i64,
            3 => chunk.encoding = u8::try_from(field.expect_varint()?).unwrap_or(0),
            4 => {
                let bytes = field.expect_bytes()?;
                if bytes.len() > CHUNK_BYTES_MAX {
                    return Err(AnswerFault::ChunkTooLong { bytes: bytes.len() });
                }
                chunk.bytes = bytes.to_vec();
            }
            _ => {}
        }
    }
    Encoding::from_byte(chunk.encoding)?;
    Ok(chunk)
}
