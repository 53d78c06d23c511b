//! The HTTP API: shapes, headers, codes, limits, reload.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{PATIENCE, POLL, Server, http_client};

const CONFIG: &str = "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n\
    scrape_configs:\n- job_name: self\n  static_configs: [{targets: ['SELF']}]\n";

async fn server(folder: &std::path::Path) -> Server {
    let server = Server::start(folder, "", &[]).await;
    let own = server.url.trim_start_matches("http://").to_owned();
    std::fs::write(folder.join("narthex.yml"), CONFIG.replace("SELF", &own)).expect("configuration");
    let answer = http_client()
        .post(format!("{}/-/reload", server.url))
        .send()
        .await
        .expect("answer");
    assert_eq!(answer.status(), 200, "{}", server.log());
    server.wait_for("up == 1", |r| !r.is_empty()).await;
    server
}

#[tokio::test]
async fn errors_have_the_references_codes_and_types() {
    let folder = tempfile::tempdir().expect("folder");
    let server = server(folder.path()).await;
    let deep = format!("{}1{}", "(".repeat(1_000_000), ")".repeat(1_000_000));
    for (path, params, code, kind) in [
        ("query", vec![("query", "up{")], 400, "bad_data"),
        ("query", vec![("query", "{}")], 400, "bad_data"),
        ("query", vec![("query", "up"), ("time", "x")], 400, "bad_data"),
        (
            "query_range",
            vec![("query", "up"), ("start", "0"), ("end", "11001"), ("step", "1")],
            400,
            "bad_data",
        ),
        (
            "query_range",
            vec![("query", "up"), ("start", "1"), ("end", "0"), ("step", "1")],
            400,
            "bad_data",
        ),
        (
            "query_range",
            vec![("query", "up"), ("start", "0"), ("end", "1"), ("step", "0")],
            400,
            "bad_data",
        ),
        (
            "query",
            vec![("query", "label_replace(up, \"a\", \"b\", \"c\", \"(\")")],
            422,
            "execution",
        ),
        ("query", vec![("query", "up"), ("timeout", "0")], 503, "timeout"),
        ("series", vec![], 400, "bad_data"),
        ("series", vec![("match[]", "{job=~\".*\"}")], 400, "bad_data"),
        ("labels", vec![("limit", "-1")], 400, "bad_data"),
    ] {
        let mut url = url::Url::parse(&format!("{}/api/v1/{path}", server.url)).expect("URL");
        url.query_pairs_mut().extend_pairs(&params);
        let answer = http_client().get(url).send().await.expect("answer");
        assert_eq!(answer.status().as_u16(), code, "{path} {params:?}");
        let body: Value = serde_json::from_str(&answer.text().await.expect("body")).expect("JSON");
        assert_eq!(body["errorType"], kind, "{path} {params:?}: {body}");
        assert_eq!(body["status"], "error");
    }
    let form = format!("query={deep}");
    let answer = http_client()
        .post(format!("{}/api/v1/query", server.url))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .expect("the server lives");
    assert_eq!(answer.status().as_u16(), 400);
    assert_eq!(server.query("vector(1)").await.len(), 1);
}

/// Shapes of the reference's answers: the keys on the way to every value, lists looked into by their first element.
fn shape(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                shape(value, &format!("{path}.{key}"), into);
            }
        }
        Value::Array(list) => {
            if let Some(first) = list.first() {
                shape(first, &format!("{path}[]"), into);
            }
        }
        Value::Null => drop(into.insert(format!("{path}: null"))),
        Value::Bool(_) => drop(into.insert(format!("{path}: bool"))),
        Value::Number(_) => drop(into.insert(format!("{path}: number"))),
        Value::String(_) => drop(into.insert(format!("{path}: string"))),
    }
}

