//! `/api/v1/export`: raw samples as JSON lines, as VictoriaMetrics exports them and `/api/v1/import` reads them.
//!
//! A line is some samples of a series: `{"metric":{…},"values":[…],"timestamps":[…]}`. The answer is sent while it is
//! written, whatever its length. A view of the store is kept for a while only, since the head cannot be cut as long as
//! somebody looks at it: then another one is taken, behind the last series that was written.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::is_stale_nan;
use model::storage::{SelectHints, SeriesSet, StorageError, TimeRange};
use promql::engine::{CancelHandle, Reservation};

use super::answer::{ApiError, CancelOnDrop, ErrorType, blocking};
use super::chunks::{self, ChunkSink};
use super::json;
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params};
use super::state::QueryState;

/// What VictoriaMetrics calls lines of JSON.
const LINES_OF_JSON: HeaderValue = HeaderValue::from_static("application/stream+json");
/// Samples of a line, unless the request says otherwise.
const ROWS_MAX: usize = 10_000;
/// Samples of a line, whatever it says: whoever reads lines has a limit, too.
const ROWS_LIMIT: usize = 100_000;
/// Time of a series that is read at once.
const SLICE_MS: i64 = 31 * 24 * 60 * 60 * 1000;
/// How long a view is kept.
const VIEW_MAX: Duration = Duration::from_secs(60);

/// What is to be exported.
#[derive(Clone)]
struct Asked {
    selectors: Vec<Vec<Matcher>>,
    range: TimeRange,
    rows: usize,
}

fn asked(params: &Params) -> Result<Asked, ApiError> {
    params.whole().map_err(|error| ApiError::form(&error))?;
    if params.all("match[]").is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let selectors = params.selectors();
    let start_ms = params.time_ms("start", Some(MIN_TIME_MS))?;
    let end_ms = params.time_ms("end", Some(MAX_TIME_MS))?;
    let rows = match params.get("max_rows_per_line") {
        "" => ROWS_MAX,
        text => match text.parse() {
            Ok(rows) if (1..=ROWS_LIMIT).contains(&rows) => rows,
            _ => {
                let what = format_args!("{text:?} is no number from 1 to {ROWS_LIMIT}");
                return Err(ApiError::parameter("max_rows_per_line", what));
            }
        },
    };
    Ok(Asked {
        selectors: selectors.map_err(|what| ApiError::parameter("match[]", what))?,
        range: TimeRange::new(start_ms, end_ms),
        rows,
    })
}

/// Series of one view, a list a selector.
struct View {
    lists: Vec<Arc<dyn SeriesSet>>,
    range: TimeRange,
    taken: Duration,
    _memory: Reservation,
}

impl View {
    /// Selects what is asked for, within what a query may take.
    fn take(state: &QueryState, asked: &Asked, cancel: CancelHandle) -> Result<Self, ApiError> {
        let search = state.engine.search(cancel);
        let hints = SelectHints {
            sorted: true,
            limit: 0,
            watch: Some(search.watch()),
            purpose: None,
        };
        let select = || {
            let querier = state.storage.querier(asked.range)?;
            let lists = asked
                .selectors
                .iter()
                .map(|matchers| querier.select(&hints, matchers));
            lists.collect::<Result<Vec<_>, StorageError>>()
        };
        let lists = select();
        // Why a search was interrupted says more than that it was.
        let memory = search.finish()?;
        let stored = state.db.time_range().unwrap_or(TimeRange::new(0, -1));
        Ok(View {
            lists: lists?,
            range: TimeRange::new(
                asked.range.min_ms.max(stored.min_ms),
                asked.range.max_ms.min(stored.max_ms),
            ),
            taken: state.clock.elapsed(),
            _memory: memory,
        })
    }
}

pub(crate) async fn export(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    let asked = match asked(&params) {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    let cancel = CancelHandle::new();
    let hung_up = CancelOnDrop(cancel.clone());
    let (of_view, to_select) = (state.clone(), asked.clone());
    let view = match blocking(move || View::take(&of_view, &to_select, cancel)).await {
        Ok(view) => view,
        Err(error) => return error.into_response(),
    };
    let (sink, chunks) = chunks::channel();
    let supervisor = state.supervisor.clone();
    let writer = async move {
        if let Err(error) = write(&state, &asked, view, sink).await {
            tracing::warn!(error = %error.message, "An export was given up while it was being written");
        }
    };
    tokio::task::spawn_blocking(move || chunks::write(&supervisor, writer));
    let body = chunks.into_body().await;
    drop(hung_up);
    match body {
        Some(body) => ([(CONTENT_TYPE, LINES_OF_JSON)], body).into_response(),
        None => {
            let text = "the export was given up while it was being written; the log says why";
            ApiError::new(ErrorType::Internal, text).into_response()
        }
    }
}

/// Writes all series, selector by selector; one that an earlier selector has is not written again.
async fn write(
    state: &QueryState,
    asked: &Asked,
    mut view: View,
    mut sink: ChunkSink,
) -> Result<(), ApiError> {
    let mut columns = Columns::default();
    for number in 0..asked.selectors.len() {
        let mut index = 0;
        while index < view.lists[number].len() {
            let labels = view.lists[number].labels(index);
            index += 1;
            let earlier = &asked.selectors[..number];
            let has =
                |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(&labels));
            if earlier.iter().any(has) {
                continue;
            }
            let set = view.lists[number].clone();
            if !series(
                &mut sink,
                (&*set, index - 1),
                &labels,
                &view,
                asked.rows,
                &mut columns,
            )
            .await?
            {
                return Ok(());
            }
            if state.clock.elapsed().saturating_sub(view.taken) > VIEW_MAX {
                drop(set);
                view = View::take(state, asked, CancelHandle::new())?;
                index = behind(&*view.lists[number], &labels);
            }
        }
    }
    sink.finish().await;
    Ok(())
}

