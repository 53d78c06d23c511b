//! The reference's answers to pushed requests, and what it stored of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use metrics::Registry;
use model::clock::ManualClock;
use narthex_remote::write::{Accepted, Options, Receiver, Request};
use serde_json::Value;
use tsdb::db::Db;

use crate::store::{self, lines};

/// Now: long after the requests' times.
const NOW_MS: i64 = 1_790_000_000_000;
/// What cannot be asked without HTTP: tested where there is a server.
const OVER_HTTP: [&str; 3] = ["v1/method-", "v1/path-", "/disabled"];
/// Cases whose counters differ and stay so, and why.
const COUNTERS_DIFFER: [(&str, &str); 3] = [
    (
        "exemplar/invalid-utf8",
        "what is not stored is not counted as appended",
    ),
    (
        "hist/duplicate-same",
        "an exact repetition is not counted as out of order",
    ),
    (
        "hist-float-ct-zero-ooo",
        "late histograms of floats are counted as late, too",
    ),
];

fn settings(name: &str) -> (tsdb::db::Options, Options) {
    let mut store = tsdb::db::Options::default();
    let mut options = Options::default();
    store.head.exemplars_max = 100_000;
    match name {
        "default" | "external-labels" => {}
        "ooo" => store.head.out_of_order_window_ms = 30 * 60_000,
        "no-exemplars" => store.head.exemplars_max = 0,
        "small-exemplars" => store.head.exemplars_max = 3,
        "v1-only" => options.accepted = Accepted { v1: true, v2: false },
        "v2-only" => options.accepted = Accepted { v1: false, v2: true },
        "ct-zero" => options.start_zeros = true,
        "ct-zero-ooo" => {
            options.start_zeros = true;
            store.head.out_of_order_window_ms = 30 * 60_000;
        }
        "st-storage" => store.head.start_timestamps = true,
        "type-unit" => options.type_and_unit_labels = true,
        "metadata-wal" => options.keep_metadata = true,
        other => panic!("no setup {other}"),
    }
    (store, options)
}

struct Setup {
    db: Arc<Db>,
    receiver: Receiver,
    registry: Registry,
}

impl Setup {
    fn new(name: &str) -> Self {
        let (store, options) = settings(name);
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let db = store::open(store, clock.clone());
        let registry = Registry::new();
        db.register_metrics(&registry);
        let receiver = Receiver::new(db.clone(), clock, &registry, options);
        Setup {
            db,
            receiver,
            registry,
        }
    }

    /// Those that are not zero, of those that are compared.
    fn counters(&self) -> BTreeMap<String, String> {
        const PREFIXES: [&str; 8] = [
            "prometheus_api_remote_write_",
            "prometheus_tsdb_exemplar_exemplars_appended_total",
            "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
            "prometheus_tsdb_head_out_of_order_samples_appended_total",
            "prometheus_tsdb_head_samples_appended_total",
            "prometheus_tsdb_out_of_bound_samples_total",
            "prometheus_tsdb_out_of_order_samples_total",
            "prometheus_tsdb_too_old_samples_total",
        ];
        let text = self.registry.render(metrics::Format::Text);
        let told = text
            .lines()
            .filter(|line| PREFIXES.iter().any(|prefix| line.starts_with(prefix)));
        told.filter_map(|line| line.rsplit_once(' '))
            .filter(|(_, value)| *value != "0")
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// What differs in a case.
fn differences(case: &Value) -> Vec<String> {
    let name = case["name"].as_str().expect("name");
    let setup = Setup::new(case["setup"].as_str().expect("setup"));
    let mut found = Vec::new();
    let mut compare = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            found.push(format!("{what}:\n  ours   {ours}\n  theirs {theirs}"));
        }
    };
    for request in case["requests"].as_array().expect("requests") {
        let header = |name: &str| {
            let mut headers = request["headers"].as_array().expect("headers").iter();
            let header = headers.find(|pair| pair[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)));
            header.map_or("", |pair| pair[1].as_str().expect("text"))
        };
        let body = base64::engine::general_purpose::STANDARD
            .decode(request["body"].as_str().expect("body"))
            .expect("base64");
        let answer = setup.receiver.receive(&Request {
            content_type: header("content-type").trim(),
            content_encoding: header("content-encoding"),
            body: &body,
        });
        let response = &request["response"];
        let theirs_text = response["body"].as_str().expect("text");
        compare(
            &format!("status ({})", answer.text),
            answer.status.to_string(),
            format!("{}", response["code"]),
        );
        let ours = answer.written.map(|w| [w.exemplars, w.histograms, w.samples]);
        let theirs: Vec<u64> = response["headers"]
            .as_array()
            .expect("headers")
            .iter()
            .filter(|pair| pair[0].as_str().is_some_and(|name| name.ends_with("-Written")))
            .map(|pair| pair[1].as_str().and_then(|n| n.parse().ok()).expect("number"))
            .collect();
        compare(
            &format!("written ({})", answer.text),
            format!("{:?}", ours.as_ref().map_or(&[][..], |list| list)),
            format!("{theirs:?}"),
        );
        compare(
            "text",
            answer.text.is_empty().to_string(),
            theirs_text.is_empty().to_string(),
        );
    }
    let stored = &case["stored"];
    let text = |values: &[Value]| {
        let mut lines: Vec<String> = values.iter().map(Value::to_string).collect();
        lines.sort();
        lines.join("\n         ")
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    compare(
        "series",
        text(&store::series(&setup.db)),
        text(&list(&stored["series"])),
    );
    let theirs = list(&stored["exemplars"]);
    let floats = |values: Vec<Value>| -> Vec<Value> { values.into_iter().map(with_float_times).collect() };
    compare(
        "exemplars",
        text(&store::exemplars(&setup.db)),
        text(&floats(theirs)),
    );
    if !COUNTERS_DIFFER.iter().any(|(end, _)| name.ends_with(end)) {
        let theirs: BTreeMap<String, String> =
            serde_json::from_value(case.get("counters").cloned().unwrap_or_default()).unwrap_or_default();
        compare(
            "counters",
            format!("{:?}", setup.counters()),
            format!("{theirs:?}"),
        );
    }
    found
}

/// Times as floats, however they are written.
fn with_float_times(mut series: Value) -> Value {
    for exemplar in series["exemplars"].as_array_mut().expect("exemplars") {
        exemplar["timestamp"] = exemplar["timestamp"].as_f64().into();
    }
    series
}

#[test]
fn pushed_requests_are_answered_and_stored_as_the_reference_does() {
    let Some(folder) = testkit::conformance("push/remote-write") else {
        return;
    };
    let cases = lines(&folder.join("cases.jsonl.gz"));
    let (mut agreeing, mut report) = (0, Vec::new());
    for case in &cases {
        let name = case["name"].as_str().expect("name");
        if OVER_HTTP.iter().any(|part| name.contains(part)) {
            continue;
        }
        match differences(case) {
            found if found.is_empty() => agreeing += 1,
            found => report.push(format!("{name}\n {}", found.join("\n "))),
        }
    }
    println!("push/remote-write: {agreeing} of {} cases agree", cases.len());
    assert!(report.is_empty(), "{}", report.join("\n"));
}