#[tokio::test]
async fn answers_have_the_references_shapes_and_headers() {
    let Some(conformance) = testkit::conformance("") else {
        return;
    };
    let folder = tempfile::tempdir().expect("folder");
    let server = server(folder.path()).await;
    // Parts of an answer that speak of this or that series, rule or flag and differ by nature.
    let free = [
        "metric.",
        "labels.",
        "discoveredLabels.",
        "annotations.",
        "target.",
        "data.yaml",
        "droppedTargetCounts.",
        // Ours may have fewer series than the limit.
        ".warnings",
    ];
    for name in [
        "query_query_up_stats_all",
        "query_range_up",
        "label___name___values_limit_3",
        "series_match___up_limit_2",
        "status_buildinfo",
        "status_runtimeinfo",
        "status_config",
        "status_tsdb",
        "status_walreplay",
        "targets",
        "scrape_pools",
        "alertmanagers",
        "notifications",
        "metadata_metric_up",
        "POST__api_v1_admin_tsdb_snapshot",
    ] {
        let text =
            std::fs::read_to_string(conformance.join("api-shapes").join(format!("{name}.http"))).expect(name);
        let (head, body) = text.split_once("\n\n").expect("head and body");
        let mut lines = head.lines();
        let request: Vec<&str> = lines.next().expect("request").split(' ').collect();
        let code: u16 = lines
            .next()
            .and_then(|l| l.split(' ').nth(1))
            .and_then(|c| c.parse().ok())
            .expect("code");
        let method = request[0].parse().expect("method");
        let path = request[1].replace("1795406401", "0").replace("1795406431", "30");
        let answer = http_client()
            .request(method, format!("{}{path}", server.url))
            .header("Accept-Encoding", "identity")
            .send()
            .await
            .expect("answer");
        assert_eq!(answer.status().as_u16(), code, "{name}");
        for line in lines.filter(|line| line.starts_with("Content-Type") || line.starts_with("Allow")) {
            let (key, value) = line.split_once(": ").expect("header");
            assert_eq!(
                answer.headers().get(key).and_then(|v| v.to_str().ok()),
                Some(value),
                "{name}: {key}"
            );
        }
        let got: Value = serde_json::from_str(&answer.text().await.expect("body")).expect("JSON");
        let want: Value = serde_json::from_str(body.trim()).expect("JSON");
        let (mut got_shape, mut want_shape) = (BTreeSet::new(), BTreeSet::new());
        shape(&got, "", &mut got_shape);
        shape(&want, "", &mut want_shape);
        let strip = |set: BTreeSet<String>| -> BTreeSet<String> {
            set.into_iter()
                .filter(|line| !free.iter().any(|part| line.contains(part)))
                .collect()
        };
        if name == "query_range_up" {
            continue;
        }
        assert_eq!(strip(got_shape), strip(want_shape), "{name}: {got}");
    }
}

