//! What whoever appends sees: references, reloads, what is stored and what is not.

use std::sync::Arc;

use model::histogram::{CounterResetHint, FloatHistogram, Histogram};
use model::labels::Labels;
use model::packed_sets::PackedSets;
use model::sample::{Exemplar, Metadata};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender as _, FloatSample, HistogramSample, SeriesRef,
};
use promql::parser::parse_metric;

use super::store::{Bench, Inside};

const SUMS: &str = "rules: [{match: thinned, interval: 1m, outputs: [sum_samples], by: [job]}]";

fn labels(text: &str) -> Labels {
    parse_metric(text).expect("a series")
}

fn batch(samples: &[(SeriesRef, f64)], timestamp_ms: i64) -> AppendBatch {
    let mut batch = AppendBatch::default();
    batch
        .floats
        .extend(samples.iter().map(|(series, value)| FloatSample {
            series: *series,
            timestamp_ms,
            value: *value,
        }));
    batch
}

fn empty_histogram() -> Histogram {
    Histogram::Float(Arc::new(FloatHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        positive_buckets: Vec::new(),
        negative_buckets: Vec::new(),
        custom_values: None,
    }))
}

#[test]
fn nothing_configured_is_the_store_itself() {
    let bench = Bench::new("{}", 0);
    let series = bench.thinner.resolve(&labels("a")).expect("room");
    assert_eq!(series, bench.store.resolve(&labels("a")).expect("room"));
    bench
        .thinner
        .append(&batch(&[(series, 1.0)], 5), &mut AppendOutcome::default())
        .expect("taken");
    assert_eq!(bench.stored(), ["0.005s a 1"]);
}

#[test]
fn series_that_are_not_stored_are_not_made() {
    let bench = Bench::new(SUMS, 0);
    bench.push("thinned{pod=\"1\"}", 1, 1.0);
    bench.push("other", 1, 1.0);
    assert_eq!(bench.store.names(), ["other"]);
    bench.until(60_000);
    assert_eq!(bench.store.names(), ["other", "thinned:1m_by_job_sum_samples"]);
}

#[test]
fn references_fit_40_bits_and_are_found() {
    let bench = Bench::new(SUMS, 0);
    let mut sets = PackedSets::default();
    for (name, value) in [("thinned", "1"), ("other", "2"), ("thinned", "3")] {
        sets.push(b"__name__", name.as_bytes()).expect("short");
        sets.push(b"pod", value.as_bytes()).expect("short");
        sets.finish();
    }
    // The store knows it, and nobody has asked here: something may be to be done to it.
    bench.store.resolve(&labels("thinned{pod=\"1\"}")).expect("room");
    let mut found = Vec::new();
    bench.thinner.find(&sets, &mut found);
    assert_eq!(found, [None, None, None]);
    let thinned = bench
        .thinner
        .resolve(&labels("thinned{pod=\"1\"}"))
        .expect("room");
    let other = bench.thinner.resolve(&labels("other{pod=\"2\"}")).expect("room");
    assert!(thinned.0 < 1 << 40 && other.0 < 1 << 40);
    bench.thinner.find(&sets, &mut found);
    assert_eq!(found, [Some(thinned), Some(other), None]);
}

#[test]
fn after_a_reload_references_are_asked_for_again() {
    let bench = Bench::new("{}", 0);
    let old = ["thinned", "other"].map(|name| bench.thinner.resolve(&labels(name)).expect("room"));
    let mut outcome = AppendOutcome::default();
    let append = |series: [SeriesRef; 2]| {
        bench
            .thinner
            .append(&batch(&series.map(|series| (series, 1.0)), 5), &mut outcome)
    };
    let mut append = append;
    assert!(append(old).is_ok());
    bench.configure(SUMS);
    match append(old) {
        Err(AppendError::UnknownSeries(gone)) => assert_eq!(gone, old),
        other => panic!("{other:?}"),
    }
    let new = ["thinned", "other"].map(|name| bench.thinner.resolve(&labels(name)).expect("room"));
    assert!(append(new).is_ok());
    // Another rule is another configuration; the same one is not.
    bench.configure(SUMS);
    assert!(append(new).is_ok());
    bench.configure("rules: [{match: other, interval: 1m, outputs: [max]}]");
    assert!(matches!(append(new), Err(AppendError::UnknownSeries(gone)) if gone == new));
    let newest = ["thinned", "other"].map(|name| bench.thinner.resolve(&labels(name)).expect("room"));
    assert!(append(newest).is_ok());
    bench.configure("{}");
    // What was the store's own stays so.
    assert!(matches!(append(newest), Err(AppendError::UnknownSeries(gone)) if gone == [newest[1]]));
}

