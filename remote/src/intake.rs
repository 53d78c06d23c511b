//! Float samples of lines to storage, in one transaction: what ways in share whose bodies are lines of text.

use std::collections::BTreeMap;

use model::labels::Labels;
use model::storage::{
    AHEAD_MAX_MS, AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, Refusal, SeriesError,
    StorageError, append_resolved,
};

/// Most bad lines that an answer shows.
const SHOWN_MAX: usize = 10;

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
    pub(crate) fn refuse_line(&mut self, why: String) {
        self.bad_lines += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(why);
        }
    }

    fn refuse(&mut self, why: String, line: usize) {
        let refused = self.refused.entry(why).or_insert((0, line));
        refused.0 += 1;
        refused.1 = refused.1.min(line);
    }

    /// Whether everything of the request is stored, texts apart.
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
    /// Stores samples; what single ones are refused for is noted.
    pub(crate) fn store(&self, samples: Vec<Sample>, outcome: &mut Outcome) {
        let latest_ms = self.now_ms.saturating_add(AHEAD_MAX_MS);
        let mut kept = Vec::with_capacity(samples.len());
        for sample in samples {
            match sample.timestamp_ms > latest_ms {
                true => outcome.refuse(Refusal::TooFarInFuture.to_string(), sample.line),
                false => kept.push(sample),
            }
        }
        if kept.is_empty() {
            return;
        }
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

    fn append(&self, samples: &[Sample], outcome: &mut Outcome) -> Result<u64, AppendError> {
        let mut batch = AppendBatch::default();
        let mut lines = Vec::with_capacity(samples.len());
        for sample in samples {
            match self.appender.resolve(&sample.labels) {
                Ok(series) => {
                    lines.push(sample.line);
                    batch.floats.push(FloatSample {
                        series,
                        timestamp_ms: sample.timestamp_ms,
                        value: sample.value,
                    });
                }
                Err(error) => {
                    let error: SeriesError = error;
                    outcome.refuse(error.to_string(), sample.line);
                }
            }
        }
        let mut appended = AppendOutcome::default();
        self.appender.append(&batch, &mut appended)?;
        for (_, index, refusal) in &appended.refused {
            let line = lines.get(*index as usize).copied().unwrap_or(0);
            outcome.refuse(refusal.to_string(), line);
        }
        Ok(appended.accepted)
    }
}
