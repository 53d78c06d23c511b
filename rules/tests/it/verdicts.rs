//! What the reference's `check rules` said about real files.

use narthex_rules::check::{LintOptions, check};
use narthex_rules::format::{FormatOptions, read};
use serde_json::Value as Json;

#[test]
fn check_rules_says_what_the_reference_says() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let verdicts = std::fs::read_to_string(folder.join("verdicts.jsonl")).unwrap();
    let (mut checked, mut failed) = (0, 0);
    for line in verdicts.lines() {
        let verdict: Json = serde_json::from_str(line).unwrap();
        let command = verdict["check"].as_str().unwrap();
        let Some(flags) = command.strip_prefix("check rules") else {
            continue;
        };
        let lint = match flags.trim() {
            "" => LintOptions::default(),
            "--lint=all --lint-fatal" => LintOptions::parse("all", true).unwrap(),
            other => panic!("flags {other}"),
        };
        let file = verdict["file"].as_str().unwrap();
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let report = check(&text, file, &FormatOptions::default(), &lint);
        checked += 1;
        let want = (
            verdict["exit"].as_i64().unwrap(),
            verdict["stdout"].as_str().unwrap(),
            without_log(verdict["stderr"].as_str().unwrap()),
        );
        let got_code = i64::from(report.verdict(&lint).exit_code());
        let (stdout, stderr) = (report.stdout(), report.stderr());
        let logged = verdict["stderr"].as_str().unwrap().contains("level=WARN");
        let same = (got_code, stdout.as_str()) == (want.0, want.1)
            && logged != report.warnings.is_empty()
            && as_exact(&stderr, &want.2);
        if !same {
            failed += 1;
            println!("{file}: want {want:?}\n  got {:?}", (got_code, &stdout, &stderr));
        }
    }
    assert_eq!(failed, 0);
    assert!(checked > 150, "{checked}");
}

/// Standard error without lines of the logger.
fn without_log(stderr: &str) -> String {
    stderr
        .lines()
        .filter(|line| !line.contains("level="))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Whether our messages are the same, or tell more: a place instead of `0:0`, and for unknown fields the line, the
/// column and what may have been meant.
fn as_exact(got: &str, want: &str) -> bool {
    if got == want {
        return true;
    }
    let (got, want): (Vec<&str>, Vec<&str>) = (got.lines().collect(), want.lines().collect());
    if let Some(at) = want
        .iter()
        .position(|line| line.contains("yaml: unmarshal errors"))
    {
        // `  line 7: field x not found in type y`
        let unknown: Vec<(&str, &str)> = want[at + 1..]
            .iter()
            .map(|line| {
                line.trim()
                    .strip_prefix("line ")
                    .unwrap()
                    .split_once(": ")
                    .unwrap()
            })
            .map(|(line, message)| (line, message.split(" in type").next().unwrap()))
            .collect();
        let ours = &got[at..];
        return ours.len() == unknown.len()
            && unknown.iter().zip(ours).all(|((line, message), ours)| {
                ours.contains(&format!(":{line}:")) && ours.contains(message)
            });
    }
    got.len() == want.len()
        && want.iter().zip(&got).all(|(want, got)| {
            let want_rest = want.replace("0:0: ", "");
            let places = got.split(": ").filter(|part| is_place(part)).count();
            let got_rest: Vec<&str> = got.split(": ").filter(|part| !is_place(part)).collect();
            *want == *got || (want.contains("0:0: ") && places > 0 && got_rest.join(": ") == want_rest)
        })
}

fn is_place(part: &str) -> bool {
    part.split_once(':').is_some_and(|(line, column)| {
        line.parse::<u32>().is_ok_and(|line| line > 0) && column.parse::<u32>().is_ok()
    })
}

#[test]
fn files_that_people_use_load() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let mut rules = 0;
    for entry in std::fs::read_dir(folder.join("rules/community")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let file = read(&path.display().to_string(), &text, &FormatOptions::default());
        let file = file.unwrap_or_else(|errors| panic!("{errors:?}"));
        rules += file.groups.iter().map(|group| group.rules.len()).sum::<usize>();
    }
    assert!(rules > 500, "{rules}");
}

#[test]
fn legacy_names_are_asked_for() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let legacy = FormatOptions {
        legacy_names: true,
        ..FormatOptions::default()
    };
    for (name, valid) in [
        ("legacy_validation_annotation.bad.yaml", false),
        ("legacy_validation_annotation.good.yaml", true),
        ("utf-8_lname.good.yaml", false),
        ("test.yaml", true),
    ] {
        let text = std::fs::read_to_string(folder.join("rules/rulefmt").join(name)).unwrap();
        assert_eq!(read(name, &text, &legacy).is_ok(), valid, "{name}");
        assert!(read(name, &text, &FormatOptions::default()).is_ok(), "{name}");
    }
}