#[test]
fn rules_that_stay_go_on_over_a_reload() {
    let bench = Bench::new(SUMS, 0);
    bench.push("thinned", 1, 1.0);
    bench.configure(
        "rules: [{match: more, interval: 1m, outputs: [max]}, {match: thinned, interval: 1m, outputs: [sum_samples], by: [job]}]",
    );
    bench.push("thinned", 2, 2.0);
    bench.until(60_000);
    assert_eq!(bench.stored(), ["60s thinned:1m_by_job_sum_samples 3"]);
}

#[test]
fn what_the_store_forgets_is_asked_for_again() {
    let kept =
        "rules: [{match: m, interval: 1m, outputs: [total], keep_input: true, staleness_interval: 5m}]";
    let bench = Bench::new(kept, 0);
    let series = ["m", "other"].map(|name| bench.thinner.resolve(&labels(name)).expect("room"));
    let samples = series.map(|series| (series, 1.0));
    bench
        .thinner
        .append(&batch(&samples, 1), &mut AppendOutcome::default())
        .expect("taken");
    bench.until(60_000);
    bench.stored();
    bench.store.forget();
    let again = bench
        .thinner
        .append(&batch(&samples, 60_001), &mut AppendOutcome::default());
    match again {
        Err(AppendError::UnknownSeries(mut gone)) => {
            gone.sort();
            let mut series = series;
            series.sort();
            assert_eq!(gone, series);
        }
        other => panic!("{other:?}"),
    }
    let series = ["m", "other"].map(|name| bench.thinner.resolve(&labels(name)).expect("room"));
    let samples = series.map(|series| (series, 3.0));
    bench
        .thinner
        .append(&batch(&samples, 60_001), &mut AppendOutcome::default())
        .expect("taken");
    bench.until(120_000);
    // The output's series was forgotten, too. Nothing was taken twice.
    assert_eq!(
        bench.stored(),
        ["60.001s m 3", "60.001s other 3", "120s m:1m_total 2"]
    );
}

#[test]
fn histograms_are_stored_as_they_come() {
    let bench = Bench::new(SUMS, 0);
    let series = bench.thinner.resolve(&labels("thinned")).expect("room");
    let mut all = batch(&[(series, 1.0)], 1);
    let exemplar = Exemplar {
        labels: Labels::empty(),
        value: 1.0,
        timestamp_ms: Some(1),
    };
    all.exemplars.push((series, exemplar.clone()));
    all.metadata.push((series, Metadata::default()));
    bench
        .thinner
        .append(&all, &mut AppendOutcome::default())
        .expect("taken");
    // Nothing that would tell of a series that is not there.
    let told = |inside: &Inside| (inside.exemplars, inside.metadata);
    assert_eq!(told(&bench.store.0.lock()), (0, 0));
    all.floats.clear();
    all.histograms.push(HistogramSample {
        series,
        timestamp_ms: 2,
        histogram: empty_histogram(),
    });
    bench
        .thinner
        .append(&all, &mut AppendOutcome::default())
        .expect("taken");
    bench
        .thinner
        .append(&all, &mut AppendOutcome::default())
        .expect("taken");
    assert_eq!(bench.store.0.lock().histograms.len(), 2);
    // Their series is there now.
    assert_eq!(bench.store.0.lock().exemplars, 2);
    assert_eq!(bench.thinner.status().rules[0].histograms, 2);
}

#[test]
fn starts_of_series_keep_their_places() {
    let bench = Bench::new(
        "rules: [{match: thinned, interval: 1m, outputs: [count_samples]}]",
        0,
    );
    let series =
        ["thinned", "a", "thinned", "b"].map(|name| bench.thinner.resolve(&labels(name)).expect("room"));
    let mut all = batch(&series.map(|series| (series, 1.0)), 10);
    all.float_starts_ms = vec![1, 2, 3, 4];
    // The third is not the source's own: nothing to count.
    all.start_floats = vec![2, 3];
    let mut outcome = AppendOutcome::default();
    bench.thinner.append(&all, &mut outcome).expect("taken");
    assert_eq!(outcome.accepted, 4);
    assert_eq!(
        bench.store.0.lock().starts,
        [("a".to_owned(), 2), ("b".to_owned(), 4)]
    );
    bench.until(60_000);
    assert_eq!(bench.stored()[2], "60s thinned:1m_count_samples 1");
}

