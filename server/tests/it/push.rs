//! What is pushed in, over real HTTP: the ways in switched on and off, as the reference has them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Server, http_client};

/// Ways in of `push/status`, by their paths.
const PATHS: [&str; 2] = ["/api/v1/write", "/api/v1/otlp/v1/metrics"];
/// Servers of `push/status` that are not started, and why.
const NOT_STARTED: [(&str, &str); 4] = [
    ("receivers", "remote write is not served"),
    ("features", "remote write is not served"),
    ("features-2", "remote write is not served"),
    ("agent", "there is no agent mode"),
];
/// Those with remote write on.
const WITH_WRITE: [&str; 1] = ["v2-only"];

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
        if NOT_STARTED.iter().any(|(not, _)| not == name) || WITH_WRITE.contains(&name.as_str()) {
            continue;
        }
        let folder = tempfile::tempdir().expect("folder");
        let flags: Vec<&str> = setup.flags.iter().map(String::as_str).collect();
        let server = Server::start(folder.path(), &setup.config, &flags).await;
        let of_server = rows.iter().filter(|row| row["server"] == **name);
        for row in of_server.filter(|row| PATHS.iter().any(|path| row["path"] == *path)) {
            check(&server, row).await;
            compared += 1;
        }
    }
    println!("push/status: {compared} answers agree");
    assert!(compared > 0);
}

async fn check(server: &Server, row: &Value) {
    let text = |key: &str| row[key].as_str().expect("text");
    let method = text("method").parse().expect("method");
    let url = format!("{}{}", server.url, text("path"));
    // An empty request, where one is taken.
    let asked = http_client().request(method, url);
    let asked = asked.header("Content-Type", "application/x-protobuf");
    let answer = asked.send().await.expect("answer");
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
