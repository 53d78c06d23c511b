//! Heavy queries: they fail alone, end when nobody waits for them, are named after a crash, logged and explained.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, Server, http_client};

/// Seconds of work on one thread, and little memory: a regression over 10 days at each of 11,001 steps.
const LONG: &str = "deriv(vector(time())[10d:10s])";
const POLL: Duration = Duration::from_millis(10);
/// A tenth of a second, and what a busy machine and a build without optimisation cost.
const SOON: Duration = Duration::from_secs(1);
/// A client that has gone looks like one that has only ended its side: for so long it is waited for.
const HALF_CLOSED: Duration = Duration::from_secs(1);

fn long_path() -> String {
    format!(
        "/api/v1/query_range?query={}&start=1000000&end=1660000&step=60",
        encoded(LONG)
    )
}

fn instant_path(query: &str) -> String {
    format!("/api/v1/query?query={}&time=10000000", encoded(query))
}

fn encoded(query: &str) -> String {
    url::form_urlencoded::byte_serialize(query.as_bytes()).collect()
}

/// Sends a request and leaves the answer to itself.
fn ask(server: &Server, path: &str) -> TcpStream {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("sent");
    stream
}

async fn metric(server: &Server, name: &str) -> f64 {
    let (_, text) = server.get("/metrics").await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

/// Waits until that many queries run; how long that took.
async fn wait_running(server: &Server, running: f64) -> Duration {
    let begin = Instant::now();
    while metric(server, "prometheus_engine_queries").await != running {
        assert!(
            begin.elapsed() < PATIENCE,
            "not {running} queries:\n{}",
            server.log()
        );
        tokio::time::sleep(POLL).await;
    }
    begin.elapsed()
}

/// Each kind of work on its own, each for seconds: in the midst of it its client hangs up.
#[tokio::test]
async fn a_client_that_hangs_up_ends_its_query() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &[]).await;
    // As many series as there are steps, from nothing.
    let many = "last_over_time(count_values(\"v\", vector(time()))[3000s:1s])";
    let paths = [
        long_path(),
        instant_path("max_over_time(deriv(vector(time())[2d:1s])[2d:1m])"),
        instant_path("max_over_time(quantile_over_time(0.5, vector(time())[2d:1s])[2d:1m])"),
        instant_path(&format!("sort({many}) or topk(2000, {many})")),
        instant_path(&format!(
            "quantile(0.5, {many}) + on () group_left sum({many}) by (v)"
        )),
        instant_path(&format!(
            "label_replace({many}, \"w\", \"$1$1\", \"v\", \"(.*)0(.*)\")"
        )),
    ];
    for path in paths {
        let stream = ask(&server, &path);
        wait_running(&server, 1.0).await;
        drop(stream);
        let took = wait_running(&server, 0.0).await;
        assert!(took < HALF_CLOSED + SOON, "{path} went on for {took:?}");
        assert_eq!(metric(&server, "narthex_query_memory_bytes").await, 0.0, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_writing_of_its_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &[]).await;
    let stream = ask(
        &server,
        "/api/v1/query?query=vector(time())[30d:5s]&time=10000000",
    );
    // It is there, and nobody reads it.
    let memory = async || metric(&server, "narthex_query_memory_bytes").await;
    let running = async || metric(&server, "prometheus_engine_queries").await;
    let begin = Instant::now();
    while memory().await == 0.0 || running().await > 0.0 {
        assert!(begin.elapsed() < PATIENCE, "no answer:\n{}", server.log());
        tokio::time::sleep(POLL).await;
    }
    drop(stream);
    let begin = Instant::now();
    while memory().await > 0.0 {
        assert!(begin.elapsed() < SOON, "the answer is still there");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test]
async fn queries_that_ran_at_a_crash_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let mut server = Server::start(folder.path(), "{}", &["--query.max-concurrency=2"]).await;
    let _stream = ask(&server, &long_path());
    wait_running(&server, 1.0).await;
    let file = std::fs::read(folder.path().join("data/queries.active")).expect("the file");
    assert_eq!((file.len(), file[0]), (4001, b'['));
    server.kill();
    server.restart().await;
    let log = server.log();
    let named =
        |line: &&str| line.contains("didn't finish in the last run") && line.contains("deriv(vector(time())");
    assert_eq!(log.lines().filter(named).count(), 1, "{log}");
}

#[tokio::test]
async fn time_in_the_queue_counts() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &["--query.max-concurrency=1"]).await;
    let _stream = ask(&server, &long_path());
    wait_running(&server, 1.0).await;
    let answer = server.api("query", &[("query", "1"), ("timeout", "100ms")]).await;
    assert_eq!(answer["errorType"], "timeout", "{answer}");
    assert_eq!(answer["error"], "query timed out in query queue");
}

