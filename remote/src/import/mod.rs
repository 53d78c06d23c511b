//! Samples of any age that are brought in: lines of JSON as VictoriaMetrics exports them, and text with times of its own.
//!
//! A body is a stream of lines, however long, and is read as it comes ([`Importer::read`]): what holds is a line and some
//! million samples. What the store's head takes goes there by transactions; everything else, and what the head refuses as
//! too late, becomes blocks ([`History`](model::storage::History)). A scrape is refused as a whole where one of its lines is wrong; what is imported
//! may be a dump of millions, and what can be read of it is stored.
//!
//! ```
//! # use std::sync::Arc;
//! # use model::clock::ManualClock;
//! # use model::columns::Columns;
//! # use model::labels::Labels;
//! # use model::storage::*;
//! # struct Store;
//! # impl Appender for Store {
//! #     fn resolve(&self, _: &Labels) -> Result<SeriesRef, SeriesError> { Ok(SeriesRef(1)) }
//! #     fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
//! #         outcome.accepted = batch.floats.len() as u64;
//! #         Ok(())
//! #     }
//! # }
//! # impl History for Store {
//! #     fn range(&self) -> TimeRange { TimeRange::new(i64::MIN, 1_699_999_000_000) }
//! #     fn insert(&self, _: Vec<(Labels, Columns)>) -> Result<(), StorageError> { Ok(()) }
//! # }
//! use narthex_remote::import::{Form, Importer, Progress, Rules, Stores};
//! let store = Arc::new(Store);
//! let clock = Arc::new(ManualClock::new(1_700_000_000_000));
//! let stores = Stores { appender: store.clone(), history: store, clock };
//! let mut importer = Importer::new(Form::Json, Rules::default(), stores, Arc::new(Progress::default()));
//! importer.read(br#"{"metric":{"__name__":"a"},"values":[1,2.5],"timestamps":[1000,1699999999000]}"#);
//! importer.read(b"\nwrong\n");
//! let outcome = importer.finish();
//! assert_eq!((outcome.stored, outcome.bad_lines), (2, 1));
//! ```

mod held;
mod json;
mod lines;
mod progress;
mod store;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::labels::{LabelTooLong, Labels, LabelsBuilder};
use model::storage::{AHEAD_MAX_MS, Refusal, TimeRange};

use crate::excerpt::Excerpt;
use crate::intake::{LABELS_MAX, Outcome};
use held::Held;
use lines::Lines;

pub use lines::LINE_BYTES_MAX;
pub use progress::{Counts, Progress};
pub use store::Stores;

/// Memory that an import's samples take before they are stored: some four million of them.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Said of samples that would be removed again.
const EXPIRED: &str = "older than what is kept; see --storage.tsdb.retention.time";

/// What lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object a line: `{"metric":{…},"values":[…],"timestamps":[…]}`.
    Json,
    /// The text format of scrapes, with times.
    Text,
}

/// How a request is read.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Labels that all samples get, in the place of their own of the same names.
    pub extra_labels: BTreeMap<String, String>,
    /// When samples without a time were measured; nothing for now.
    pub timestamp_ms: Option<i64>,
}

