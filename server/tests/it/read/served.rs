//! Every request of `push/remote-read/server` gets the recorded answer.

use std::collections::BTreeMap;
use std::path::Path;

use model::protobuf::Fields;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::bytes;
use crate::golden::copy_folder;
use crate::harness::{Server, http_client};
use crate::push::lines;

/// Headers that say nothing of the answer itself: how long it is, and how that is said.
const FRAMING: [&str; 3] = ["date", "content-length", "transfer-encoding"];

/// Answers that differ and stay so; the long form is in docs/differences.md.
///
/// Hints reach further than the query: the reference gives as much as lies in blocks that the query touches.
const KNOWN: [&str; 2] = ["hints-wider-than-query", "hints-wider-than-query/chunks"];

#[tokio::test]
async fn what_others_read_is_answered_as_the_reference_answers() {
    let Some(conformance) = testkit::conformance("") else {
        return;
    };
    let recorded = conformance.join("push/remote-read");
    let setups = std::fs::read(recorded.join("setups.json")).expect("setups");
    let setups: BTreeMap<String, Value> = serde_json::from_slice(&setups).expect("JSON");
    let cases = lines(&recorded.join("server.jsonl.gz"));
    let (mut compared, mut differ) = (0, Vec::new());
    for (name, setup) in &setups {
        let folder = tempfile::tempdir().expect("folder");
        copy_folder(&conformance.join("tsdb/plain/data"), &folder.path().join("data"));
        let server = start(folder.path(), setup).await;
        for case in cases.iter().filter(|case| case["setup"] == **name) {
            compared += 1;
            let found = check(&server, case).await;
            let is_known = KNOWN.iter().any(|known| case["name"] == **known);
            match found {
                Err(why) if !is_known => differ.push(format!("{}: {why}", case["name"])),
                Ok(()) if is_known => differ.push(format!("{}: agrees, and is listed", case["name"])),
                _ => {}
            }
        }
    }
    println!(
        "push/remote-read: {} of {compared} answers agree",
        compared - differ.len()
    );
    assert_eq!(compared, cases.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

async fn start(folder: &Path, setup: &Value) -> Server {
    let flags = setup["flags"].as_array().expect("flags").iter();
    let mut flags: Vec<&str> = flags.map(|flag| flag.as_str().expect("text")).collect();
    flags.push("--storage.tsdb.retention.time=100y");
    Server::start(folder, setup["config"].as_str().expect("text"), &flags).await
}

async fn check(server: &Server, case: &Value) -> Result<(), String> {
    let text = |key: &str| case[key].as_str().expect("text");
    let method = text("method").parse().expect("method");
    let mut asking = http_client().request(method, format!("{}{}", server.url, text("path")));
    for pair in case["headers"].as_array().expect("headers") {
        asking = asking.header(pair[0].as_str().expect("text"), pair[1].as_str().expect("text"));
    }
    let answer = asking.body(bytes(&case["body"])).send().await.expect("an answer");
    let response = &case["response"];
    let status = answer.status().as_u16();
    if u64::from(status) != response["code"] {
        return Err(format!("{status} instead of {}", response["code"]));
    }
    let headers = given(answer.headers());
    let mut wanted = recorded(&response["headers"]);
    if status != 200 {
        // The reference says so of errors, too, whose text is not compressed.
        wanted.remove("content-encoding");
    }
    if headers != wanted {
        return Err(format!("headers {headers:?} instead of {wanted:?}"));
    }
    let body = answer.bytes().await.expect("a body");
    if let Some(frames) = response["frames"].as_array() {
        return stream(&body, &bytes(&response["body"]), frames.last());
    }
    if status == 200 {
        let message = snap::raw::Decoder::new()
            .decompress_vec(&body)
            .expect("a snappy block");
        return message_is(&message, &bytes(&response["protobuf"]));
    }
    match body.is_empty() {
        true => Err("an error without a text".to_owned()),
        false => Ok(()),
    }
}

fn given(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .filter(|(name, _)| !FRAMING.contains(&name.as_str()))
        .collect()
}

fn recorded(headers: &Value) -> BTreeMap<String, String> {
    let pairs: Vec<(String, String)> = serde_json::from_value(headers.clone()).expect("pairs");
    let named = pairs
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value));
    named
        .filter(|(name, _)| !FRAMING.contains(&name.as_str()))
        .collect()
}

/// A stream to the byte; of an error behind frames only that there is one.
fn stream(given: &[u8], wanted: &[u8], last: Option<&Value>) -> Result<(), String> {
    let error = last.and_then(|last| last["not_a_frame"].as_str());
    let frames = wanted.len() - error.map_or(0, str::len);
    let same = given.get(..frames) == Some(&wanted[..frames]);
    match (same, given.len() > frames) {
        (true, more) if more == error.is_some() => Ok(()),
        _ => Err(format!(
            "{} bytes instead of {}; first difference at {:?}",
            given.len(),
            wanted.len(),
            given.iter().zip(wanted).position(|(a, b)| a != b)
        )),
    }
}

/// Results in order, the series of each as a set.
fn message_is(given: &[u8], wanted: &[u8]) -> Result<(), String> {
    let (given, wanted) = (results(given), results(wanted));
    match given == wanted {
        true => Ok(()),
        false => Err(format!("{given:?}\ninstead of {wanted:?}")),
    }
}

fn results(message: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut results = Vec::new();
    for result in parts(message) {
        let mut series = parts(result);
        series.sort_unstable();
        results.push(series);
    }
    results
}

/// The messages that are field 1.
fn parts(message: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field().expect("a message") {
        assert_eq!(field.number, 1);
        parts.push(field.bytes());
    }
    parts
}
