//! What the reference sent, and what we send in its place.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use files::MemFiles;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::message::{batch_of, families, read};
use super::receiver::{Asked, Receiver, Said};
use super::setup::{Around, BASE_MS, SPOOL, TestClock, append, configured, metric, open};

/// Headers that every connection has its own of, or that say who sends.
const OWN_HEADERS: [&str; 5] = [
    "Content-Length",
    "Host",
    "User-Agent",
    "Referer",
    "Accept-Encoding",
];

fn runs() -> Option<Vec<Value>> {
    let path = testkit::conformance("push/remote-write-out/runs.jsonl.gz")?;
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("runs");
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip");
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a run"))
            .collect(),
    )
}

/// Puts numbers in the place of `{base+1000}`, `{scrape}` and `{seconds}`.
fn fill(value: &Value, base_ms: i64, scrape_ms: i64) -> Value {
    match value {
        Value::Array(list) => list.iter().map(|v| fill(v, base_ms, scrape_ms)).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(k, v)| (k.clone(), fill(v, base_ms, scrape_ms)))
            .collect(),
        Value::String(text) if text == "{seconds}" => json!("0.001"),
        Value::String(text) if text == "{scrape}" => json!(scrape_ms),
        Value::String(text) => match text.strip_prefix("{base").and_then(|rest| rest.strip_suffix('}')) {
            Some(offset) => json!(base_ms + offset.parse::<i64>().expect("an offset")),
            None => value.clone(),
        },
        _ => value.clone(),
    }
}

/// A message without numbers that the table of symbols had to have, so that what is pushed can be made of it.
fn symbolised(run: &Value, index: usize, scrape_ms: i64, base_ms: i64) -> Value {
    fill(&run["requests"][index]["message"], base_ms, scrape_ms)
}

/// Messages whose contents are pushed, one transaction each.
fn pushes(run: &Value, all: &[Value], base_ms: i64) -> Vec<Value> {
    let name = run["name"].as_str().expect("a name");
    let named = |name: &str| all.iter().find(|run| run["name"] == name).expect("the run");
    let indexed = |n: usize| {
        let entry = |i: usize| {
            let labels =
                json!([{"name": "__name__", "value": "s"}, {"name": "i", "value": format!("{i:02}")}]);
            json!({"labels": labels, "samples": [{"value": (10 * i).to_string(), "timestamp": base_ms}]})
        };
        json!({"timeseries": (0..n).map(entry).collect::<Vec<_>>()})
    };
    let (_, kind) = name.split_once('/').unwrap_or(("", name));
    match kind {
        "mix/defaults" | "mix/exemplars-and-histograms" | "mix/external-labels" | "mix/relabel" => {
            vec![symbolised(
                named("v2/mix/exemplars-and-histograms"),
                0,
                0,
                base_ms,
            )]
        }
        "mix/relabel-to-same-series" | "mix/relabel-drops-all" => vec![indexed(3)],
        "mix/relabel-empties-labels" => vec![indexed(2)],
        "otlp/start-times-metadata-exemplars" | "otlp/nhcb" => {
            vec![symbolised(named(&format!("v2/{kind}")), 0, 0, base_ms)]
        }
        "shards/three" => {
            // One push, whose series were spread over the streams.
            let requests = named("v1/shards/three")["requests"].as_array().expect("requests");
            let series = requests
                .iter()
                .flat_map(|request| request["message"]["timeseries"].as_array().expect("series"));
            let mut series: Vec<Value> = series.map(|entry| fill(entry, base_ms, 0)).collect();
            series.sort_by_key(|entry| entry["labels"].to_string());
            vec![json!({"timeseries": series})]
        }
        _ => {
            let requests = run["requests"].as_array().expect("requests").iter().enumerate();
            let mut list: Vec<Value> = requests
                .filter(|(_, request)| request["message"].is_object())
                .map(|(index, _)| symbolised(run, index, base_ms + 1000 * index as i64, base_ms))
                .filter(|message| message.get("timeseries").is_some())
                .collect();
            if kind == "old/samples-before-start-are-not-sent" {
                let old = json!({"labels": [{"name": "__name__", "value": "old"}], "samples": [{"timestamp": BASE_MS - 5000}]});
                list.insert(0, json!({"timeseries": [old]}));
            }
            list
        }
    }
}

fn said_of(answered: &Value) -> Said {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let headers = answered[1].as_array().expect("headers").iter();
    let headers = headers.map(|pair| {
        // Of three seconds ahead, two and a bit are left when it comes.
        let value = text(&pair[1]);
        let date = |ms: i64| {
            let at = jiff::Timestamp::from_millisecond(ms)
                .expect("a time")
                .to_zoned(jiff::tz::TimeZone::UTC);
            at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        };
        let value = match value.as_str() {
            "{date, 3 s ahead}" => date(BASE_MS + DATE_MS),
            text if text.starts_with("{date") => date(BASE_MS - 60_000),
            _ => value,
        };
        (text(&pair[0]), value)
    });
    Said {
        status: answered[0].as_u64().expect("a status") as u16,
        headers: headers.collect(),
        body: String::new(),
    }
}