/// Why a line is not stored.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("expected {}, got {:?}", .0.expected, .0.found)]
    Text(#[from] exposition::ParseError),
    #[error("{0}")]
    Series(#[from] exposition::LabelsError),
    #[error("{}", json::what(.0))]
    Json(#[from] serde_json::Error),
    #[error("{values} values and {timestamps} timestamps: a line has as many of the one as of the other")]
    Lengths { values: usize, timestamps: usize },
    #[error("no labels: \"metric\":{{\"__name__\":\"NAME\"}} is expected")]
    NoLabels,
    #[error("more than {LABELS_MAX} labels")]
    TooManyLabels,
    #[error("{0}")]
    TooLong(#[from] LabelTooLong),
}

impl LineError {
    /// The byte of the line at which it is wrong.
    fn at(&self) -> usize {
        match self {
            LineError::Text(error) => match error.place {
                exposition::Place::Text { column, .. } => column.saturating_sub(1),
                _ => 0,
            },
            LineError::Json(error) => error.column().saturating_sub(1),
            _ => 0,
        }
    }
}

/// Labels of a line as they are read: so many, and no more.
#[derive(Default)]
struct LineLabels {
    builder: LabelsBuilder,
    read: usize,
}

impl LineLabels {
    fn set(&mut self, name: &str, value: &str) {
        self.read += 1;
        if self.read <= LABELS_MAX {
            self.builder.set(name, value);
        }
    }

    fn finish(mut self, rules: &Rules) -> Result<Labels, LineError> {
        if self.read > LABELS_MAX {
            return Err(LineError::TooManyLabels);
        }
        for (name, value) in &rules.extra_labels {
            self.builder.set(name, value);
        }
        let labels = self.builder.try_build()?;
        match labels.is_empty() {
            true => Err(LineError::NoLabels),
            false => Ok(labels),
        }
    }
}

/// An import under way.
pub struct Importer {
    reader: Reader,
    lines: Lines,
    stores: Stores,
    progress: Arc<Progress>,
}

/// What lines go through.
struct Reader {
    form: Form,
    rules: Rules,
    line: json::Line,
    held: Held,
    held_bytes_max: usize,
    outcome: Outcome,
    now_ms: i64,
    /// What is older is not kept.
    begin_ms: i64,
}

impl Importer {
    /// One that has read nothing yet, and tells `progress` how far it has come.
    pub fn new(form: Form, rules: Rules, stores: Stores, progress: Arc<Progress>) -> Self {
        Importer {
            reader: Reader {
                form,
                rules,
                line: json::Line::default(),
                held: Held::default(),
                held_bytes_max: HELD_BYTES_MAX,
                outcome: Outcome::default(),
                now_ms: 0,
                begin_ms: 0,
            },
            lines: Lines::default(),
            stores,
            progress,
        }
    }

    /// Reads the bytes that come next. Once storage refuses, nothing more is read: see [`Importer::has_failed`].
    pub fn read(&mut self, bytes: &[u8]) {
        self.begin();
        let (reader, stores) = (&mut self.reader, &self.stores);
        self.lines
            .read(bytes, |number, line| reader.line(number, line, stores));
        self.tell();
    }

    /// Whether storage refuses, so that there is no use in going on.
    pub fn has_failed(&self) -> bool {
        self.reader.outcome.failure.is_some()
    }

    /// The stream has ended: stores what is left.
    pub fn finish(mut self) -> Outcome {
        self.begin();
        let (reader, stores) = (&mut self.reader, &self.stores);
        self.lines
            .finish(|number, line| reader.line(number, line, stores));
        self.reader.store(&self.stores);
        self.tell();
        self.reader.outcome
    }

    fn begin(&mut self) {
        let TimeRange { min_ms, .. } = self.stores.history.range();
        self.reader.begin_ms = min_ms;
        self.reader.now_ms = self.stores.clock.now_ms();
    }

    fn tell(&self) {
        self.progress.told(&self.lines, &self.reader.outcome);
    }
}

impl Reader {
    fn line(&mut self, number: usize, line: Option<&[u8]>, stores: &Stores) {
        if self.outcome.failure.is_some() {
            return;
        }
        let Some(line) = line else {
            let why = format!("line {number}: longer than {LINE_BYTES_MAX} bytes; export it in shorter ones");
            return self.outcome.refuse_line(why);
        };
        let read = match self.form {
            Form::Json => self.line.read(line, &self.rules),
            Form::Text => text::read(line, &self.rules, self.now_ms, &mut self.line),
        };
        match read {
            Ok(Some(labels)) => self.hold(number, labels),
            Ok(None) => {}
            Err(error) => {
                let excerpt = Excerpt::new(line, error.at());
                let told = format!("line {number}, column {}: {error}\n{excerpt}", excerpt.column);
                self.outcome.refuse_line(told);
            }
        }
        if self.held.bytes() > self.held_bytes_max {
            self.store(stores);
        }
    }

    /// Holds the samples of the line that was read, as far as they are kept.
    fn hold(&mut self, number: usize, labels: Labels) {
        let latest_ms = self.now_ms.saturating_add(AHEAD_MAX_MS);
        let samples = self.line.timestamps_ms.iter().zip(&self.line.values);
        let mut kept = samples.filter(|(timestamp_ms, _)| {
            let is_ahead = **timestamp_ms > latest_ms;
            let is_expired = **timestamp_ms < self.begin_ms;
            if is_ahead {
                let why = Refusal::TooFarInFuture.to_string();
                self.outcome.refuse(&why, number);
            } else if is_expired {
                self.outcome.refuse(EXPIRED, number);
            }
            !is_ahead && !is_expired
        });
        let Some(first) = kept.next() else { return };
        let mut series = self.held.series(labels, number);
        for (timestamp_ms, value) in std::iter::once(first).chain(kept) {
            series.push(*timestamp_ms, *value);
        }
    }

    fn store(&mut self, stores: &Stores) {
        store::store(self.held.take(), stores, &mut self.outcome);
    }
}

#[cfg(test)]
mod tests;
