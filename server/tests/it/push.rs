//! What is pushed in, over real HTTP: the ways in switched on and off, as the reference has them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Server, http_client};

/// Ways in of `push/status`, by their paths.
const PATHS: [&str; 2] = ["/api/v1/write", "/api/v1/otlp/v1/metrics"];
/// Cases of `push/remote-write` that are about HTTP alone.
const ABOUT_HTTP: [&str; 4] = ["/headers/", "/method-", "/path-", "/disabled"];
/// Cases that are about what queries show; that the rest is stored as it should is tested in `remote`.
const ABOUT_QUERIES: [&str; 2] = ["st-storage", "metadata-is-not-in-the-api"];

#[derive(Deserialize)]
struct Setup {
    #[serde(rename = "prometheus.yml")]
    config: String,
    flags: Vec<String>,
}

/// Lines of a compressed file, each a value.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).expect("conformance data");
    let mut text = String::new();
    let mut reader = flate2::read::GzDecoder::new(file);
    reader.read_to_string(&mut text).expect("gzip");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn ways_in_are_switched_on_by_their_flags() {
    let Some(folder) = testkit::conformance("push/status") else {
        return;
    };
    let servers = std::fs::read(folder.join("servers.json")).expect("servers");
    let servers: BTreeMap<String, Setup> = serde_json::from_slice(&servers).expect("JSON");
    let rows = lines(&folder.join("answers.jsonl.gz"));
    let mut compared = 0;
    for (name, setup) in &servers {
        let folder = tempfile::tempdir().expect("folder");
        let flags: Vec<&str> = setup.flags.iter().map(String::as_str).collect();
        let server = match flags.first() {
            Some(&"--agent") => Server::start_agent(folder.path(), &setup.config, &flags[1..]).await,
            _ => Server::start(folder.path(), &setup.config, &flags).await,
        };
        let of_server = rows.iter().filter(|row| row["server"] == **name);
        for row in of_server.filter(|row| PATHS.iter().any(|path| row["path"] == *path)) {
            check(&server, row).await;
            compared += 1;
        }
    }
    println!("push/status: {compared} answers agree");
    assert!(compared > 0);
}

#[tokio::test]
async fn remote_write_is_answered_over_http_as_the_reference_answers() {
    let Some(folder) = testkit::conformance("push/remote-write") else {
        return;
    };
    let setups = std::fs::read(folder.join("setups.json")).expect("setups");
    let setups: BTreeMap<String, Value> = serde_json::from_slice(&setups).expect("JSON");
    let cases = lines(&folder.join("cases.jsonl.gz"));
    let about = |case: &&Value, parts: &[&str]| {
        let name = case["name"].as_str().expect("name");
        parts.iter().any(|part| name.contains(part))
    };
    let mut compared = 0;
    for setup in ["default", "disabled"] {
        let folder = tempfile::tempdir().expect("folder");
        let server = start(folder.path(), &setups[setup]).await;
        let of_setup = cases.iter().filter(|case| case["setup"] == setup);
        for case in of_setup.filter(|case| about(case, &ABOUT_HTTP)) {
            ask_all(&server, case).await;
            compared += 1;
        }
    }
    for case in cases.iter().filter(|case| about(case, &ABOUT_QUERIES)) {
        let folder = tempfile::tempdir().expect("folder");
        let server = start(folder.path(), &setups[case["setup"].as_str().expect("setup")]).await;
        ask_all(&server, case).await;
        for query in case["stored"]["queries"].as_array().expect("queries") {
            check_query(&server, query, &case["name"]).await;
        }
        compared += 1;
    }
    println!("push/remote-write: {compared} cases agree over HTTP");
    assert!(compared > 0);
}

async fn start(folder: &Path, setup: &Value) -> Server {
    let flags = setup["flags"].as_array().expect("flags").iter();
    let flags: Vec<&str> = flags.map(|flag| flag.as_str().expect("text")).collect();
    Server::start(folder, setup["config"].as_str().expect("text"), &flags).await
}

async fn ask_all(server: &Server, case: &Value) {
    for request in case["requests"].as_array().expect("requests") {
        let text = |key: &str| request[key].as_str().expect("text");
        let method = text("method").parse().expect("method");
        let url = format!("{}{}", server.url, text("path"));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let mut asking = client.build().expect("client").request(method, url);
        for pair in request["headers"].as_array().expect("headers") {
            asking = asking.header(pair[0].as_str().expect("text"), pair[1].as_str().expect("text"));
        }
        let body = base64::engine::general_purpose::STANDARD.decode(text("body"));
        let answer = asking.body(body.expect("base64")).send().await.expect("answer");
        let response = &request["response"];
        let name = &case["name"];
        assert_eq!(u64::from(answer.status().as_u16()), response["code"], "{name}");
        let given = |headers: Vec<(String, String)>| {
            // Redirects of the API keep its prefix, and texts are our own.
            let kept = headers
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value));
            let mut kept: Vec<_> = kept
                .filter(|(name, _)| !matches!(name.as_str(), "date" | "content-length" | "location"))
                .collect();
            kept.sort();
            kept
        };
        let headers = answer.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
        let wanted = serde_json::from_value(response["headers"].clone()).expect("pairs");
        assert_eq!(given(headers.collect()), given(wanted), "{name}");
    }
}

async fn check_query(server: &Server, query: &Value, name: &Value) {
    let mut url = reqwest::Url::parse(&format!(
        "{}/api/v1/{}",
        server.url,
        query["path"].as_str().expect("text")
    ))
    .expect("URL");
    for (key, value) in query["params"].as_object().expect("parameters") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        url.query_pairs_mut().append_pair(key, &value);
    }
    let answer = http_client().get(url).send().await.expect("answer");
    let answer: Value = serde_json::from_str(&answer.text().await.expect("body")).expect("JSON");
    let wanted = &query["body"];
    assert_eq!(answer["data"], wanted["data"], "{name}: {query}");
    assert_eq!(answer["status"], wanted["status"], "{name}: {query}");
}

async fn check(server: &Server, row: &Value) {
    let text = |key: &str| row[key].as_str().expect("text");
    let method = text("method").parse().expect("method");
    let url = format!("{}{}", server.url, text("path"));
    let mut asking = http_client().request(method, url);
    if row["method"] == "POST" {
        // What was sent was not recorded: an empty request, compressed where it must be.
        asking = asking.header("Content-Type", "application/x-protobuf");
        asking = match text("path") {
            "/api/v1/write" => asking.body(vec![0]),
            _ => asking,
        };
    }
    let answer = asking.send().await.expect("answer");
    assert_eq!(u64::from(answer.status().as_u16()), row["code"], "{row}");
    let mut headers: Vec<(String, String)> = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "content-length"))
        .collect();
    headers.sort();
    let mut wanted: Vec<(String, String)> = serde_json::from_value(row["headers"].clone()).expect("pairs");
    wanted
        .iter_mut()
        .for_each(|(name, _)| name.make_ascii_lowercase());
    wanted.sort();
    assert_eq!(headers, wanted, "{row}");
    assert_eq!(answer.text().await.expect("body"), text("body"), "{row}");
}
