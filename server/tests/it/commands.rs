//! The command line: verdicts on files, messages, exit codes.

use std::path::Path;

use serde_json::Value;

use crate::harness::{free_port, narthex};

/// Runs every recorded check of a kind; `args` makes the command line from the file's name.
fn check_verdicts(kinds: &[&str], run: impl Fn(&Path, &Value) -> (Option<i32>, String)) {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let text = std::fs::read_to_string(folder.join("verdicts.jsonl")).expect("verdicts");
    let (mut agreed, mut failures) = (0, Vec::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        if !kinds.contains(&case["check"].as_str().expect("check")) {
            continue;
        }
        let (code, output) = run(&folder, &case);
        if code.map(i64::from) == case["exit"].as_i64() {
            agreed += 1;
        } else {
            failures.push(format!(
                "{} {}: exit {code:?}, want {}\n{output}\nthe reference says {}",
                case["check"], case["file"], case["exit"], case["stderr"]
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} verdicts differ:\n{}",
        failures.len(),
        failures.join("\n---\n")
    );
    assert!(agreed > 0);
}

fn run(folder: &Path, args: &[&str], stdin: &[u8]) -> (Option<i32>, String) {
    let output = narthex(args, folder, stdin);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn configurations_get_the_references_verdict() {
    check_verdicts(&["check config --syntax-only"], |folder, case| {
        run(
            folder,
            &[
                "check",
                "config",
                "--syntax-only",
                case["file"].as_str().expect("file"),
            ],
            b"",
        )
    });
}

#[test]
fn configurations_of_alertmanagers_get_the_references_verdict() {
    check_verdicts(&["amtool check-config"], |folder, case| {
        let file = case["file"].as_str().expect("file");
        run(folder, &["alert", "check-config", file], b"")
    });
}

#[test]
fn rule_files_get_the_references_verdict() {
    check_verdicts(&["check rules"], |folder, case| {
        run(
            folder,
            &["check", "rules", case["file"].as_str().expect("file")],
            b"",
        )
    });
    check_verdicts(&["check rules --lint=all --lint-fatal"], |folder, case| {
        run(
            folder,
            &[
                "check",
                "rules",
                "--lint=all",
                "--lint-fatal",
                case["file"].as_str().expect("file"),
            ],
            b"",
        )
    });
}

#[test]
fn metrics_get_the_references_verdict() {
    check_verdicts(&["check metrics"], |folder, case| {
        let body = std::fs::read(folder.join(case["file"].as_str().expect("file"))).expect("body");
        run(folder, &["check", "metrics"], &body)
    });
}

#[test]
fn mistakes_are_named_in_one_message() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (code, text) = run(folder.path(), &["--no-such-flag"], b"");
    assert_eq!(code, Some(2));
    assert!(text.contains("--no-such-flag"), "{text}");
    let (code, text) = run(folder.path(), &["--query.timeout=soon"], b"");
    assert_eq!(code, Some(2));
    assert!(
        text.contains("--query.timeout: \"soon\" is not a duration like 30s, 5m or 15d"),
        "{text}"
    );
    let (code, text) = run(folder.path(), &["--config.file", &at("none.yml")], b"");
    assert_eq!(code, Some(2));
    assert!(
        text.contains("none.yml") && text.contains("No such file"),
        "{text}"
    );
    std::fs::write(at("bad.yml"), "global:\n  scrape_intervall: 5s\n").expect("write");
    let (code, text) = run(folder.path(), &["--config.file", &at("bad.yml")], b"");
    assert_eq!(code, Some(2));
    assert!(
        text.contains("bad.yml:2:3") && text.contains("scrape_intervall"),
        "{text}"
    );
    assert!(text.contains("did you mean `scrape_interval`?"), "{text}");
}

#[test]
fn a_taken_port_and_a_locked_folder_are_said_in_one_line() {
    let folder = tempfile::tempdir().expect("folder");
    let taken = std::net::TcpListener::bind(("127.0.0.1", free_port())).expect("port");
    let address = taken.local_addr().expect("address").to_string();
    let (code, text) = run(folder.path(), &["--web.listen-address", &address], b"");
    assert_eq!(code, Some(1));
    assert!(text.contains(&address) && text.contains("in use"), "{text}");
    std::fs::write(folder.path().join("file"), "").expect("write");
    let (code, text) = run(
        folder.path(),
        &[
            "--storage.tsdb.path=file/data",
            &format!("--web.listen-address=127.0.0.1:{}", free_port()),
        ],
        b"",
    );
    assert_eq!(code, Some(1));
    assert!(text.contains("file/data"), "{text}");
}

/// Runs a command line, split at spaces, in the conformance folder.
fn run_there(folder: &Path, line: &str) -> (Option<i32>, String, String) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = narthex(&words, folder, b"");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What the reference's tool said of these files when it looked at the files that they name.
#[test]
fn files_that_a_configuration_names_are_looked_at() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    for (line, code, said) in [
        (
            "config_with_rule_files.yml",
            1,
            r#"  FAILED: "promtool/non-existent-file.yml" does not point to an existing file"#,
        ),
        (
            "config_with_service_discovery_files.yml",
            0,
            "  WARNING: file \"promtool/nonexistent_file.yml\" for file_sd in scrape job \"prometheus\" does not exist\n  \
             WARNING: file \"promtool/nonexistent_file.yml\" for file_sd in alertmanager config does not exist\n \
             SUCCESS: promtool/config_with_service_discovery_files.yml is valid prometheus config file syntax\n\n",
        ),
        (
            "config_with_tls_files.yml",
            1,
            r#"error checking client cert file "promtool/nonexistent_cert_file.yml": "#,
        ),
        (
            "authorization_credentials_file.bad.yml",
            1,
            "error checking authorization credentials or bearer token file",
        ),
        (
            "prometheus-config.good.yml",
            0,
            " SUCCESS: promtool/prometheus-config.good.yml",
        ),
        (
            "prometheus-config.lint.yml",
            0,
            "  SUCCESS: 1 rule files found\n SUCCESS: ",
        ),
        (
            "prometheus-config.lint.yml --lint-fatal",
            3,
            "lint error 1 duplicate rule(s) found.",
        ),
        (
            "prometheus-config.lint.yml --lint-fatal --lint=none",
            0,
            "  SUCCESS: 2 rules found",
        ),
        (
            "prometheus-config.lint.too_long_scrape_interval.yml --lint-fatal --lint=all",
            3,
            "  FAILED: too long scrape interval found, data point will be marked as stale - job: too_long_scrape_interval_test, interval: 10m",
        ),
        (
            "prometheus-config.lint.too_long_scrape_interval.yml --lint-fatal --lint=all --query.lookback-delta=15m",
            0,
            "",
        ),
        (
            "prometheus-config.lint.too_long_scrape_interval.yml --lint-fatal",
            0,
            "",
        ),
    ] {
        let (got, out, err) = run_there(&folder, &format!("check config promtool/{line}"));
        assert_eq!(got, Some(code), "{line}\n{out}{err}");
        assert!(out.contains(said) || err.contains(said), "{line}\n{out}{err}");
    }
    for file in [
        "scrape_config_files_double_import.bad.yml",
        "scrape_config_files_global.bad.yml",
    ] {
        let (code, _, err) = run_there(&folder, &format!("check config config/{file}"));
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("  FAILED: error loading scrape configs: "), "{err}");
    }
    for (file, refused) in [
        ("agent_mode.good.yml", None),
        ("agent_mode.without_remote_writes.yml", None),
        (
            "agent_mode.with_alert_manager.yml",
            Some("field alerting is not allowed in agent mode"),
        ),
        (
            "agent_mode.with_alert_relabels.yml",
            Some("field alerting is not allowed in agent mode"),
        ),
        (
            "agent_mode.with_rule_files.yml",
            Some("field rule_files is not allowed in agent mode"),
        ),
        (
            "agent_mode.with_remote_reads.yml",
            Some("field remote_read is not allowed in agent mode"),
        ),
    ] {
        let (code, _, err) = run_there(
            &folder,
            &format!("check config --agent --syntax-only config/{file}"),
        );
        assert_eq!(code, Some(i32::from(refused.is_some())), "{file}\n{err}");
        assert!(err.contains(refused.unwrap_or("")), "{file}\n{err}");
    }
}

