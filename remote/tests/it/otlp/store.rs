//! A store with a receiver in front, and all that is in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use files::{Files, MemFiles};
use metrics::{Format, Registry};
use model::clock::ManualClock;
use model::columns::Columns;
use model::histogram::{CounterResetHint, Histogram, IntHistogram, Span};
use model::labels::{Labels, NameScheme};
use model::matcher::{MatchOp, Matcher};
use model::sample::is_stale_nan;
use model::storage::{ExemplarQueryable as _, Queryable as _, SelectHints, TimeRange};
use narthex_remote::otlp::{Encoding, OtlpConfig, OtlpError, OtlpOptions, Receiver, TranslateOptions};
use serde_json::{Value, json};
use tsdb::db::{Db, Options};

/// 2026-06-27: when the reference was asked.
const NOW_MS: i64 = 1_782_518_400_000;

pub(super) struct Store {
    pub(super) receiver: Receiver,
    pub(super) registry: Registry,
    pub(super) clock: Arc<ManualClock>,
    /// Whether zeros are stored where something began to be counted.
    pub(super) guesses: bool,
    db: Arc<Db>,
}

/// What a configuration file and flags of the reference's say.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) config: OtlpConfig,
    pub(super) features: Vec<String>,
    pub(super) lookback_ms: i64,
    pub(super) out_of_order_window_ms: i64,
}

impl Setup {
    pub(super) fn new(yaml: &str, flags: &[&str]) -> Self {
        let document = yaml::parse("prometheus.yml", yaml).expect("YAML");
        let config = match document.root().entry("otlp") {
            Some(section) => OtlpConfig::read(section, NameScheme::Utf8).expect("a section"),
            None => OtlpConfig::default(),
        };
        let features = flags
            .iter()
            .find_map(|flag| flag.strip_prefix("--enable-feature="));
        Setup {
            config,
            features: features
                .unwrap_or_default()
                .split(',')
                .map(str::to_owned)
                .collect(),
            lookback_ms: if flags.contains(&"--query.lookback-delta=1m") {
                60_000
            } else {
                300_000
            },
            out_of_order_window_ms: if yaml.contains("out_of_order_time_window: 30m") {
                1_800_000
            } else {
                0
            },
        }
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|named| named == feature)
    }
}

impl Store {
    pub(super) fn open(setup: &Setup) -> Self {
        let mut options = Options {
            background: false,
            retention_ms: 0,
            ..Options::default()
        };
        options.head.out_of_order_window_ms = setup.out_of_order_window_ms;
        options.head.exemplars_max = if setup.has("exemplar-storage") { 1000 } else { 0 };
        options.head.start_timestamps = setup.has("st-storage");
        let files: Arc<dyn Files> = Arc::new(MemFiles::new());
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let db = Db::open(files, Path::new("data"), options, clock.clone()).expect("the store opens");
        let (db, registry) = (Arc::new(db), Registry::new());
        db.register_metrics(&registry);
        let options = OtlpOptions {
            translate: TranslateOptions {
                native_delta: setup.has("otlp-native-delta-ingestion"),
                type_and_unit_labels: setup.has("type-and-unit-labels"),
                zero_samples: setup.has("created-timestamp-zero-ingestion"),
                lookback_ms: setup.lookback_ms,
            },
            delta_to_cumulative: setup.has("otlp-deltatocumulative"),
        };
        let receiver = Receiver::new(db.clone(), options, clock.clone(), &registry);
        receiver.apply(&setup.config);
        Store {
            receiver,
            registry,
            clock,
            guesses: options.translate.zero_samples,
            db,
        }
    }

    pub(super) fn push(&self, message: &[u8]) -> Result<(), OtlpError> {
        self.receiver.receive(Encoding::Protobuf, "", message)
    }

    /// All series, in the form of the recorded ones.
    pub(super) fn series(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        self.each_series(|labels, columns| {
            let mut series = json!({ "labels": pairs(labels) });
            let mut samples = Vec::new();
            let mut histograms = Vec::new();
            let mut of_rows = columns.histograms.iter().peekable();
            for (row, timestamp_ms) in columns.timestamps_ms.iter().enumerate() {
                match of_rows.next_if(|(of, _)| *of as usize == row) {
                    Some((_, Histogram::Int(histogram))) => {
                        histograms.push(histogram_json(*timestamp_ms, histogram));
                    }
                    Some((_, Histogram::Float(histogram))) => panic!("{histogram:?}"),
                    None => samples.push(json!([timestamp_ms, float_text(columns.values[row])])),
                }
            }
            for (key, list) in [("samples", samples), ("histograms", histograms)] {
                if !list.is_empty() {
                    series[key] = Value::Array(list);
                }
            }
            all.insert(series["labels"].to_string(), series);
        });
        all
    }

    /// Start timestamps at `timestamp_ms` of the series called `name`, in seconds.
    pub(super) fn starts(&self, name: &str, timestamp_ms: i64) -> Vec<f64> {
        let mut starts = Vec::new();
        self.each_series(|labels, columns| {
            let row = columns.timestamps_ms.iter().position(|t| *t == timestamp_ms);
            if let Some(row) = row.filter(|_| labels.metric_name() == name) {
                let start = columns.start_timestamps_ms.get(row).copied().unwrap_or(0);
                starts.push(start as f64 / 1000.0);
            }
        });
        starts
    }