/// When what is retried at a date is to be retried, after the beginning.
const DATE_MS: i64 = 3_000;

fn headers_of(asked: &Asked) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = asked
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)))
        .collect();
    headers.sort();
    headers
}

fn expected_headers(request: &Value) -> Vec<(String, String)> {
    let pairs = request["headers"].as_array().expect("headers").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut headers: Vec<(String, String)> = pairs
        .map(|pair| (text(&pair[0]).to_ascii_lowercase(), text(&pair[1])))
        .filter(|(name, _)| !OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)))
        .collect();
    headers.sort();
    headers
}

fn compare(name: &str, index: usize, request: &Value, asked: &[Asked], base_ms: i64) {
    let came = &asked[index];
    let of = format!("{name}, request {index}");
    if let Some(token) = request.get("token_request") {
        assert_eq!(came.path, token["path"].as_str().expect("a path"), "{of}");
        // Pairs of a form have no order.
        let pairs = |text: &str| {
            text.split('&')
                .map(str::to_owned)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let body = pairs(&String::from_utf8_lossy(&came.body));
        assert_eq!(body, pairs(token["body"].as_str().expect("a body")), "{of}");
        return;
    }
    if let Some(redirected) = request.get("redirected_request") {
        let (method, path) = (&redirected["method"], &redirected["path"]);
        assert_eq!(
            (json!(came.method), json!(came.path)),
            (method.clone(), path.clone()),
            "{of}"
        );
        return;
    }
    assert_eq!(came.path, request["path"].as_str().expect("a path"), "{of}");
    let (mut headers, mut expected) = (headers_of(came), expected_headers(request));
    if name.ends_with("headers/sigv4") {
        let pairs: Vec<(String, String)> = came.headers.clone();
        let signed = testkit::sigv4::Signed {
            method: &came.method,
            target: &came.path,
            headers: &pairs,
            body: &came.body,
        };
        testkit::sigv4::check(signed, "SK").expect("signed");
        let is_signature = |name: &str| name == "authorization" || name == "x-amz-date";
        headers.retain(|(name, _)| !is_signature(name));
        expected.retain(|(name, _)| !is_signature(name));
    }
    if name.starts_with("outage/") {
        headers.retain(|(name, _)| name != "retry-attempt");
        expected.retain(|(name, _)| name != "retry-attempt");
    }
    assert_eq!(headers, expected, "{of}");
    if let Some(same) = request["message"]
        .as_str()
        .and_then(|text| text.strip_prefix("same bytes as request "))
    {
        let first: usize = same.parse().expect("a number");
        assert_eq!(came.body, asked[first].body, "{of}");
        return;
    }
    let is_v2 = came
        .header("content-type")
        .is_some_and(|kind| kind.contains("v2"));
    let expected = fill(&request["message"], base_ms, base_ms + 1000 * index as i64);
    let found = read(&came.body, is_v2);
    if let Some(some) = request["message"]["metadata"]
        .as_array()
        .filter(|list| list[0].is_string())
    {
        // Which come first is up to the targets.
        assert!(
            (1..=2).contains(&found["metadata"].as_array().expect("families").len()),
            "{of}: {some:?}"
        );
        return;
    }
    assert!(found == expected, "{of}: {}", difference(&found, &expected));
}

/// The first place in which two values differ.
fn difference(found: &Value, expected: &Value) -> String {
    match (found, expected) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            format!("[{at}]{}", difference(&a[at], &b[at]))
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            let key = a.keys().find(|key| a[*key] != b[*key]).expect("they differ");
            format!(".{key}{}", difference(&a[key], &b[key]))
        }
        _ => format!(": {found}, not {expected}"),
    }
}

/// Compares what was waited with what the reference waited, where that is told.
fn compare_pauses(name: &str, requests: &[Value], asked: &[Asked]) {
    for (index, request) in requests.iter().enumerate() {
        if let Some(seconds) = request["approx_seconds_since_previous"].as_f64() {
            let pause = asked[index].at - asked[index - 1].at;
            // A date has whole seconds.
            let about = if name.contains("date") && !name.contains("past") {
                1.0
            } else {
                0.02 + seconds * 0.2
            };
            assert!(
                (pause.as_secs_f64() - seconds).abs() <= about,
                "{name}, request {index}: {pause:?}, not {seconds}"
            );
        }
    }
}

