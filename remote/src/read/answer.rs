//! What others read of a store: answers as samples in one message, or as chunks in frames.
//!
//! Chunks go out as they lie in storage; only what the range or a deletion cuts is encoded anew. One series is in memory at a
//! time, and is written where the caller has room for it.

use std::sync::Arc;

use model::chunk::Chunk;
use model::columns::Columns;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::storage::{Interrupted, Queryable, SelectHints, SeriesSet, StorageError, TimeRange, WatchSelect};
use tsdb::chunk::{EncodeOptions, encode};

use super::frames::put_frame;
use super::message::{MatcherError, Query};
use crate::wire::{put_bytes, put_histogram, put_message, put_sample, put_text, put_uint, varint_len};

/// Bytes of an answer that is in memory after which whoever accounts for it is told.
const TOLD_EVERY_BYTES: usize = 64 << 10;

/// Bounds of answers.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Samples of one query's answer, where they are not streamed; 0 for any number.
    pub samples_max: usize,
    /// Bytes of a frame, within which the last chunk need not lie.
    pub frame_bytes_max: usize,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// A query asks for what makes no sense.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// There are more samples than may be.
    #[error("exceeded sample limit ({0})")]
    TooManySamples(usize),
    /// The answer is too long to be compressed as one.
    #[error("the answer is too large for one message: {0}; ask for less, or for streamed chunks")]
    Snappy(#[source] snap::Error),
    /// The store cannot be read, or whoever watches over the request ended it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AnswerError {
    /// The HTTP status.
    ///
    /// Compat: of patterns that are none, too (push: `bad-regexp`).
    pub fn status(&self) -> u16 {
        match self {
            AnswerError::TooManySamples(_) => 400,
            AnswerError::Storage(StorageError::NotReady) => 503,
            _ => 500,
        }
    }

    /// Whether whoever watches over the request knows why.
    pub fn is_interruption(&self) -> bool {
        matches!(self, AnswerError::Storage(StorageError::Interrupted(_)))
    }
}

impl From<Interrupted> for AnswerError {
    fn from(error: Interrupted) -> Self {
        AnswerError::Storage(error.into())
    }
}

/// What queries are answered from.
#[derive(Clone)]
pub struct Answering {
    /// The store.
    pub storage: Arc<dyn Queryable>,
    /// Labels that others see on all that comes from here.
    pub external_labels: Labels,
    /// Accounts for what is in memory.
    pub watch: Arc<dyn WatchSelect>,
    /// Bounds.
    pub options: Options,
}

impl Answering {
    /// The answer to `queries` as one message, compressed.
    ///
    /// # Errors
    /// When one of them has none.
    pub fn samples(&self, queries: &[Query]) -> Result<Vec<u8>, AnswerError> {
        let mut results = Vec::with_capacity(queries.len());
        for query in queries {
            results.push(self.result(query)?);
        }
        let bytes = results.iter().map(|result| result.len() + 16).sum();
        self.watch.took(bytes)?;
        let mut message = Vec::with_capacity(bytes);
        for result in results {
            put_bytes(&mut message, 1, &result);
        }
        self.watch.took(snap::raw::max_compress_len(message.len()))?;
        let mut encoder = snap::raw::Encoder::new();
        encoder.compress_vec(&message).map_err(AnswerError::Snappy)
    }

    /// The message of one query's result.
    fn result(&self, query: &Query) -> Result<Vec<u8>, AnswerError> {
        let range = query.range();
        let Some(set) = self.select(query, false)? else {
            return Ok(Vec::new());
        };
        // Compat: whoever wants to know which series there are gets them without samples (push: `hints-func-series`).
        let is_of_series = query
            .hints
            .as_ref()
            .is_some_and(|hints| hints.function == "series");
        let (mut result, mut told, mut samples) = (Vec::new(), 0, 0);
        let (mut columns, mut series) = (Columns::default(), Vec::new());
        for index in 0..set.len() {
            columns.clear();
            if !is_of_series {
                set.read(index, range, &mut columns)?;
            }
            samples += columns.len();
            if self.options.samples_max > 0 && samples > self.options.samples_max {
                return Err(AnswerError::TooManySamples(self.options.samples_max));
            }
            series.clear();
            self.put_labels(&mut series, &set.labels(index));
            put_columns(&mut series, &columns);
            put_bytes(&mut result, 1, &series);
            if result.len() - told > TOLD_EVERY_BYTES {
                self.watch.took(result.len() - told)?;
                told = result.len();
            }
        }
        self.watch.took(result.len() - told)?;
        Ok(result)
    }

