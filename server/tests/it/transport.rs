//! Every route through every way that clients have of asking, against one plain copy of the answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use crate::harness::{PATIENCE, Server, http_client, narthex};

/// Series in the store: more than an answer that is written at once, and megabytes of labels.
const SERIES: usize = 12_000;
/// When their only sample was, in seconds.
const AT_S: i64 = 1_700_000_000;

/// Every route that answers GET, with parameters that make its answer the same each time; large ones where there are.
pub(crate) const ROUTES: &[&str] = &[
    "/query",
    "/-/healthy",
    "/-/ready",
    "/metrics",
    "/nowhere",
    "/api/v1/nowhere",
    "/api/v1/query?query=1&time=1700000000",
    "/api/v1/query?query=many&time=1700000000",
    "/api/v1/query?query=vector(time())[300000s:10s]&time=1700000000",
    "/api/v1/query?query=up{&time=1700000000",
    "/api/v1/query_range?query=time()&start=1699989001&end=1700000000&step=1",
    "/api/v1/query_range?query=time()&start=1699999990&end=1700000000&step=1",
    "/api/v1/query_exemplars?query=many&start=1699989001&end=1700000000",
    "/api/v1/format_query?query=sum(up)by(job)",
    "/api/v1/parse_query?query=sum(up)by(job)",
    "/api/v1/labels",
    "/api/v1/label/path/values",
    "/api/v1/label/__name__/values",
    "/api/v1/series?match[]=many",
    "/api/v1/series?match[]=many&match[]=many2",
    "/api/v1/series?match[]=many&limit=3",
    "/api/v1/scrape_pools",
    "/api/v1/targets",
    "/api/v1/targets/metadata",
    "/api/v1/metadata",
    "/api/v1/alertmanagers",
    "/api/v1/alerts",
    "/api/v1/rules",
    "/api/v1/status/config",
    "/api/v1/status/runtimeinfo",
    "/api/v1/status/buildinfo",
    "/api/v1/status/flags",
    "/api/v1/status/aggregation",
    "/api/v1/status/tsdb",
    "/api/v1/status/tsdb/blocks",
    "/api/v1/status/walreplay",
    "/api/v1/features",
    "/api/v1/notifications",
];

/// What `Accept-Encoding` may say.
const ENCODINGS: &[Option<&str>] = &[
    None,
    Some("identity"),
    Some("gzip"),
    Some("deflate"),
    Some("gzip, deflate, br, zstd"),
    Some("gzip;q=0, deflate;q=0.5, identity;q=0.1"),
    Some("gzip;q=0.2, identity;q=1"),
    Some("*"),
];

/// What is asked for over HTTP/1.0 and 2 too.
const ELSEWHERE: &[Option<&str>] = &[
    None,
    Some("gzip"),
    Some("gzip;q=0, deflate;q=0.5, identity;q=0.1"),
];

/// An answer, its transfer and content encoding undone.
#[derive(Debug)]
struct Answer {
    status: u16,
    encoding: String,
    body: Vec<u8>,
}

impl Answer {
    /// What can be compared: numbers in the answers of these routes differ from one moment to the next.
    fn steady(&self, path: &str) -> Vec<u8> {
        let moves = [
            "/metrics",
            "/status/runtimeinfo",
            "/status/tsdb",
            "/api/v1/targets",
            "/api/v1/rules",
        ];
        if !moves
            .iter()
            .any(|route| path.starts_with(route) || path.ends_with(route))
        {
            return self.body.clone();
        }
        if path == "/metrics" {
            // Others come and go with what happens.
            let text = String::from_utf8_lossy(&self.body);
            assert!(text.ends_with('\n'));
            let lines = text.lines().filter(|line| line.starts_with("# TYPE process_"));
            return lines.collect::<String>().into_bytes();
        }
        let mut steady = self.body.clone();
        steady.retain(|byte| !byte.is_ascii_digit() && !b".e+-".contains(byte));
        steady
    }
}

fn undo(encoding: &str, body: Vec<u8>, what: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match encoding {
        "" => return body,
        "gzip" => flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain),
        "deflate" => flate2::read::ZlibDecoder::new(&body[..]).read_to_end(&mut plain),
        other => panic!("{what}: encoding {other}"),
    };
    read.unwrap_or_else(|error| panic!("{what}: {encoding}: {error}"));
    plain
}

