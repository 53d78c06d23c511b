//! Rule files: how they are read and what is valid in them.

use std::collections::{BTreeMap, HashSet};

use model::labels::{ALERT_NAME, LabelTooLong, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use promql::ast::Expr;
use promql::parser::{ParseOptions, parse};
use yaml::{Document, Duration, Position, Section, Value, YamlError};

use crate::error::{FormatError, GroupProblem, RuleProblem};
use crate::expand;

/// What is accepted in rule files.
#[derive(Clone, Copy, Debug, Default)]
pub struct FormatOptions {
    /// Names of metrics and labels must be of the old kind, without UTF-8 beyond letters, digits and underscores.
    pub legacy_names: bool,
    /// Unknown keys are skipped, not refused.
    pub ignore_unknown_fields: bool,
    /// Which optional parts of PromQL are understood.
    pub parse: ParseOptions,
}

/// The contents of a rule file.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Its groups, in order.
    pub groups: Vec<RuleGroup>,
    /// Whether the file has more YAML documents than the first, which alone counts.
    pub more_documents: bool,
}

/// Rules that are evaluated together, one after the other.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    /// Name, unique in its file.
    pub name: String,
    /// How often it is evaluated; the global interval when `None`.
    pub interval_ms: Option<i64>,
    /// How far queries look back from the time of evaluation; the global offset when `None`.
    pub query_offset_ms: Option<i64>,
    /// Most series or alerts that a rule may produce; 0 for any number.
    pub limit: usize,
    /// Labels that all rules of the group add.
    pub labels: BTreeMap<String, String>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// What a rule does with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Stores it as a series.
    Recording,
    /// Makes alerts of it.
    Alerting,
}

/// A valid rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it does.
    pub kind: RuleKind,
    /// Name of the series or of the alert.
    pub name: String,
    /// The expression.
    pub expr: Expr,
    /// How long an alert must last before it fires, in milliseconds.
    pub for_ms: i64,
    /// How long an alert goes on firing after its condition has gone, in milliseconds.
    pub keep_firing_for_ms: i64,
    /// Labels to add; templates in alerts.
    pub labels: BTreeMap<String, String>,
    /// Annotations of alerts, as templates.
    pub annotations: BTreeMap<String, String>,
}

/// Reads and validates the rule file `text`; `path` is the name that errors give.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &str, text: &str, options: &FormatOptions) -> Result<RuleFile, Vec<FormatError>> {
    let documents = yaml::parse_all(path, text).map_err(|error| vec![FormatError::Yaml(error)])?;
    let mut reader = Reader {
        path,
        options,
        errors: Vec::new(),
    };
    let groups = match documents.first() {
        Some(document) => reader.file(document),
        None => Vec::new(),
    };
    if !reader.errors.is_empty() {
        return Err(reader.errors);
    }
    Ok(RuleFile {
        groups,
        more_documents: documents.len() > 1,
    })
}

struct Reader<'r> {
    path: &'r str,
    options: &'r FormatOptions,
    errors: Vec<FormatError>,
}

/// A rule as it stands in the file.
struct RawRule {
    position: Position,
    record: Option<(String, Position)>,
    alert: Option<(String, Position)>,
    expr: Option<(String, Position)>,
    for_ms: i64,
    keep_firing_for_ms: i64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// The file's groups. The shape of all of it comes first: what is valid is asked only where there is a shape.
    fn file(&mut self, document: &Document) -> Vec<RuleGroup> {
        let mut raw = Vec::new();
        if let Some(groups) = self.note(Reader::groups(self.options, document)) {
            for value in groups {
                raw.extend(self.raw_group(value));
            }
        }
        if !self.errors.is_empty() {
            return Vec::new();
        }
        let mut names = HashSet::new();
        raw.into_iter()
            .map(|(group, position, rules)| {
                let repeated = !names.insert(group.name.clone());
                self.group(group, position, rules, repeated)
            })
            .collect()
    }

