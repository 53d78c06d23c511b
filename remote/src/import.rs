//! Text with times of its own to samples: the format of scrapes, pushed line by line.
//!
//! A scrape is refused as a whole where one of its lines is wrong; what is imported may be a dump of millions, and what can
//! be read of it is stored.
//!
//! ```
//! # use model::storage::{AppendBatch, AppendError, AppendOutcome, Appender, SeriesError, SeriesRef};
//! # struct Store;
//! # impl Appender for Store {
//! #     fn resolve(&self, _: &model::labels::Labels) -> Result<SeriesRef, SeriesError> { Ok(SeriesRef(1)) }
//! #     fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
//! #         outcome.accepted = batch.floats.len() as u64;
//! #         Ok(())
//! #     }
//! # }
//! # let store = Store;
//! use narthex_remote::import::{Rules, read};
//! use narthex_remote::intake::Intake;
//! let intake = Intake { appender: &store, now_ms: 1_700_000_000_000 };
//! let outcome = read(b"a{b=\"c\"} 1 1699999999000\nwrong\nd 2\n", &Rules::default(), &intake);
//! assert_eq!((outcome.stored, outcome.bad_lines), (2, 1));
//! ```

use std::collections::BTreeMap;

use exposition::{Entry, Format, LabelsError, ParseError, Place, TextParser, parse_series};
use model::labels::{Labels, LabelsBuilder};
use model::sample::MetricType;

use crate::intake::{Intake, Outcome, Sample};

/// Most bytes of a line that an error shows.
const SHOWN_BYTES: usize = 120;

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
    Parse(#[from] ParseError),
    #[error("{0}")]
    Labels(#[from] LabelsError),
    #[error("{0}")]
    TooLong(#[from] model::labels::LabelTooLong),
}

/// Stores the samples of a body in one transaction, as far as its lines can be read.
pub fn read(body: &[u8], rules: &Rules, intake: &Intake<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut samples = Vec::new();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match sample(line, rules) {
            Ok(None) => {}
            Ok(Some((labels, timestamp_ms, value))) => samples.push(Sample {
                labels,
                timestamp_ms: timestamp_ms.or(rules.timestamp_ms).unwrap_or(intake.now_ms),
                value,
                line: index + 1,
            }),
            Err(error) => outcome.refuse_line(told(index + 1, line, &error)),
        }
    }
    intake.store(samples, &mut outcome);
    outcome
}

fn sample(line: &[u8], rules: &Rules) -> Result<Option<(Labels, Option<i64>, f64)>, LineError> {
    let mut parser = TextParser::new(line);
    let Some(Entry::Series(series)) = parser.next()? else {
        // Comments say what kind a family is: of pushed samples nobody asks.
        return Ok(None);
    };
    let mut builder = LabelsBuilder::new();
    parse_series(Format::Text, series.text, MetricType::Unknown, |name, value| {
        builder.set(name, value);
    })?;
    for (name, value) in &rules.extra_labels {
        builder.set(name, value);
    }
    Ok(Some((builder.try_build()?, series.timestamp_ms, series.value)))
}

/// The error with the line under which a mark stands.
fn told(number: usize, line: &[u8], error: &LineError) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]);
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let column = match error {
        LineError::Parse(error) => column_of(error),
        _ => 1,
    };
    let mark = (column - 1).min(SHOWN_BYTES);
    format!(
        "line {number}, column {column}: {error}\n  {text}\n  {:mark$}^",
        ""
    )
}

fn column_of(error: &ParseError) -> usize {
    match error.place {
        Place::Text { column, .. } => column.max(1),
        _ => 1,
    }
}