    /// The answer to `queries` as a stream of frames.
    pub fn stream(self, queries: Vec<Query>) -> Stream {
        Stream {
            answering: self,
            queries: queries.into_iter().enumerate(),
            current: None,
            chunks: Vec::new(),
            labels: Vec::new(),
            message: Vec::new(),
        }
    }

    /// Compat: without matchers nothing is selected, not everything (push: `no-matchers`).
    fn select(&self, query: &Query, sorted: bool) -> Result<Option<Arc<dyn SeriesSet>>, AnswerError> {
        let matchers = self.without_external(query.compile()?);
        if matchers.is_empty() {
            return Ok(None);
        }
        let hints = SelectHints {
            sorted,
            watch: Some(self.watch.clone()),
            purpose: query.purpose().map(Arc::new),
            ..SelectHints::default()
        };
        let view = self.storage.querier(query.range())?;
        Ok(Some(view.select(&hints, &matchers)?))
    }

    /// What asks for the value of an external label asks for series without it: in the store they have none.
    fn without_external(&self, mut matchers: Vec<Matcher>) -> Vec<Matcher> {
        for matcher in &mut matchers {
            let external = self.external_labels.get(&matcher.name);
            if matcher.op == MatchOp::Equal && external == Some(matcher.value.as_str()) {
                *matcher = Matcher::equal(matcher.name.as_str(), "");
            }
        }
        matchers
    }

    /// A series' labels with the external ones, of which its own win.
    fn put_labels(&self, out: &mut Vec<u8>, labels: &Labels) {
        let mut own = labels.iter().peekable();
        let mut external = self.external_labels.iter().peekable();
        loop {
            let (name, value) = match (own.peek(), external.peek()) {
                (Some(mine), Some(theirs)) if mine.0 == theirs.0 => {
                    external.next();
                    continue;
                }
                (Some(mine), Some(theirs)) if theirs.0 < mine.0 => *theirs,
                (Some(mine), _) => *mine,
                (None, Some(theirs)) => *theirs,
                (None, None) => return,
            };
            if own.next_if_eq(&(name, value)).is_none() {
                external.next();
            }
            put_message(out, 1, |out| {
                put_text(out, 1, name);
                put_text(out, 2, value);
            });
        }
    }
}

/// Floats, and behind them histograms: as the message has them.
fn put_columns(out: &mut Vec<u8>, columns: &Columns) {
    let mut histograms = columns.histograms.iter().map(|(row, _)| *row as usize).peekable();
    for (row, (timestamp_ms, value)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
        if histograms.next_if_eq(&row).is_none() {
            put_message(out, 2, |out| put_sample(out, *value, *timestamp_ms, 0));
        }
    }
    for (row, histogram) in &columns.histograms {
        let timestamp_ms = columns.timestamps_ms[*row as usize];
        put_message(out, 4, |out| put_histogram(out, histogram, timestamp_ms, 0));
    }
}

/// An answer as frames.
pub struct Stream {
    answering: Answering,
    queries: std::iter::Enumerate<std::vec::IntoIter<Query>>,
    current: Option<Selected>,
    chunks: Vec<Chunk>,
    labels: Vec<u8>,
    message: Vec<u8>,
}

/// The series of one query.
struct Selected {
    set: Arc<dyn SeriesSet>,
    range: TimeRange,
    /// The query's place in the request.
    number: usize,
    /// The series that comes next.
    next: usize,
}

