//! `narthex rules backtest`: what it prints, as text and as JSON, and how it ends.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Server, narthex};

/// Midnight at the start of November 2026, in seconds.
const START: i64 = 1_793_491_200;

fn case(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("testdata/rules/backtest/shop").join(file)
}

/// A folder with the rules, an Alertmanager's configuration, and an hour of data in `data`: two times with errors, the first
/// too short.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    for file in ["rules.yml", "alertmanager.yml"] {
        std::fs::copy(case(file), folder.path().join(file)).expect("copied");
    }
    let mut text = "# TYPE errors gauge\n".to_owned();
    for minute in 0..=60 {
        let errors = match minute {
            10..13 => 20,
            30..45 => 15,
            _ => 1,
        };
        let at = START + minute * 60;
        writeln!(text, "errors{{job=\"api\"}} {errors} {at}").expect("text");
    }
    text.push_str("# TYPE requests gauge\n");
    for minute in 0..=60 {
        writeln!(text, "requests{{job=\"api\"}} 100 {}", START + minute * 60).expect("text");
    }
    text.push_str("# EOF\n");
    let line = ["tsdb", "create-blocks-from", "-q", "openmetrics", "-", "data"];
    let made = narthex(&line, folder.path(), text.as_bytes());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

fn run(folder: &Path, more: &str) -> (Option<i32>, String, String) {
    let line = format!("rules backtest --from={START} --storage.tsdb.path=data {more}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = narthex(&words, folder, b"");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Compares with a file, or rewrites it under `UPDATE_EXPECT=1`.
fn check(got: &str, file: &str) -> String {
    let path = case(file);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, got).expect("written");
    }
    let want = std::fs::read_to_string(&path).expect("expected");
    assert_eq!(got, want, "{}: UPDATE_EXPECT=1 rewrites it", path.display());
    want
}

#[test]
fn what_would_have_fired_is_printed() {
    let folder = shop();
    let all = format!(
        "--to={} --alertmanager.config.file=alertmanager.yml rules.yml",
        START + 3600
    );
    let (code, text, err) = run(folder.path(), &all);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let text = check(&text, "report.txt");
    let (code, json, err) = run(folder.path(), &format!("--output=json {all}"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    check(&json, "report.json");
    // What is documented is what is printed.
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tools.md");
    let docs = std::fs::read_to_string(docs).expect("docs");
    let shown: String = text.lines().map(|line| format!("    {line}\n")).collect();
    assert!(docs.contains(&shown), "docs/tools.md does not show\n{shown}");
}

#[test]
fn what_cannot_be_tried_is_told() {
    let folder = shop();
    let path = folder.path();
    let (code, out, err) = run(path, "none.yml");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err, "none.yml: no such file\n");
    let (code, _, err) = run(path, "--to=5 rules.yml");
    assert_eq!(code, Some(1));
    assert!(err.contains("ends before it begins"), "{err}");
    let (code, _, err) = run(
        path,
        &format!("--to={START} --alertmanager.config.file=rules.yml rules.yml"),
    );
    assert_eq!(code, Some(1));
    assert!(err.contains("rules.yml"), "{err}");
    let (code, _, err) = run(path, "--to=yesterday rules.yml");
    assert_eq!(code, Some(1));
    assert!(err.contains("or -1h for an hour ago"), "{err}");
    // A rule that cannot be evaluated is a failure.
    let broken =
        "groups: [{name: g, rules: [{record: r, expr: 'vector(1) and on () label_join(up, \"a b\")'}]}]";
    std::fs::write(path.join("broken.yml"), broken).expect("written");
    let (code, ..) = run(path, &format!("--to={START} broken.yml"));
    assert_eq!(code, Some(1));
}

/// Over a folder, over the URL of a server that has it, and by that server's API: the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_data_give_the_same_by_url_and_by_its_api() {
    let folder = shop();
    let path = folder.path();
    let to = START + 3600;
    let all = format!("--output=json --to={to} --alertmanager.config.file=alertmanager.yml rules.yml");
    let (_, want, _) = run(path, &all);
    let mut want: Value = serde_json::from_str(&want).expect("JSON");
    let server = Server::start(path, "{}", &["--storage.tsdb.retention.time=100y"]).await;

    let line = format!("rules backtest --from={START} {all} {}", server.url);
    let words: Vec<&str> = line.split_whitespace().collect();
    let asked = tokio::task::block_in_place(|| narthex(&words, path, b""));
    let err = String::from_utf8_lossy(&asked.stderr);
    assert_eq!((asked.status.code(), err.as_ref()), (Some(0), ""));
    let got: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    assert_eq!(got, want);
    let line = format!("{line} --storage.tsdb.path=data");
    let words: Vec<&str> = line.split_whitespace().collect();
    let asked = tokio::task::block_in_place(|| narthex(&words, path, b""));
    assert_eq!(asked.status.code(), Some(1));

    let text = |file: &str| std::fs::read_to_string(case(file)).expect("text");
    let post = async |form: &[(&str, &str)]| {
        let url = format!("{}/api/v1/rules/backtest", server.url);
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = crate::harness::http_client()
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        (status, answer)
    };
    let (from, to) = (START.to_string(), to.to_string());
    let (rules, alertmanager) = (text("rules.yml"), text("alertmanager.yml"));
    let form = [
        ("from", from.as_str()),
        ("to", to.as_str()),
        ("rules", rules.as_str()),
        ("alertmanager", alertmanager.as_str()),
    ];
    let (status, got) = post(&form).await;
    assert_eq!(status, 200, "{got}");
    for rule in want["rules"].as_array_mut().expect("rules") {
        rule["file"] = json!("rules");
    }
    assert_eq!(got["data"], want);
    for (form, words) in [
        (&form[..2], "the text of a rule file is missing"),
        (
            &[("rules", "groups: []"), ("from", "9"), ("to", "5")][..],
            "ends before it begins",
        ),
        (&[("rules", "group: []"), ("from", "5")], "field group not found"),
        (
            &[("rules", rules.as_str()), ("from", "5"), ("alertmanager", "{}")],
            "no routes provided",
        ),
        (
            &[("rules", rules.as_str()), ("from", "5")],
            "evaluations of rules are more than 200000",
        ),
    ] {
        let (status, answer) = post(form).await;
        let error = answer["error"].as_str().unwrap_or("");
        assert!(status == 400 && error.contains(words), "{status} {answer}");
    }
    // It changes nothing, and is no GET.
    let (status, _) = server.get("/api/v1/rules/backtest").await;
    assert_eq!(status, 405);
}
