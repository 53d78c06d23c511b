//! Deltas that are added up, beyond what was recorded.

use serde_json::json;

use super::message::{BEGIN_NS, SECOND_NS, sum};
use super::store::{Setup, Store};

const DELTA: u64 = 1;

fn store() -> Store {
    Store::open(&Setup::new(
        "global: {}",
        &["--enable-feature=otlp-deltatocumulative"],
    ))
}

fn values(store: &Store) -> Vec<String> {
    let series = store.series();
    let (_, series) = series.first_key_value().expect("a series");
    let samples = series["samples"].as_array().expect("samples");
    samples
        .iter()
        .map(|sample| sample[1].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// A point of a minute, `minute` minutes after the beginning.
fn point(minute: u64, value: i64) -> (u64, u64, i64) {
    let end = BEGIN_NS + minute * 60 * SECOND_NS;
    (end - 60 * SECOND_NS, end, value)
}

#[test]
fn a_stream_that_was_idle_begins_anew() {
    let store = store();
    let now_ms = |store: &Store| model::clock::Clock::now_ms(&*store.clock);
    assert!(store.push(&sum(DELTA, &[point(1, 10)])).is_ok());
    store.clock.set(now_ms(&store) + 299_000);
    assert!(store.push(&sum(DELTA, &[point(2, 5)])).is_ok());
    store.clock.set(now_ms(&store) + 301_000);
    assert!(store.push(&sum(DELTA, &[point(3, 7)])).is_ok());
    assert_eq!(values(&store), ["10.0", "15.0", "7.0"]);
}

#[test]
fn points_of_one_request_add_up_and_old_ones_are_left_out() {
    let store = store();
    let points = [
        point(1, 1),
        point(2, 2),
        point(2, 100),
        point(1, 100),
        point(4, 4),
    ];
    assert!(store.push(&sum(DELTA, &points)).is_ok());
    assert_eq!(values(&store), ["1.0", "3.0", "7.0"]);
    // Nothing is left of this one, and that is no error.
    assert!(store.push(&sum(DELTA, &[point(3, 100)])).is_ok());
    assert_eq!(values(&store), ["1.0", "3.0", "7.0"]);
    assert_eq!(store.series().len(), 1, "{}", json!(store.series()));
}