#[tokio::test]
async fn other_methods_pages_and_origins() {
    let folder = tempfile::tempdir().expect("folder");
    let server = server(folder.path()).await;
    let client = http_client();
    let answer = client
        .delete(format!("{}/api/v1/query?query=up", server.url))
        .send()
        .await
        .expect("answer");
    assert_eq!(answer.status().as_u16(), 405);
    let allow = answer.headers()["allow"].to_str().expect("text").to_owned();
    assert_eq!(
        allow.split(", ").collect::<BTreeSet<_>>(),
        BTreeSet::from(["GET", "OPTIONS", "POST"])
    );
    let answer = client
        .request(reqwest::Method::OPTIONS, format!("{}/api/v1/query", server.url))
        .header("Origin", "http://x")
        .send()
        .await
        .expect("answer");
    assert_eq!(answer.status().as_u16(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], "http://x");
    assert_eq!(
        client
            .get(format!("{}/-/reload", server.url))
            .send()
            .await
            .expect("answer")
            .status()
            .as_u16(),
        405
    );
    assert_eq!(server.get("/nope").await, (404, "404 page not found\n".into()));
    assert_eq!(server.get("/-/healthy").await.0, 200);
    let (code, page) = server.get("/").await;
    assert_eq!(code, 200);
    assert!(page.contains("<title>"));
    let (code, metrics) = server.get("/metrics").await;
    assert_eq!(code, 200);
    for name in [
        "process_cpu_seconds_total",
        "prometheus_tsdb_head_series",
        "prometheus_build_info",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
    let gzip = client
        .get(format!("{}/api/v1/status/flags", server.url))
        .header("Accept-Encoding", "gzip")
        .send()
        .await
        .expect("answer");
    assert_eq!(
        gzip.headers()
            .get("content-encoding")
            .and_then(|v| v.to_str().ok()),
        Some("gzip")
    );
}

#[tokio::test]
async fn a_bad_new_configuration_leaves_the_old_one_running() {
    let folder = tempfile::tempdir().expect("folder");
    let server = server(folder.path()).await;
    let before = server.api("status/config", &[]).await;
    for bad in [
        "scrape_configs: [{job_name: a}, {job_name: a}]",
        "rule_files: [bad.yml]",
        "global: {scrape_interval: x}",
        "scrape_configs: [{job_name: a, scrape_failure_log_file: /nowhere/log}]",
        "scrape_configs: [{job_name: a, tls_config: {ca_file: /nowhere/ca.pem}, static_configs: [{targets: [x]}]}]",
    ] {
        std::fs::write(
            folder.path().join("bad.yml"),
            "groups: [{name: a, rules: [{alert: x, expr: 'up{'}]}]",
        )
        .expect("write");
        std::fs::write(folder.path().join("narthex.yml"), bad).expect("write");
        let answer = http_client()
            .post(format!("{}/-/reload", server.url))
            .send()
            .await
            .expect("answer");
        assert_eq!(answer.status().as_u16(), 500, "{bad}");
        let text = answer.text().await.expect("body");
        assert!(text.starts_with("failed to reload config: "), "{text}");
        assert_eq!(server.api("status/config", &[]).await, before, "{bad}");
        let runtime = server.api("status/runtimeinfo", &[]).await;
        assert_eq!(runtime["data"]["reloadConfigSuccess"], false);
    }
    let now = server.query("count_over_time(up[5m])").await;
    server
        .wait_for("count_over_time(up[5m])", |r| {
            r[0]["value"][1] != now[0]["value"][1]
        })
        .await;
    std::fs::write(
        folder.path().join("narthex.yml"),
        "global: {external_labels: {a: b}}",
    )
    .expect("write");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(server.pid() as i32).expect("pid"),
        rustix::process::Signal::HUP,
    )
    .expect("signal");
    let begin = std::time::Instant::now();
    loop {
        let answer = server.api("status/config", &[]).await;
        if answer["data"]["yaml"]
            .as_str()
            .is_some_and(|yaml| yaml.contains("a: b"))
        {
            break;
        }
        assert!(begin.elapsed() < crate::harness::PATIENCE, "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A client that follows no redirects.
fn staying_client() -> reqwest::Client {
    let _ = http_client();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client")
}

#[tokio::test]
async fn paths_lead_to_what_they_mean_behind_a_prefix_too() {
    let folder = tempfile::tempdir().expect("folder");
    let flags = [
        "--web.external-url=http://ext.example/out",
        "--web.route-prefix=/in",
    ];
    let server = Server::start_behind(folder.path(), "", &flags, "/in").await;
    let client = staying_client();
    for (path, code, location) in [
        ("/", 302, "/in"),
        ("/in", 301, "/in/"),
        ("/in/", 302, "/out/query"),
        (
            "/in/graph?g0.expr=a//b&g0.tab=1",
            302,
            "/out/query?g0.expr=a//b&g0.tab=1",
        ),
        ("//in/api/v1/labels?x=1", 307, "/in/api/v1/labels?x=1"),
        ("/in//-/ready", 307, "/in/-/ready"),
        ("/in/api/v1", 307, "/in/api/v1/"),
        ("/in/api/v1/Labels/", 301, "/in/api/v1/labels"),
        ("/in/metrics/", 301, "/in/metrics"),
        ("/metrics", 404, ""),
        ("/in/nope/", 404, ""),
    ] {
        let answer = client
            .get(format!("{}{path}", server.url))
            .send()
            .await
            .expect("an answer");
        let to = answer
            .headers()
            .get("location")
            .map_or("", |to| to.to_str().expect("text"));
        assert_eq!((answer.status().as_u16(), to), (code, location), "{path}");
    }
    for page in ["query", "alerts", "targets", "graph"] {
        let answer = client
            .head(format!("{}/in/{page}", server.url))
            .send()
            .await
            .expect("an answer");
        assert_eq!(
            answer.status().as_u16(),
            if page == "graph" { 302 } else { 200 },
            "{page}"
        );
    }
    let body = client
        .post(format!("{}/in//api/v1/query", server.url))
        .body("query=1")
        .send()
        .await
        .expect("an answer");
    assert_eq!(body.status().as_u16(), 307);
}

#[tokio::test]
async fn forms_come_in_urls_bodies_and_parts_and_have_bounds() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "", &[]).await;
    let url = format!("{}/api/v1/query", server.url);
    let post = async |kind: &str, path: &str, body: Vec<u8>| {
        let request = http_client()
            .post(format!("{url}{path}"))
            .header("Content-Type", kind);
        let answer = request.body(body).send().await.expect("an answer");
        let code = answer.status().as_u16();
        (code, answer.text().await.expect("a body"))
    };
    let form = "application/x-www-form-urlencoded";
    let parts = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n1\r\n--b--\r\n";
    for (kind, path, body, value) in [
        (form, "", "query=1", "1"),
        (
            "Application/X-WWW-Form-Urlencoded ; charset=utf-8",
            "",
            "query=1",
            "1",
        ),
        // The body wins over the URL, but the URL over parts.
        (form, "?query=2", "query=1", "1"),
        ("multipart/form-data; boundary=b", "", parts, "1"),
        ("multipart/form-data; boundary=b", "?query=2", parts, "2"),
        ("text/plain", "?query=2", "query=1", "2"),
    ] {
        let (code, answer) = post(kind, path, body.into()).await;
        assert!(
            code == 200 && answer.contains(&format!("\"{value}\"")),
            "{kind} {path}: {answer}"
        );
    }
    let bomb = "match[]=%7Bx=~%22a%22%7D&".repeat(400_000).into_bytes();
    for (kind, body, what) in [
        (form, vec![b'a'; 11 << 20], "a form may have"),
        (form, bomb, "too many parameters"),
        (form, b"query=%ff".to_vec(), "is not UTF-8"),
        (form, b"query=%zz".to_vec(), "invalid URL escape"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\n".to_vec(),
            "multipart",
        ),
    ] {
        let (code, answer) = post(kind, "", body).await;
        assert!(code == 400 && answer.contains(what), "{what}: {answer}");
    }
    let many = format!("match[]=%7B{}%7D", "a=~%22x%22,".repeat(20_001));
    let answer = http_client()
        .post(format!("{}/api/v1/series", server.url))
        .header("Content-Type", form)
        .body(many)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 400);
    assert!(answer.text().await.expect("a body").contains("matchers"));
}