/// Where series begin that sort behind `last`.
fn behind(set: &dyn SeriesSet, last: &Labels) -> usize {
    let (mut low, mut high) = (0, set.len());
    while low < high {
        let middle = low.midpoint(high);
        match set.labels(middle) <= *last {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

/// Writes the lines of a series; false when the client is gone.
async fn series(
    sink: &mut ChunkSink,
    (set, index): (&dyn SeriesSet, usize),
    labels: &Labels,
    view: &View,
    rows: usize,
    columns: &mut Columns,
) -> Result<bool, ApiError> {
    let mut begin_ms = view.range.min_ms;
    while begin_ms <= view.range.max_ms {
        let end_ms = begin_ms.saturating_add(SLICE_MS - 1).min(view.range.max_ms);
        set.read(index, TimeRange::new(begin_ms, end_ms), columns)?;
        let mut floats = Floats::of(columns).peekable();
        while floats.peek().is_some() {
            line(sink, labels, &mut floats, rows);
            if sink.is_full() && !sink.hand_on().await {
                return Ok(false);
            }
        }
        let Some(next_ms) = end_ms.checked_add(1) else {
            break;
        };
        begin_ms = next_ms;
    }
    Ok(sink.is_wanted())
}

/// Rows that are floats: this form has no word for native histograms.
struct Floats<'c> {
    columns: &'c Columns,
    row: usize,
    /// Histograms that were passed.
    passed: usize,
}

impl<'c> Floats<'c> {
    fn of(columns: &'c Columns) -> Self {
        Floats {
            columns,
            row: 0,
            passed: 0,
        }
    }
}

impl Iterator for Floats<'_> {
    type Item = (i64, f64);

    fn next(&mut self) -> Option<(i64, f64)> {
        let is_histogram = |at: &Self| {
            at.columns
                .histograms
                .get(at.passed)
                .is_some_and(|(row, _)| *row as usize == at.row)
        };
        while is_histogram(self) {
            self.passed += 1;
            self.row += 1;
        }
        let row = self.row;
        let timestamp_ms = *self.columns.timestamps_ms.get(row)?;
        self.row += 1;
        Some((timestamp_ms, self.columns.values[row]))
    }
}

/// Writes a line of at most `rows` samples.
fn line(out: &mut Vec<u8>, labels: &Labels, floats: &mut Peekable<Floats<'_>>, rows: usize) {
    out.extend_from_slice(b"{\"metric\":");
    json::labels(out, labels);
    out.extend_from_slice(b",\"values\":[");
    let mut timestamps = Vec::new();
    for (number, (timestamp_ms, float)) in floats.take(rows).enumerate() {
        if number > 0 {
            out.push(b',');
            timestamps.push(b',');
        }
        value(out, float);
        timestamps.extend_from_slice(itoa::Buffer::new().format(timestamp_ms).as_bytes());
    }
    out.extend_from_slice(b"],\"timestamps\":[");
    out.extend_from_slice(&timestamps);
    out.extend_from_slice(b"]}\n");
}

/// JSON's numbers go no further than floats that are finite. A marker of staleness is no value at all.
fn value(out: &mut Vec<u8>, value: f64) {
    match value {
        _ if is_stale_nan(value) => out.extend_from_slice(b"null"),
        f64::INFINITY => out.extend_from_slice(b"\"Infinity\""),
        f64::NEG_INFINITY => out.extend_from_slice(b"\"-Infinity\""),
        _ if value.is_nan() => out.extend_from_slice(b"\"NaN\""),
        _ => model::float::write_json(out, value),
    }
}

#[cfg(test)]
mod tests {
    use model::histogram::{CounterResetHint, Histogram, IntHistogram};
    use model::sample::stale_nan;

    use super::*;

    #[test]
    fn lines_hold_the_floats_of_a_series() {
        let mut columns = Columns::default();
        let histogram = || {
            Histogram::Int(Arc::new(IntHistogram {
                counter_reset_hint: CounterResetHint::Unknown,
                schema: 0,
                zero_threshold: 0.0,
                zero_count: 0,
                count: 0,
                sum: 0.0,
                positive_spans: Vec::new(),
                negative_spans: Vec::new(),
                positive_buckets: Vec::new(),
                negative_buckets: Vec::new(),
                custom_values: None,
            }))
        };
        columns.push_histogram(0, histogram());
        for (at, value) in [
            1.0,
            -0.5,
            1e-7,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            stale_nan(),
        ]
        .into_iter()
        .enumerate()
        {
            columns.push(at as i64 + 1, value);
            columns.push_histogram(100 + at as i64, histogram());
        }
        let labels = Labels::from_pairs([("__name__", "m"), ("a", "\"")]);
        let mut floats = Floats::of(&columns).peekable();
        let mut out = Vec::new();
        while floats.peek().is_some() {
            line(&mut out, &labels, &mut floats, 5);
        }
        let metric = r#"{"metric":{"__name__":"m","a":"\""},"#;
        let wanted = [
            r#""values":[1,-0.5,1e-07,1e+300,"Infinity"],"timestamps":[1,2,3,4,5]}"#,
            r#""values":["-Infinity","NaN",null],"timestamps":[6,7,8]}"#,
        ];
        let wanted: String = wanted.map(|line| format!("{metric}{line}\n")).concat();
        assert_eq!(String::from_utf8(out).expect("text"), wanted);
    }
}
