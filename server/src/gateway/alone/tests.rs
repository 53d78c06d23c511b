//! The reference's answers, replayed: every recorded sequence through the real site.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use clap::Command;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::cli::flags::{self, FlagValues};
use crate::cli::pushgateway::FLAGS;

/// What text of the reference's own metrics begins with.
const OWN: [&str; 5] = ["go_", "process_", "pushgateway_", "promhttp_", "narthex_"];

/// A gateway under test.
struct Stage {
    router: Router,
    prefix: String,
}

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Stage {
    async fn begin(words: &[String]) -> Stage {
        let command = flags::add_to(FLAGS, Command::new("pushgateway"));
        let matches = command.try_get_matches_from(words).expect("flags");
        let options = PushgatewayOptions::new(FlagValues::from_matches(FLAGS, &matches)).expect("flags");
        let registry = metrics::Registry::new();
        registry.collect_process();
        let supervisor = Supervisor::new(&registry);
        let pages = page_state(&options, &registry);
        let prefix = pages.prefix.clone();
        let gateway = open(&options, Arc::new(SystemClock), &registry, &supervisor).await;
        let external_url = external_url(&options, NO_ADDRESS);
        let site = site(
            options,
            pages,
            gateway.expect("opens"),
            &registry,
            CancellationToken::new(),
        );
        Stage {
            router: router(site, Trust::new(None, &external_url), None),
            prefix,
        }
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await;
        let (parts, body) = response.unwrap_or_else(|never| match never {}).into_parts();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.expect("a body").to_bytes().to_vec(),
        }
    }

    /// What `/metrics` says without the gateway's own families, or the code and the text where it fails.
    async fn metrics(&self, accept: &str) -> Result<String, (u16, String)> {
        let request = Request::get(format!("{}/metrics", self.prefix)).header(header::ACCEPT, accept);
        let answer = self.ask(request.body(Body::empty()).expect("a request")).await;
        let text = String::from_utf8(answer.body).expect("text");
        if answer.code != 200 {
            return Err((answer.code, text));
        }
        Ok(without_own(&text))
    }
}

