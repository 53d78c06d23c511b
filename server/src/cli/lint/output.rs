//! How findings are told: to people, to programs, to GitHub, and to what reads SARIF.

use std::fmt::Write as _;

use ::rules::lint::{Finding, LINTS, Outcome, Severity, Source};
use serde_json::{Value as Json, json};

use crate::version;

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// A line for each finding, with the place marked.
    Text,
    /// One document; its shape stands in docs/lint.md.
    Json,
    /// Annotations of a workflow.
    Github,
    /// SARIF 2.1.0.
    Sarif,
}

impl Output {
    /// The format of a word that the command line has checked.
    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "json" => Output::Json,
            "github" => Output::Github,
            "sarif" => Output::Sarif,
            _ => Output::Text,
        }
    }

    /// What goes to standard output.
    pub(super) fn write(self, sources: &[Source], outcome: &Outcome) -> String {
        match self {
            Output::Text => text(sources, outcome),
            Output::Json => pretty(&json_document(sources, outcome)),
            Output::Github => github(sources, outcome),
            Output::Sarif => pretty(&sarif(sources, outcome)),
        }
    }
}

fn pretty(document: &Json) -> String {
    format!("{document:#}\n")
}

fn path<'s>(sources: &'s [Source], finding: &Finding) -> &'s str {
    sources
        .get(finding.file)
        .map_or("", |source| source.path.as_str())
}

/// The column behind the last character that is marked, which is on the line of the first.
fn end_column(sources: &[Source], finding: &Finding) -> u32 {
    let at = finding.position;
    let text = sources
        .get(finding.file)
        .map_or("", |source| source.text.as_str());
    let marked = text.get(at.offset..at.offset + at.bytes).unwrap_or("");
    let letters = marked.lines().next().unwrap_or("").trim_end().chars().count();
    at.column + letters.max(1) as u32
}

fn text(sources: &[Source], outcome: &Outcome) -> String {
    let mut out = String::new();
    for finding in &outcome.findings {
        let (path, at) = (path(sources, finding), finding.position);
        let text = sources
            .get(finding.file)
            .map_or("", |source| source.text.as_str());
        let lint = finding.lint;
        let severity = finding.severity.as_str();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{path}:{}:{}: {severity}: {} [{} {}]",
            at.line, at.column, finding.message, lint.code, lint.name
        );
        out.push_str(&yaml::mark(path, text, at, false));
        out.push('\n');
        if let Some(help) = &finding.help {
            let _ = writeln!(out, "   = help: {help}");
        }
        if finding.fix.is_some() {
            out.push_str("   = help: --fix does it\n");
        }
        out.push('\n');
    }
    let count = |severity| {
        let findings = outcome.findings.iter();
        findings.filter(|finding| finding.severity == severity).count()
    };
    let _ = writeln!(
        out,
        "{} rules in {} files: {} errors, {} warnings, {} notes",
        outcome.rules,
        sources.len(),
        // What keeps a file from being read stands above, on the standard error.
        count(Severity::Error) + outcome.errors.len(),
        count(Severity::Warning),
        count(Severity::Info)
    );
    out
}

fn json_document(sources: &[Source], outcome: &Outcome) -> Json {
    let findings = outcome.findings.iter().map(|finding| {
        let at = finding.position;
        json!({
            "code": finding.lint.code,
            "name": finding.lint.name,
            "severity": finding.severity.as_str(),
            "file": path(sources, finding),
            "line": at.line,
            "column": at.column,
            "endColumn": end_column(sources, finding),
            "group": finding.group,
            "rule": finding.rule,
            "message": finding.message,
            "help": finding.help,
            "fix": finding.fix.as_ref().map(|fix| json!({
                "offset": fix.range.start,
                "bytes": fix.range.len(),
                "replacement": fix.replacement,
            })),
        })
    });
    let errors = outcome.errors.iter().map(|error| {
        let at = error.position();
        json!({"message": error.to_string(), "line": at.line, "column": at.column})
    });
    json!({
        "rules": outcome.rules,
        "files": sources.iter().map(|source| &source.path).collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        "errors": errors.collect::<Vec<_>>(),
    })
}

/// A message as workflow commands carry it.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command, where more is a delimiter.
fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

fn github(sources: &[Source], outcome: &Outcome) -> String {
    let mut out = String::new();
    for finding in &outcome.findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let help = finding
            .help
            .as_ref()
            .map_or(String::new(), |help| format!("\n{help}"));
        let at = finding.position;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "::{command} file={},line={},col={},endColumn={},title={}::{}",
            escaped_property(path(sources, finding)),
            at.line,
            at.column,
            end_column(sources, finding),
            escaped_property(&format!("{} {}", finding.lint.code, finding.lint.name)),
            escaped(&(finding.message.clone() + &help))
        );
    }
    for error in &outcome.errors {
        let _ = writeln!(out, "::error::{}", escaped(&error.to_string()));
    }
    out
}

/// The level of a result in SARIF.
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn sarif(sources: &[Source], outcome: &Outcome) -> Json {
    let rules = LINTS.iter().map(|lint| {
        json!({
            "id": lint.code,
            "name": lint.name,
            "shortDescription": {"text": lint.explanation.what},
            "fullDescription": {"text": lint.explanation.why},
            "defaultConfiguration": {"level": level(lint.severity)},
        })
    });
    let results = outcome
        .findings
        .iter()
        .map(|finding| sarif_result(sources, finding));
    let notifications = outcome
        .errors
        .iter()
        .map(|error| json!({"level": "error", "message": {"text": error.to_string()}}));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "narthex",
                "semanticVersion": version::OWN,
                "rules": rules.collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": outcome.errors.is_empty(),
                "toolExecutionNotifications": notifications.collect::<Vec<_>>(),
            }],
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn sarif_result(sources: &[Source], finding: &Finding) -> Json {
    let at = finding.position;
    let file = json!({"uri": uri(path(sources, finding))});
    let help = finding
        .help
        .as_ref()
        .map_or(String::new(), |help| format!("\n{help}"));
    let mut result = json!({
        "ruleId": finding.lint.code,
        "ruleIndex": LINTS.iter().position(|lint| lint.code == finding.lint.code),
        "level": level(finding.severity),
        "message": {"text": finding.message.clone() + &help},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": file,
                "region": {
                    "startLine": at.line,
                    "startColumn": at.column,
                    "endColumn": end_column(sources, finding),
                },
            },
            "logicalLocations": [{"fullyQualifiedName": format!("{}/{}", finding.group, finding.rule)}],
        }],
    });
    if let Some(fix) = &finding.fix {
        result["fixes"] = json!([{
            "description": {"text": "what was meant"},
            "artifactChanges": [{
                "artifactLocation": file,
                "replacements": [{
                    "deletedRegion": {"byteOffset": fix.range.start, "byteLength": fix.range.len()},
                    "insertedContent": {"text": fix.replacement},
                }],
            }],
        }]);
    }
    result
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    const KEPT: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(path, &KEPT).to_string()
}
