//! `lint …`: rule files that are valid and will not do what is wanted.

use std::path::Path;

use serde_json::Value as Json;

use crate::harness::{Server, narthex};

const RULES: &str = "groups:
- name: é
  rules:
  - alert: Many
    expr: delta(errors_total[5m]) > 5
  - alert: Anything
    expr: up == bool 0
";

/// Exit code, standard output and standard error of `lint`.
fn lint(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = narthex(&[&["lint"], args].concat(), folder, b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn folder(rules: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("rules.yml"), rules).expect("write");
    folder
}

#[test]
fn findings_are_told_with_their_places() {
    let folder = folder(RULES);
    let (code, out, err) = lint(folder.path(), &["rules", "rules.yml"]);
    assert_eq!((code, err.as_str()), (Some(3), ""));
    let want =
        "rules.yml:5:11: warning: `delta` of a counter: its name says that it begins anew at restarts \
                [NX103 delta-of-counter]
 --> rules.yml:5:11
  |
5 |     expr: delta(errors_total[5m]) > 5
  |           ^^^^^^^^^^^^^^^^^^^^^^^
   = help: `increase` takes restarts into account
   = help: --fix does it
";
    assert!(out.starts_with(want), "{out}");
    assert!(
        out.ends_with("2 rules in 1 files: 0 errors, 2 warnings, 0 notes\n"),
        "{out}"
    );
}

#[test]
fn exit_codes_tell_findings_from_what_cannot_be_used() {
    let folder = folder("groups: []\n");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
    write("wrong.yml", "groups: [{name: g, rules: [{record: a}]}]\n");
    write("found.yml", RULES);
    write("off.yml", "lints: {NX103: info, alert-without-condition: off}\n");
    write("bad.yml", "lints: {NX1: off}\n");
    let code = |args: &[&str]| lint(folder.path(), args).0;
    assert_eq!(code(&["rules", "rules.yml"]), Some(0));
    assert_eq!(code(&["rules", "rules.yml", "found.yml"]), Some(3));
    assert_eq!(code(&["rules", "--config", "off.yml", "found.yml"]), Some(0));
    for args in [
        &["rules", "found.yml", "wrong.yml"][..],
        &["rules", "nowhere.yml"],
        &["rules", "--config", "bad.yml", "found.yml"],
        &["rules", "--server", "http://127.0.0.1:1", "found.yml"],
        &["explain", "NX999"],
    ] {
        let (code, _, err) = lint(folder.path(), args);
        assert_eq!(code, Some(1), "{args:?}");
        assert!(!err.is_empty(), "{args:?}");
    }
    assert_eq!(code(&["rules"]), Some(2));
    let (_, out, _) = lint(folder.path(), &["rules", "wrong.yml"]);
    assert!(out.contains(" files: 1 errors, 0 warnings"), "{out}");
}

#[test]
fn fixes_rewrite_the_place_and_nothing_else() {
    let folder = folder(RULES);
    let path = folder.path().join("rules.yml");
    std::os::unix::fs::symlink(&path, folder.path().join("link.yml")).expect("link");
    let (code, out, err) = lint(folder.path(), &["rules", "--fix", "link.yml"]);
    assert_eq!((code, err.as_str()), (Some(0), "2 fixed\n"), "{out}");
    let want = RULES.replace("delta", "increase").replace("bool ", "");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), want);
    assert!(folder.path().join("link.yml").is_symlink());
    assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 2);
}

