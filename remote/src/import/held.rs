//! Series that were read and are not stored yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use model::columns::Columns;
use model::labels::Labels;

/// What a series takes beside its labels and samples, about.
const SERIES_BYTES: usize = 256;

/// Series by their labels.
#[derive(Default)]
pub(super) struct Held {
    series: HashMap<Labels, Waiting, foldhash::fast::RandomState>,
    bytes: usize,
}

struct Waiting {
    columns: Columns,
    line: usize,
}

/// A series to be stored.
pub(super) struct Series {
    pub(super) labels: Labels,
    /// In order of time, one a timestamp.
    pub(super) columns: Columns,
    /// The line that brought it first.
    pub(super) line: usize,
}

/// Takes the samples of one series.
pub(super) struct Push<'h> {
    columns: &'h mut Columns,
    bytes: &'h mut usize,
}

impl Push<'_> {
    pub(super) fn push(&mut self, timestamp_ms: i64, value: f64) {
        *self.bytes += size_of::<(i64, f64)>();
        self.columns.push(timestamp_ms, value);
    }
}

impl Held {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The series with these labels, of which `line` brings samples.
    pub(super) fn series(&mut self, labels: Labels, line: usize) -> Push<'_> {
        let waiting = match self.series.entry(labels) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                self.bytes += SERIES_BYTES + free.key().as_bytes().len();
                let columns = Columns::default();
                free.insert(Waiting { columns, line })
            }
        };
        Push {
            columns: &mut waiting.columns,
            bytes: &mut self.bytes,
        }
    }

    /// All series; it is empty then.
    pub(super) fn take(&mut self) -> Vec<Series> {
        let Held { series, .. } = std::mem::take(self);
        let sorted = series.into_iter().map(|(labels, mut waiting)| {
            sort(&mut waiting.columns);
            let Waiting { columns, line } = waiting;
            Series {
                labels,
                columns,
                line,
            }
        });
        sorted.collect()
    }
}

/// Brings samples in order of time; of several for one timestamp the last counts.
fn sort(columns: &mut Columns) {
    if columns.timestamps_ms.is_sorted_by(|a, b| a < b) {
        return;
    }
    let times_ms = columns.timestamps_ms.iter().copied();
    let mut samples: Vec<(i64, f64)> = times_ms.zip(columns.values.iter().copied()).collect();
    samples.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
    columns.clear();
    let mut rest = samples.into_iter().peekable();
    while let Some((timestamp_ms, value)) = rest.next() {
        if rest.peek().is_none_or(|(next_ms, _)| *next_ms != timestamp_ms) {
            columns.push(timestamp_ms, value);
        }
    }
}
