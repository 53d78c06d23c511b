//! `check rules`: what is wrong with a rule file, as the command line tells it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::error::FormatError;
use crate::format::{FormatOptions, RuleFile, read};

/// What is looked for besides errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LintOptions {
    /// Rules that produce the same series or alerts.
    pub duplicate_rules: bool,
    /// Whether what was found makes the check fail.
    pub fatal: bool,
}

impl LintOptions {
    /// Reads the value of `--lint`: `all`, `none`, `duplicate-rules`, or several with commas.
    ///
    /// # Errors
    /// The first unknown word.
    pub fn parse(words: &str, fatal: bool) -> Result<Self, UnknownLint> {
        let mut options = LintOptions {
            duplicate_rules: false,
            fatal,
        };
        for word in words.split(',') {
            match word {
                "all" | "duplicate-rules" => options.duplicate_rules = true,
                "none" | "" => {}
                word => return Err(UnknownLint(word.to_owned())),
            }
        }
        Ok(options)
    }
}

impl Default for LintOptions {
    /// As the command line starts: duplicates are told and do no harm.
    fn default() -> Self {
        LintOptions {
            duplicate_rules: true,
            fatal: false,
        }
    }
}

/// A word that `--lint` does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown lint {0}: it is one of all, duplicate-rules, none")]
pub struct UnknownLint(pub String);

/// What was found in one file.
#[derive(Debug)]
pub struct CheckReport {
    /// The name under which the file was checked.
    pub path: String,
    /// Number of rules, where the file is valid.
    pub rules: usize,
    /// What is wrong.
    pub errors: Vec<FormatError>,
    /// Rules that occur more than once: their name, and their labels.
    pub duplicates: Vec<(String, BTreeMap<String, String>)>,
    /// What is strange, but no error.
    pub warnings: Vec<Warning>,
}

/// Something strange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The file has more YAML documents than the first.
    #[error("Multiple document yaml rules files are not supported, only the first document is processed")]
    MoreDocuments,
}

/// How a run of checks ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit status 0.
    Success,
    /// Exit status 1: a file is wrong.
    Failure,
    /// Exit status 3: lints were found, and they are fatal.
    Lint,
}

impl Verdict {
    /// The exit status of the command line.
    pub fn exit_code(self) -> i32 {
        match self {
            Verdict::Success => 0,
            Verdict::Failure => 1,
            Verdict::Lint => 3,
        }
    }
}

/// Checks the rule file `text`, called `path`.
pub fn check(text: &str, path: &str, format: &FormatOptions, lint: &LintOptions) -> CheckReport {
    let mut report = CheckReport {
        path: path.to_owned(),
        rules: 0,
        errors: Vec::new(),
        duplicates: Vec::new(),
        warnings: Vec::new(),
    };
    match read(path, text, format) {
        Ok(file) => {
            report.rules = file.groups.iter().map(|group| group.rules.len()).sum();
            if lint.duplicate_rules {
                report.duplicates = duplicates(&file);
            }
            if file.more_documents {
                report.warnings.push(Warning::MoreDocuments);
            }
        }
        Err(errors) => report.errors = errors,
    }
    report
}

impl CheckReport {
    /// How the check of this file ends.
    pub fn verdict(&self, lint: &LintOptions) -> Verdict {
        match (self.errors.is_empty(), self.duplicates.is_empty()) {
            (false, _) => Verdict::Failure,
            (true, false) if lint.fatal => Verdict::Lint,
            _ => Verdict::Success,
        }
    }

    /// What goes to standard output.
    pub fn stdout(&self) -> String {
        let path = &self.path;
        match (self.errors.is_empty(), self.duplicates.is_empty()) {
            (true, true) => format!("Checking {path}\n  SUCCESS: {} rules found\n\n", self.rules),
            (true, false) => format!("Checking {path}\n\n"),
            _ => format!("Checking {path}\n"),
        }
    }

    /// What goes to standard error; warnings are the logger's.
    pub fn stderr(&self) -> String {
        self.with_places(|_| String::new())
    }

    /// The same with the line that each error speaks of and a mark under the place; with colours if `color`.
    pub fn stderr_with_marks(&self, color: bool) -> String {
        self.with_places(|error| error.place(color) + "\n")
    }

    fn with_places(&self, place: impl Fn(&FormatError) -> String) -> String {
        let mut out = String::new();
        if !self.errors.is_empty() || !self.duplicates.is_empty() {
            out.push_str("  FAILED:\n");
        }
        for error in &self.errors {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{error}");
            out.push_str(&place(error));
        }
        if !self.duplicates.is_empty() {
            let _ = writeln!(
                out,
                "lint error {} duplicate rule(s) found.",
                self.duplicates.len()
            );
            for (name, labels) in &self.duplicates {
                let _ = writeln!(out, "Metric: {name}\nLabel(s):");
                for (name, value) in labels {
                    let _ = writeln!(out, "\t{name}: {value}");
                }
            }
            out.push_str("Might cause inconsistency while recording expressions\n");
        }
        out
    }
}

/// Names and labels that more than one rule has, sorted.
fn duplicates(file: &RuleFile) -> Vec<(String, BTreeMap<String, String>)> {
    let mut counts: BTreeMap<(String, BTreeMap<String, String>), usize> = BTreeMap::new();
    for group in &file.groups {
        for rule in &group.rules {
            let mut labels = group.labels.clone();
            labels.extend(rule.labels.clone());
            *counts.entry((rule.name.clone(), labels)).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(key, _)| key)
        .collect()
}
