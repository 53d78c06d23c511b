//! `narthex rules backtest`: what it prints, as text and as JSON, and how it ends.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::harness::narthex;

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
    // A rule that cannot be evaluated is a failure.
    let broken =
        "groups: [{name: g, rules: [{record: r, expr: 'vector(1) and on () label_join(up, \"a b\")'}]}]";
    std::fs::write(path.join("broken.yml"), broken).expect("written");
    let (code, ..) = run(path, &format!("--to={START} broken.yml"));
    assert_eq!(code, Some(1));
}
