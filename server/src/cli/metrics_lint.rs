//! What `check metrics` has to say about the names and types of a scrape body.
//!
//! The rules are those of <https://prometheus.io/docs/practices/naming/>, as the reference's tool applies them.

use std::collections::{BTreeMap, BTreeSet};

use exposition::{Entry, Format, ParseError, Parser, ParserOptions, parse_series};
use model::sample::MetricType;

/// A finding about one metric family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Which family.
    pub(crate) metric: String,
    /// What about it.
    pub(crate) text: String,
}

/// A family as the body shows it.
#[derive(Default)]
struct Family {
    kind: MetricType,
    has_help: bool,
    /// Label sets without the labels that make up one histogram or summary.
    series: Vec<Vec<(String, String)>>,
    /// Lines with a sample.
    lines: usize,
    label_names: BTreeSet<String>,
}

/// Problems, sorted by metric and text.
///
/// # Errors
/// When the body is not in the text format.
pub(crate) fn lint(body: &[u8]) -> Result<Vec<Problem>, ParseError> {
    let mut problems = Vec::new();
    for (name, family) in families(body)? {
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
pub(crate) fn cardinality(body: &[u8]) -> Result<Vec<(String, usize)>, ParseError> {
    let families = families(body)?.into_iter().filter(|(_, family)| family.lines > 0);
    Ok(families.map(|(name, family)| (name, family.lines)).collect())
}

fn families(body: &[u8]) -> Result<BTreeMap<String, Family>, ParseError> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut parser = Parser::new(Format::Text, body, ParserOptions::default());
    loop {
        let kind = parser.kind();
        let Some(entry) = parser.next()? else {
            return Ok(families);
        };
        match entry {
            Entry::Type { name, kind } => families.entry(text(name)).or_default().kind = kind,
            Entry::Help { name, .. } => families.entry(text(name)).or_default().has_help = true,
            Entry::Series(series) => {
                let mut name = String::new();
                let mut labels = Vec::new();
                // A series that the parser gave can be read; one whose labels are no text has none to lint.
                let _ = parse_series(Format::Text, series.text, kind, |label, value| {
                    if label == "__name__" {
                        name = value.to_owned();
                    } else {
                        labels.push((label.to_owned(), value.to_owned()));
                    }
                });
                add_series(&mut families, &name, labels);
            }
            Entry::Unit { .. } | Entry::Comment(_) | Entry::Histogram(_) => {}
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Files a series under its family: `x_bucket` under `x` if `x` is a histogram, and so on.
fn add_series(families: &mut BTreeMap<String, Family>, name: &str, mut labels: Vec<(String, String)>) {
    let parts: [(&str, &[MetricType], &str); 3] = [
        ("_bucket", &[MetricType::Histogram], "le"),
        ("_sum", &[MetricType::Histogram, MetricType::Summary], ""),
        ("_count", &[MetricType::Histogram, MetricType::Summary], ""),
    ];
    let part_of = parts.iter().find_map(|(suffix, kinds, own)| {
        let base = name.strip_suffix(suffix)?;
        families
            .get(base)
            .is_some_and(|family| kinds.contains(&family.kind))
            .then_some((base, *own))
    });
    let (base, own) = part_of.unwrap_or((name, ""));
    let family = families.entry(base.to_owned()).or_default();
    let own = if part_of.is_none() && family.kind == MetricType::Summary {
        "quantile"
    } else {
        own
    };
    labels.retain(|(label, _)| label != own);
    family
        .label_names
        .extend(labels.iter().map(|(label, _)| label.clone()));
    labels.sort();
    family.lines += 1;
    if matches!(family.kind, MetricType::Histogram | MetricType::Summary) && family.series.contains(&labels) {
        return;
    }
    family.series.push(labels);
}

fn lint_text(family: &Family, add: &mut impl FnMut(String)) {
    if !family.has_help {
        add("no help text".to_owned());
    }
    let mut seen = BTreeSet::new();
    for labels in &family.series {
        if !seen.insert(labels) {
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
    for _ in family.label_names.iter().filter(|label| is_camel_case(label)) {
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
    let kind = family.kind;
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
    if family.kind == MetricType::Unknown {
        return;
    }
    let reserved = [
        (MetricType::Histogram, "le", "histogram"),
        (MetricType::Summary, "quantile", "summary"),
    ];
    for (kind, label, word) in reserved {
        let carriers = family
            .series
            .iter()
            .filter(|labels| labels.iter().any(|(name, _)| name == label));
        if family.kind != kind {
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
