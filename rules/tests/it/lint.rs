//! What `lint rules` finds, and what it does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use narthex_rules::format::FormatOptions;
use narthex_rules::lint::{Facts, Finding, LINTS, Outcome, Settings, Source, apply, lint};

/// Folder of the linter's cases.
fn cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/lint")
}

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn run(text: &str, settings: &Settings, facts: Option<&Facts>) -> Outcome {
    lint(
        &[source("rules.yml", text)],
        &FormatOptions::default(),
        settings,
        facts,
    )
}

/// The server that the explanations speak of.
fn sample_facts() -> Facts {
    let text = |text: &str| text.to_owned();
    let jobs = ["api", "web"].map(text).into();
    Facts {
        names: [
            "http_latency_seconds_bucket",
            "http_requests_total",
            "job:http_latency_bucket:rate5m",
        ]
        .map(text)
        .into(),
        series: BTreeMap::from([(text("http_latency_seconds_bucket"), 200_000)]),
        values: BTreeMap::from([((text("http_requests_total"), text("job")), jobs)]),
        scrape_interval_ms: Some(60_000),
        ..Facts::default()
    }
}

/// A file with a group that is written as explanations have it: a list of rules, or the keys of a group.
fn file_of(example: &str) -> String {
    let is_list = example.trim_start().starts_with(['-', '#']);
    let keys = if is_list {
        format!("rules:\n{example}")
    } else {
        example.to_owned()
    };
    let indented: Vec<String> = keys.lines().map(|line| format!("  {line}")).collect();
    format!("groups:\n- name: example\n{}\n", indented.join("\n"))
}

/// Each lint finds its wrong example and not its right one, in which nothing else is wrong either.
#[test]
fn explanations_are_true() {
    let facts = sample_facts();
    for told in LINTS {
        let knows_more = told.explanation.needs_server || told.code == "NX403";
        let mut facts = knows_more.then(|| facts.clone());
        if told.code == "NX403" {
            // Its metric is no other's.
            facts = facts.map(|facts| Facts {
                names: ["requests_total".to_owned()].into(),
                ..facts
            });
        }
        let facts = facts.as_ref();
        let codes = |example: &str| -> Vec<&str> {
            let outcome = run(&file_of(example), &Settings::default(), facts);
            assert!(outcome.errors.is_empty(), "{}: {:?}", told.code, outcome.errors);
            outcome.findings.iter().map(|finding| finding.lint.code).collect()
        };
        assert_eq!(codes(told.explanation.wrong), [told.code], "{}: wrong", told.code);
        assert_eq!(
            codes(told.explanation.right),
            [] as [&str; 0],
            "{}: right",
            told.code
        );
    }
}

#[test]
fn codes_are_sorted_and_names_are_unique() {
    assert!(LINTS.is_sorted_by(|a, b| a.code < b.code));
    let names: std::collections::BTreeSet<&str> = LINTS.iter().map(|lint| lint.name).collect();
    assert_eq!(names.len(), LINTS.len());
}

/// A finding on a line, with the text that is marked.
fn line_of(finding: &Finding, text: &str) -> String {
    let at = finding.position;
    let marked = text.get(at.offset..at.offset + at.bytes).unwrap_or("");
    let marked = marked.lines().next().unwrap_or("");
    let mut line = format!(
        "{}:{} {} {}: {}",
        at.line, at.column, finding.lint.code, finding.rule, finding.message
    );
    if let Some(help) = &finding.help {
        let _ = write!(line, " ({help})");
    }
    format!("{line}\n    `{marked}`\n")
}

/// Compares with the file `path`, or rewrites it under `UPDATE_EXPECT=1`.
fn expect(path: &Path, got: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, got).unwrap();
        return;
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(got, want, "{}: UPDATE_EXPECT=1 rewrites it", path.display());
}