/// Many queries at once, each of which alone would take more than all of them may.
#[tokio::test]
async fn no_query_takes_the_server_down() {
    let folder = tempfile::tempdir().expect("folder");
    let total = 48 << 20;
    let flag = format!("--query.max-total-memory={}MB", total >> 20);
    let server = Server::start(folder.path(), "{}", &[&flag, "--query.max-concurrency=32"]).await;
    let before = peak_bytes(&server);
    let mut doubled = "label_replace(vector(1), \"a\", \"xxxxxxxxxxxxxxxx\", \"\", \"\")".to_owned();
    for _ in 0..20 {
        doubled = format!("label_replace({doubled}, \"a\", \"$1$1$1$1\", \"a\", \"(.*)\")");
    }
    let queries = [
        "max_over_time(vector(1)[100000d:1ms])",
        "vector(time())[30d:1s]",
        "count_values(\"v\", vector(time()))[3h:1s]",
        "topk(5, vector(time()) or label_replace(vector(2), \"a\", \"b\", \"\", \"\"))[10d:1s]",
        "max_over_time(max_over_time(vector(time())[60d:1s])[60d:1s])",
        "quantile_over_time(0.5, vector(time())[50d:1s])",
        doubled.as_str(),
    ];
    let mut asked = tokio::task::JoinSet::new();
    for query in queries.iter().cycle().take(28) {
        let url = format!("{}/api/v1/query", server.url);
        let form = [("query", (*query).to_owned()), ("time", "10000000".to_owned())];
        asked.spawn(async move {
            let body = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&form)
                .finish();
            let request = http_client()
                .post(url)
                .header("Content-Type", "application/x-www-form-urlencoded");
            let answer = request.body(body).send().await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a body"))
        });
    }
    let mut refused = 0;
    while let Some(answer) = asked.join_next().await {
        let (status, body) = answer.expect("asked");
        if status != 200 {
            let error: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(
                (status, error["errorType"].as_str()),
                (422, Some("execution")),
                "{body}\n{}",
                server.log()
            );
            let text = error["error"].as_str().unwrap_or_default();
            let over = text.contains("too much memory: at `") && text.contains("--query.max-");
            // What doubles where nobody else takes memory comes to where no label can hold it.
            assert!(over || text.ends_with("bytes is too long"), "{text}");
            refused += 1;
        }
    }
    assert!(refused >= 20, "only {refused} queries were refused");
    assert_eq!(server.query("1 + 1").await.len(), 2, "light queries go on");
    assert_eq!(metric(&server, "narthex_query_memory_bytes").await, 0.0);
    let grown = peak_bytes(&server).saturating_sub(before);
    assert!(
        grown < 2 * total + (64 << 20),
        "the process has grown by {} MiB",
        grown >> 20
    );
}