#[test]
fn a_wrong_configuration_is_shown_where_it_is_wrong() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("p.yml"), "rule_files: [r.yml]\n").expect("write");
    std::fs::write(
        folder.path().join("r.yml"),
        "groups:\n- name: g\n  rules:\n  - record: a\n    expr: 1 +\n",
    )
    .expect("write");
    let (code, out, err) = run_there(folder.path(), "check config p.yml");
    assert_eq!(code, Some(1));
    assert_eq!(
        out,
        "Checking p.yml\n  SUCCESS: 1 rule files found\n SUCCESS: p.yml is valid prometheus config file syntax\n\nChecking r.yml\n"
    );
    assert_eq!(
        err,
        "  FAILED:\nr.yml: 5:11: group \"g\", rule 1, \"a\": could not parse expression: 1:4: parse error: unexpected end of input\n\
         \x20--> r.yml:5:14\n  |\n5 |     expr: 1 +\n  |              ^\n"
    );
    std::fs::write(folder.path().join("p.yml"), "globl: {}\n").expect("write");
    let (code, _, err) = run_there(folder.path(), "check config p.yml");
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "  FAILED: parsing YAML file p.yml: field globl not found in the configuration\n\
         error: field globl not found in the configuration\n --> p.yml:1:1\n  |\n1 | globl: {}\n  | ^^^^^\n  |\n  \
         = help: did you mean `global`?\n"
    );
}

