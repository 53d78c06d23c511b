//! What `check metrics` has to say about the names and types of a scrape body.
//!
//! The rules are those of <https://prometheus.io/docs/practices/naming/>, as the reference's tool applies them.

use std::collections::BTreeSet;

use model::labels::NameScheme;
use model::sample::MetricType;

use exposition::strict::{Family, TextError, families};

/// A finding about one metric family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Which family.
    pub(crate) metric: String,
    /// What about it.
    pub(crate) text: String,
}

/// Problems, sorted by metric and text.
///
/// # Errors
/// When the body is not in the text format.
pub(crate) fn lint(body: &[u8]) -> Result<Vec<Problem>, TextError> {
    let mut problems = Vec::new();
    for (name, family) in families(body, NameScheme::Utf8)? {
        let mut add = |text: String| {
            problems.push(Problem {
                metric: name.clone(),
                text,
            });
        };
        lint_text(&family, &mut add);
        lint_name(&name, &family, &mut add);
        lint_type(&name, &family, &mut add);
        lint_labels(&family, &mut add);
    }
    problems.sort();
    Ok(problems)
}

/// How many series each family has, every bucket and quantile counted.
///
/// # Errors
/// When the body is not in the text format.
pub(crate) fn cardinality(body: &[u8]) -> Result<Vec<(String, usize)>, TextError> {
    let families = families(body, NameScheme::Utf8)?.into_iter();
    Ok(families.map(|(name, family)| (name, family.lines)).collect())
}

fn lint_text(family: &Family, add: &mut impl FnMut(String)) {
    if family.help.is_none() {
        add("no help text".to_owned());
    }
    let mut seen = BTreeSet::new();
    for metric in &family.metrics {
        if !seen.insert(&metric.labels) {
            add("metric not unique".to_owned());
        }
    }
}

fn lint_name(name: &str, family: &Family, add: &mut impl FnMut(String)) {
    const ABBREVIATIONS: [&str; 14] = [
        "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d",
    ];
    if let Some((unit, base)) = unit_of(name)
        && unit != base
    {
        add(format!("use base unit {base:?} instead of {unit:?}"));
    }
    if name.contains(':') {
        add("metric names should not contain ':'".to_owned());
    }
    if is_camel_case(name) {
        add("metric names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
    let labels = family
        .metrics
        .iter()
        .flat_map(|metric| &metric.labels)
        .map(|(label, _)| label.as_str());
    let names: BTreeSet<&str> = labels.collect();
    for _ in names.into_iter().filter(|label| is_camel_case(label)) {
        add("label names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
    let lower = name.to_ascii_lowercase();
    for word in ABBREVIATIONS {
        if has_word(&lower, word) {
            add("metric names should not contain abbreviated units".to_owned());
        }
    }
}

fn lint_type(name: &str, family: &Family, add: &mut impl FnMut(String)) {
    let kind = family.kind();
    let untyped = kind == MetricType::Unknown;
    let is_counter = kind == MetricType::Counter;
    match (is_counter, name.ends_with("_total")) {
        (true, false) => add(r#"counter metrics should have "_total" suffix"#.to_owned()),
        (false, true) if !untyped => add(r#"non-counter metrics should not have "_total" suffix"#.to_owned()),
        _ => {}
    }
    if untyped {
        return;
    }
    if has_word(&name.to_ascii_lowercase(), kind.as_str()) {
        add(format!("metric name should not include type '{}'", kind.as_str()));
    }
    let (histogram, summary) = (kind == MetricType::Histogram, kind == MetricType::Summary);
    if !histogram && name.ends_with("_bucket") {
        add(r#"non-histogram metrics should not have "_bucket" suffix"#.to_owned());
    }
    for suffix in ["_count", "_sum"] {
        if !histogram && !summary && name.ends_with(suffix) {
            add(format!(
                r#"non-histogram and non-summary metrics should not have "{suffix}" suffix"#
            ));
        }
    }
}

fn lint_labels(family: &Family, add: &mut impl FnMut(String)) {
    if family.kind() == MetricType::Unknown {
        return;
    }
    let reserved = [
        (MetricType::Histogram, "le", "histogram"),
        (MetricType::Summary, "quantile", "summary"),
    ];
    for (kind, label, word) in reserved {
        let carriers = family
            .metrics
            .iter()
            .filter(|metric| metric.labels.iter().any(|(name, _)| name == label));
        if family.kind() != kind {
            carriers.for_each(|_| add(format!("non-{word} metrics should not have {label:?} label")));
        }
    }
}

fn is_camel_case(name: &str) -> bool {
    name.as_bytes()
        .windows(2)
        .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

/// Whether `word` stands in `name` between underscores, or at its end behind one.
fn has_word(name: &str, word: &str) -> bool {
    name.contains(&format!("_{word}_")) || name.ends_with(&format!("_{word}"))
}

/// The first word of a name that is a unit, and its base unit.
fn unit_of(name: &str) -> Option<(&str, &'static str)> {
    const UNITS: [(&str, &str); 24] = [
        ("amperes", "amperes"),
        ("bytes", "bytes"),
        ("celsius", "celsius"),
        ("grams", "grams"),
        ("joules", "joules"),
        ("kelvin", "kelvin"),
        ("meters", "meters"),
        ("metres", "metres"),
        ("seconds", "seconds"),
        ("volts", "volts"),
        ("minutes", "seconds"),
        ("hours", "seconds"),
        ("days", "seconds"),
        ("weeks", "seconds"),
        ("kelvins", "kelvin"),
        ("fahrenheit", "celsius"),
        ("rankine", "celsius"),
        ("inches", "meters"),
        ("yards", "meters"),
        ("miles", "meters"),
        ("bits", "bytes"),
        ("calories", "joules"),
        ("pounds", "grams"),
        ("ounces", "grams"),
    ];
    const PREFIXES: [&str; 18] = [
        "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi",
        "giga", "gibi", "tera", "tebi", "peta", "pebi",
    ];
    let base_of = |word: &str| {
        UNITS
            .iter()
            .find(|(unit, _)| *unit == word)
            .map(|(_, base)| *base)
    };
    name.split('_').find_map(|word| {
        let prefixed = || {
            PREFIXES
                .iter()
                .find_map(|prefix| base_of(word.strip_prefix(prefix)?))
        };
        Some((word, base_of(word).or_else(prefixed)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_sorted_and_worded_as_the_references() {
        let body = b"# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1\n\
            # TYPE errors counter\nerrors{le=\"1\"} 1\n\
            # HELP d_seconds x\n# TYPE d_seconds histogram\nd_seconds_bucket{le=\"1\"} 1\nd_seconds_sum 1\nd_seconds_count 1\n\
            freeBytes 1\nx_minutes_total 1\n";
        let found: Vec<String> = lint(body)
            .expect("valid")
            .iter()
            .map(|p| format!("{} {}", p.metric, p.text))
            .collect();
        assert_eq!(
            found,
            [
                "a_ms metric names should not contain abbreviated units",
                "errors counter metrics should have \"_total\" suffix",
                "errors no help text",
                "errors non-histogram metrics should not have \"le\" label",
                "freeBytes metric names should be written in 'snake_case' not 'camelCase'",
                "freeBytes no help text",
                "x_minutes_total no help text",
                "x_minutes_total use base unit \"seconds\" instead of \"minutes\"",
            ]
        );
    }
}
