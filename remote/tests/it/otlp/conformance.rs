//! The recorded pack under each configuration, and cases of framing, order and deltas.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use narthex_remote::otlp::{BodyError, Encoding, OtlpError};
use serde_json::{Value, json};

use super::store::{Setup, Store, float_text, recorded_series};

pub(super) fn lines(folder: &Path, name: &str) -> Vec<Value> {
    let file = std::fs::File::open(folder.join(name)).expect("a file");
    let mut text = String::new();
    let read = if name.ends_with(".gz") {
        GzDecoder::new(file).read_to_string(&mut text)
    } else {
        let mut file = file;
        file.read_to_string(&mut text)
    };
    read.expect("reads");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

pub(super) fn base64(value: &Value) -> Vec<u8> {
    STANDARD
        .decode(value.as_str().unwrap_or_default())
        .expect("base64")
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Code and text as the server answers them.
fn answer(taken: &Result<(), OtlpError>) -> (u16, String) {
    match taken {
        Ok(()) => (200, String::new()),
        Err(error) => (error.status(), format!("{error}\n")),
    }
}

/// Whether the text tells what the recorded one tells: at least the same words at its beginning.
fn tells(text: &str, recorded: &str) -> bool {
    let recorded = recorded.trim_end();
    // What comes from a library, and what tells less than ours.
    let known = ["proto: ", "gzip: ", "unexpected EOF", "Read", "ID."];
    if known.iter().any(|words| recorded.starts_with(words)) {
        return true;
    }
    let recorded = match recorded {
        "out of bounds: timestamp is too far in the future" => "sample is too far in the future",
        other => other,
    };
    let recorded = recorded.split(" 17356").next().unwrap_or(recorded);
    text.starts_with(recorded)
}

/// What differs between what is in the store and what was recorded.
fn differences(store: &Store, stored: &Value, without_markers: bool) -> Vec<String> {
    let mut found = Vec::new();
    let ours = store.series();
    let mut theirs = BTreeMap::new();
    for series in stored["series"].as_array().expect("series") {
        let series = recorded_series(series);
        theirs.insert(series["labels"].to_string(), series);
    }
    for (labels, series) in &theirs {
        match ours.get(labels) {
            None => found.push(format!("missing {series}")),
            // A range query shows neither markers nor histograms.
            Some(_) if without_markers && series["samples"] == json!([]) => {}
            Some(own) if own != series => found.push(format!("differs\n  {own}\n  {series}")),
            Some(_) => {}
        }
    }
    let surplus = ours.iter().filter(|(labels, _)| !theirs.contains_key(*labels));
    for (_, series) in surplus {
        // A range query shows neither markers nor histograms.
        let of_markers = || {
            let samples = series["samples"].as_array();
            samples.is_none_or(|samples| samples.iter().all(|sample| sample[1] == "StaleNaN"))
        };
        if !(without_markers && of_markers()) {
            found.push(format!("surplus {series}"));
        }
    }
    let mut recorded = BTreeMap::new();
    for series in stored["exemplars"].as_array().into_iter().flatten() {
        let mut series = series.clone();
        for exemplar in series["exemplars"].as_array_mut().into_iter().flatten() {
            let value = model::float::parse_float(text(&exemplar["value"])).expect("a number");
            exemplar["value"] = float_text(value).into();
            exemplar["timestamp"] = json!(exemplar["timestamp"].as_f64());
        }
        recorded.insert(series["seriesLabels"].to_string(), series);
    }
    let own = store.exemplars();
    if own != recorded {
        found.push(format!("exemplars\n  {own:?}\n  {recorded:?}"));
    }
    found
}

fn check_counters(store: &Store, counters: &Value, found: &mut Vec<String>) {
    for (name, value) in counters.as_object().into_iter().flatten() {
        if store.guesses && name.starts_with("prometheus_tsdb_out_of_order_samples_total") {
            // Zeros that come too late are counted here, and only some of them there.
            continue;
        }
        let (own, recorded) = (store.counter(name), text(value).parse::<f64>().expect("a number"));
        if own != recorded {
            found.push(format!("{name} is {own}, not {recorded}"));
        }
    }
}

fn report(found: &[String]) {
    let shown: Vec<&str> = found.iter().take(20).map(String::as_str).collect();
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        shown.join("\n")
    );
}

fn setup_of(run: &Value) -> Setup {
    let flags: Vec<&str> = run["flags"].as_array().expect("flags").iter().map(text).collect();
    Setup::new(text(&run["prometheus.yml"]), &flags)
}

#[test]
fn the_pack_is_stored_as_the_reference_stores_it_under_each_configuration() {
    let Some(folder) = testkit::conformance("push/otlp") else {
        return;
    };
    let payloads = lines(&folder, "payloads.jsonl.gz");
    let runs = lines(&folder, "runs.jsonl.gz");
    assert!(payloads.len() >= 78 && runs.len() >= 27);
    let mut found = Vec::new();
    for run in &runs {
        let config = text(&run["config"]);
        // A JSON body is another way to the same.
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let store = Store::open(&setup_of(run));
            let mut of_run = Vec::new();
            for payload in &payloads {
                let name = text(&payload["name"]);
                let body = match encoding {
                    Encoding::Protobuf => base64(&payload["protobuf"]),
                    Encoding::Json => payload["json"].to_string().into_bytes(),
                };
                let (code, said) = answer(&store.receiver.receive(encoding, "", &body));
                let recorded = &run["responses"][name];
                if recorded[0] != code || !tells(&said, text(&recorded[1])) {
                    of_run.push(format!("{name}: {code} {said:?}, not {recorded}"));
                }
            }
            of_run.extend(differences(&store, &run["stored"], config == "external-labels"));
            check_counters(&store, &run["counters"], &mut of_run);
            for query in run["queries"].as_array().into_iter().flatten() {
                check_start(&store, query, &mut of_run);
            }
            found.extend(
                of_run
                    .into_iter()
                    .map(|line| format!("{config}, {encoding:?}: {line}")),
            );
        }
    }
    report(&found);
}

