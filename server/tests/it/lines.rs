//! Lines of text that are pushed: InfluxDB's protocol and the text format, over real HTTP.

use serde_json::Value;

use crate::harness::{Server, http_client};

const CONFIG: &str = "scrape_configs: []\n";

/// Posts a body; gives status and body of the answer.
async fn post(server: &Server, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let request = http_client().post(format!("{}{path}", server.url));
    let answer = request.body(body).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

fn now_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a time").as_secs()
}

fn labels(result: &[Value]) -> Value {
    result
        .first()
        .map_or(Value::Null, |series| series["metric"].clone())
}

#[tokio::test]
async fn lines_of_influx_become_samples() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), CONFIG, &["--web.enable-influx-receiver"]).await;
    let now = now_s();
    let body =
        format!("cpu,host=a usage_idle=99.5,up=t,text=\"no\" {now}\nmem,host=a,db=own free=7i {now}\n");
    let (code, text) = post(
        &server,
        "/write?db=telegraf&precision=s&extra_label=zone=eu",
        body,
    )
    .await;
    assert_eq!((code, text.as_str()), (204, ""));
    let found = server.query("cpu_usage_idle").await;
    let expected =
        serde_json::json!({"__name__": "cpu_usage_idle", "db": "telegraf", "host": "a", "zone": "eu"});
    assert_eq!(
        (labels(&found), &found[0]["value"][1]),
        (expected, &"99.5".into())
    );
    assert_eq!(server.query("cpu_up").await[0]["value"][1], "1");
    assert_eq!(labels(&server.query("mem_free").await)["db"], "own");
    assert!(server.query("cpu_text").await.is_empty());

    // A line that is wrong: nothing of the request is stored, or, where that is asked for, all the rest.
    let body = format!("good value=1 {now}000000000\nbad value=one\n");
    let (code, text) = post(&server, "/api/v2/write", body.clone()).await;
    assert_eq!(code, 400, "{text}");
    let error: Value = serde_json::from_str(&text).expect("JSON");
    let words = error["error"].as_str().expect("text");
    assert!(
        words.starts_with("line 2, column 11: expected a number"),
        "{words}"
    );
    assert!(words.ends_with("\n  bad value=one\n            ^"), "{words}");
    assert!(server.query("good_value").await.is_empty());
    let request = http_client()
        .post(format!("{}/influx/write", server.url))
        .header("Stream-Mode", "1");
    let answer = request.body(body).send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let words = answer.text().await.expect("a body");
    assert!(words.contains("partial write: 1 samples were stored"), "{words}");
    assert_eq!(server.query("good_value").await.len(), 1);

    // As at InfluxDB: in any order, and of two values for a time the last counts. One that is stored already stays.
    let body = format!("o,h=a v=1 {now}\no,h=a v=2 {}\no,h=a v=3 {now}\n", now - 10);
    for (body, value) in [(body.as_str(), "3"), (&format!("o,h=a v=4 {now}"), "3")] {
        let (code, text) = post(&server, "/write?precision=s", body.to_owned()).await;
        assert_eq!((code, text.as_str()), (204, ""));
        let found = server.query("o_v[1m]").await;
        let values = found[0]["values"].as_array().cloned().unwrap_or_default();
        assert_eq!(
            (values.len(), &values[0][1], &values[1][1]),
            (2, &"2".into(), &value.into())
        );
    }

    // What agents ask before they write; the page beside it stays.
    let ping = http_client()
        .get(format!("{}/ping", server.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(ping.status(), 204);
    assert!(ping.headers().contains_key("x-influxdb-version"));
    let (code, _) = post(&server, "/query", "q=CREATE DATABASE \"telegraf\"").await;
    assert_eq!(code, 200);
    let (code, text) = server.get("/query?q=SHOW%20DATABASES&db=telegraf").await;
    assert!(code == 200 && text.contains("[\"telegraf\"]"), "{text}");
    let (code, text) = server.get("/query").await;
    assert!(code == 200 && text.contains("<html"), "{text}");
}

#[tokio::test]
async fn text_with_times_is_imported_line_by_line() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), CONFIG, &["--web.enable-import"]).await;
    let now_ms = now_s() * 1000;
    let path = "/api/v1/import/prometheus";
    let body = format!(
        "# TYPE a counter\na{{b=\"c\"}} 1 {}\na{{b=\"c\"}} 2 {now_ms}\nplain 3\n",
        now_ms - 60_000
    );
    let (code, text) = post(&server, &format!("{path}?extra_label=b=d"), body).await;
    assert_eq!((code, text.as_str()), (204, ""));
    let found = server.query("a[5m]").await;
    assert_eq!(labels(&found)["b"], "d");
    assert_eq!(found[0]["values"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.query("plain").await.len(), 1);
    let (code, text) = post(
        &server,
        path,
        "good 1\nbad one\nlate 1 5\nfuture 1 99999999999999\n",
    )
    .await;
    assert_eq!(code, 400, "{text}");
    for words in [
        "partial write: ",
        "line 2, column 5",
        "bad one\\n      ^",
        "in line 4: sample is too far",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert_eq!(server.query("good").await.len(), 1);
    let (code, text) = post(&server, &format!("{path}?extra_label=x"), "a 1\n").await;
    assert!(code == 400 && text.contains("NAME=VALUE"), "{text}");
}

fn gzipped(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

/// What is exported, a line a piece of a series, sorted.
async fn exported(server: &Server, query: &str) -> Vec<String> {
    let (code, text) = server.get(&format!("/api/v1/export?{query}")).await;
    assert_eq!(code, 200, "{text}");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_is_imported_is_exported_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("folder");
    let flags = ["--web.enable-import", "--storage.tsdb.retention.time=400d"];
    let mut server = Server::start(folder.path(), CONFIG, &flags).await;
    let now_ms = now_s() * 1000;
    let day_ms = 86_400_000;
    let line = |series: &str, values: &str, times: [u64; 4]| {
        let times = times.map(|time| time.to_string()).join(",");
        format!(
            r#"{{"metric":{{"__name__":"m","s":"{series}"}},"values":[{values}],"timestamps":[{times}]}}"#
        )
    };
    let old = [
        now_ms - 300 * day_ms,
        now_ms - 299 * day_ms,
        now_ms - day_ms,
        now_ms - 1000,
    ];
    let sent = [
        line("a", r#"1,-2.5,null,1e-07"#, old),
        line(
            "b\\\"é",
            r#""Infinity","NaN","-Infinity",123456789012345680"#,
            old,
        ),
    ];
    let body = gzipped(&format!("{}\n{}\n", sent[0], sent[1]));
    let request = http_client().post(format!("{}/api/v1/import", server.url));
    let request = request.header("Content-Encoding", "gzip").body(body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body").as_str()
        ),
        (204, "")
    );
    server.kill();
    server.restart().await;
    let in_order = |lines: Vec<String>| {
        let mut samples = Vec::new();
        for line in lines {
            let line: Value = serde_json::from_str(&line).expect("JSON");
            let (values, times) = (
                line["values"].as_array().expect("a list"),
                line["timestamps"].as_array().expect("a list"),
            );
            assert_eq!(values.len(), times.len());
            samples.extend(
                values
                    .iter()
                    .zip(times)
                    .map(|(value, time)| format!("{} {time} {value}", line["metric"])),
            );
        }
        samples.sort();
        samples
    };
    let wanted = in_order(sent.to_vec());
    assert_eq!(wanted.len(), 8);
    assert_eq!(in_order(exported(&server, "match[]=m").await), wanted);
    assert_eq!(
        in_order(exported(&server, "match[]=m&match[]={s=\"a\"}&max_rows_per_line=1").await),
        wanted
    );
    let some = format!(
        "match[]={{s=\"a\"}}&start={}&end={}",
        (now_ms - 2 * day_ms) / 1000,
        now_ms / 1000
    );
    assert_eq!(in_order(exported(&server, &some).await).len(), 2);
    let (code, _) = server.get("/api/v1/export").await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn imports_tell_what_was_refused_and_how_far_they_are() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), CONFIG, &["--web.enable-import"]).await;
    let now_ms = now_s() * 1000;
    let good = format!(
        r#"{{"metric":{{"__name__":"m"}},"values":[1,2],"timestamps":[{},5]}}"#,
        now_ms - 86_400_000
    );
    let (code, text) = post(&server, "/api/v1/import", format!("{good}\n{{\"metric\":1}}\n")).await;
    assert_eq!(code, 400, "{text}");
    for words in [
        "partial write: 1 samples were stored",
        "line 2, column ",
        "the first in line 1: older than what is kept",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert_eq!(server.query("m[2d]").await.len(), 1);
    let request = http_client().post(format!("{}/api/v1/import", server.url));
    let answer = request
        .header("Content-Encoding", "br")
        .body(good)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 415);
    let request = http_client().post(format!("{}/api/v1/import", server.url));
    let answer = request
        .header("Content-Encoding", "gzip")
        .body("no gzip")
        .send()
        .await
        .expect("an answer");
    let (code, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(
        code == 400 && text.contains("the body is no gzip"),
        "{code} {text}"
    );

    let (_, text) = server.get("/api/v1/import").await;
    let jobs: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(jobs["data"].as_array().map(Vec::len), Some(2), "{text}");
    let job = &jobs["data"][1];
    for (key, value) in [
        ("id", Value::from(1)),
        ("path", "/import".into()),
        ("state", "done".into()),
        ("lines", 2.into()),
        ("samplesStored", 1.into()),
        ("samplesRefused", 1.into()),
        ("badLines", 1.into()),
    ] {
        assert_eq!(job[key], value, "{key} of {job}");
    }
}

#[tokio::test]
async fn what_is_off_says_how_it_is_switched_on() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), CONFIG, &[]).await;
    for (path, flag) in [
        ("/write", "--web.enable-influx-receiver"),
        ("/api/v2/write", "--web.enable-influx-receiver"),
        ("/api/v1/import/prometheus", "--web.enable-import"),
        ("/api/v1/import", "--web.enable-import"),
    ] {
        let (code, text) = post(&server, path, "a value=1").await;
        assert!(code == 404 && text.contains(flag), "{path}: {code} {text}");
    }
    let (code, _) = post(&server, "/query", "q=SHOW DATABASES").await;
    assert_eq!(code, 405);
}
