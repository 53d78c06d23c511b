//! A store that is scraped, late, deleted from and compacted, all at random.

use std::path::Path;
use std::sync::Arc;

use files::MemFiles;
use model::clock::ManualClock;
use model::histogram::{CounterResetHint, Histogram, IntHistogram, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{AppendBatch, AppendOutcome, Appender as _, FloatSample, HistogramSample, TimeRange};
use promql::annotations::Severity;
use promql::engine::{QueryError, QueryOutput};
use promql::value::Value;
use tsdb::db::{Db, Options};

/// When everything begins.
pub(crate) const BEGIN_MS: i64 = 1_700_000_000_000;
/// Distance of scrapes.
pub(crate) const SCRAPE_MS: i64 = 15_000;

/// Numbers that look random and follow from a seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether one of `times` equal chances comes up.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

fn mixed(value: u64) -> u64 {
    let mixed = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) db: Arc<Db>,
    pub(crate) now_ms: i64,
    series: Vec<Labels>,
}

impl World {
    /// An empty store, and the series that it will have: `more` beside its own.
    pub(crate) fn new(seed: u64, more: Vec<Labels>) -> Self {
        let mut options = Options {
            background: false,
            retention_ms: 0,
            stale_series_threshold: 0.4,
            ..Options::default()
        };
        options.head.chunk_range_ms = 600_000;
        options.head.out_of_order_window_ms = 500_000;
        options.head.snapshots = false;
        let clock = Arc::new(ManualClock::new(BEGIN_MS));
        let files = Arc::new(MemFiles::new());
        let db = Db::open(files, Path::new("data"), options, clock).expect("the store opens");
        let mut series = own_series();
        series.extend(more);
        World {
            random: Random(seed),
            db: Arc::new(db),
            now_ms: BEGIN_MS,
            series,
        }
    }

    /// Something happens; what.
    pub(crate) fn step(&mut self) -> String {
        match self.random.below(60) {
            0 => {
                let min_ms = self.now_ms - self.random.below(2_000_000) as i64;
                let max_ms = min_ms + self.random.below(60_000) as i64;
                let name = *self.random.pick(&["a", "b", "nh"]);
                let matchers = [Matcher::equal("__name__", name)];
                self.db
                    .delete(TimeRange::new(min_ms, max_ms), &matchers)
                    .expect("deletes");
                format!("delete {name} {min_ms}..={max_ms}")
            }
            1 | 2 => {
                self.db.compact().expect("compacts");
                "compact".to_owned()
            }
            3 => {
                self.db.clean_tombstones().expect("cleans");
                "clean tombstones".to_owned()
            }
            4 => {
                self.db.compact_stale_series().expect("moves");
                "move stale series".to_owned()
            }
            5..=9 => self.late(),
            _ => {
                self.scrape();
                format!("scrape at {}", self.now_ms)
            }
        }
    }

    /// All series get a sample; some are a little behind.
    pub(crate) fn scrape(&mut self) {
        self.now_ms += SCRAPE_MS;
        let mut batch = AppendBatch::default();
        for index in 0..self.series.len() {
            let behind_ms = 700 * (index as i64 % 5);
            self.sample(index, self.now_ms - behind_ms, &mut batch);
        }
        self.append(&batch);
    }

    /// Samples that should have come earlier.
    fn late(&mut self) -> String {
        let mut batch = AppendBatch::default();
        let late_ms = self.random.below(500_000) as i64;
        for _ in 0..1 + self.random.below(4) {
            let index = self.random.below(self.series.len() as u64) as usize;
            self.sample(index, self.now_ms - late_ms, &mut batch);
            // Now and then one that says otherwise than what is there.
            if self.random.once_in(12)
                && let Some(sample) = batch.floats.last_mut()
            {
                sample.timestamp_ms = (sample.timestamp_ms - BEGIN_MS) / SCRAPE_MS * SCRAPE_MS + BEGIN_MS;
                sample.value += 1.0;
            }
        }
        self.append(&batch);
        format!("late by {late_ms}: {:?}", batch.floats)
    }