#[test]
fn standard_input_is_checked_too() {
    let folder = tempfile::tempdir().expect("folder");
    let (code, text) = run(
        folder.path(),
        &["check", "rules"],
        b"groups: [{name: g, rules: [{record: a, expr: '1'}]}]",
    );
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "Checking standard input\n  SUCCESS: 1 rules found\n\n")
    );
    let (code, text) = run(
        folder.path(),
        &["check", "rules", "--lint=bogus"],
        b"groups: [{name: ''}]",
    );
    assert_eq!(code, Some(1));
    assert!(
        text.contains("WARNING: unknown lint option: \"bogus\"")
            && text.contains("Groupname must not be empty"),
        "{text}"
    );
    let rule = b"groups: [{name: g, rules: [{record: a, expr: 'sort_by_label(x, \"y\")'}]}]";
    assert_eq!(run(folder.path(), &["check", "rules"], rule).0, Some(1));
    let flag = "--enable-feature=promql-experimental-functions";
    assert_eq!(run(folder.path(), &["check", "rules", flag], rule).0, Some(0));
    let (code, text) = run(folder.path(), &["check", "rules", "none.yml"], b"");
    assert_eq!(code, Some(1));
    assert!(
        text.contains("none.yml") && text.contains("No such file"),
        "{text}"
    );
}

#[test]
fn metrics_are_counted() {
    let folder = tempfile::tempdir().expect("folder");
    let body = b"# HELP a_total x\n# TYPE a_total counter\na_total{x=\"1\"} 1\na_total{x=\"2\"} 1\n\
        # HELP h_seconds x\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"1\"} 1\nh_seconds_bucket{le=\"+Inf\"} 1\n\
        h_seconds_sum 1\nh_seconds_count 1\n\
        # HELP s_seconds x\n# TYPE s_seconds summary\ns_seconds{quantile=\"0.5\"} 1\ns_seconds_sum 1\ns_seconds_count 1\n";
    let (code, text) = run(folder.path(), &["check", "metrics", "--extended"], body);
    let table = [
        "Metric       Cardinality    Percentage    ",
        "h_seconds    4              44.44%        ",
        "s_seconds    3              33.33%        ",
        "a_total      2              22.22%        ",
        "Total        9              100%          ",
        "",
    ];
    assert_eq!((code, text), (Some(0), table.join("\n")));
    let (code, text) = run(folder.path(), &["check", "metrics"], b"bad_total_ms 1\n");
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(
        run(folder.path(), &["check", "metrics", "--lint=none"], body).0,
        Some(1)
    );
    assert_eq!(run(folder.path(), &["check", "metrics"], b"a{\n").0, Some(1));
}

#[test]
fn discovery_is_shown_before_and_after_relabelling() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
    write(
        "p.yml",
        "scrape_configs:\n- job_name: a\n  file_sd_configs: [{files: [t.yml]}]\n  relabel_configs:\n  - {source_labels: [env], regex: dev, action: drop}\n",
    );
    write(
        "t.yml",
        "- targets: ['x:1', 'x:1']\n- targets: ['y:1']\n  labels: {env: dev}\n",
    );
    let (code, out, _) = run_there(folder.path(), "check service-discovery p.yml a");
    assert_eq!(code, Some(0));
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found.as_array().expect("list").len(), 2, "{out}");
    assert_eq!(found[0]["labels"]["instance"], "x:1");
    assert_eq!(found[0]["discoveredLabels"]["__scrape_interval__"], "1m");
    assert_eq!(found[1]["discoveredLabels"]["env"], "dev");
    assert_eq!(found[1]["labels"], serde_json::json!({}));
    let (code, _, err) = run_there(folder.path(), "check service-discovery p.yml b");
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "Job b not found. Select one of:\n\ta\n")
    );
}

