//! Limits of what is held.

use std::time::Duration;

use super::*;
use crate::alert::PostedAlert;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn alert(name: &str, number: usize, ends_at: i64) -> StoredAlert {
    let posted = PostedAlert {
        labels: Labels::from_pairs([("alertname", name), ("n", &number.to_string())]),
        starts_at: Some(at(0)),
        ends_at: Some(at(ends_at)),
        ..PostedAlert::default()
    };
    posted.stored(at(0), Duration::from_secs(300))
}

#[test]
fn alerts_of_a_name_are_limited_and_those_that_are_over_make_room() {
    let limits = StoreLimits {
        per_name: 2,
        total: 100,
    };
    let mut store = AlertStore::new(limits);
    let mut put = |name, number, ends_at, now| store.put(alert(name, number, ends_at), at(now)).is_ok();
    assert!(put("A", 1, 100, 10) && put("A", 2, 200, 10));
    assert!(!put("A", 3, 300, 10));
    // Known ones go on, and other names have room of their own.
    assert!(put("A", 1, 110, 20) && put("B", 1, 100, 20));
    // The end of a limited one is one that has not come.
    assert!(!put("A", 3, 300, 110));
    assert!(put("A", 3, 300, 111));
    assert!(!put("A", 4, 300, 112));
}

#[test]
fn all_alerts_together_are_limited() {
    let limits = StoreLimits {
        per_name: 0,
        total: 2,
    };
    let mut store = AlertStore::new(limits);
    assert!(store.put(alert("A", 1, 100), at(1)).is_ok());
    assert!(store.put(alert("A", 2, 200), at(1)).is_ok());
    assert!(store.put(alert("A", 3, 100), at(1)).is_err());
    assert!(store.put(alert("A", 2, 210), at(1)).is_ok());
    let gone = store.forget(at(100));
    assert_eq!(gone.len(), 1);
    assert!(store.put(alert("A", 3, 400), at(101)).is_ok());
    assert_eq!(store.all().len(), 2);
}