    pub(crate) fn append(&self, batch: &AppendBatch) {
        self.db
            .append(batch, &mut AppendOutcome::default())
            .expect("appends");
    }

    /// The sample of a series at a time: the same whenever it comes.
    fn sample(&mut self, index: usize, timestamp_ms: i64, batch: &mut AppendBatch) {
        let labels = &self.series[index];
        let age_s = (timestamp_ms - BEGIN_MS) / 1000;
        // Series come and go.
        let phase = mixed(index as u64 * 1000 + (age_s / 400) as u64);
        if phase.is_multiple_of(6) {
            return;
        }
        let series = self.db.resolve(labels).expect("no limit");
        let noise = mixed(index as u64 ^ (timestamp_ms as u64) << 8);
        if labels.metric_name() == "nh" {
            let histogram = histogram(age_s as u64 * (1 + index as u64 % 3));
            batch.histograms.push(HistogramSample {
                series,
                timestamp_ms,
                histogram,
            });
            return;
        }
        let counter = labels.metric_name().ends_with("_total")
            || labels.metric_name().ends_with("_bucket")
            || labels.metric_name() == "a";
        let value = match (counter, noise % 400) {
            (_, 0) => model::sample::stale_nan(),
            (true, _) => (age_s.rem_euclid(900) * (1 + index as i64 % 7)) as f64 / 3.0,
            (false, 1) => f64::NAN,
            (false, 2..=40) => 0.0,
            (false, 41) => -0.0,
            (false, _) => ((noise % 2001) as f64 - 1000.0) / 7.0,
        };
        batch.floats.push(FloatSample {
            series,
            timestamp_ms,
            value,
        });
    }
}

fn own_series() -> Vec<Labels> {
    let mut series = Vec::new();
    for name in ["a", "b", "c_total"] {
        for x in ["1", "2", "3"] {
            for y in ["p", "q", "r", "s", "t", "u", "v"] {
                series.push(Labels::from_pairs([("__name__", name), ("x", x), ("y", y)]));
            }
        }
    }
    for x in ["1", "2"] {
        for le in ["0.5", "1", "4", "+Inf"] {
            series.push(Labels::from_pairs([
                ("__name__", "h_bucket"),
                ("x", x),
                ("le", le),
            ]));
        }
        series.push(Labels::from_pairs([("__name__", "nh"), ("x", x)]));
    }
    series
}

fn histogram(count: u64) -> Histogram {
    let (first, second) = ((count / 3) as i64, (count / 2) as i64);
    Histogram::Int(Arc::new(IntHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: count / 5,
        count: count / 5 + (first + second) as u64,
        sum: count as f64 / 3.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        positive_buckets: vec![first, second - first],
        negative_buckets: vec![],
        custom_values: None,
    }))
}

/// An answer as a text that tells every bit of it; NaNs are all the same.
pub(crate) fn text(result: &Result<QueryOutput, QueryError>, query: &str) -> String {
    use std::fmt::Write as _;
    let output = match result {
        Ok(output) => output,
        Err(error) => return format!("error: {error}\n"),
    };
    let mut text = String::new();
    let Value::Matrix(matrix) = &output.value else {
        return format!("{:?}", output.value);
    };
    for series in matrix {
        let _ = writeln!(text, "{}", series.labels);
        for (time, value) in series.floats() {
            let bits = if value.is_nan() { f64::NAN } else { value }.to_bits();
            let _ = writeln!(text, "  {time} {bits:016x} {value}");
        }
        for (time, histogram) in &series.histograms {
            let _ = writeln!(text, "  {time} {histogram}");
        }
    }
    for annotation in output.annotations.iter() {
        let kind = match annotation.severity {
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let _ = writeln!(text, "{kind}: {}", annotation.text(query));
    }
    text
}