fn compare_counters(run: &Value, registry: &metrics::Registry) {
    let name = run["name"].as_str().expect("a name");
    for (counter, expected) in run["counters"].as_object().into_iter().flatten() {
        let (family, reason) = match counter.split_once("{reason=") {
            Some((family, reason)) => (family, reason.strip_suffix('}')),
            None => (counter.as_str(), None),
        };
        let expected: f64 = expected.as_str().expect("a number").parse().expect("a number");
        let found = metric(registry, &format!("prometheus_remote_storage_{family}"), reason);
        assert_eq!(found.unwrap_or(0.0), expected, "{name}: {counter}");
    }
}

async fn replay(run: &Value, all: &[Value]) {
    let name = run["name"].as_str().expect("a name");
    let clock = TestClock::begin();
    // Not at the start itself: what is not newer than that is not sent.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let db = open(Arc::new(MemFiles::new()), clock.clone(), 0);
    let receiver = Arc::new(Receiver::default());
    let mut requests = run["requests"].as_array().cloned().unwrap_or_default();
    let answers = requests
        .iter()
        .filter_map(|request| request.get("answered"))
        .map(said_of);
    *receiver.script.lock() = answers.collect::<VecDeque<_>>();
    if requests
        .iter()
        .any(|request| request.get("redirected_request").is_some())
    {
        // The one that was asked instead answers for itself.
        let nothing = Said {
            status: 204,
            headers: Vec::new(),
            body: String::new(),
        };
        receiver.script.lock().insert(1, nothing);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    if name.starts_with("outage/") {
        drop(listener);
        let receiver = receiver.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            receiver
                .listen(TcpListener::bind(address).await.expect("the port again"))
                .await;
        });
    } else {
        receiver.listen(listener).await;
    }
    let told = requests
        .iter()
        .find(|request| request["message"].get("metadata").is_some_and(Value::is_array));
    let mut told = told
        .map(|request| families(&request["message"]))
        .unwrap_or_default();
    if name == "scrape/v1-metadata-small-batches" {
        let full = all
            .iter()
            .find(|run| run["name"] == "scrape/v1")
            .expect("the run");
        told = families(&full["requests"][2]["message"]);
        told.extend(families(&full["requests"][1]["message"]));
    }
    let around = Around {
        files: Arc::new(MemFiles::new()),
        log: db.clone(),
        spool: SPOOL,
        clock,
        registry: metrics::Registry::new(),
        families: Arc::new(move || told.clone()),
        type_and_unit_labels: name.ends_with("type-and-unit-labels"),
    };
    let forwarder = around.forwarder();
    let text = run["prometheus.yml"]
        .as_str()
        .expect("a configuration")
        .replace("RECEIVER", &address.to_string());
    let (configs, external) = configured(&text).expect("a configuration");
    forwarder.apply(forwarder.prepare(&configs, &external).expect("clients"));
    forwarder.start();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let base_ms = BASE_MS + 100;
    let is_one = ["/batch/", "/shards/"].iter().any(|part| name.contains(part));
    let without: &[&str] = if name.starts_with("scrape/") {
        &["cluster"]
    } else {
        &[]
    };
    let pushes = pushes(run, all, base_ms);
    for message in &pushes {
        append(&db, &batch_of(message, &*db, without, name.contains("/mix/")));
        if !is_one {
            tokio::time::sleep(Duration::from_secs(8)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut asked = receiver.asked.lock().clone();
    if name.contains("/shards/") {
        // They come at once.
        asked.sort_by_key(|asked| read(&asked.body, name.starts_with("v2")).to_string());
    }
    if name.starts_with("scrape/") {
        // When families are told has nothing to do with scrapes: data first, then the first message with families.
        let tells = |asked: &Asked| read(&asked.body, name.contains("v2")).get("metadata").is_some();
        let (told, mut data): (Vec<Asked>, Vec<Asked>) = asked.into_iter().partition(tells);
        data.extend(told);
        asked = data;
        requests.sort_by_key(|request| request["message"].get("metadata").is_some());
    } else {
        assert_eq!(asked.len(), requests.len(), "{name}: {asked:?}");
    }
    for (index, request) in requests.iter().enumerate() {
        compare(name, index, request, &asked, base_ms);
    }
    compare_pauses(name, &requests, &asked);
    compare_counters(run, &around.registry);
    forwarder.stop().await;
}

#[test]
fn runs_of_the_reference_come_out_the_same() {
    let Some(all) = runs() else {
        return;
    };
    let only = std::env::var("RUN").unwrap_or_default();
    let mut failed = Vec::new();
    let mut done = 0;
    for run in &all {
        let name = run["name"].as_str().expect("a name").to_owned();
        // A restart loses nothing here: see `kills`.
        if !name.contains(&only) || name.starts_with("restart/") {
            continue;
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build();
            runtime.expect("a runtime").block_on(replay(run, &all));
        }));
        done += 1;
        if result.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{} of {done}: {failed:?}", failed.len());
    assert!(!only.is_empty() || done == 99, "{done} runs");
}
