//! The reference's answers to requests of all kinds on five set-ups, replayed against ours.
//!
//! What is asked, and what was answered, stands in the conformance data; here stand the routes that this version does not
//! have, and the answers that are knowingly others.

mod compare;
mod document;
mod exporters;
mod remote_read;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, own_program};
use compare::difference;
use document::Document;
use wire::{Answer, ask};

/// Routes that are not there yet: a line for a pattern, which ends with what any path may begin with. One that gets
/// built is to be taken off the list.
const MISSING: [&str; 0] = [];
/// Answers that differ and stay so, by the numbers of their lines, and why. The long form is in docs/differences.md.
const KNOWN: [(&[u64], &str); 6] = [
    (&[720, 731], "flags of parts that are not there, and of our own"),
    (&[746, 747], "what is not there is not offered"),
    (
        &[724, 745],
        "what is counted here has no native histograms, and does not say since when it is counted",
    ),
    (
        &[247],
        "every route reads forms in parts, not only those of queries",
    ),
    (
        &[767],
        "a refusal is text, and does not say that it is compressed",
    ),
    (&[1342], "redirects of the API keep its prefix"),
];

/// A server of the conformance data.
struct Setup {
    name: String,
    folder: PathBuf,
    base: u16,
    child: Child,
}

impl Drop for Setup {
    fn drop(&mut self) {
        // Gone already is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts ports in the place of `@0@` to `@9@`.
fn with_ports(text: &str, base: u16) -> String {
    (0..10).fold(text.to_owned(), |text, offset| {
        text.replace(&format!("@{offset}@"), &(base + offset).to_string())
    })
}

fn copy_folder(from: &Path, to: &Path, base: u16) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target, base);
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "yml")
        {
            let text = std::fs::read_to_string(entry.path()).expect("text");
            std::fs::write(target, with_ports(&text, base)).expect("copy");
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

impl Setup {
    fn start(conformance: &Path, scratch: &Path, name: &str, spec: &Value, base: u16) -> Setup {
        let folder = scratch.join(name);
        copy_folder(&conformance.join("api"), &folder, base);
        let config = spec["config"].as_str().expect("a name");
        if config != "prometheus.yml" {
            std::fs::copy(folder.join(config), folder.join("prometheus.yml")).expect("copy");
        }
        std::fs::copy(folder.join("prometheus.yml"), folder.join("prometheus.good.yml")).expect("copy");
        if let Some(data) = spec["data"].as_str() {
            copy_folder(
                &conformance.join("tsdb").join(data).join("data"),
                &folder.join("data"),
                base,
            );
        }
        let log = std::fs::File::create(folder.join("log.txt")).expect("log file");
        let flags = spec["flags"]
            .as_array()
            .expect("flags")
            .iter()
            .filter_map(Value::as_str);
        let child = Command::new(own_program())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{base}"))
            .args(flags)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Setup {
            name: name.to_owned(),
            folder,
            base,
            child,
        }
    }

    async fn wait_until_ready(&mut self, prefix: &str) {
        let begin = Instant::now();
        let request = serde_json::json!({ "path": format!("{prefix}/-/ready") });
        while !ask(self.base, &request, "")
            .await
            .is_ok_and(|answer| answer.code == 200)
        {
            assert!(
                self.child.try_wait().expect("child").is_none() && begin.elapsed() < PATIENCE,
                "{}: {}",
                self.name,
                std::fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until what takes time has happened: targets scraped, rules evaluated.
    async fn wait_until_settled(&self, prefix: &str) {
        let asks = [
            ("count(count_over_time(up[5m]) >= 8)", 9.0),
            ("count(ALERTS{alertstate=\"firing\"})", 3.0),
        ];
        for (query, at_least) in asks {
            let mut path = url::Url::parse("http://x/api/v1/query").expect("URL");
            path.query_pairs_mut().append_pair("query", query);
            let request = serde_json::json!({ "path": format!("{prefix}{}?{}", path.path(), path.query().unwrap_or("")) });
            let begin = Instant::now();
            loop {
                let answer = ask(self.base, &request, "").await.expect("an answer").json();
                let value = answer["data"]["result"][0]["value"][1]
                    .as_str()
                    .and_then(|text| text.parse::<f64>().ok());
                if value.is_some_and(|value| value >= at_least) {
                    break;
                }
                assert!(begin.elapsed() < PATIENCE, "{}: {query}: {answer}", self.name);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Whether a path belongs to a route that is not there.
fn missing(path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or(path);
    let path = ["/outer", "/pre"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .unwrap_or(path);
    MISSING.into_iter().find(|pattern| path.starts_with(pattern))
}

/// What a replay found.
#[derive(Default)]
struct Report {
    asked: usize,
    differences: Vec<String>,
    missing: BTreeSet<&'static str>,
    known: BTreeMap<usize, bool>,
}

async fn replay(setup: &Setup, prefix: &str, lines: &[Value], report: &mut Report) {
    let document = Document::ask(setup.base, prefix).await;
    let mut token = String::new();
    for line in lines.iter().filter(|line| line["on"] == setup.name.as_str()) {
        if let Some(seconds) = line["wait"].as_f64() {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        if let Some(config) = line["config"].as_str() {
            std::fs::copy(setup.folder.join(config), setup.folder.join("prometheus.yml")).expect("copy");
        }
        let path = line["path"].as_str().expect("a path");
        let answer = ask(setup.base, line, &token).await;
        if let Some(pattern) = missing(path) {
            // Ends with the first that is answered as by the reference.
            if answer.is_ok_and(|answer| answer.code == 404) {
                report.missing.insert(pattern);
            }
            continue;
        }
        let expected: Value =
            serde_json::from_str(&with_ports(&line["expect"].to_string(), setup.base)).expect("JSON");
        let found = match &answer {
            Ok(answer) => {
                difference(line, &expected, answer).or_else(|| document.contradiction(line, answer))
            }
            Err(error) => Some(format!("no answer: {error}")),
        };
        token = answer
            .as_ref()
            .map_or_else(|_| String::new(), Answer::group_token);
        // Accidents of the reference.
        if line.get("lax").is_some() {
            continue;
        }
        report.asked += 1;
        let known = KNOWN
            .iter()
            .position(|(lines, _)| lines.iter().any(|id| line["id"] == *id));
        if let Some(known) = known {
            *report.known.entry(known).or_default() |= found.is_some();
        } else if let Some(found) = found {
            report
                .differences
                .push(format!("{} {} {path}: {found}", line["id"], setup.name));
        }
    }
}

#[tokio::test]
async fn requests_are_answered_as_the_reference_answers_them() {
    let Some(conformance) = testkit::conformance("") else {
        return;
    };
    let read =
        |name: &str| std::fs::read_to_string(conformance.join("api").join(name)).expect("conformance data");
    let lines: Vec<Value> = read("requests.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let servers: BTreeMap<String, Value> = serde_json::from_str(&read("servers.json")).expect("JSON");
    let scratch = tempfile::tempdir().expect("folder");
    let mut setups = Vec::new();
    for (name, spec) in &servers {
        let exporters = exporters::start(&conformance.join("api/exporters")).await;
        let setup = Setup::start(&conformance, scratch.path(), name, spec, exporters.base);
        let prefix = spec["prefix"].as_str().unwrap_or("").to_owned();
        setups.push((setup, prefix, spec.get("settle").is_some(), exporters));
    }
    let mut report = Report::default();
    for (setup, prefix, settles, _exporters) in &mut setups {
        setup.wait_until_ready(prefix).await;
        if *settles {
            setup.wait_until_settled(prefix).await;
        }
        replay(setup, prefix, &lines, &mut report).await;
    }
    assert!(report.asked > 1000, "only {} requests were asked", report.asked);
    assert!(
        report.differences.is_empty(),
        "{} of {} answers differ:\n{}",
        report.differences.len(),
        report.asked,
        report.differences.join("\n")
    );
    let gone: Vec<_> = MISSING
        .iter()
        .filter(|pattern| !report.missing.contains(*pattern))
        .collect();
    assert!(gone.is_empty(), "there now, take them off the list: {gone:?}");
    let mended: Vec<_> = report
        .known
        .iter()
        .filter(|(_, differs)| !**differs)
        .map(|(at, _)| KNOWN[*at].1)
        .collect();
    assert!(
        mended.is_empty(),
        "no longer different, take them off the list: {mended:?}"
    );
}
