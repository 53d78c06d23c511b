//! A store on memory, and everything that it holds, as the conformance data write it.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use files::MemFiles;
use model::clock::ManualClock;
use model::columns::Columns;
use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::matcher::{MatchOp, Matcher};
use model::sample::is_stale_nan;
use model::storage::{ExemplarQueryable as _, Queryable as _, SelectHints, TimeRange};
use serde_json::{Map, Value, json};
use tsdb::db::{Db, Options};

/// An empty store.
pub(crate) fn open(options: Options, clock: Arc<ManualClock>) -> Arc<Db> {
    let options = Options {
        background: false,
        ..options
    };
    let db = Db::open(Arc::new(MemFiles::new()), Path::new("data"), options, clock);
    Arc::new(db.expect("an empty store"))
}

/// Lines of a compressed file, each a value.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).expect("conformance data");
    let mut text = String::new();
    let mut reader = flate2::read::GzDecoder::new(file);
    reader.read_to_string(&mut text).expect("gzip");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn everything() -> Matcher {
    Matcher::new(MatchOp::Regex, "__name__", ".*").expect("pattern")
}

/// All series with their samples, start timestamps left out.
pub(crate) fn series(db: &Db) -> Vec<Value> {
    let querier = db.querier(TimeRange::ALL).expect("a view");
    let hints = SelectHints {
        sorted: true,
        ..SelectHints::default()
    };
    let set = querier.select(&hints, &[everything()]).expect("series");
    let mut columns = Columns::default();
    let each = (0..set.len()).map(|index| {
        set.read(index, TimeRange::ALL, &mut columns).expect("samples");
        assert!(columns.start_timestamps_ms.iter().all(|start| *start == 0));
        let mut object = Map::new();
        let labels: Vec<Value> = set.labels(index).iter().map(|(n, v)| json!([n, v])).collect();
        object.insert("labels".into(), labels.into());
        let (mut samples, mut histograms) = (Vec::new(), Vec::new());
        let mut next = columns.histograms.iter().peekable();
        for (row, timestamp_ms) in columns.timestamps_ms.iter().enumerate() {
            match next.next_if(|(at, _)| *at as usize == row) {
                Some((_, histogram)) => histograms.push(histogram_of(*timestamp_ms, histogram)),
                None => samples.push(json!([timestamp_ms, number(columns.values[row])])),
            }
        }
        for (name, list) in [("samples", samples), ("histograms", histograms)] {
            if !list.is_empty() {
                object.insert(name.into(), list.into());
            }
        }
        Value::Object(object)
    });
    each.filter(|series| series.get("samples").or(series.get("histograms")).is_some())
        .collect()
}

/// A number as the data write it.
pub(crate) fn number(value: f64) -> String {
    match value {
        _ if is_stale_nan(value) => "StaleNaN".to_owned(),
        // They were read in messages, which leave out what is zero, also below.
        0.0 => "0".to_owned(),
        _ => model::float::format_general(value),
    }
}

fn histogram_of(timestamp_ms: i64, histogram: &Histogram) -> Value {
    let mut object = Map::new();
    match histogram {
        Histogram::Int(h) => {
            object.insert("count_int".into(), h.count.into());
            object.insert("zero_count_int".into(), h.zero_count.into());
            parts(h, &mut object);
            list(&mut object, "positive_deltas", &h.positive_buckets, |b| {
                (*b).into()
            });
            list(&mut object, "negative_deltas", &h.negative_buckets, |b| {
                (*b).into()
            });
        }
        Histogram::Float(h) => {
            object.insert("count_float".into(), number(h.count).into());
            object.insert("zero_count_float".into(), number(h.zero_count).into());
            parts(h, &mut object);
            list(&mut object, "positive_counts", &h.positive_buckets, |b| {
                number(*b).into()
            });
            list(&mut object, "negative_counts", &h.negative_buckets, |b| {
                number(*b).into()
            });
        }
    }
    object.insert("timestamp".into(), timestamp_ms.into());
    Value::Object(object)
}

fn parts<B, C>(histogram: &Buckets<B, C>, object: &mut Map<String, Value>) {
    let mut float = |name: &str, value: f64| {
        if value.to_bits() != 0 {
            object.insert(name.into(), number(value).into());
        }
    };
    float("sum", histogram.sum);
    float("zero_threshold", histogram.zero_threshold);
    if histogram.schema != 0 {
        object.insert("schema".into(), histogram.schema.into());
    }
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => None,
        CounterResetHint::Reset => Some("YES"),
        CounterResetHint::NotReset => Some("NO"),
        CounterResetHint::Gauge => Some("GAUGE"),
    };
    if let Some(hint) = hint {
        object.insert("reset_hint".into(), hint.into());
    }
    let span = |span: &Span| {
        let mut object = Map::new();
        if span.offset != 0 {
            object.insert("offset".into(), span.offset.into());
        }
        if span.length != 0 {
            object.insert("length".into(), span.length.into());
        }
        Value::Object(object)
    };
    list(object, "positive_spans", &histogram.positive_spans, span);
    list(object, "negative_spans", &histogram.negative_spans, span);
    list(object, "custom_values", histogram.bounds(), |bound| {
        number(*bound).into()
    });
}

fn list<T>(object: &mut Map<String, Value>, name: &str, items: &[T], value: impl Fn(&T) -> Value) {
    if !items.is_empty() {
        let items: Vec<Value> = items.iter().map(value).collect();
        object.insert(name.into(), items.into());
    }
}

/// All exemplars, as `query_exemplars` gives them.
pub(crate) fn exemplars(db: &Db) -> Vec<Value> {
    let found = db
        .exemplars(TimeRange::ALL, &[vec![everything()]])
        .expect("exemplars");
    let labels = |labels: &model::labels::Labels| -> Value {
        labels
            .iter()
            .map(|(n, v)| (n.to_owned(), Value::from(v)))
            .collect::<Map<_, _>>()
            .into()
    };
    let each = found.iter().map(|series| {
        let exemplars = series.exemplars.iter().map(|exemplar| {
            let seconds = exemplar.timestamp_ms.unwrap_or(0) as f64 / 1000.0;
            json!({
                "labels": labels(&exemplar.labels),
                "value": number(exemplar.value),
                "timestamp": seconds,
            })
        });
        json!({ "seriesLabels": labels(&series.series), "exemplars": exemplars.collect::<Vec<_>>() })
    });
    each.collect()
}
