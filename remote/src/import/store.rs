//! From series that are held to storage: what the head takes as transactions, the rest as history.

use std::ops::Range;
use std::sync::Arc;

use model::clock::Clock;
use model::columns::Columns;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, History, Refusal, SeriesError,
    append_resolved,
};

use super::held::Series;
use crate::intake::{Outcome, StorageFailure};

/// Series whose newest samples are one transaction.
const SERIES_TOGETHER: usize = 4096;

/// Where samples go.
#[derive(Clone)]
pub struct Stores {
    /// Takes what is recent.
    pub appender: Arc<dyn Appender>,
    /// Takes everything else.
    pub history: Arc<dyn History>,
    /// Says when a sample is too far ahead, or which time one without has.
    pub clock: Arc<dyn Clock>,
}

/// Stores series; what single samples are refused for is noted.
pub(super) fn store(mut series: Vec<Series>, stores: &Stores, outcome: &mut Outcome) {
    let recent_ms = stores.history.range().max_ms.saturating_add(1);
    for together in series.chunks_mut(SERIES_TOGETHER) {
        if let Err(failure) = append(together, recent_ms, &*stores.appender, outcome) {
            outcome.failure = Some(failure);
            return;
        }
    }
    let samples = series
        .iter()
        .map(|series| series.columns.len() as u64)
        .sum::<u64>();
    if samples == 0 {
        return;
    }
    let old = series.into_iter().filter(|series| !series.columns.is_empty());
    match stores
        .history
        .insert(old.map(|series| (series.labels, series.columns)).collect())
    {
        Ok(()) => outcome.stored += samples,
        Err(error) => outcome.failure = Some(error.into()),
    }
}

/// What became of a transaction.
#[derive(Default)]
struct Appended {
    accepted: u64,
    /// Series and row of what comes too late for a transaction.
    late: Vec<(usize, usize)>,
    /// What is not stored at all, and by which line it came.
    refused: Vec<(Refused, usize)>,
}

/// Why the store does not take something.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Series(SeriesError),
    #[error(transparent)]
    Sample(Refusal),
}

/// Appends what is newer than `recent_ms` and takes it out; what comes too late for that stays.
fn append(
    series: &mut [Series],
    recent_ms: i64,
    appender: &dyn Appender,
    outcome: &mut Outcome,
) -> Result<(), StorageFailure> {
    let recent: Vec<(usize, Range<usize>)> = series
        .iter()
        .enumerate()
        .map(|(index, series)| (index, recent_rows(&series.columns, recent_ms)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    if recent.is_empty() {
        return Ok(());
    }
    let attempt = |_: &mut ()| transact(series, &recent, appender);
    let appended = match append_resolved(&mut (), attempt, |(), _| ()) {
        Ok(appended) => appended,
        Err(AppendError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(StorageFailure::Forgotten),
    };
    outcome.stored += appended.accepted;
    for (refused, line) in appended.refused {
        outcome.refuse(&refused.to_string(), line);
    }
    let mut late = appended.late.into_iter().peekable();
    for (index, rows) in recent {
        let columns = &mut series[index].columns;
        let mut end = rows.start;
        while let Some((_, row)) = late.next_if(|(of, _)| *of == index) {
            columns.timestamps_ms[end] = columns.timestamps_ms[row];
            columns.values[end] = columns.values[row];
            end += 1;
        }
        columns.timestamps_ms.truncate(end);
        columns.values.truncate(end);
    }
    Ok(())
}

fn recent_rows(columns: &Columns, recent_ms: i64) -> Range<usize> {
    columns.timestamps_ms.partition_point(|at_ms| *at_ms < recent_ms)..columns.len()
}

/// Makes these rows one transaction.
fn transact(
    series: &[Series],
    recent: &[(usize, Range<usize>)],
    appender: &dyn Appender,
) -> Result<Appended, AppendError> {
    let mut appended = Appended::default();
    let mut batch = AppendBatch::default();
    let mut places = Vec::new();
    for (index, rows) in recent {
        let Series {
            labels,
            columns,
            line,
        } = &series[*index];
        match appender.resolve(labels) {
            Ok(reference) => {
                for row in rows.clone() {
                    places.push((*index, row));
                    batch.floats.push(FloatSample {
                        series: reference,
                        timestamp_ms: columns.timestamps_ms[row],
                        value: columns.values[row],
                    });
                }
            }
            Err(error) => {
                let each = std::iter::repeat_n((Refused::Series(error), *line), rows.len());
                appended.refused.extend(each);
            }
        }
    }
    let mut outcome = AppendOutcome::default();
    appender.append(&batch, &mut outcome)?;
    appended.accepted = outcome.accepted;
    for (_, at, refusal) in &outcome.refused {
        let (index, row) = places[*at as usize];
        match refusal {
            Refusal::OutOfOrder | Refusal::Overtaken | Refusal::OutOfBounds | Refusal::TooOld => {
                appended.late.push((index, row));
            }
            _ => appended
                .refused
                .push((Refused::Sample(*refusal), series[index].line)),
        }
    }
    // The store tells of them in its own order.
    appended.late.sort_unstable();
    Ok(appended)
}