/// Community rules: every finding is one that docs/lint.md defends.
#[test]
fn community_rules_give_what_is_defended() {
    let Some(folder) = testkit::conformance("rules/community") else {
        return;
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut shown = String::new();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let outcome = run(&text, &Settings::default(), None);
        assert!(outcome.errors.is_empty(), "{name}: {:?}", outcome.errors);
        for finding in &outcome.findings {
            let _ = write!(shown, "{name}:{}", line_of(finding, &text));
            *counts.entry((finding.lint.code, finding.lint.name)).or_default() += 1;
        }
    }
    assert!(paths.len() >= 60);
    let mut table = String::from("| code | name | found |\n|---|---|---|\n");
    for ((code, name), count) in counts {
        let _ = writeln!(table, "| {code} | {name} | {count} |");
    }
    expect_in_docs("community", &table);
    expect(&cases().join("community.expect"), &shown);
}

/// Each `*.yml` of the cases gives the findings that stand beside it; `*.yml.config` is its configuration.
#[test]
fn cases_give_what_stands_beside_them() {
    let mut codes = std::collections::BTreeSet::new();
    let mut count = 0;
    for entry in std::fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        let settings = match std::fs::read_to_string(beside(".config")) {
            Ok(text) => Settings::read("config", &text).unwrap(),
            Err(_) => Settings::default(),
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let outcome = run(&text, &settings, None);
        assert!(
            outcome.errors.is_empty(),
            "{}: {:?}",
            path.display(),
            outcome.errors
        );
        let shown: String = outcome
            .findings
            .iter()
            .map(|finding| line_of(finding, &text))
            .collect();
        expect(&beside(".expect"), &shown);
        codes.extend(outcome.findings.iter().map(|finding| finding.lint.code));
        count += 1;
    }
    assert!(count >= 8, "{count}");
    let without_server = LINTS.iter().filter(|lint| !lint.explanation.needs_server);
    let unseen: Vec<&str> = without_server
        .map(|lint| lint.code)
        .filter(|code| !codes.contains(code))
        .collect();
    assert_eq!(unseen, [] as [&str; 0], "lints without a case");
}

/// What a fix changes is what its finding marks: the finding is gone, the file is valid, every other byte is as it was.
#[test]
fn fixes_heal_and_touch_nothing_else() {
    let mut fixes = 0;
    for name in ["types.yml", "conditions.yml", "labels.yml"] {
        let text = std::fs::read_to_string(cases().join(name)).unwrap();
        let before = run(&text, &Settings::default(), None);
        let fixed = apply(&text, &before.findings);
        let with_fix = before
            .findings
            .iter()
            .filter(|finding| finding.fix.is_some())
            .count();
        assert_eq!(fixed.count, with_fix, "{name}");
        let after = run(&fixed.text, &Settings::default(), None);
        assert!(after.errors.is_empty(), "{name}: {:?}", after.errors);
        assert_eq!(after.findings.len(), before.findings.len() - with_fix, "{name}");
        assert!(
            after.findings.iter().all(|finding| finding.fix.is_none()),
            "{name}"
        );
        let changed = text
            .lines()
            .zip(fixed.text.lines())
            .filter(|(a, b)| a != b)
            .count();
        assert_eq!(text.lines().count(), fixed.text.lines().count(), "{name}");
        assert!(changed <= with_fix, "{name}: {changed} lines");
        fixes += with_fix;
    }
    assert!(fixes >= 6, "{fixes}");
}

/// A fix is made in every style of scalar in which the file has what the expression has, and refused elsewhere.
#[test]
fn fixes_are_refused_where_the_file_is_written_otherwise() {
    for (expr, want) in [
        ("delta(x_total[5m])", Some("increase(x_total[5m])")),
        ("'delta(x_total[5m])'", Some("'increase(x_total[5m])'")),
        ("\"delta(x_total[5m])\"", Some("\"increase(x_total[5m])\"")),
        (
            "|\n      delta(x_total[5m])",
            Some("|\n      increase(x_total[5m])"),
        ),
        (
            ">-\n      1 +\n      delta(x_total[5m])",
            Some(">-\n      1 +\n      increase(x_total[5m])"),
        ),
        ("\"\\x64elta(x_total[5m])\"", None),
        ("&anchor delta(x_total[5m])", None),
    ] {
        let text = format!("groups:\n- name: g\n  rules:\n  - record: é\n    expr: {expr}\n");
        let outcome = run(&text, &Settings::default(), None);
        assert_eq!(outcome.findings.len(), 1, "{expr}");
        let fixed = apply(&text, &outcome.findings);
        let want = want.map_or(text.clone(), |want| text.replace(expr, want));
        assert_eq!(fixed.text, want, "{expr}");
    }
}

