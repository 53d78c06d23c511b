//! `lint rules`: what is valid in a rule file and will not do what its author wants.
//!
//! Each [`Lint`] stands in a file of its own under `lints/`, with its explanation, and all of them in one table, [`LINTS`].
//! They look at rules with their places (`view`), and share what can be worked out of an expression without evaluating
//! it: which labels its result has (`labels`), whether it is a counter (`kinds`), between which numbers it lies
//! (`bounds`). What a running server knows comes in as [`Facts`], in answer to [`questions`]: this room asks nobody.
//!
//! The one decision behind it: a lint that cannot be sure says nothing. What is not known of a series (its type, its
//! labels, how many there are) is never guessed from what is usual, but for names that the field has agreed upon.

mod bounds;
mod comments;
mod explain;
mod facts;
mod fix;
mod kinds;
mod labels;
mod lints;
mod settings;
mod units;
mod view;

use std::collections::BTreeMap;

use yaml::Position;

pub use explain::{explanation, overview};
pub use facts::{Facts, MetricKind, Questions, questions};
pub use fix::{Fix, Fixed, apply};
pub use lints::LINTS;
pub use settings::{Settings, Thresholds};

use crate::error::FormatError;
use crate::format::FormatOptions;
use view::{FileView, RuleView, View};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look; does not make the command fail.
    Info,
    /// Most likely not what was meant.
    Warning,
    /// Cannot do what was meant.
    Error,
}

impl Severity {
    /// Its word in configuration and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One thing that is looked for.
pub struct Lint {
    /// `NX101`; never given to another lint.
    pub code: &'static str,
    /// The code in words: `rate-of-gauge`.
    pub name: &'static str,
    /// How bad a finding is, unless the configuration says otherwise.
    pub severity: Severity,
    /// What it is about.
    pub explanation: Explanation,
    check: Check,
}

/// What `lint explain` tells of a lint.
pub struct Explanation {
    /// What is found, in one sentence.
    pub what: &'static str,
    /// Why it hurts, and what to do.
    pub why: &'static str,
    /// A rule in which it is found.
    pub wrong: &'static str,
    /// The same done right.
    pub right: &'static str,
    /// Whether it takes a server to find it.
    pub needs_server: bool,
}

/// Where a lint looks.
enum Check {
    /// At each rule by itself.
    Rule(fn(&RuleView<'_>, &mut Report<'_>)),
    /// At all files together.
    Files(fn(&View<'_>, &mut Report<'_>)),
}

impl Lint {
    /// The lint with this code or name.
    pub fn find(word: &str) -> Option<&'static Lint> {
        LINTS
            .iter()
            .copied()
            .find(|lint| lint.code.eq_ignore_ascii_case(word) || lint.name == word)
    }
}

/// Something that was found.
#[derive(Clone)]
pub struct Finding {
    /// By which lint.
    pub lint: &'static Lint,
    /// How bad it is.
    pub severity: Severity,
    /// Number of the file among those that were looked at.
    pub file: usize,
    /// Where in the file.
    pub position: Position,
    /// Name of the group.
    pub group: String,
    /// Name of the rule.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The change that is sure to be right.
    pub fix: Option<Fix>,
}

/// A rule file that is to be looked at.
pub struct Source {
    /// The name under which it is told of.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What is the outcome.
#[derive(Default)]
pub struct Outcome {
    /// What was found, by file and place.
    pub findings: Vec<Finding>,
    /// What is wrong with files that could not be looked at.
    pub errors: Vec<FormatError>,
    /// Rules that were looked at.
    pub rules: usize,
}

impl Outcome {
    /// The exit status of the command line: 1 where a file is no rule file, 3 where there is a finding of severity
    /// warning or error.
    pub fn exit_code(&self) -> u8 {
        let counts = |finding: &Finding| finding.severity > Severity::Info;
        match (self.errors.is_empty(), self.findings.iter().any(counts)) {
            (false, _) => 1,
            (true, true) => 3,
            (true, false) => 0,
        }
    }
}

/// Looks at rule files together; `facts` is what a server knows.
pub fn lint(
    sources: &[Source],
    format: &FormatOptions,
    settings: &Settings,
    facts: Option<&Facts>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let documents: Vec<_> = sources
        .iter()
        .map(|source| yaml::parse_all(&source.path, &source.text))
        .collect();
    let mut files = Vec::new();
    for (number, (source, documents)) in sources.iter().zip(&documents).enumerate() {
        match documents {
            Ok(documents) => match FileView::new(number, source, documents, format) {
                Ok(file) => files.push(file),
                Err(errors) => outcome.errors.extend(errors),
            },
            Err(error) => outcome.errors.push(FormatError::Yaml(error.clone())),
        }
    }
    let view = View::new(&files, settings, facts);
    outcome.rules = view.rules().count();
    let mut report = Report {
        settings,
        findings: Vec::new(),
        lint: LINTS[0],
    };
    for lint in LINTS
        .iter()
        .copied()
        .filter(|lint| settings.severity(lint).is_some())
    {
        report.lint = lint;
        match lint.check {
            Check::Rule(check) => view.rules().for_each(|rule| check(&rule, &mut report)),
            Check::Files(check) => check(&view, &mut report),
        }
    }
    let by_number: BTreeMap<usize, &FileView<'_>> = files.iter().map(|file| (file.number, file)).collect();
    outcome.findings = report.findings;
    outcome.findings.retain(|finding| {
        let file = by_number.get(&finding.file);
        file.is_none_or(|file| !file.comments.disables(finding.lint, finding.position.line))
    });
    outcome
        .findings
        .sort_by_key(|finding| (finding.file, finding.position.offset, finding.lint.code));
    // What stands behind an alias is looked at wherever it is used, and told once.
    outcome.findings.dedup_by(|a, b| {
        let key = |finding: &Finding| (finding.file, finding.position, finding.lint.code);
        key(a) == key(b) && a.message == b.message
    });
    outcome
}

/// Takes what lints find.
struct Report<'r> {
    settings: &'r Settings,
    findings: Vec<Finding>,
    lint: &'static Lint,
}

impl Report<'_> {
    /// A finding about `rule`.
    fn add(&mut self, rule: &RuleView<'_>, position: Position, message: impl Into<String>) -> &mut Finding {
        let finding = self.at(rule.file.number, position, message);
        finding.group.clone_from(&rule.group.name);
        finding.rule.clone_from(&rule.rule.name);
        finding
    }

    /// A finding about a place of file `file` that belongs to no rule.
    fn at(&mut self, file: usize, position: Position, message: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding {
            lint: self.lint,
            severity: self.settings.severity(self.lint).unwrap_or(self.lint.severity),
            file,
            position,
            group: String::new(),
            rule: String::new(),
            message: message.into(),
            help: None,
            fix: None,
        });
        self.findings.last_mut().expect("it was just added")
    }
}

impl Finding {
    /// Adds what to do about it.
    fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}
