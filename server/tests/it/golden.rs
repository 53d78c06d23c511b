//! Data directories that the reference wrote: every recorded question gets the recorded answer.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::harness::{Server, http_client};

/// Relative error that floats may have, the reference's own.
const TOLERANCE: f64 = 1e-12;

#[tokio::test]
async fn the_scraped_directory_answers_as_recorded() {
    check("scraped", &["--enable-feature=exemplar-storage"]).await;
}

#[tokio::test]
async fn the_plain_directory_answers_as_recorded() {
    check("plain", EXPERIMENTAL).await;
}

#[tokio::test]
async fn the_directory_with_deletions_answers_as_recorded() {
    check("deleted", EXPERIMENTAL).await;
}

/// What the recording server had switched on.
pub(crate) const EXPERIMENTAL: &[&str] = &[
    "--enable-feature=exemplar-storage,promql-experimental-functions,promql-extended-range-selectors",
    "--enable-feature=promql-binop-fill-modifiers",
];

async fn check(name: &str, args: &[&str]) {
    let Some(conformance) = testkit::conformance("") else {
        return;
    };
    let source = conformance.join("tsdb").join(name);
    let folder = tempfile::tempdir().expect("folder");
    copy_folder(&source.join("data"), &folder.path().join("data"));
    let mut args = args.to_vec();
    args.push("--storage.tsdb.retention.time=100y");
    let server = Server::start(folder.path(), CONFIG, &args).await;
    compare(&server, &source).await;
}

/// What the recording server was configured with.
pub(crate) const CONFIG: &str = "storage: {tsdb: {out_of_order_time_window: 2h}}\n";

/// Asks every recorded question of the directory `source`.
pub(crate) async fn compare(server: &Server, source: &Path) {
    let mut text = String::new();
    let file = std::fs::File::open(source.join("golden.jsonl.gz")).expect("golden answers");
    GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    let (mut agreed, mut failures) = (0, Vec::new());
    for (index, line) in text.lines().enumerate() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        match differs(server, &case).await {
            None => agreed += 1,
            Some(why) => failures.push(format!(
                "line {}: {} {}: {why}",
                index + 1,
                case["path"],
                case["params"]
            )),
        }
    }
    println!(
        "{}: {agreed} of {} answers agree",
        source.display(),
        agreed + failures.len()
    );
    assert!(
        failures.is_empty(),
        "{} answers differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

async fn differs(server: &Server, case: &Value) -> Option<String> {
    let mut params: Vec<(String, String)> = Vec::new();
    for (name, value) in case["params"].as_object().into_iter().flatten() {
        let values = value.as_array().map_or(vec![value], |list| list.iter().collect());
        params.extend(values.into_iter().map(|v| {
            (
                name.clone(),
                v.as_str().map_or_else(|| v.to_string(), str::to_owned),
            )
        }));
    }
    let mut url = url::Url::parse(&format!(
        "{}/api/v1/{}",
        server.url,
        case["path"].as_str().expect("path")
    ))
    .expect("URL");
    url.query_pairs_mut().extend_pairs(params);
    let answer = http_client().get(url).send().await.expect("an answer");
    let code = u64::from(answer.status().as_u16());
    let text = answer.text().await.expect("body");
    if let Some(raw) = case["body"]["raw"].as_str() {
        return (Some(code) != case["code"].as_u64() || text != raw)
            .then(|| format!("status {code}: {text}"));
    }
    let body: Value = serde_json::from_str(&text).expect("JSON");
    let expected = &case["body"];
    if Some(code) != case["code"].as_u64() {
        return Some(format!("status {code}, not {}: {}", case["code"], clip(&body)));
    }
    if code != 200 {
        let same = body["status"] == expected["status"] && body["errorType"] == expected["errorType"];
        return (!same).then(|| format!("got {}, want {}", clip(&body), clip(expected)));
    }
    let alike = same(&body["data"], &expected["data"]) || only_known_points(&body["data"], &expected["data"]);
    (!alike).then(|| format!("got {}, want {}", clip(&body), clip(expected)))
}

fn clip(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(600).collect()
}

/// Points at which we knowingly differ: series, time, and why; `docs/differences.md` has the long form.
///
/// `late` has two values for some timestamps, in chunks that overlap. The reference's answer there depends on where the
/// query started; asked for this one time, it gives the same as we do.
const KNOWN_POINTS: [(&str, i64); 2] = [
    (r#"{"instance":"i1"}"#, 1_700_018_910_000),
    (r#"{"__name__":"late","instance":"i1"}"#, 1_700_018_910_000),
];

/// Whether two matrices differ at known points only.
fn only_known_points(got: &Value, want: &Value) -> bool {
    let (Some(got), Some(want)) = (series_of(got), series_of(want)) else {
        return false;
    };
    got.keys().eq(want.keys())
        && got.iter().all(|(labels, points)| {
            let others = &want[labels];
            let times = points.keys().chain(others.keys());
            times.into_iter().all(|time| {
                KNOWN_POINTS.contains(&(labels.as_str(), *time))
                    || matches!((points.get(time), others.get(time)), (Some(a), Some(b)) if same_float(a, b))
            })
        })
}

/// A matrix of floats as maps: labels to times in milliseconds to values.
fn series_of(data: &Value) -> Option<BTreeMap<String, BTreeMap<i64, String>>> {
    let mut all = BTreeMap::new();
    for series in data["result"].as_array()? {
        let mut points = BTreeMap::new();
        for point in series["values"].as_array()? {
            points.insert(
                (point[0].as_f64()? * 1000.0).round() as i64,
                point[1].as_str()?.to_owned(),
            );
        }
        all.insert(series["metric"].to_string(), points);
    }
    Some(all)
}

/// Equal but for the order of lists and the last bits of floats.
fn same(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).all(|(a, b)| same(a, b)) || same_set(a, b)
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::String(a), Value::String(b)) => a == b || same_float(a, b),
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => got == want,
    }
}

/// The same elements in any order: paired by what identifies them, their labels or themselves.
fn same_set(a: &[Value], b: &[Value]) -> bool {
    let by_key = |list: &[Value]| -> Option<BTreeMap<String, Value>> {
        let map: BTreeMap<String, Value> = list
            .iter()
            .map(|v| (v.get("metric").unwrap_or(v).to_string(), v.clone()))
            .collect();
        (map.len() == list.len()).then_some(map)
    };
    match (by_key(a), by_key(b)) {
        (Some(a), Some(b)) => {
            a.keys().eq(b.keys())
                && a.values()
                    .zip(b.values())
                    .all(|(x, y)| x.is_object() && same(x, y) || x == y)
        }
        _ => false,
    }
}

fn same_float(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else {
        return false;
    };
    a == b || a.is_nan() && b.is_nan() || ((a - b).abs() <= TOLERANCE * a.abs().max(b.abs()) && a.is_finite())
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // Written anew, because the originals may be read-only.
            std::fs::write(&target, std::fs::read(entry.path()).expect("read")).expect("write");
        }
    }
}