/// Text without what a gateway says of itself: comments of its families, and lines that no group has made.
fn without_own(text: &str) -> String {
    let is_own = |line: &&str| {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        OWN.iter().any(|own| name.starts_with(own)) && !line.contains("job=\"")
    };
    text.lines()
        .filter(|line| !is_own(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn request(step: &Value) -> Request<Body> {
    let mut request = Request::builder()
        .method(text(&step["method"]))
        .uri(text(&step["path"]));
    for header in step["headers"].as_array().into_iter().flatten() {
        request = request.header(text(&header[0]), text(&header[1]));
    }
    let body = match (&step["body_base64"], &step["body"]) {
        (Value::String(bytes), _) => base64::prelude::BASE64_STANDARD.decode(bytes).expect("base64"),
        (_, Value::String(text)) => text.clone().into_bytes(),
        _ => Vec::new(),
    };
    request.body(Body::from(body)).expect("a request")
}

/// Whether `given` is `expected`, where `{time}` stands for a time.
fn fits(expected: &str, given: &str) -> bool {
    let mut parts = expected.split("{time}");
    let Some(mut rest) = parts.next().and_then(|first| given.strip_prefix(first)) else {
        return false;
    };
    for part in parts {
        let of_time = |c: char| c.is_ascii_digit() || ".e+-:TZ".contains(c);
        let time = rest.find(|c| !of_time(c)).unwrap_or(rest.len());
        if time == 0 {
            return false;
        }
        let Some(behind) = rest[time..].strip_prefix(part) else {
            return false;
        };
        rest = behind;
    }
    rest.is_empty()
}

/// Whether `given` is what was recorded, or one of what was.
fn is_one_of(expected: &Value, given: &str) -> bool {
    match expected {
        Value::String(text) => fits(text, given),
        Value::Object(choice) if choice.contains_key("one_of") => choice["one_of"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|text| is_one_of(text, given)),
        _ => false,
    }
}

fn check_metrics(expected: &Value, given: &Result<String, (u16, String)>) -> Result<(), String> {
    let good = match (expected, given) {
        (Value::Object(failure), Err((code, text))) if failure.contains_key("code") => {
            failure["code"] == *code && is_one_of(&failure["body"], text)
        }
        (expected, Ok(text)) => is_one_of(expected, text),
        _ => false,
    };
    if good {
        Ok(())
    } else {
        Err(format!("metrics: {given:#?}\nexpected: {expected:#}"))
    }
}

/// Headers that say nothing about the gateway, and ours beside the reference's.
const PASSED_OVER: [&str; 3] = ["date", "content-length", "vary"];

fn check_answer(expected: &Value, given: &Answer) -> Result<(), String> {
    let shown = || String::from_utf8_lossy(&given.body).into_owned();
    if expected["code"] != given.code {
        return Err(format!(
            "code {} {}, expected {}",
            given.code,
            shown(),
            expected["code"]
        ));
    }
    let headers: BTreeSet<(String, String)> = given
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("text").to_owned()))
        .filter(|(name, _)| !PASSED_OVER.contains(&name.as_str()))
        .collect();
    let recorded: BTreeSet<(String, String)> = expected["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| (text(&pair[0]).to_ascii_lowercase(), text(&pair[1]).to_owned()))
        .collect();
    if headers != recorded {
        return Err(format!("headers {headers:?}, expected {recorded:?}"));
    }
    match expected.get("json") {
        Some(json) => check_json(json, &given.body),
        None if words_are_a_librarys(&shown()) || is_one_of(&expected["body"], &shown()) => Ok(()),
        None => Err(format!("body {:?}, expected {:#}", shown(), expected["body"])),
    }
}

/// Errors that quote the words of a library need not match.
fn words_are_a_librarys(text: &str) -> bool {
    [
        "gzip",
        "invalid gzip",
        "snappy",
        "no list of metric families in protobuf",
    ]
    .iter()
    .any(|word| text.contains(word))
        || text.contains("corrupt")
        || text.contains("deflate")
        || text.contains("unexpected end of file")
}

/// Groups may come in any order.
fn check_json(expected: &Value, body: &[u8]) -> Result<(), String> {
    let given: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let sorted = |value: &Value| {
        let mut value = value.clone();
        if let Some(groups) = value["data"].as_array_mut() {
            groups.sort_by_key(|group| group["labels"].to_string());
            for bucket in groups
                .iter_mut()
                .flat_map(|group| group.as_object_mut().into_iter().flatten())
            {
                normalize_buckets(bucket.1);
            }
        }
        value
    };
    let (expected, given) = (sorted(expected).to_string(), sorted(&given).to_string());
    if fits(&expected, &given) {
        Ok(())
    } else {
        Err(format!("{given}\nexpected: {expected}"))
    }
}

/// Native buckets were recorded with their parts sorted.
fn normalize_buckets(family: &mut Value) {
    let metrics = family
        .get_mut("metrics")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for buckets in metrics.filter_map(|metric| metric.get_mut("buckets")?.as_array_mut()) {
        for bucket in buckets {
            if let Some(parts) = bucket.as_array_mut() {
                parts.sort_by_key(ToString::to_string);
            }
        }
    }
}

async fn run_steps(case: &Value, folder: &Path) -> Result<Stage, String> {
    let folder = folder.display().to_string();
    let flags = case["flags"].as_array().expect("flags").iter();
    let mut words = vec!["pushgateway".to_owned()];
    words.extend(flags.map(|flag| text(flag).replace("DIR", &folder)));
    let mut stage = Stage::begin(&words).await;
    for (index, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
        let at = |error| format!("step {index}: {error}");
        if step["restart"] == true {
            drop(stage);
            stage = Stage::begin(&words).await;
        } else {
            let answer = stage.ask(request(step)).await;
            check_answer(&step["response"], &answer).map_err(at)?;
        }
        for (key, accept) in [
            ("metrics", "text/plain"),
            ("metrics_allow_utf8", "text/plain;escaping=allow-utf-8"),
        ] {
            if let Some(expected) = step.get(key) {
                check_metrics(expected, &stage.metrics(accept).await).map_err(at)?;
            }
        }
    }
    Ok(stage)
}

async fn run(case: &Value) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("folder");
    let stage = run_steps(case, folder.path()).await?;
    for format in case["formats"].as_array().into_iter().flatten() {
        let request = Request::get("/metrics").header(header::ACCEPT, text(&format["accept"]));
        let answer = stage.ask(request.body(Body::empty()).expect("a request")).await;
        let mut expected = format.clone();
        let mut given = answer;
        match &format["metrics"] {
            Value::Null => {
                expected["body"] = Value::String(String::from_utf8_lossy(&given.body).into_owned());
            }
            metrics => {
                expected["body"] = metrics.clone();
                given.body = without_own(&String::from_utf8_lossy(&given.body)).into_bytes();
            }
        }
        check_answer(&expected, &given)?;
    }
    Ok(())
}

#[tokio::test]
async fn every_recorded_sequence_has_the_references_answers() {
    let Some(folder) = testkit::conformance("push/pushgateway") else {
        return;
    };
    let packed = std::fs::File::open(folder.join("sequences.jsonl.gz")).expect("sequences");
    let mut lines = String::new();
    flate2::read::MultiGzDecoder::new(packed)
        .read_to_string(&mut lines)
        .expect("gzip");
    let cases: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(cases.len() > 60, "sequences: {}", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        if let Err(error) = run(case).await {
            failures.push(format!("== {}: {error}", text(&case["name"])));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {}\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}
