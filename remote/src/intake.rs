//! Float samples of lines to storage, in one transaction, and what is told of lines that are not stored.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use model::labels::Labels;
use model::storage::{
    AHEAD_MAX_MS, AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, Refusal, SeriesRef,
    StorageError, append_resolved,
};

/// Labels that a series may have.
pub(crate) const LABELS_MAX: usize = 4096;
/// Most bad lines that an answer shows.
const SHOWN_MAX: usize = 10;
/// Memory that the samples of a request may take: labels are repeated for each, so that few bytes may ask for very much.
const SAMPLES_BYTES_MAX: usize = 256 << 20;

/// A sample of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Of which series.
    pub labels: Labels,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub value: f64,
    /// In which line of the body, from 1.
    pub line: usize,
}

/// The samples of a request.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    list: Vec<Sample>,
    bytes: usize,
}

/// A request asks for more memory than one may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the samples of the request take more than {SAMPLES_BYTES_MAX} bytes; send smaller batches")]
pub(crate) struct TooMuch;

impl Samples {
    /// Adds a sample, if there is memory for it.
    pub(crate) fn push(&mut self, sample: Sample) -> Result<(), TooMuch> {
        self.bytes += size_of::<Sample>() + sample.labels.as_bytes().len();
        if self.bytes > SAMPLES_BYTES_MAX {
            return Err(TooMuch);
        }
        self.list.push(sample);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }
}

/// Where samples go.
pub struct Intake<'a> {
    /// The store.
    pub appender: &'a dyn Appender,
    /// The time of day.
    pub now_ms: i64,
}

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Samples stored.
    pub stored: u64,
    /// Texts that no sample can hold; they are passed over.
    pub texts: u64,
    /// Samples for whose times other values are stored; those stay.
    pub doubled: u64,
    /// Lines that were not read.
    pub bad_lines: usize,
    /// What is wrong with the first of them.
    shown: Vec<String>,
    /// Samples that were not taken, by the reason, and the line of the first.
    refused: BTreeMap<String, (u64, usize)>,
    /// Nothing was stored, because storage takes nothing.
    pub failure: Option<StorageFailure>,
}

/// Why storage takes nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageFailure {
    /// It is closed, or the disk refuses.
    #[error("storage refuses writes: {0}")]
    Storage(#[from] StorageError),
    /// It forgets series faster than they are told.
    #[error("series were forgotten while they were written to; send it again")]
    Forgotten,
}

impl Outcome {
    /// Notes a line that was not read.
    pub fn refuse_line(&mut self, why: String) {
        self.bad_lines += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(why);
        }
    }

    /// Notes a sample that was not taken.
    pub(crate) fn refuse(&mut self, why: &str, line: usize) {
        match self.refused.get_mut(why) {
            Some((count, first)) => {
                *count += 1;
                *first = line.min(*first);
            }
            None => drop(self.refused.insert(why.to_owned(), (1, line))),
        }
    }

    /// Samples that were not taken.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }

    /// Whether everything of the request is stored, apart from texts and from second values for a time.
    pub fn is_whole(&self) -> bool {
        self.bad_lines == 0 && self.refused.is_empty() && self.failure.is_none()
    }

    /// What is not stored, and why; empty where all is.
    pub fn problems(&self) -> String {
        let mut text = self.shown.join("\n");
        let mut add = |line: String| {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
        };
        match self.bad_lines.saturating_sub(self.shown.len()) {
            0 => {}
            more => add(format!("and {more} lines more")),
        }
        for (why, (count, line)) in &self.refused {
            add(format!(
                "{count} samples were not stored, the first in line {line}: {why}"
            ));
        }
        if let Some(failure) = &self.failure {
            add(failure.to_string());
        }
        text
    }
}

impl Intake<'_> {
    /// Stores samples; what single ones are refused for is noted. They may come in any order, and of several of one series
    /// for one time the last counts, as InfluxDB has it.
    pub(crate) fn store(&self, samples: Samples, outcome: &mut Outcome) {
        let latest_ms = self.now_ms.saturating_add(AHEAD_MAX_MS);
        let mut kept = samples.list;
        kept.retain(|sample| {
            let is_ahead = sample.timestamp_ms > latest_ms;
            if is_ahead {
                outcome.refuse(&Refusal::TooFarInFuture.to_string(), sample.line);
            }
            !is_ahead
        });
        if kept.is_empty() {
            return;
        }
        // Stable: what came later stays behind.
        kept.sort_by_key(|sample| sample.timestamp_ms);
        let before = &*outcome;
        let attempt = |tried: &mut Outcome| {
            tried.clone_from(before);
            self.append(&kept, tried)
        };
        let mut tried = Outcome::default();
        match append_resolved(&mut tried, attempt, |_, _| ()) {
            Ok(stored) => *outcome = Outcome { stored, ..tried },
            Err(AppendError::Storage(error)) => outcome.failure = Some(error.into()),
            Err(_) => outcome.failure = Some(StorageFailure::Forgotten),
        }
    }

    /// Appends samples in order of time.
    fn append(&self, samples: &[Sample], outcome: &mut Outcome) -> Result<u64, AppendError> {
        let mut batch = AppendBatch::default();
        let mut lines = Vec::with_capacity(samples.len());
        // Where the newest sample of a series stands.
        let mut newest: HashMap<SeriesRef, usize, RandomState> = HashMap::default();
        for sample in samples {
            let series = match self.appender.resolve(&sample.labels) {
                Ok(series) => series,
                Err(error) => {
                    outcome.refuse(&error.to_string(), sample.line);
                    continue;
                }
            };
            let before = newest.get(&series).map(|at| &mut batch.floats[*at]);
            match before.filter(|before| before.timestamp_ms == sample.timestamp_ms) {
                Some(before) => before.value = sample.value,
                None => {
                    newest.insert(series, lines.len());
                    lines.push(sample.line);
                    batch.floats.push(FloatSample {
                        series,
                        timestamp_ms: sample.timestamp_ms,
                        value: sample.value,
                    });
                }
            }
        }
        let mut appended = AppendOutcome::default();
        self.appender.append(&batch, &mut appended)?;
        for (_, index, refusal) in &appended.refused {
            let line = lines.get(*index as usize).copied().unwrap_or(0);
            match refusal {
                Refusal::DuplicateTimestamp | Refusal::Doubled => outcome.doubled += 1,
                _ => outcome.refuse(&refusal.to_string(), line),
            }
        }
        if outcome.doubled > 0 {
            tracing::debug!(
                samples = outcome.doubled,
                "Pushed samples were left out: other values are stored for their times"
            );
        }
        Ok(appended.accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_cannot_ask_for_all_memory() {
        let value = "x".repeat(1 << 20);
        let labels = Labels::from_pairs([("__name__", value.as_str())]);
        let mut samples = Samples::default();
        let sample = || Sample {
            labels: labels.clone(),
            timestamp_ms: 1,
            value: 1.0,
            line: 1,
        };
        let taken = (0..1000).take_while(|_| samples.push(sample()).is_ok()).count();
        assert_eq!(taken, 255);
    }
}
