//! What the reference's `test rules` said about real test files.

use narthex_rules::unit::{UnitOptions, UnitReport, test_file};
use promql::engine::Features;
use promql::parser::ParseOptions;
use serde_json::Value as Json;

fn run(path: &std::path::Path) -> UnitReport {
    let mut options = UnitOptions {
        features: Features::all_syntax(),
        ..UnitOptions::default()
    };
    options.format.parse = ParseOptions::ALL;
    test_file(path, &std::fs::read_to_string(path).unwrap(), &options)
}

#[test]
fn test_rules_says_what_the_reference_says() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let verdicts = std::fs::read_to_string(folder.join("verdicts.jsonl")).unwrap();
    let (mut checked, mut failed) = (0, 0);
    for line in verdicts.lines() {
        let verdict: Json = serde_json::from_str(line).unwrap();
        if verdict["check"] != "test rules" {
            continue;
        }
        checked += 1;
        let file = verdict["file"].as_str().unwrap();
        let report = run(&folder.join(file));
        let stderr = report.stderr().replace(&format!("{}/", folder.display()), "");
        let want = verdict["stderr"].as_str().unwrap();
        let same_code = (verdict["exit"] == 0) == report.is_success();
        // Unknown fields are told in our own words, with line and column.
        let same = if want.contains("unmarshal errors") {
            stderr.contains("field namespace not found") && stderr.contains("field ownership not found")
        } else {
            stderr == want && verdict["stdout"] == report.stdout()
        };
        if !same_code || !same {
            failed += 1;
            println!("{file}: want {want}\ngot {stderr}");
        }
    }
    assert_eq!(failed, 0);
    assert!(checked >= 14, "{checked}");
}

fn own(name: &str) -> UnitReport {
    run(&crate::testdata().join("unit").join(name))
}

#[test]
fn own_tests_pass() {
    let report = own("passes.yml");
    assert!(report.is_success(), "{}", report.stderr());
    let names: Vec<&str> = report.tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(names, ["alerts and expressions", "from a time on"]);
}

/// `fails.txt` has what `fails.yml` says; `UPDATE_EXPECT=1` rewrites it.
#[test]
fn inputs_may_be_repeated_and_long() {
    let report = own("inputs.yml");
    assert!(report.is_success(), "{}", report.stderr());
    assert_eq!(report.tests.len(), 2);
}

#[test]
fn alerts_whose_data_is_missing_are_kept_or_told() {
    let report = own("no_data.yml");
    assert!(report.is_success(), "{}", report.stderr());
}

#[test]
fn own_tests_fail() {
    let report = own("fails.yml");
    let folder = crate::testdata().join("unit");
    let got = report.stderr().replace(&format!("{}/", folder.display()), "");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(folder.join("fails.txt"), &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(folder.join("fails.txt")).unwrap());
}

#[test]
fn tests_are_chosen_by_name() {
    let options = UnitOptions {
        run: Some(model::regex::Regex::unanchored("^from|none").unwrap()),
        ..UnitOptions::default()
    };
    let path = crate::testdata().join("unit/passes.yml");
    let report = test_file(&path, &std::fs::read_to_string(&path).unwrap(), &options);
    assert!(report.is_success() && report.tests.len() == 1 && report.tests[0].name == "from a time on");
}

#[test]
fn malformed_test_files_are_refused() {
    for (text, part) in [
        (
            "group_eval_order: [a, b, a]",
            "group name repeated in evaluation order: a",
        ),
        (
            "tests: [{start_timestamp: yesterday}]",
            "cannot parse \"yesterday\" to a valid timestamp",
        ),
        (
            "testz: []",
            "field testz not found in unit test file (did you mean `tests`?)",
        ),
        (
            "tests: [{promql_expr_test: [{expr: x, eval_tim: 1m}]}]",
            "eval_tim",
        ),
        ("evaluation_interval: soon", "soon"),
        ("rule_files: ['[']", "["),
    ] {
        let report = test_file(std::path::Path::new("t.yml"), text, &UnitOptions::default());
        assert!(
            report.stderr().contains(part) && !report.is_success(),
            "{text}: {}",
            report.stderr()
        );
    }
}