/// Sends a request over HTTP/1.
fn send(stream: &mut TcpStream, version: &str, path: &str, headers: &[(&str, &str)]) {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!("GET {path} HTTP/{version}\r\nHost: x\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
}

/// Reads one answer of HTTP/1, in pieces of `piece` bytes at most.
fn receive(reader: &mut BufReader<TcpStream>, piece: usize, what: &str) -> Answer {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{what}: {line:?}"));
    let (mut length, mut chunked, mut encoding) = (None, false, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse::<usize>().expect("a length")),
            "transfer-encoding" => chunked = value == "chunked",
            "content-encoding" => value.clone_into(&mut encoding),
            _ => {}
        }
    }
    let mut body = Vec::new();
    let mut take = |reader: &mut BufReader<TcpStream>, bytes: usize| {
        let until = body.len() + bytes;
        while body.len() < until {
            let from = body.len();
            body.resize(until.min(from + piece), 0);
            reader
                .read_exact(&mut body[from..])
                .unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    };
    match (chunked, length) {
        (true, _) => loop {
            line.clear();
            reader.read_line(&mut line).expect("a chunk's size");
            let bytes = usize::from_str_radix(line.trim_end(), 16)
                .unwrap_or_else(|_| panic!("{what}: the answer breaks off: {line:?}"));
            take(reader, bytes);
            line.clear();
            reader.read_line(&mut line).expect("a chunk's end");
            assert_eq!(line, "\r\n", "{what}");
            if bytes == 0 {
                break;
            }
        },
        (false, Some(bytes)) => take(reader, bytes),
        (false, None) => drop(reader.read_to_end(&mut body).expect("the end of the connection")),
    }
    let body = undo(&encoding, body, what);
    Answer {
        status,
        encoding,
        body,
    }
}

fn connect(server: &Server) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(server.url.trim_start_matches("http://")).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    BufReader::new(stream)
}

/// One answer over HTTP/1 on a connection of its own.
fn ask(server: &Server, version: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut reader = connect(server);
    send(reader.get_mut(), version, path, headers);
    receive(
        &mut reader,
        1 << 20,
        &format!("HTTP/{version} {path} {headers:?}"),
    )
}

/// A server that has something to say on each route.
async fn talkative(folder: &Path) -> Server {
    let mut text = String::from("# TYPE many gauge\n");
    for number in 0..SERIES {
        text += &format!(
            "many{{path=\"/a/path/{number}\",other=\"{}\"}} 1 {AT_S}\n",
            number % 7
        );
    }
    text += "# TYPE many2 gauge\nmany2 1 1700000000\n# EOF\n";
    let blocks = narthex(
        &["tsdb", "create-blocks-from", "openmetrics", "-", "data"],
        folder,
        text.as_bytes(),
    );
    assert!(blocks.status.success(), "{blocks:?}");
    let rules: String = (0..500)
        .map(|number| format!("  - {{record: 'r{number}', expr: 'vector({number})', labels: {{some: 'label of the rule'}}}}\n"))
        .collect();
    std::fs::write(
        folder.join("rules.yml"),
        format!("groups:\n- name: g\n  interval: 1d\n  rules:\n{rules}"),
    )
    .expect("rules");
    let targets: Vec<String> = (0..1000).map(|number| format!("'10.1.2.3:{number}'")).collect();
    let config = format!(
        "rule_files: [rules.yml]\nscrape_configs:\n- job_name: dropped\n  static_configs: [{{targets: [{}]}}]\n  \
         relabel_configs: [{{action: drop, source_labels: [__address__], regex: '10.*'}}]\n",
        targets.join(",")
    );
    Server::start(folder, &config, &["--storage.tsdb.retention.time=100y"]).await
}