    fn groups<'d>(options: &FormatOptions, document: &'d Document) -> Result<Vec<Value<'d>>, YamlError> {
        let mut section = document.root().section("rule file")?;
        let groups = section.list("groups", Ok)?;
        finish(section, options)?;
        Ok(groups)
    }

    fn note<T>(&mut self, result: Result<T, YamlError>) -> Option<T> {
        result
            .map_err(|error| self.errors.push(FormatError::Yaml(error)))
            .ok()
    }

    /// A group's own fields, and its rules as they stand there.
    fn raw_group(&mut self, value: Value<'_>) -> Option<(RuleGroup, Position, Vec<RawRule>)> {
        let mut rules = Vec::new();
        let mut read = || -> Result<RuleGroup, YamlError> {
            let mut section = value.section("rule group")?;
            // First, because what is wrong with the group does not keep its rules from being looked at.
            rules = section.list("rules", Ok)?;
            let duration = |section: &mut Section<'_>, key| -> Result<Option<i64>, YamlError> {
                Ok(section.get::<Duration>(key)?.map(Duration::as_ms))
            };
            let group = RuleGroup {
                name: section.get_or("name", String::new())?,
                interval_ms: duration(&mut section, "interval")?.filter(|ms| *ms != 0),
                query_offset_ms: duration(&mut section, "query_offset")?,
                // Compat: a negative limit is none.
                limit: usize::try_from(section.get_or("limit", 0i64)?).unwrap_or(0),
                labels: section.get_or("labels", BTreeMap::new())?,
                rules: Vec::new(),
            };
            finish(section, self.options)?;
            Ok(group)
        };
        let group = read();
        let group = self.note(group);
        let raw: Vec<Option<RawRule>> = rules
            .into_iter()
            .map(|rule| {
                let raw = raw_rule(rule, self.options);
                self.note(raw)
            })
            .collect();
        Some((group?, value.node.position, raw.into_iter().flatten().collect()))
    }

    fn group(
        &mut self,
        mut group: RuleGroup,
        position: Position,
        rules: Vec<RawRule>,
        repeated: bool,
    ) -> RuleGroup {
        if group.name.is_empty() {
            self.group_problem(Some(position), GroupProblem::NoName);
        }
        if repeated {
            self.group_problem(Some(position), GroupProblem::Repeated(group.name.clone()));
        }
        for name in group.labels.keys() {
            if !self.is_label_name(name) {
                self.group_problem(None, GroupProblem::LabelName(name.clone()));
            }
        }
        for error in group
            .labels
            .iter()
            .filter_map(|(name, value)| LabelTooLong::check(name, value).err())
        {
            self.group_problem(None, error.into());
        }
        for (index, raw) in rules.into_iter().enumerate() {
            let rule = self.rule(&group.name, index + 1, raw);
            group.rules.extend(rule);
        }
        group
    }

    fn group_problem(&mut self, position: Option<Position>, problem: GroupProblem) {
        self.errors.push(FormatError::Group {
            path: self.path.to_owned(),
            position,
            problem,
        });
    }

    fn is_label_name(&self, name: &str) -> bool {
        let valid = if self.options.legacy_names {
            is_legacy_label_name(name)
        } else {
            !name.is_empty()
        };
        valid && name != METRIC_NAME
    }

    /// Validates a rule; it is given back where nothing essential is missing.
    fn rule(&mut self, group: &str, number: usize, raw: RawRule) -> Option<Rule> {
        let place =
            |part: &Option<(String, Position)>| part.as_ref().map_or(raw.position, |(_, position)| *position);
        let set = |part: &Option<(String, Position)>| {
            part.clone().map(|(text, _)| text).filter(|text| !text.is_empty())
        };
        let (record, alert) = (set(&raw.record), set(&raw.alert));
        let name = alert.clone().or_else(|| record.clone()).unwrap_or_default();
        let mut found: Vec<(Position, Option<Position>, bool, RuleProblem)> = Vec::new();
        let mut problem = |position, problem| found.push((position, None, true, problem));
        let mut expr = None;
        match set(&raw.expr) {
            None => problem(place(&raw.expr), RuleProblem::NoExpr),
            Some(text) => match parse(&text, &self.options.parse) {
                Ok(parsed) => expr = Some(parsed),
                Err(error) => problem(place(&raw.expr), RuleProblem::Expr(error)),
            },
        }
        if let Some(record) = &record {
            for what in self.recording_problems(record, &raw) {
                problem(place(&raw.record), what);
            }
        }
        let kinds = match (&record, &alert) {
            (Some(_), Some(_)) => Some((Some(place(&raw.alert)), RuleProblem::BothKinds)),
            (None, None) => Some((None, RuleProblem::NoKind)),
            _ => None,
        };
        if let Some((other, what)) = kinds {
            found.insert(0, (place(&raw.record), other, true, what));
        }
        for what in self.name_problems(&raw) {
            found.push((raw.position, None, false, what));
        }
        if let Some(alert) = &alert {
            for what in template_problems(alert, &raw) {
                found.push((raw.position, None, false, what));
            }
        }
        self.errors.extend(
            found
                .into_iter()
                .map(|(position, other, located, problem)| FormatError::Rule {
                    path: self.path.to_owned(),
                    position,
                    other,
                    located,
                    group: group.to_owned(),
                    rule: number,
                    name: name.clone(),
                    problem: Box::new(problem),
                }),
        );
        Some(Rule {
            kind: if alert.is_some() {
                RuleKind::Alerting
            } else {
                RuleKind::Recording
            },
            name,
            expr: expr?,
            for_ms: raw.for_ms,
            keep_firing_for_ms: raw.keep_firing_for_ms,
            labels: raw.labels,
            annotations: raw.annotations,
        })
    }

    fn recording_problems(&self, name: &str, raw: &RawRule) -> Vec<RuleProblem> {
        let mut problems = Vec::new();
        let alert_fields = [
            ("annotations", !raw.annotations.is_empty()),
            ("for", raw.for_ms != 0),
            ("keep_firing_for", raw.keep_firing_for_ms != 0),
        ];
        for (field, _) in alert_fields.into_iter().filter(|(_, set)| *set) {
            problems.push(RuleProblem::AlertField(field));
        }
        if self.options.legacy_names && !is_legacy_metric_name(name) {
            problems.push(RuleProblem::RecordName(name.to_owned()));
        }
        if name.contains(['{', '}']) {
            problems.push(RuleProblem::Braces(name.to_owned()));
        }
        problems
    }

    fn name_problems(&self, raw: &RawRule) -> Vec<RuleProblem> {
        let labels = raw.labels.keys().filter(|name| !self.is_label_name(name));
        let annotations = raw.annotations.keys().filter(|name| {
            // An annotation may well be called like the metric's name.
            !self.is_label_name(name) && *name != METRIC_NAME
        });
        labels
            .map(|name| RuleProblem::LabelName(name.clone()))
            .chain(annotations.map(|name| RuleProblem::AnnotationName(name.clone())))
            .chain(too_long(raw))
            .collect()
    }
}

