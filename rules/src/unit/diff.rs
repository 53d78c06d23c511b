//! What was expected beside what there is, line by line.

use std::fmt::Write as _;

use model::labels::Labels;

use super::{FiringAlert, UnitFailure, UnitSample, samples_text};

/// Colours of a terminal: what is missing, what is too much, and back.
const RED: &str = "\u{1b}[0;31m";
const GREEN: &str = "\u{1b}[0;32m";
const PLAIN: &str = "\u{1b}[0m";

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
    let missing: Vec<&String> = expected.iter().filter(|item| !got.contains(item)).collect();
    let surplus: Vec<&String> = got.iter().filter(|item| !expected.contains(item)).collect();
    let mut out = String::new();
    for number in 0..missing.len().max(surplus.len()) {
        let old = missing.get(number).map_or("", |item| item.as_str());
        let new = surplus.get(number).map_or("", |item| item.as_str());
        let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
        let mut put = |sign: char, paint: &str, line: &str| {
            let (on, off) = if color && sign != ' ' {
                (paint, PLAIN)
            } else {
                ("", "")
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "          {on}{sign} {line}{off}");
        };
        for line in &old {
            if new.contains(line) {
                put(' ', "", line);
            } else {
                put('-', RED, line);
            }
        }
        for line in new.iter().filter(|line| !old.contains(line)) {
            put('+', GREEN, line);
        }
    }
    out.truncate(out.trim_end().len());
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
}