/// Queries of `start_timestamp` can be checked without an engine.
fn check_start(store: &Store, query: &Value, found: &mut Vec<String>) {
    let expression = text(&query["params"]["query"]);
    let Some(name) = expression
        .strip_prefix("start_timestamp(")
        .and_then(|rest| rest.strip_suffix(')'))
    else {
        return;
    };
    let at_ms = query["params"]["time"].as_f64().expect("a time") * 1000.0;
    let mut own = store.starts(name, at_ms as i64);
    own.sort_by(f64::total_cmp);
    let results = query["body"]["data"]["result"].as_array().expect("a vector");
    let mut recorded: Vec<f64> = results
        .iter()
        .map(|result| text(&result["value"][1]).parse().expect("a number"))
        .collect();
    recorded.sort_by(f64::total_cmp);
    if own != recorded {
        found.push(format!("{expression}: {own:?}, not {recorded:?}"));
    }
}

#[test]
fn cases_of_framing_order_and_deltas() {
    let Some(folder) = testkit::conformance("push/otlp") else {
        return;
    };
    let runs = lines(&folder, "runs.jsonl.gz");
    let cases = lines(&folder, "cases.jsonl.gz");
    assert!(cases.len() >= 60);
    let mut found = Vec::new();
    for case in &cases {
        let name = text(&case["name"]);
        let run = runs
            .iter()
            .find(|run| run["config"] == case["config"])
            .expect("a configuration");
        let store = Store::open(&setup_of(run));
        let mut of_case = Vec::new();
        for request in case["requests"].as_array().expect("requests") {
            let path = text(&request["path"]);
            if text(&request["method"]) != "POST" || path != "/api/v1/otlp/v1/metrics" {
                // The server's matter.
                continue;
            }
            let header = |wanted: &str| {
                let headers = request["headers"].as_array().into_iter().flatten();
                headers
                    .filter(|header| header[0] == wanted)
                    .map(|header| text(&header[1]))
                    .next()
            };
            let encoding = Encoding::of(header("Content-Type").unwrap_or_default());
            let taken = encoding.map_err(OtlpError::from).and_then(|encoding| {
                let content_encoding = header("Content-Encoding").unwrap_or_default();
                store
                    .receiver
                    .receive(encoding, content_encoding, &base64(&request["body"]))
            });
            let (code, said) = answer(&taken);
            let response = &request["response"];
            if response["code"] != code || !tells(&said, response["body"].as_str().unwrap_or_default()) {
                of_case.push(format!("{code} {said:?}, not {response}"));
            }
        }
        of_case.extend(differences(&store, &case["stored"], false));
        check_counters(&store, &case["counters"], &mut of_case);
        found.extend(of_case.into_iter().map(|line| format!("{name}: {line}")));
    }
    report(&found);
}

#[test]
fn sections_are_judged_as_the_reference_judges_them() {
    let Some(folder) = testkit::conformance("push/otlp") else {
        return;
    };
    for verdict in lines(&folder, "config-verdicts.jsonl") {
        let (name, config) = (text(&verdict["name"]), text(&verdict["config"]));
        let document = yaml::parse(name, config).expect("YAML");
        let scheme = if config.contains("validation_scheme: legacy") {
            model::labels::NameScheme::Legacy
        } else {
            model::labels::NameScheme::Utf8
        };
        let section = document.root().entry("otlp").filter(|section| !section.is_null());
        let read = section.map_or(Ok(()), |section| {
            narthex_remote::otlp::OtlpConfig::read(section, scheme).map(drop)
        });
        assert_eq!(read.is_ok(), verdict["exit"] == 0, "{name}: {read:?}");
        if let Err(error) = read {
            let recorded = text(&verdict["stderr"]);
            let told = recorded.contains("field nope") || recorded.trim_end().ends_with(error.message());
            assert!(told, "{name}: {error}, not {recorded}");
        }
    }
}

#[test]
fn bodies_are_bounded_before_they_are_inflated_whole() {
    use std::io::Write as _;
    let store = Store::open(&Setup::new("global: {}", &[]));
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..33 {
        bomb.write_all(&vec![0; 1 << 20]).expect("writes");
    }
    let bomb = bomb.finish().expect("gzip");
    assert!(bomb.len() < 500_000);
    let taken = store.receiver.receive(Encoding::Protobuf, "gzip", &bomb);
    assert!(
        matches!(taken, Err(OtlpError::Body(BodyError::TooLarge))),
        "{taken:?}"
    );
    let plain = vec![0; narthex_remote::otlp::BODY_BYTES_MAX + 1];
    let taken = store.receiver.receive(Encoding::Protobuf, "", &plain);
    assert!(
        matches!(taken, Err(OtlpError::Body(BodyError::TooLarge))),
        "{taken:?}"
    );
}
