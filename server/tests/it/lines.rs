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

#[tokio::test]
async fn what_is_off_says_how_it_is_switched_on() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), CONFIG, &[]).await;
    for (path, flag) in [
        ("/write", "--web.enable-influx-receiver"),
        ("/api/v2/write", "--web.enable-influx-receiver"),
        ("/api/v1/import/prometheus", "--web.enable-import"),
    ] {
        let (code, text) = post(&server, path, "a value=1").await;
        assert!(code == 404 && text.contains(flag), "{path}: {code} {text}");
    }
    let (code, _) = post(&server, "/query", "q=SHOW DATABASES").await;
    assert_eq!(code, 405);
}