impl Stream {
    /// Adds the frames of the next series to `out`; false when there are no more.
    ///
    /// # Errors
    /// When there is no more of the answer than what was added before.
    pub fn put_next(&mut self, out: &mut Vec<u8>) -> Result<bool, AnswerError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some((number, query)) = self.queries.next() else {
                    return Ok(false);
                };
                // Series of a stream are sorted: who reads it may merge it as it comes.
                let set = self.answering.select(&query, true)?;
                self.current = set.map(|set| Selected {
                    set,
                    range: query.range(),
                    number,
                    next: 0,
                });
                continue;
            };
            let (index, number) = (current.next, current.number);
            if index == current.set.len() {
                self.current = None;
                continue;
            }
            current.next += 1;
            let has_chunks = current.set.chunks(index, current.range, &mut self.chunks)?;
            if !has_chunks {
                encode_series(&*current.set, index, current.range, &mut self.chunks)?;
            }
            // A client that has gone ends it.
            self.answering.watch.took(0)?;
            let labels = current.set.labels(index);
            self.put_frames(&labels, number, out);
            return Ok(true);
        }
    }

    /// Adds the chunks of a series as frames.
    fn put_frames(&mut self, labels: &Labels, number: usize, out: &mut Vec<u8>) {
        self.labels.clear();
        self.answering.put_labels(&mut self.labels, labels);
        // Compat: what a frame may have is counted as the reference counts it: the labels, each without its tag and length,
        // and chunks until they reach the rest (push: `frame-limit/small/chunks`).
        let room = self.answering.options.frame_bytes_max as i64 - fields_len(&self.labels) as i64;
        let mut rest = self.chunks.as_slice();
        while !rest.is_empty() {
            let mut left = room;
            let mut count = 0;
            for chunk in rest {
                left -= chunk_len(chunk) as i64;
                count += 1;
                if left <= 0 {
                    break;
                }
            }
            let (chunks, others) = rest.split_at(count);
            rest = others;
            self.message.clear();
            let labels = &self.labels;
            put_message(&mut self.message, 1, |out| {
                out.extend_from_slice(labels);
                for chunk in chunks {
                    put_message(out, 2, |out| put_chunk(out, chunk));
                }
            });
            put_uint(&mut self.message, 2, number as u64);
            put_frame(out, &self.message);
        }
    }
}

/// The contents of the labels that were written, without tags and lengths around them.
fn fields_len(mut labels: &[u8]) -> usize {
    let mut sum = 0;
    while let Some((_tag, mut rest)) = labels.split_first() {
        // We have written it ourselves, so there is a length and as many bytes.
        match model::protobuf::take_delimited(&mut rest) {
            Ok(label) => sum += label.len(),
            Err(_) => break,
        }
        labels = rest;
    }
    sum
}

fn put_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    put_uint(out, 1, chunk.min_ms as u64);
    put_uint(out, 2, chunk.max_ms as u64);
    put_uint(out, 3, chunk.encoding.into());
    put_bytes(out, 4, &chunk.bytes);
}

/// Bytes of a chunk's fields.
fn chunk_len(chunk: &Chunk) -> usize {
    let number = |number: i64| match number {
        0 => 0,
        number => 1 + varint_len(number as u64),
    };
    let bytes = chunk.bytes.len();
    number(chunk.min_ms)
        + number(chunk.max_ms)
        + number(chunk.encoding.into())
        + 1
        + varint_len(bytes as u64)
        + bytes
}

/// The samples of a series that has no chunks, as chunks.
fn encode_series(
    set: &dyn SeriesSet,
    index: usize,
    range: TimeRange,
    chunks: &mut Vec<Chunk>,
) -> Result<(), StorageError> {
    let mut columns = Columns::default();
    set.read(index, range, &mut columns)?;
    chunks.clear();
    let encoded = encode(&columns, &EncodeOptions::default()).into_iter();
    chunks.extend(encoded.map(|chunk| Chunk {
        min_ms: chunk.min_ms,
        max_ms: chunk.max_ms,
        encoding: chunk.encoding as u8,
        bytes: chunk.bytes,
    }));
    Ok(())
}