    fn each_series(&self, mut show: impl FnMut(&Labels, &Columns)) {
        let querier = self.db.querier(TimeRange::ALL).expect("a view");
        let all = [Matcher::new(MatchOp::Regex, "__name__", ".*").expect("a pattern")];
        let set = querier.select(&SelectHints::default(), &all).expect("selects");
        let mut columns = Columns::default();
        for index in 0..set.len() {
            set.read(index, TimeRange::ALL, &mut columns).expect("reads");
            if !columns.is_empty() {
                show(&set.labels(index), &columns);
            }
        }
    }

    /// All exemplars, in the form of the API.
    pub(super) fn exemplars(&self) -> BTreeMap<String, Value> {
        let all = vec![vec![
            Matcher::new(MatchOp::Regex, "__name__", ".*").expect("a pattern"),
        ]];
        let series = self.db.exemplars(TimeRange::ALL, &all).expect("reads");
        let named = |labels: &Labels| -> Value {
            labels
                .iter()
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect()
        };
        let shown = series.iter().map(|series| {
            let exemplars: Vec<Value> = series
                .exemplars
                .iter()
                .map(|exemplar| {
                    json!({
                        "labels": named(&exemplar.labels),
                        "value": float_text(exemplar.value),
                        "timestamp": exemplar.timestamp_ms.unwrap_or(0) as f64 / 1000.0,
                    })
                })
                .collect();
            (
                named(&series.series).to_string(),
                json!({ "seriesLabels": named(&series.series), "exemplars": exemplars }),
            )
        });
        shown
            .filter(|(_, series)| series["exemplars"] != json!([]))
            .collect()
    }

    /// A counter's value.
    pub(super) fn counter(&self, name: &str) -> f64 {
        let text = self.registry.render(Format::Text);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

fn pairs(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| json!([name, value])).collect()
}

/// One text for each bit pattern that the recorded texts tell apart. Compat: the sign of a zero is none of them, as remote
/// read, by which they were recorded, leaves zeros out.
pub(super) fn float_text(value: f64) -> String {
    if is_stale_nan(value) {
        return "StaleNaN".to_owned();
    }
    if value.is_nan() {
        return "NaN".to_owned();
    }
    format!("{:?}", value + 0.0)
}

fn histogram_json(timestamp_ms: i64, histogram: &IntHistogram) -> Value {
    let mut json = json!({
        "count_int": histogram.count,
        "zero_count_int": histogram.zero_count,
        "timestamp": timestamp_ms,
    });
    let spans = |spans: &[Span]| -> Value {
        let pair = |span: &Span| {
            let mut json = json!({});
            for (key, number) in [
                ("offset", i64::from(span.offset)),
                ("length", i64::from(span.length)),
            ] {
                if number != 0 {
                    json[key] = number.into();
                }
            }
            json
        };
        spans.iter().map(pair).collect()
    };
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => Value::Null,
        CounterResetHint::Reset => "YES".into(),
        CounterResetHint::NotReset => "NO".into(),
        CounterResetHint::Gauge => "GAUGE".into(),
    };
    let stale = is_stale_nan(histogram.sum);
    let parts = [
        (
            "sum",
            Value::from(float_text(histogram.sum)),
            histogram.sum == 0.0,
        ),
        ("schema", histogram.schema.into(), histogram.schema == 0),
        (
            "zero_threshold",
            float_text(histogram.zero_threshold).into(),
            histogram.zero_threshold == 0.0,
        ),
        (
            "positive_spans",
            spans(&histogram.positive_spans),
            histogram.positive_spans.is_empty(),
        ),
        (
            "negative_spans",
            spans(&histogram.negative_spans),
            histogram.negative_spans.is_empty(),
        ),
        (
            "positive_deltas",
            histogram.positive_buckets.clone().into(),
            histogram.positive_buckets.is_empty(),
        ),
        (
            "negative_deltas",
            histogram.negative_buckets.clone().into(),
            histogram.negative_buckets.is_empty(),
        ),
        (
            "custom_values",
            histogram
                .bounds()
                .iter()
                .map(|bound| float_text(*bound))
                .collect(),
            histogram.bounds().is_empty(),
        ),
        (
            "reset_hint",
            hint,
            stale || histogram.counter_reset_hint == CounterResetHint::Unknown,
        ),
    ];
    for (key, value, absent) in parts {
        if !absent {
            json[key] = value;
        }
    }
    json
}

/// A recorded series in the same form: texts of floats as [`float_text`] has them.
pub(super) fn recorded_series(series: &Value) -> Value {
    fn items<'v>(value: &'v mut Value, key: &str) -> impl Iterator<Item = &'v mut Value> {
        value
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
    }
    let rewrite = |value: &mut Value| {
        let text = value.as_str().unwrap_or_default();
        if text != "StaleNaN" {
            *value = float_text(model::float::parse_float(text).expect("a number")).into();
        }
    };
    let mut series = series.clone();
    for sample in items(&mut series, "samples") {
        rewrite(&mut sample[1]);
    }
    for histogram in items(&mut series, "histograms") {
        for key in ["sum", "zero_threshold"] {
            histogram.get_mut(key).into_iter().for_each(rewrite);
        }
        items(histogram, "custom_values").for_each(rewrite);
    }
    series
}