/// Tables of docs/lint.md are what they say: between two comments stands what comes from here.
fn expect_in_docs(mark: &str, want: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/lint.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {mark} -->\n");
    let (before, rest) = text.split_once(&begin).unwrap();
    let (got, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{before}{begin}{want}<!-- end -->{after}")).unwrap();
        return;
    }
    assert_eq!(got, want, "docs/lint.md, {mark}: UPDATE_EXPECT=1 rewrites it");
}

#[test]
fn the_documentation_lists_all_lints() {
    let mut table = String::from("| code | name | severity | what is found |\n|---|---|---|---|\n");
    for lint in LINTS {
        let server = if lint.explanation.needs_server {
            " (with `--server`)"
        } else {
            ""
        };
        let (severity, what) = (lint.severity.as_str(), lint.explanation.what);
        let _ = writeln!(
            table,
            "| {} | {} | {severity} | {what}{server} |",
            lint.code, lint.name
        );
    }
    expect_in_docs("lints", &table);
}

/// Cut anywhere and with bytes exchanged, a file is looked at or refused, and nothing else; its fixes can be applied.
#[test]
fn damaged_files_do_not_panic() {
    let seed = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut state: u64 = seed.unwrap_or(20_261_201);
    println!("NARTHEX_SEED={state}");
    let mut random = |below: usize| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let facts = sample_facts();
    for name in ["labels.yml", "conditions.yml", "comments.yml", "joins.yml"] {
        let text = std::fs::read_to_string(cases().join(name)).unwrap();
        let chars: Vec<char> = text.chars().collect();
        for _ in 0..150 {
            let cut = random(chars.len());
            let mut damaged: Vec<char> = chars[..cut].to_vec();
            for _ in 0..random(4) {
                let (at, with) = (random(cut.max(1)), chars[random(chars.len())]);
                if let Some(place) = damaged.get_mut(at) {
                    *place = with;
                }
            }
            let damaged: String = damaged.into_iter().collect();
            let outcome = run(&damaged, &Settings::default(), Some(&facts));
            apply(&damaged, &outcome.findings);
        }
    }
}

/// A file with thousands of rules takes seconds, also in a build without optimisation.
#[test]
fn large_files_are_looked_at_in_seconds() {
    let mut text = String::from("groups:\n");
    for group in 0..20 {
        let _ = write!(text, "- name: g{group}\n  rules:\n");
        for rule in 0..100 {
            let number = group * 100 + rule;
            let _ = write!(
                text,
                "  - alert: Alert{number}\n    expr: |\n      sum by (job, label_{number}) (rate(errors_{number}_total{{env=\"e{rule}\"}}[5m]))\n      \
                 / on (job) sum by (job) (rate(requests_total[5m])) > 0.{number}\n    for: 5m\n    labels: {{severity: page, team_{number}: x}}\n    \
                 annotations:\n      summary: '{{{{ $labels.instance }}}} of {{{{ $labels.job }}}} is at {{{{ $value | humanize }}}}'\n"
            );
        }
    }
    let start = std::time::Instant::now();
    let outcome = run(&text, &Settings::default(), None);
    let took = start.elapsed();
    assert_eq!(outcome.rules, 2_000);
    assert!(outcome.findings.len() >= 4_000, "{}", outcome.findings.len());
    // What grew with the square would take minutes.
    assert!(took.as_secs() < 60, "{took:?}");
}
