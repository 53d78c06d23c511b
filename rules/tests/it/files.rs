//! Own rule files: what is refused, with which words and where.

use narthex_rules::check::{LintOptions, UnknownLint};
use narthex_rules::format::{FormatOptions, RuleKind, read};

/// Each `*.bad.yml` is refused with the lines that its leading comments tell; each `*.good.yml` is read.
#[test]
fn own_files() {
    let (mut good, mut bad) = (0, 0);
    for entry in std::fs::read_dir(crate::testdata().join("files")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let want: String = text
            .lines()
            .map_while(|line| line.strip_prefix("#! "))
            .map(|line| format!("{line}\n"))
            .collect();
        match read(&name, &text, &FormatOptions::default()) {
            Ok(_) => {
                assert!(name.ends_with(".good.yml"), "{name} should be refused");
                good += 1;
            }
            Err(errors) => {
                let got: String = errors.iter().map(|error| format!("{error}\n")).collect();
                if std::env::var_os("UPDATE_EXPECT").is_some() {
                    update(&path, &text, &got);
                    continue;
                }
                assert_eq!(got, want, "{name}");
                bad += 1;
            }
        }
    }
    assert!(good >= 2 && bad >= 3);
}

/// Replaces the leading comments by what was said. Lines may move by that: run it twice.
fn update(path: &std::path::Path, text: &str, got: &str) {
    let rest = text.lines().skip_while(|line| line.starts_with("#! "));
    let head = got.lines().map(|line| format!("#! {line}\n"));
    let whole: String = head.chain(rest.map(|line| format!("{line}\n"))).collect();
    std::fs::write(path, whole).unwrap();
}

#[test]
fn all_fields_are_read() {
    let text = "groups:\n- name: g\n  interval: 30s\n  query_offset: 1m\n  limit: 7\n  labels: {team: x}\n  rules:\n  - alert: A\n    \
                expr: up == 0\n    for: 5m\n    keep_firing_for: 10m\n    labels: {severity: page}\n    annotations: {s: '{{ $value }}'}\n  \
                - record: r\n    expr: 1\n";
    let file = read("f", text, &FormatOptions::default()).unwrap();
    let group = &file.groups[0];
    assert_eq!(
        (group.interval_ms, group.query_offset_ms, group.limit),
        (Some(30_000), Some(60_000), 7)
    );
    assert_eq!(group.labels["team"], "x");
    let alert = &group.rules[0];
    assert_eq!(
        (alert.kind, alert.for_ms, alert.keep_firing_for_ms),
        (RuleKind::Alerting, 300_000, 600_000)
    );
    assert_eq!(alert.annotations["s"], "{{ $value }}");
    assert_eq!(
        (group.rules[1].kind, group.rules[1].expr.to_string().as_str()),
        (RuleKind::Recording, "1")
    );
}

#[test]
fn unknown_fields_can_be_skipped() {
    let text = "groups:\n- name: g\n  colour: red\n  rules: []\n";
    assert!(read("f", text, &FormatOptions::default()).is_err());
    let lax = FormatOptions {
        ignore_unknown_fields: true,
        ..FormatOptions::default()
    };
    assert_eq!(read("f", text, &lax).unwrap().groups.len(), 1);
}

#[test]
fn empty_files_have_no_groups() {
    for text in ["", "# nothing\n", "groups:\n", "groups: []\n", "{}\n"] {
        assert_eq!(
            read("f", text, &FormatOptions::default()).unwrap().groups.len(),
            0,
            "{text:?}"
        );
    }
}

#[test]
fn lints_have_names() {
    assert!(LintOptions::parse("all", false).unwrap().duplicate_rules);
    assert!(
        LintOptions::parse("duplicate-rules", false)
            .unwrap()
            .duplicate_rules
    );
    assert!(!LintOptions::parse("none", false).unwrap().duplicate_rules);
    assert_eq!(
        LintOptions::parse("nope", false),
        Err(UnknownLint("nope".to_owned()))
    );
}

/// Cut anywhere, a file is read or refused, and nothing else.
#[test]
fn cut_files_do_not_panic() {
    let text = std::fs::read_to_string(crate::testdata().join("files/full.good.yml")).unwrap();
    for (at, _) in text.char_indices() {
        let _ = read("f", &text[..at], &FormatOptions::default());
    }
}

/// Each thing that is wrong is marked where it stands, whatever holds it.
#[test]
fn marks_stand_under_the_thing_itself() {
    let path = crate::testdata().join("files/places.bad.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    let errors = read("places.bad.yml", &text, &FormatOptions::default()).unwrap_err();
    let marks: Vec<String> = errors
        .iter()
        .map(|error| {
            let at = error.position();
            let line = text.lines().nth(at.line as usize - 1).unwrap();
            line.chars().skip(at.column as usize - 1).collect()
        })
        .collect();
    let want: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once("# at: ")?.1))
        .collect();
    assert_eq!(marks.len(), want.len(), "{marks:?}");
    for (mark, want) in marks.iter().zip(want) {
        assert!(mark.starts_with(want), "{mark:?} is not {want:?}");
    }
    // Each is told once, with its line.
    let report = narthex_rules::check(
        &text,
        "places.bad.yml",
        &FormatOptions::default(),
        &LintOptions::default(),
    );
    let shown = report.stderr_with_marks(false);
    for (error, mark) in errors.iter().zip(&marks) {
        assert_eq!(shown.matches(&error.to_string()).count(), 1, "{error}");
        let place = error.place(false);
        let at = error.position();
        assert!(
            place.contains(&format!("places.bad.yml:{}:{}", at.line, at.column)),
            "{place}"
        );
        assert!(shown.contains(&place) && place.contains(mark.as_str()), "{place}");
    }
}
