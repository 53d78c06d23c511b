//! What the reference makes of a folder that a kill has left: its tool, and its server of version 3.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::labels::Labels;
use serde_json::Value as Json;

use super::oracle::Oracle;
use super::plan;
use crate::support::{Contents, Value};

/// Longest wait for the server.
const PATIENCE: Duration = Duration::from_secs(60);

/// The reference's server finds the same samples in the folder, which it may change.
pub(super) fn compare_with_server(program: &Path, dir: &Path, oracle: &Oracle) {
    let server = Server::start(program, dir);
    // A range of all time, at its end. Selecting a range passes over staleness markers.
    let (range_s, at_s) = (30 * 24 * 3600, 29 * 24 * 3600);
    let query = format!("/api/v1/query?query=%7B__name__!%3D%22%22%7D%5B{range_s}s%5D&time={at_s}");
    let (status, body) = server.get(&query).expect("an answer");
    assert_eq!(status, 200, "{body}");
    let answer: Json = serde_json::from_str(&body).expect("JSON");
    let result = answer["data"]["result"].as_array().expect("a matrix");
    let mut found: BTreeMap<Labels, BTreeMap<i64, Value>> = result.iter().map(series).collect();
    // Compat: late chunks that blocks hold come back to it as long as their chunk file is needed for others, and with
    // them what has expired or was deleted since; after restarts of its own too.
    for (labels, samples) in &mut found {
        samples.retain(|t, _| !oracle.is_gone(labels, *t) || plan::is_in_order(*t));
    }
    for (labels, samples) in oracle.must() {
        let mut there = found.remove(labels).unwrap_or_default();
        for (t, value) in samples.iter().filter(|(_, value)| !is_stale(value)) {
            let other = there.remove(t);
            let same = other.as_ref() == Some(&as_shown(value));
            assert!(
                same,
                "the reference gives {other:?} and not {value:?} for {labels} at {t}"
            );
        }
        assert!(there.is_empty(), "only the reference has {there:?} of {labels}");
    }
    found.retain(|_, samples| !samples.is_empty());
    assert!(found.is_empty(), "only the reference has {found:?}");
}

fn is_stale(value: &Value) -> bool {
    *value == Value::Float(model::sample::stale_nan().to_bits())
}

/// What an answer tells of a value: not whether counts are whole numbers.
fn as_shown(value: &Value) -> Value {
    match value {
        Value::Histogram(text) => Value::Histogram(text.trim_start_matches("float ").to_owned()),
        float => float.clone(),
    }
}

/// A series of an answer.
fn series(json: &Json) -> (Labels, BTreeMap<i64, Value>) {
    let text = |json: &Json| json.as_str().expect("a text").to_owned();
    let list = |name: &str| json[name].as_array().into_iter().flatten();
    let time_ms = |sample: &Json| (sample[0].as_f64().expect("a time") * 1000.0).round() as i64;
    let labels = json["metric"].as_object().expect("labels").iter();
    let labels = Labels::from_pairs(labels.map(|(name, value)| (name.clone(), text(value))));
    let floats = list("values").map(|sample| {
        let value: f64 = text(&sample[1]).parse().expect("a number");
        (time_ms(sample), Value::Float(value.to_bits()))
    });
    let histograms =
        list("histograms").map(|sample| (time_ms(sample), Value::Histogram(histogram(&sample[1]))));
    (labels, floats.chain(histograms).collect())
}

/// A histogram as ours are printed.
fn histogram(json: &Json) -> String {
    let text = |json: &Json| json.as_str().expect("a text").to_owned();
    let mut printed = format!("{{count:{}, sum:{}", text(&json["count"]), text(&json["sum"]));
    for bucket in json["buckets"].as_array().into_iter().flatten() {
        let (open, close) = match bucket[0].as_u64() {
            Some(0) => ('(', ']'),
            Some(1) => ('[', ')'),
            Some(2) => ('(', ')'),
            _ => ('[', ']'),
        };
        let (lower, upper, count) = (text(&bucket[1]), text(&bucket[2]), text(&bucket[3]));
        printed.push_str(&format!(", {open}{lower},{upper}{close}:{count}"));
    }
    printed.push('}');
    printed
}

/// A server of the reference; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts it on the folder and waits until it has read it.
    fn start(program: &Path, dir: &Path) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.expect("a port").to_string();
        let config = dir.with_extension("yml");
        let window = "storage: {tsdb: {out_of_order_time_window: 20s}}\n";
        std::fs::write(&config, window).expect("a file");
        let log = std::fs::File::create(dir.with_extension("log")).expect("a file");
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.display()))
            .arg(format!("--storage.tsdb.min-block-duration={}ms", plan::RANGE_MS))
            .arg(format!(
                "--storage.tsdb.max-block-duration={}ms",
                9 * plan::RANGE_MS
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--storage.tsdb.retention.time=100y")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the reference starts");
        let mut server = Server { child, address };
        let begin = Instant::now();
        while server.get("/-/ready").is_none_or(|(status, _)| status != 200) {
            let gone = server.child.try_wait().expect("a child").is_some();
            let log = || std::fs::read_to_string(dir.with_extension("log")).unwrap_or_default();
            assert!(
                !gone && begin.elapsed() < PATIENCE,
                "the reference does not start:\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Asks for a path; status and body. `None` where nobody answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The reference's own tool finds the same floats in the folder, from `from_ms` until before `until_ms`.
pub(super) fn compare_with_promtool(dir: &Path, contents: &Contents, (from_ms, until_ms): (i64, i64)) {
    let Some(promtool) = testkit::program(testkit::Need::Promtool) else {
        return;
    };
    let output = Command::new(promtool)
        .args(["tsdb", "dump", "--match={__name__=\"float\"}"])
        .arg(dir)
        .output()
        .expect("promtool starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let found: HashMap<(&str, i64), f64> = text
        .lines()
        .filter_map(|line| {
            let (labels, rest) = line.rsplit_once("} ")?;
            let (value, time) = rest.split_once(' ')?;
            Some(((labels, time.parse().ok()?), value.parse().ok()?))
        })
        .collect();
    for (labels, samples) in contents {
        if labels.metric_name() != "float" {
            continue;
        }
        // As the reference prints them, but for the last brace.
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        let key = format!("{{{}", pairs.join(", "));
        for (t, value) in samples.range(from_ms..until_ms.max(from_ms)) {
            let Value::Float(bits) = value else {
                continue;
            };
            let want = f64::from_bits(*bits);
            let there = found.get(&(key.as_str(), *t));
            let same = there.is_some_and(|v| v.to_bits() == want.to_bits() || (v.is_nan() && want.is_nan()));
            assert!(
                same,
                "promtool gives {there:?} and not {want} for {labels} at {t}"
            );
        }
    }
}