#[tokio::test]
async fn every_way_of_asking_gives_the_same_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let server = talkative(folder.path()).await;
    let mut large = 0;
    let plain = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    for path in ROUTES {
        let expected = ask(&server, "1.1", path, &[("Connection", "close")]);
        large += usize::from(expected.body.len() > 200_000);
        let same = |answer: &Answer, what: &str| {
            assert_eq!(answer.status, expected.status, "{what}");
            assert!(
                answer.steady(path) == expected.steady(path),
                "{what}: {} bytes, {} expected",
                answer.body.len(),
                expected.body.len()
            );
        };
        // All of one route over one connection, then each over its own.
        let mut kept = connect(&server);
        for encoding in ENCODINGS {
            let headers: Vec<(&str, &str)> =
                encoding.iter().map(|value| ("Accept-Encoding", *value)).collect();
            let what = format!("{path} {encoding:?}");
            send(kept.get_mut(), "1.1", path, &headers);
            let answer = receive(&mut kept, 3000, &format!("{what} kept"));
            same(&answer, &format!("{what} kept"));
            match encoding {
                None | Some("identity" | "gzip;q=0.2, identity;q=1") => {
                    assert_eq!(answer.encoding, "", "{what}");
                }
                Some("gzip") if path.starts_with("/api/v1/") && expected.body.len() > 1000 => {
                    assert_eq!(answer.encoding, "gzip", "{what}");
                }
                Some(_) => {}
            }
            if !ELSEWHERE.contains(encoding) {
                continue;
            }
            same(&ask(&server, "1.0", path, &headers), &format!("{what} 1.0"));
            let mut request = plain
                .get(format!("{}{path}", server.url))
                .version(reqwest::Version::HTTP_2);
            if let Some(value) = encoding {
                request = request.header("Accept-Encoding", *value);
            }
            let answer = request
                .send()
                .await
                .unwrap_or_else(|error| panic!("{what} 2: {error:?}"));
            let status = answer.status().as_u16();
            let encoding = answer
                .headers()
                .get("content-encoding")
                .map_or("", |value| value.to_str().expect("text"));
            let encoding = encoding.to_owned();
            let body = answer
                .bytes()
                .await
                .unwrap_or_else(|error| panic!("{what} 2: {error:?}"));
            let body = undo(&encoding, body.to_vec(), &what);
            same(
                &Answer {
                    status,
                    encoding,
                    body,
                },
                &format!("{what} 2"),
            );
        }
    }
    assert!(large >= 6, "only {large} of the answers are large");
}

/// A hand-made client that asks, waits until the server can write no more, and only then reads.
#[tokio::test]
async fn a_reader_that_begins_late_gets_the_whole_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &[]).await;
    let path = "/api/v1/query?query=vector(time())[20d:10s]&time=10000000";
    let expected = ask(&server, "1.1", path, &[("Connection", "close")]);
    assert!(expected.body.len() > 3_000_000);
    let held = async || {
        let (_, text) = server.get("/metrics").await;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok())
                .expect("a metric")
        };
        (
            value("prometheus_engine_queries "),
            value("narthex_query_memory_bytes "),
        )
    };
    for encoding in ["identity", "gzip", "deflate"] {
        let mut readers = Vec::new();
        for _ in 0..3 {
            let mut reader = connect(&server);
            send(reader.get_mut(), "1.1", path, &[("Accept-Encoding", encoding)]);
            readers.push(reader);
        }
        // All three are evaluated. A compressed answer may fit the system's buffers.
        let begin = std::time::Instant::now();
        loop {
            let (running, bytes) = held().await;
            if running == 0.0 && (bytes > 0.0 || encoding != "identity") {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{running} queries, {bytes} bytes");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        for mut reader in readers {
            let answer = receive(&mut reader, 1000, encoding);
            assert_eq!(
                (answer.status, answer.encoding.as_str()),
                (200, encoding.trim_start_matches("identity"))
            );
            assert!(answer.body == expected.body, "{encoding}");
        }
    }
}

/// Forms, the way that Grafana asks, and requests one after another without waiting.
#[tokio::test]
async fn forms_and_requests_in_advance() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &[]).await;
    let form = "query=vector(time())[300000s:10s]&time=1700000000";
    let expected = ask(
        &server,
        "1.1",
        "/api/v1/query?query=vector(time())[300000s:10s]&time=1700000000",
        &[],
    );
    let answer = http_client()
        .post(format!("{}/api/v1/query", server.url))
        .header("Accept-Encoding", "gzip")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let body = undo("gzip", answer.bytes().await.expect("a body").to_vec(), "form");
    assert!(body == expected.body);
    let mut reader = connect(&server);
    let paths = [
        "/api/v1/query?query=1&time=1",
        "/api/v1/query?query=vector(time())[300000s:10s]&time=1700000000",
        "/-/healthy",
    ];
    for path in paths {
        send(reader.get_mut(), "1.1", path, &[("Accept-Encoding", "gzip")]);
    }
    let answers: Vec<Answer> = paths
        .iter()
        .map(|path| receive(&mut reader, 5000, path))
        .collect();
    assert!(answers[1].body == expected.body);
    assert_eq!(answers[2].body, b"Prometheus Server is Healthy.\n");
}