/// A server that answers as the reference does, and says what it was asked.
async fn canned_server() -> String {
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    let instant = async |headers: HeaderMap, body: String| -> (StatusCode, String) {
        let asked: std::collections::BTreeMap<_, _> = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        let error = |text: &str| format!(r#"{{"status":"error","errorType":"bad_data","error":{text:?}}}"#);
        match asked["query"].as_str() {
            "sum(" => {
                let text = "invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis";
                (StatusCode::BAD_REQUEST, error(text))
            }
            "header" if headers.get("X-Tenant").is_some_and(|value| value == "a") => {
                let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]},"warnings":["careful"]}"#;
                (StatusCode::OK, scalar.to_owned())
            }
            _ => {
                let text = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[TIME,"1"]}]}}"#;
                (
                    StatusCode::OK,
                    text.replace("TIME", asked.get("time").map_or("0", String::as_str)),
                )
            }
        }
    };
    let asked = async |body: String| {
        let asked: std::collections::BTreeMap<_, _> = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        let values = format!(
            r#"[[{},"{}"],[{},"1"]]"#,
            asked["start"], asked["step"], asked["end"]
        );
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":{values}}}]}}}}"#
        )
    };
    let router = axum::Router::new()
        .route("/p/api/v1/query", post(instant))
        .route("/p/api/v1/query_range", post(asked))
        .route(
            "/p/api/v1/series",
            get(async || r#"{"status":"success","data":[{"job":"x","__name__":"up"}]}"#),
        )
        .route(
            "/p/api/v1/label/job/values",
            get(async || r#"{"status":"success","data":["x","y"]}"#),
        )
        .route("/p/-/healthy", get(async || "Healthy.\n"))
        .route(
            "/p/-/ready",
            get(async || (StatusCode::SERVICE_UNAVAILABLE, "not yet")),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("{address}/p")
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_and_answers_printed() {
    let server = canned_server().await;
    let folder = tempfile::tempdir().expect("folder");
    let ask = |line: &str| run_there(folder.path(), &line.replace("SERVER", &server));
    let good = |line: &str| {
        let (code, out, err) = ask(line);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{line}\n{out}");
        out
    };
    assert_eq!(good("query instant SERVER up --time=5"), "up => 1 @[5]\n");
    assert_eq!(
        good("query -o json instant http://SERVER/ up --time=1970-01-01T00:00:05.25Z"),
        "[{\"metric\":{\"__name__\":\"up\"},\"value\":[5.25,\"1\"]}]\n"
    );
    assert_eq!(
        good("query range SERVER up --start=0 --end=1000"),
        "{} =>\n4 @[0]\n1 @[1000]\n"
    );
    assert_eq!(
        good("query range SERVER up --start=0 --end=10 --step=1m30s"),
        "{} =>\n90 @[0]\n1 @[10]\n"
    );
    assert_eq!(
        good("query range SERVER up --end=1000"),
        "{} =>\n1 @[700]\n1 @[1000]\n"
    );
    assert_eq!(
        good("query series SERVER --match=up"),
        "{__name__=\"up\", job=\"x\"}\n"
    );
    assert_eq!(good("query labels SERVER job"), "x\ny\n");
    assert_eq!(good("query labels SERVER job -o json"), "[\"x\",\"y\"]\n");
    let (code, out, err) = ask("query instant SERVER header --header=X-Tenant=a");
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "scalar: 1 @[1]\n", "query warning: careful\n")
    );
    let (code, _, err) = ask("query instant SERVER sum(");
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "query error: bad_data: invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis\n  |\n1 | sum(\n  |     ^\n"
    );
    let (code, _, err) = ask("query instant SERVER/elsewhere up");
    assert_eq!(
        (code, err.as_str()),
        (
            Some(1),
            "query error: client_error: client error: 404 (detail: )\n"
        )
    );
    for (line, said) in [
        (
            "query range SERVER up --start=5 --end=4",
            "start time is not before end time",
        ),
        (
            "query range SERVER up --start=x",
            "error parsing start time: cannot parse \"x\" to a valid timestamp",
        ),
        ("query instant 127.0.0.1:1 up", "onnection refused"),
        (
            "query --http.config.file=none.yml instant SERVER up",
            "Failed to load HTTP config file: none.yml: No such file",
        ),
        (
            "check ready --url=http://SERVER",
            "check failed: URL=http://127.0.0.1:",
        ),
    ] {
        let (code, out, err) = ask(line);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{line}\n{err}");
        assert!(err.contains(said), "{line}\n{err}");
    }
    let (code, _, err) = ask("check healthy --url=http://SERVER/");
    assert_eq!((code, err.as_str()), (Some(0), "  SUCCESS:  Healthy.\n\n"));
}