#[test]
fn what_the_store_refuses_is_not_taken() {
    let bench = Bench::new(
        "rules: [{match: m, interval: 1m, outputs: [sum_samples], keep_input: true}]",
        0,
    );
    let series = bench.thinner.resolve(&labels("m")).expect("room");
    bench.store.0.lock().is_closed = true;
    let append = || {
        bench
            .thinner
            .append(&batch(&[(series, 1.0)], 1), &mut AppendOutcome::default())
    };
    assert!(matches!(append(), Err(AppendError::Storage(_))));
    bench.store.0.lock().is_closed = false;
    append().expect("taken");
    bench.until(60_000);
    assert_eq!(bench.stored(), ["0.001s m 1", "60s m:1m_sum_samples 1"]);
}

#[test]
fn held_samples_survive_a_store_that_refuses() {
    let bench = Bench::new("dedup_interval: 10s", 0);
    bench.push("a", 5_000, 1.0);
    let series = bench.thinner.resolve(&labels("a")).expect("room");
    bench.store.0.lock().is_closed = true;
    let later = batch(&[(series, 2.0)], 15_000);
    assert!(
        bench
            .thinner
            .append(&later, &mut AppendOutcome::default())
            .is_err()
    );
    bench.store.0.lock().is_closed = false;
    bench
        .thinner
        .append(&later, &mut AppendOutcome::default())
        .expect("taken");
    bench.thinner.finish();
    assert_eq!(bench.stored(), ["5s a 1", "15s a 2"]);
}

#[test]
fn series_that_nobody_sends_are_forgotten() {
    let bench = Bench::new(
        "rules: [{match: m, interval: 1m, outputs: [total], without: [pod]}]",
        0,
    );
    for pod in 0..50 {
        bench.push(&format!("m{{pod=\"{pod}\"}}"), 1, 1.0);
    }
    assert_eq!(bench.thinner.status().rules[0].series, 50);
    let old = bench.thinner.resolve(&labels("m{pod=\"0\"}")).expect("room");
    bench.until(20 * 60_000);
    let status = bench.thinner.status();
    assert_eq!((status.rules[0].series, status.rules[0].groups), (0, 0));
    let gone = bench
        .thinner
        .append(&batch(&[(old, 1.0)], 1), &mut AppendOutcome::default());
    assert!(matches!(gone, Err(AppendError::UnknownSeries(_))));
    // Its number is another series' now, and its serial tells.
    let new = bench.thinner.resolve(&labels("m{pod=\"x\"}")).expect("room");
    assert_ne!(new, old);
}

#[test]
fn late_samples_are_counted() {
    let bench = Bench::new(
        "rules: [{match: m, interval: 1m, outputs: [max]}, {match: m, interval: 1m, outputs: [min], ignore_old_samples: true}]",
        60_000,
    );
    bench.push("m", 59_000, 1.0);
    bench.push("m", 61_000, f64::NAN);
    let rules = bench.thinner.status().rules;
    assert_eq!((rules[0].taken, rules[0].late, rules[0].dropped_late), (1, 1, 0));
    assert_eq!((rules[1].taken, rules[1].late, rules[1].dropped_late), (0, 0, 1));
    assert_eq!(rules[0].dropped_nan, 1);
}

#[test]
fn unique_values_are_bounded() {
    let bench = Bench::new("rules: [{match: m, interval: 1h, outputs: [unique_samples]}]", 0);
    let series = bench.thinner.resolve(&labels("m")).expect("room");
    let samples: Vec<_> = (0..narthex_aggregate::UNIQUE_MAX + 5)
        .map(|value| (series, value as f64))
        .collect();
    bench
        .thinner
        .append(&batch(&samples, 1), &mut AppendOutcome::default())
        .expect("taken");
    assert_eq!(bench.thinner.status().rules[0].dropped_memory, 5);
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let bench = Bench::new(
        "rules: [{match: m, interval: 1m, outputs: [count_samples]}]",
        3_600_000,
    );
    bench.clock.jump(-1_800_000);
    bench.push("m", 1_800_001, 1.0);
    bench.until(1_800_000 + 70_000);
    assert_eq!(bench.stored(), ["1860s m:1m_count_samples 1"]);
}