/// Texts that no label can hold: templates as they are written are labels of the rule's state, too.
fn too_long(raw: &RawRule) -> impl Iterator<Item = RuleProblem> {
    let named = [(METRIC_NAME, &raw.record), (ALERT_NAME, &raw.alert)];
    named
        .into_iter()
        .filter_map(|(label, name)| Some((label, name.as_ref()?.0.as_str())))
        .chain(
            raw.labels
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        )
        .chain(
            raw.annotations
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        )
        .filter_map(|(name, text)| LabelTooLong::check(name, text).err())
        .map(RuleProblem::from)
}

fn template_problems(alert: &str, raw: &RawRule) -> Vec<RuleProblem> {
    let labels = raw.labels.iter().map(|pair| ("label", pair));
    let annotations = raw.annotations.iter().map(|pair| ("annotation", pair));
    labels
        .chain(annotations)
        .filter_map(|(part, (name, text))| {
            let error = expand::Template::parse(alert, text).err()?;
            Some(RuleProblem::Template {
                part,
                name: name.clone(),
                error,
            })
        })
        .collect()
}

fn raw_rule(value: Value<'_>, options: &FormatOptions) -> Result<RawRule, YamlError> {
    let mut section = value.section("rule")?;
    let text = |section: &mut Section<'_>, key| -> Result<Option<(String, Position)>, YamlError> {
        let Some(value) = section.value(key) else {
            return Ok(None);
        };
        let text: String = yaml::FromYaml::from_yaml(value)?;
        Ok(Some((text, value.node.position)))
    };
    let raw = RawRule {
        position: value.node.position,
        record: text(&mut section, "record")?,
        alert: text(&mut section, "alert")?,
        expr: text(&mut section, "expr")?,
        for_ms: section.get_or("for", Duration::from_ms(0))?.as_ms(),
        keep_firing_for_ms: section.get_or("keep_firing_for", Duration::from_ms(0))?.as_ms(),
        labels: section.get_or("labels", BTreeMap::new())?,
        annotations: section.get_or("annotations", BTreeMap::new())?,
    };
    finish(section, options)?;
    Ok(raw)
}

fn finish(section: Section<'_>, options: &FormatOptions) -> Result<(), YamlError> {
    if options.ignore_unknown_fields {
        return Ok(());
    }
    section.finish()
}