#[tokio::test]
async fn pages_of_others_must_not_change_anything() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "", &["--web.enable-admin-api"]).await;
    let post = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = http_client().post(format!("{}{path}", server.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer").status().as_u16()
    };
    let foreign = [("Origin", "https://evil.example")];
    for path in [
        "/-/reload",
        "/-/quit",
        "/api/v1/admin/tsdb/snapshot",
        "/api/v1/admin/tsdb/clean_tombstones",
        "/api/v1/admin/tsdb/delete_series?match[]=up",
    ] {
        assert_eq!(post(path, &foreign).await, 403, "{path}");
        assert_eq!(
            post(path, &[("Sec-Fetch-Site", "cross-site")]).await,
            403,
            "{path}"
        );
    }
    assert_eq!(post("/-/reload", &[("Origin", &server.url)]).await, 200);
    assert_eq!(post("/-/reload", &[]).await, 200);
    // Reading is another matter: that is what CORS is for.
    assert_eq!(post("/api/v1/query?query=1", &foreign).await, 200);
}

#[tokio::test]
async fn the_newest_samples_are_federated() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(
        folder.path().join("r.yml"),
        "groups: [{name: g, rules: [{record: 'job:x:sum', expr: vector(5), labels: {job: a}}]}]",
    )
    .expect("rules");
    let config = "global: {evaluation_interval: 200ms, external_labels: {dc: eu}}\nrule_files: [r.yml]";
    let server = Server::start(folder.path(), config, &[]).await;
    server.wait_for("job:x:sum", |found| !found.is_empty()).await;
    let (code, text) = server.get("/federate?match[]={job=%22a%22}").await;
    assert_eq!(code, 200);
    let begin = "# TYPE job:x:sum untyped\njob:x:sum{job=\"a\",dc=\"eu\",instance=\"\"} 5 ";
    assert!(text.starts_with(begin) && text.lines().count() == 2, "{text}");
    assert_eq!(server.get("/federate").await, (200, String::new()));
    assert_eq!(server.get("/federate?match[]={").await.0, 400);
    let delimited =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    for path in ["/federate?match[]={job=%22a%22}", "/metrics"] {
        let answer = http_client()
            .get(format!("{}{path}", server.url))
            .header("Accept", delimited);
        let answer = answer.send().await.expect("an answer");
        let kind = answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(
            kind.contains("encoding=delimited; escaping=underscores"),
            "{kind}"
        );
        assert!(!answer.bytes().await.expect("a body").is_empty());
    }
}