/// Most memory that the process has had.
fn peak_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn log_lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn queries_are_logged_where_the_configuration_says() {
    let folder = tempfile::tempdir().expect("folder");
    let rules = "groups: [{name: g, interval: 1s, rules: [{record: one, expr: 'vector( 1 )'}]}]";
    std::fs::write(folder.path().join("rules.yml"), rules).expect("rules");
    let with_log = "global: {query_log_file: queries.log}\nrule_files: [rules.yml]";
    let server = Server::start(folder.path(), with_log, &[]).await;
    let path = folder.path().join("queries.log");
    server
        .get("/api/v1/query_range?query=2&start=1000.5&end=1010&step=2.5")
        .await;
    server
        .get("/api/v1/query?query=vector(1)%2Bon()vector(2)%2B")
        .await;
    let failing = [("query", "label_replace(vector(1), \"a\", \"b\", \"c\", \"(\")")];
    server.api("query", &failing).await;
    let of_request = |line: &&Value| line["httpRequest"].is_object();
    let lines = log_lines(&path);
    let asked: Vec<&Value> = lines.iter().filter(of_request).collect();
    let [range, failed] = asked.as_slice() else {
        panic!("what is no query is not logged: {lines:?}")
    };
    assert_eq!(range["params"]["query"], "2");
    assert_eq!(range["params"]["start"], "1970-01-01T00:16:40.500Z");
    assert_eq!(range["params"]["end"], "1970-01-01T00:16:50.000Z");
    assert_eq!(range["params"]["step"], 2);
    assert_eq!(range["httpRequest"]["clientIP"], "127.0.0.1");
    assert_eq!(range["httpRequest"]["method"], "GET");
    assert_eq!(range["httpRequest"]["path"], "/api/v1/query_range");
    assert!(range["stats"]["timings"]["execTotalTime"].is_number() && range["error"].is_null());
    assert!(
        failed["error"]
            .as_str()
            .is_some_and(|error| error.contains("label_replace")),
        "{failed}"
    );
    let begin = Instant::now();
    while !log_lines(&path)
        .iter()
        .any(|line| line["ruleGroup"]["name"] == "g")
    {
        assert!(begin.elapsed() < PATIENCE, "no query of the rule");
        tokio::time::sleep(POLL).await;
    }
    let lines = log_lines(&path);
    let rule = lines
        .iter()
        .find(|line| line["ruleGroup"].is_object())
        .expect("a rule's");
    assert_eq!(rule["params"]["query"], "vector(1)");
    assert!(
        rule["ruleGroup"]["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("rules.yml"))
    );
    // A reload opens the file anew, which is what rotation is made of, and ends the log.
    std::fs::rename(&path, folder.path().join("queries.log.1")).expect("renamed");
    reload(&server, with_log).await;
    server.query("3").await;
    assert!(log_lines(&path).iter().any(|line| line["params"]["query"] == "3"));
    assert_eq!(metric(&server, "prometheus_engine_query_log_enabled").await, 1.0);
    reload(&server, "{}").await;
    server.query("4").await;
    assert!(!log_lines(&path).iter().any(|line| line["params"]["query"] == "4"));
    assert_eq!(metric(&server, "prometheus_engine_query_log_enabled").await, 0.0);
    let status = reload_status(&server, "global: {query_log_file: /nowhere/queries.log}").await;
    assert_eq!(status, 500);
}

async fn reload_status(server: &Server, config: &str) -> u16 {
    std::fs::write(server.folder.join("narthex.yml"), config).expect("configuration");
    let answer = http_client()
        .post(format!("{}/-/reload", server.url))
        .send()
        .await;
    answer.expect("an answer").status().as_u16()
}

async fn reload(server: &Server, config: &str) {
    assert_eq!(reload_status(server, config).await, 200, "{}", server.log());
}

#[tokio::test]
async fn queries_are_explained() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &[]).await;
    let query = "sum(vector(1)) + sum(vector(1))";
    let answer = server
        .api("query", &[("query", query), ("explain", "analyze")])
        .await;
    assert_eq!(answer["data"]["result"][0]["value"][1], "2");
    let plan = &answer["data"]["explain"]["plan"];
    assert_eq!(plan["query"], query);
    assert_eq!(plan["inputs"][0]["operation"], "aggregate, sum");
    assert!(
        plan["wallSeconds"].as_f64().is_some_and(|seconds| seconds > 0.0),
        "{plan}"
    );
    assert!(answer["data"]["explain"]["totals"]["peakBytes"].is_number());
    let params = [
        ("query", query),
        ("explain", "plan"),
        ("start", "0"),
        ("end", "60"),
        ("step", "15"),
    ];
    let answer = server.api("query_range", &params).await;
    assert_eq!(answer["data"]["result"], serde_json::json!([]));
    let plan = &answer["data"]["explain"]["plan"];
    assert_eq!(plan["operation"], "repeat");
    assert_eq!(
        (&plan["steps"], &plan["wallSeconds"]),
        (&Value::from(5), &Value::Null)
    );
    let answer = server.api("query", &[("query", query)]).await;
    assert!(answer["data"]["explain"].is_null());
    let answer = server.api("query", &[("query", query), ("explain", "x")]).await;
    assert_eq!(
        answer["error"],
        "invalid parameter \"explain\": must be \"plan\" or \"analyze\""
    );
    let shown = crate::harness::narthex(&["query", "explain", &server.url, query], folder.path(), b"");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(
        text.contains("├─ aggregate, sum") && text.contains("\nTotal: "),
        "{text}"
    );
}

/// Posts a form and gives status and body.
async fn post(server: &Server, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let url = format!("{}/api/v1/{path}", server.url);
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let answer = http_client()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

#[tokio::test]
async fn deep_and_large_queries_end_no_server() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &[]).await;
    let chain = vec!["up"; 9_000].join(" or ");
    let parens = format!("{}up{}", "(".repeat(1_000), ")".repeat(1_000));
    for query in [&chain, &parens] {
        for explain in ["plan", "analyze"] {
            let (status, body) = post(&server, "query", &[("query", query), ("explain", explain)]).await;
            assert_eq!(status, 200, "{explain}: {body}");
            assert!(body.len() < 4 * query.len() + 100_000, "{}", body.len());
            // serde_json reads 128 levels, like other readers.
            let answer: Value = serde_json::from_str(&body).expect("JSON of bounded depth");
            assert!(
                answer["data"]["explain"]["plan"]["operation"].is_string(),
                "{body}"
            );
        }
        for path in ["parse_query", "query"] {
            let (status, body) = post(&server, path, &[("query", query)]).await;
            assert_eq!(status, 200, "{path}: {body}");
        }
    }
    let (status, _) = post(&server, "format_query", &[("query", &parens)]).await;
    assert_eq!(status, 200);
    let (status, body) = post(&server, "format_query", &[("query", &chain)]).await;
    assert_eq!(status, 400);
    assert!(
        body.contains("broken into lines, the expression would take more than 64 MiB"),
        "{body}"
    );
    // The larger one is too large for a form, before anybody looks at its patterns.
    for (patterns, refused) in [
        (
            200_000,
            "the regular expressions of the query would take more than",
        ),
        (266_000, "request body too large: a form may have 10485760 bytes"),
    ] {
        let patterns: String = (0..patterns)
            .map(|i| format!("a=~\"x{i}.+y.*z[0-9]\","))
            .collect();
        let (status, body) = post(&server, "query", &[("query", &format!("up{{{patterns}}}"))]).await;
        assert_eq!(status, 400);
        assert!(body.contains(refused), "{body}");
    }
    assert_eq!(server.get("/-/healthy").await.0, 200);
}
