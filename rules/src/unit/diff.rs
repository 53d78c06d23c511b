//! What was expected beside what there is, line by line.

use std::collections::HashSet;
use std::fmt::Write as _;

use model::labels::Labels;

use super::{FiringAlert, UnitFailure, UnitSample, samples_text};

/// Colours of a terminal: what is missing, what is too much, and back.
const RED: &str = "\u{1b}[0;31m";
const GREEN: &str = "\u{1b}[0;32m";
const PLAIN: &str = "\u{1b}[0m";
/// Most pairs of lines that are compared for one item; an item of more lines is shown as it was and as it is.
const COMPARED_MAX: usize = 1_000_000;

impl UnitFailure {
    /// The failure with the differences alone: lines that are missing after `-`, lines that are too much after `+`, both
    /// in colours where `color` is set. Failures that compare nothing are told as always.
    pub fn diff(&self, color: bool) -> String {
        let time = |ms: &i64| model::duration::format_duration(*ms);
        match self {
            UnitFailure::Alerts {
                test,
                alert,
                eval_time_ms,
                expected,
                got,
            } => {
                let name = match test.as_str() {
                    "" => String::new(),
                    name => format!("    name: {name},\n"),
                };
                let lines = |alerts: &[FiringAlert]| alerts.iter().map(alert_lines).collect::<Vec<_>>();
                format!(
                    "{name}    alertname: {alert}, time: {}, \n        diff:\n{}",
                    time(eval_time_ms),
                    differences(&lines(expected), &lines(got), color)
                )
            }
            UnitFailure::Samples {
                expr,
                eval_time_ms,
                expected,
                got,
            } => {
                let lines = |samples: &[UnitSample]| {
                    let line = |sample| samples_text(std::slice::from_ref(sample));
                    samples.iter().map(line).collect::<Vec<_>>()
                };
                format!(
                    "    expr: {}, time: {},\n        diff:\n{}",
                    crate::error::Quoted(expr),
                    time(eval_time_ms),
                    differences(&lines(expected), &lines(got), color)
                )
            }
            other => other.to_string(),
        }
    }
}

/// An alert on lines of its own: labels, then annotations.
fn alert_lines(alert: &FiringAlert) -> String {
    let texts = |title: &str, labels: &Labels| {
        let pairs = labels
            .iter()
            .map(|(name, value)| format!("\n    {name}: {value:?}"));
        format!("{title}:{}", pairs.collect::<String>())
    };
    format!(
        "{}\n{}",
        texts("labels", &alert.labels),
        texts("annotations", &alert.annotations)
    )
}

/// Items of both lists, which are sorted alike. Items that are alone are shown whole; where both lists have something left,
/// they are laid beside each other, since most often one label differs.
fn differences(expected: &[String], got: &[String], color: bool) -> String {
    let (in_expected, in_got): (HashSet<&String>, HashSet<&String>) =
        (expected.iter().collect(), got.iter().collect());
    let missing: Vec<&String> = expected.iter().filter(|item| !in_got.contains(item)).collect();
    let surplus: Vec<&String> = got.iter().filter(|item| !in_expected.contains(item)).collect();
    let mut out = String::new();
    for number in 0..missing.len().max(surplus.len()) {
        let old = missing.get(number).map_or("", |item| item.as_str());
        let new = surplus.get(number).map_or("", |item| item.as_str());
        let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
        for (sign, line) in edits(&old, &new) {
            let (on, off) = match sign {
                '-' if color => (RED, PLAIN),
                '+' if color => (GREEN, PLAIN),
                _ => ("", ""),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "          {on}{sign} {line}{off}");
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// How `old` becomes `new`, line by line: what both have in their longest common sequence stays where it is, so that a
/// label that differs stands among labels and not behind the annotations.
fn edits<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, &'t str)> {
    let width = new.len() + 1;
    if (old.len() + 1).saturating_mul(width) > COMPARED_MAX {
        let old = old.iter().map(|line| ('-', *line));
        return old.chain(new.iter().map(|line| ('+', *line))).collect();
    }
    // Length of the longest common sequence of what follows each pair of places.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::with_capacity(old.len() + new.len()));
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            out.push(('-', old[i]));
            i += 1;
        } else {
            out.push(('+', new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_too_much_stand_under_each_other() {
        let sample = |value| UnitSample {
            labels: Labels::from_pairs([("a", "b")]),
            value,
            histogram: None,
        };
        let failure = UnitFailure::Samples {
            expr: "x".into(),
            eval_time_ms: 60_000,
            expected: vec![sample(1.0), sample(2.0)],
            got: vec![sample(1.0), sample(3.0)],
        };
        assert_eq!(
            failure.diff(false),
            "    expr: \"x\", time: 1m,\n        diff:\n          - {a=\"b\"} 2E+00\n          + {a=\"b\"} 3E+00"
        );
        let alert = |value| FiringAlert {
            labels: Labels::from_pairs([("alertname", "A"), ("x", value)]),
            annotations: Labels::empty(),
        };
        let failure = UnitFailure::Alerts {
            test: String::new(),
            alert: "A".into(),
            eval_time_ms: 0,
            expected: vec![alert("1")],
            got: vec![alert("2")],
        };
        let shown = failure.diff(true);
        assert!(shown.contains("\n            labels:\n"), "{shown}");
        assert!(shown.contains("\u{1b}[0;31m-     x: \"1\"\u{1b}[0m\n"), "{shown}");
        assert!(shown.contains("\u{1b}[0;32m+     x: \"2\"\u{1b}[0m"), "{shown}");
    }

    #[test]
    fn labels_stand_under_labels() {
        let alert = |severity, summary| FiringAlert {
            labels: Labels::from_pairs([("alertname", "A"), ("severity", severity), ("zone", "z")]),
            annotations: Labels::from_pairs([("runbook", "r"), ("summary", summary)]),
        };
        let failure = UnitFailure::Alerts {
            test: String::new(),
            alert: "A".into(),
            eval_time_ms: 0,
            expected: vec![alert("page", "one")],
            got: vec![alert("warn", "two")],
        };
        let shown = failure.diff(false);
        let lines: Vec<&str> = shown.lines().skip(2).map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "labels:",
                "alertname: \"A\"",
                "-     severity: \"page\"",
                "+     severity: \"warn\"",
                "zone: \"z\"",
                "annotations:",
                "runbook: \"r\"",
                "-     summary: \"one\"",
                "+     summary: \"two\"",
            ]
        );
    }

    #[test]
    fn items_of_many_lines_are_shown_as_they_were_and_are() {
        let lines: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let edits = edits(&lines, &lines[..1000]);
        assert_eq!(edits.len(), 2001);
        assert!(edits[..1001].iter().all(|(sign, _)| *sign == '-'));
    }
}