#[test]
fn programs_read_findings_as_json_and_sarif() {
    let folder = folder(RULES);
    let read = |format: &str| -> Json {
        let (code, out, _) = lint(folder.path(), &["rules", "--output", format, "rules.yml"]);
        assert_eq!(code, Some(3));
        serde_json::from_str(&out).expect("JSON")
    };
    let json = read("json");
    let first = &json["findings"][0];
    let want = serde_json::json!({
        "code": "NX103", "name": "delta-of-counter", "severity": "warning",
        "file": "rules.yml", "line": 5, "column": 11, "endColumn": 34, "group": "é", "rule": "Many",
        "message": "`delta` of a counter: its name says that it begins anew at restarts",
        "help": "`increase` takes restarts into account",
        "fix": {"offset": RULES.find("delta"), "bytes": 5, "replacement": "increase"},
    });
    assert_eq!(first, &want);

    let sarif = read("sarif");
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let result = &run["results"][0];
    let rule = result["ruleIndex"].as_u64().expect("an index") as usize;
    assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "rules.yml");
    assert_eq!(
        place["region"],
        serde_json::json!({"startLine": 5, "startColumn": 11, "endColumn": 34})
    );
    let change = &result["fixes"][0]["artifactChanges"][0]["replacements"][0];
    assert_eq!(change["insertedContent"]["text"], "increase");
}

#[test]
fn workflows_get_commands() {
    let folder = folder(RULES);
    let (_, out, _) = lint(folder.path(), &["rules", "--output", "github", "rules.yml"]);
    let first = out.lines().next().expect("a line");
    assert_eq!(
        first,
        "::warning file=rules.yml,line=5,col=11,endColumn=34,title=NX103 delta-of-counter::`delta` of a counter: its name \
         says that it begins anew at restarts%0A`increase` takes restarts into account"
    );
}

#[test]
fn lints_are_explained() {
    let folder = folder("");
    let (code, all, _) = lint(folder.path(), &["explain"]);
    assert_eq!(code, Some(0));
    for line in all.lines() {
        let (lint_code, _) = line.split_once(' ').expect("a code");
        let (code, told, _) = lint(folder.path(), &["explain", lint_code]);
        assert_eq!(code, Some(0), "{lint_code}");
        assert!(told.starts_with(lint_code) && told.contains("Wrong:") && told.contains("lint:disable"));
    }
}

/// What a server knows, it is asked for: names, values, types, counts and intervals.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_what_there_is() {
    let folder = folder(
        "groups:
- name: g
  rules:
  - alert: Slip
    expr: rate(prometheus_http_request_total[5m]) > 1
    for: 10s
  - alert: Value
    expr: rate(process_open_fds{job=\"slef\"}[1s]) > 1
  - alert: Absent
    expr: absent(nothing_of_this_name)
",
    );
    std::fs::write(folder.path().join("low.yml"), "thresholds: {series: 1}\n").expect("write");
    let config = "global: {scrape_interval: 1s, evaluation_interval: 30s}\n\
                  scrape_configs: [{job_name: self, static_configs: [{targets: ['SELF']}]}]\n";
    let server = Server::start(folder.path(), config, &[]).await;
    // The first scrape knows nothing yet of what it asks for.
    server
        .wait_for("prometheus_http_requests_total", |found| !found.is_empty())
        .await;
    let args = [
        "rules",
        "--config",
        "low.yml",
        "--output",
        "json",
        "--server",
        &server.url,
        "rules.yml",
    ];
    let (code, out, err) = tokio::task::block_in_place(|| lint(folder.path(), &args));
    assert_eq!((code, err.as_str()), (Some(3), ""));
    let found: Json = serde_json::from_str(&out).expect("JSON");
    let findings = found["findings"].as_array().expect("a list");
    let told: Vec<(&str, &str)> = findings
        .iter()
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or("");
            (text("code"), text("help"))
        })
        .collect();
    let want = [
        ("NX501", "did you mean `prometheus_http_requests_total`?"),
        ("NX401", ""),
        (
            "NX101",
            "falls count as restarts of a counter here; `deriv` tells how a gauge changes",
        ),
        ("NX403", "`rate` needs two samples; four intervals are usual"),
        ("NX502", "did you mean `self`?"),
        ("NX506", ""),
    ];
    assert_eq!(told, want);
}