/// Begins of the names of the reference's metrics that stand for nothing here, as the documentation lists them.
fn not_counted_here() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/differences.md");
    let text = std::fs::read_to_string(path).expect("the documentation");
    let (_, section) = text
        .split_once("## What Prometheus counts of itself")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let first_cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    first_cells
        .flat_map(|cell| cell.split('`').filter(|name| name.len() > 2))
        .map(|name| name.trim_end_matches('…').to_owned())
        .collect()
}

/// Types and label names of the families of a page of metrics; those of no family are left out.
fn families(text: &str) -> std::collections::BTreeMap<&str, (&str, BTreeSet<&str>)> {
    let mut families = std::collections::BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            current = name;
            families.insert(name, (kind, BTreeSet::new()));
        } else if let (Some(labels), Some((_, names))) = (
            line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')),
            families.get_mut(current),
        ) {
            names.extend(
                labels
                    .0
                    .split("\",")
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, _)| name),
            );
        }
    }
    families
}

#[tokio::test]
async fn what_is_counted_has_the_references_names_types_and_labels() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(
        folder.path().join("r.yml"),
        "groups: [{name: g, rules: [{record: 'j:up', expr: up}]}]",
    )
    .expect("rules");
    // A port that nobody listens on: what is counted of destinations and groups is there once they are configured.
    let config = format!(
        "{CONFIG}rule_files: [r.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:1']}}]}}]}}\n"
    );
    let server = Server::start(folder.path(), &config, &[]).await;
    server.wait_for("j:up", |found| !found.is_empty()).await;
    let expected = [
        "prometheus_sd_discovered_targets{config=\"self\",name=\"scrape\"} 1",
        "prometheus_target_sync_failed_total{scrape_job=\"self\"} 0",
        "prometheus_notifications_queue_capacity 10000",
        "prometheus_template_text_expansion_failures_total 0",
        "prometheus_tsdb_checkpoint_deletions_failed_total 0",
        "prometheus_tsdb_wal_truncations_failed_total 0",
        "prometheus_engine_query_duration_seconds_sum{slice=\"inner_eval\"}",
        "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/label/:name/values\"} 0",
        "prometheus_sd_file_read_errors_total 0",
        "prometheus_tsdb_compaction_chunk_samples_sum",
        "prometheus_build_info{branch=\"narthex-",
        "promhttp_metric_handler_requests_in_flight 1",
        "prometheus_target_interval_length_histogram_seconds",
        "prometheus_rule_group_last_restore_duration_seconds",
    ];
    // Some is there a moment later: the length of an interval needs two scrapes.
    let begin = std::time::Instant::now();
    let text = loop {
        let (_, text) = server.get("/metrics").await;
        let missing: Vec<&str> = expected
            .iter()
            .copied()
            .filter(|name| !text.contains(&format!("\n{name}")))
            .collect();
        if missing.is_empty() {
            break text;
        }
        assert!(begin.elapsed() < PATIENCE, "{missing:?} are missing");
        tokio::time::sleep(POLL).await;
    };
    let Some(reference) = testkit::conformance("api/self-metrics.jsonl") else {
        return;
    };
    let (families, not_here) = (families(&text), not_counted_here());
    let mut used = BTreeSet::new();
    for line in std::fs::read_to_string(reference)
        .expect("conformance data")
        .lines()
    {
        let metric: Value = serde_json::from_str(line).expect("JSON");
        let name = metric["name"].as_str().expect("a name");
        let labels: BTreeSet<&str> = metric["labels"]
            .as_array()
            .expect("labels")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        match families.get(name) {
            Some((kind, names)) => {
                assert_eq!(*kind, metric["type"], "{name}");
                // Of a family of which nothing happened yet there is only the name.
                let missing = names.is_empty() && !labels.is_empty();
                assert!(
                    missing || *names == labels,
                    "{name}: {names:?} instead of {labels:?}"
                );
            }
            None => {
                let begin = not_here.iter().find(|begin| name.starts_with(begin.as_str()));
                used.insert(begin.unwrap_or_else(|| panic!("{name} is missing")).as_str());
            }
        }
    }
    let unused: Vec<_> = not_here
        .iter()
        .filter(|begin| !used.contains(begin.as_str()))
        .collect();
    assert!(
        unused.is_empty(),
        "counted now, take them off the list: {unused:?}"
    );
}
