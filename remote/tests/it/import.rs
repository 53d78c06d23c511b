//! Imports into a real store: the head stays as small as what is recent, and everything is there.

use std::sync::Arc;

use model::clock::ManualClock;
use model::storage::History as _;
use narthex_remote::import::{Form, Importer, Progress, Rules, Stores};
use serde_json::json;
use tsdb::db::Options;

use crate::store::{open, series};

const NOW_MS: i64 = 1_735_689_600_000;
const DAY_MS: i64 = 86_400_000;

#[test]
fn dumps_of_any_age_are_stored_beside_what_is_there() {
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let db = open(Options::default(), clock.clone());
    let stores = Stores {
        appender: db.clone(),
        history: db.clone(),
        clock,
    };
    let import = |form, text: &str| {
        let progress = Arc::new(Progress::default());
        let mut importer = Importer::new(form, Rules::default(), stores.clone(), progress);
        importer.read(text.as_bytes());
        importer.finish()
    };
    // The newest first, so that what follows comes late for the head.
    for (age_ms, value) in [(0, 1), (30_000, 2), (5 * DAY_MS, 3), (0, 1), (12 * DAY_MS, 4)] {
        let outcome = import(Form::Text, &format!("a {value} {}\n", NOW_MS - age_ms));
        assert!(outcome.is_whole(), "{}", outcome.problems());
    }
    let old = NOW_MS - 10 * DAY_MS;
    let json = format!(
        r#"{{"metric":{{"__name__":"old"}},"values":[7,null],"timestamps":[{old},{}]}}"#,
        old + 1
    );
    assert!(import(Form::Json, &json).is_whole());
    let wanted = [
        json!({"labels": [["__name__", "a"]], "samples": [
            [NOW_MS - 12 * DAY_MS, "4"], [NOW_MS - 5 * DAY_MS, "3"], [NOW_MS - 30_000, "2"], [NOW_MS, "1"],
        ]}),
        json!({"labels": [["__name__", "old"]], "samples": [[old, "7"], [old + 1, "StaleNaN"]]}),
    ];
    assert_eq!(series(&db), wanted);
    assert_eq!(db.head().series_len(), 1);
    db.compact().expect("compacts");
    assert_eq!(series(&db), wanted);
    // What would be removed again is refused.
    let expired = db.range().min_ms - 1;
    let outcome = import(Form::Text, &format!("a 1 {expired}\na 2 {}\n", NOW_MS + DAY_MS));
    assert_eq!(
        outcome.problems(),
        "1 samples were not stored, the first in line 1: older than what is kept; see --storage.tsdb.retention.time\n\
         1 samples were not stored, the first in line 2: sample is too far in the future"
    );
    assert_eq!(series(&db), wanted);
}
