//! Rule files: how they are read and what is valid in them.

use std::collections::{BTreeMap, HashSet};

use model::labels::{ALERT_NAME, LabelTooLong, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use promql::ast::Expr;
use promql::parser::{ParseOptions, parse};
use template::alert::PREFIX;
use yaml::{Document, Duration, NodeKind, Position, Section, Value, YamlError};

use crate::error::{FormatError, GroupProblem, Mark, RuleProblem};
use crate::expand;
use crate::no_data::NoData;

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
    /// What becomes of alerts whose data is missing; not in the reference.
    pub no_data: NoData,
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
    read_documents(path, &documents, options)
}

/// The same where the file has been parsed already.
pub(crate) fn read_documents(
    path: &str,
    documents: &[Document],
    options: &FormatOptions,
) -> Result<RuleFile, Vec<FormatError>> {
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

/// A group as it stands in the file.
struct RawGroup<'d> {
    value: Value<'d>,
    group: RuleGroup,
    label_keys: Keys<'d>,
    rules: Vec<RawRule<'d>>,
}

/// A rule as it stands in the file.
struct RawRule<'d> {
    value: Value<'d>,
    record: Option<(String, Value<'d>)>,
    alert: Option<(String, Value<'d>)>,
    expr: Option<(String, Value<'d>)>,
    for_ms: i64,
    keep_firing_for_ms: i64,
    labels: BTreeMap<String, String>,
    label_keys: Keys<'d>,
    annotations: BTreeMap<String, String>,
    annotation_keys: Keys<'d>,
}

/// Keys and values of a mapping of texts, by the key.
type Keys<'d> = BTreeMap<&'d str, (Value<'d>, Value<'d>)>;

/// What was found in a rule.
struct Found<'d> {
    /// The part of the rule that messages place it at.
    part: Value<'d>,
    other: Option<Position>,
    located: bool,
    mark: Position,
    problem: Box<RuleProblem>,
}

impl<'d> Found<'d> {
    fn at(part: Value<'d>, problem: RuleProblem) -> Self {
        Found {
            part,
            other: None,
            located: true,
            mark: part.node.position,
            problem: Box::new(problem),
        }
    }

    /// Something about a label or annotation of the rule `part`.
    fn within(part: Value<'d>, mark: Position, problem: RuleProblem) -> Self {
        Found {
            located: false,
            mark,
            ..Found::at(part, problem)
        }
    }
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
            .map(|raw| {
                let repeated = !names.insert(raw.group.name.clone());
                self.group(raw, repeated)
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
    fn raw_group<'d>(&mut self, value: Value<'d>) -> Option<RawGroup<'d>> {
        let (mut rules, mut label_keys) = (Vec::new(), Keys::new());
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
                no_data: section.get_or("no_data", NoData::default())?,
                labels: texts(&mut section, "labels", &mut label_keys)?,
                rules: Vec::new(),
            };
            finish(section, self.options)?;
            Ok(group)
        };
        let group = read();
        let group = self.note(group);
        let raw: Vec<Option<RawRule<'_>>> = rules
            .into_iter()
            .map(|rule| {
                let raw = raw_rule(rule, self.options);
                self.note(raw)
            })
            .collect();
        Some(RawGroup {
            value,
            group: group?,
            label_keys,
            rules: raw.into_iter().flatten().collect(),
        })
    }

    fn group(&mut self, raw: RawGroup<'_>, repeated: bool) -> RuleGroup {
        let RawGroup { value, mut group, .. } = raw;
        let position = value.node.position;
        if group.name.is_empty() {
            self.group_problem(value, Some(position), position, GroupProblem::NoName);
        }
        if repeated {
            let problem = GroupProblem::Repeated(group.name.clone());
            self.group_problem(value, Some(position), position, problem);
        }
        for name in group.labels.keys() {
            if !self.is_label_name(name) {
                let mark = place_of(&raw.label_keys, name, value).node.position;
                self.group_problem(value, None, mark, GroupProblem::LabelName(name.clone()));
            }
        }
        for (name, text) in &group.labels {
            if let Err(error) = LabelTooLong::check(name, text) {
                let mark = place_of(&raw.label_keys, name, value).node.position;
                self.group_problem(value, None, mark, error.into());
            }
        }
        for (index, raw) in raw.rules.into_iter().enumerate() {
            let rule = self.rule(&group.name, index + 1, raw);
            group.rules.extend(rule);
        }
        group
    }

    fn group_problem(
        &mut self,
        value: Value<'_>,
        position: Option<Position>,
        mark: Position,
        problem: GroupProblem,
    ) {
        self.errors.push(FormatError::Group {
            path: self.path.to_owned(),
            position,
            mark: Mark {
                position: mark,
                text: value.document.text().clone(),
            },
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
    fn rule<'d>(&mut self, group: &str, number: usize, raw: RawRule<'d>) -> Option<Rule> {
        let place = |part: &Option<(String, Value<'d>)>| part.as_ref().map_or(raw.value, |(_, value)| *value);
        let set = |part: &Option<(String, Value<'_>)>| {
            part.clone().map(|(text, _)| text).filter(|text| !text.is_empty())
        };
        let (record, alert) = (set(&raw.record), set(&raw.alert));
        let name = alert.clone().or_else(|| record.clone()).unwrap_or_default();
        let mut found: Vec<Found<'_>> = Vec::new();
        let kinds = match (&record, &alert) {
            (Some(_), Some(_)) => Some((Some(place(&raw.alert).node.position), RuleProblem::BothKinds)),
            (None, None) => Some((None, RuleProblem::NoKind)),
            _ => None,
        };
        if let Some((other, problem)) = kinds {
            let part = place(&raw.record);
            found.push(Found {
                other,
                ..Found::at(part, problem)
            });
        }
        let expr = match set(&raw.expr) {
            None => Err(Box::new(Found::at(place(&raw.expr), RuleProblem::NoExpr))),
            Some(text) => self.expr(&text, place(&raw.expr)),
        };
        let expr = expr.map_err(|problem| found.push(*problem)).ok();
        if let Some(record) = &record {
            let problems = self.recording_problems(record, &raw).into_iter();
            found.extend(problems.map(|problem| Found::at(place(&raw.record), problem)));
        }
        found.extend(self.name_problems(&raw));
        if let Some(alert) = &alert {
            found.extend(template_problems(alert, &raw));
        }
        let errors = found.into_iter().map(|found| FormatError::Rule {
            path: self.path.to_owned(),
            position: found.part.node.position,
            other: found.other,
            located: found.located,
            mark: Mark {
                position: found.mark,
                text: found.part.document.text().clone(),
            },
            group: group.to_owned(),
            rule: number,
            name: name.clone(),
            problem: found.problem,
        });
        self.errors.extend(errors);
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

    /// The expression `text`, which stands at `value`; what is wrong with it is marked within it.
    fn expr<'d>(&self, text: &str, value: Value<'d>) -> Result<Expr, Box<Found<'d>>> {
        parse(text, &self.options.parse).map_err(|error| {
            let span = error.diagnostics().next().map(|diagnostic| diagnostic.span);
            let mark = span.map_or(value.node.position, |span| {
                value.place_in_text(span.start as usize, span.end as usize)
            });
            Box::new(Found {
                mark,
                ..Found::at(value, RuleProblem::Expr(error))
            })
        })
    }

    fn recording_problems(&self, name: &str, raw: &RawRule<'_>) -> Vec<RuleProblem> {
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

    fn name_problems<'d>(&self, raw: &RawRule<'d>) -> Vec<Found<'d>> {
        let labels = raw.labels.keys().filter(|name| !self.is_label_name(name));
        let annotations = raw.annotations.keys().filter(|name| {
            // An annotation may well be called like the metric's name.
            !self.is_label_name(name) && *name != METRIC_NAME
        });
        let at = |keys: &Keys<'d>, name: &str, problem| {
            let mark = place_of(keys, name, raw.value).node.position;
            Found::within(raw.value, mark, problem)
        };
        labels
            .map(|name| at(&raw.label_keys, name, RuleProblem::LabelName(name.clone())))
            .chain(annotations.map(|name| {
                at(
                    &raw.annotation_keys,
                    name,
                    RuleProblem::AnnotationName(name.clone()),
                )
            }))
            .chain(too_long(raw))
            .collect()
    }
}

/// Texts that no label can hold: templates as they are written are labels of the rule's state, too.
fn too_long<'d>(raw: &RawRule<'d>) -> impl Iterator<Item = Found<'d>> {
    let place = |keys: &Keys<'d>, name: &str| place_of(keys, name, raw.value);
    let named = [(METRIC_NAME, &raw.record), (ALERT_NAME, &raw.alert)].into_iter();
    let named = named.filter_map(|(label, name)| {
        let (name, value) = name.as_ref()?;
        Some((label, name.as_str(), *value))
    });
    let labels = raw.labels.iter();
    let labels = labels.map(move |(name, text)| (name.as_str(), text.as_str(), place(&raw.label_keys, name)));
    let annotations = raw.annotations.iter();
    let annotations = annotations
        .map(move |(name, text)| (name.as_str(), text.as_str(), place(&raw.annotation_keys, name)));
    named
        .chain(labels)
        .chain(annotations)
        .filter_map(|(name, text, value)| {
            let error = LabelTooLong::check(name, text).err()?;
            // The beginning will do.
            let mark = Position {
                bytes: 1,
                ..value.node.position
            };
            Some(Found::within(raw.value, mark, error.into()))
        })
}

fn template_problems<'d>(alert: &str, raw: &RawRule<'d>) -> Vec<Found<'d>> {
    let labels = raw.labels.iter().map(|pair| ("label", pair, &raw.label_keys));
    let annotations = raw
        .annotations
        .iter()
        .map(|pair| ("annotation", pair, &raw.annotation_keys));
    labels
        .chain(annotations)
        .filter_map(|(part, (name, text), keys)| {
            let error = expand::Template::parse(alert, text).err()?;
            // The text begins behind what is put in front of every template.
            let at = error.offset.saturating_sub(PREFIX.len()).min(text.len());
            let mark = match keys.get(name.as_str()) {
                Some((_, value)) => value.place_in_text(at, at),
                None => raw.value.node.position,
            };
            let problem = RuleProblem::Template {
                part,
                name: name.clone(),
                error,
            };
            Some(Found::within(raw.value, mark, problem))
        })
        .collect()
}

fn raw_rule<'d>(value: Value<'d>, options: &FormatOptions) -> Result<RawRule<'d>, YamlError> {
    let mut section = value.section("rule")?;
    let text = |section: &mut Section<'d>, key| -> Result<Option<(String, Value<'d>)>, YamlError> {
        let value = section.value(key);
        Ok(section.get::<String>(key)?.zip(value))
    };
    let (mut label_keys, mut annotation_keys) = (Keys::new(), Keys::new());
    let raw = RawRule {
        value,
        record: text(&mut section, "record")?,
        alert: text(&mut section, "alert")?,
        expr: text(&mut section, "expr")?,
        for_ms: section.get_or("for", Duration::from_ms(0))?.as_ms(),
        keep_firing_for_ms: section.get_or("keep_firing_for", Duration::from_ms(0))?.as_ms(),
        labels: texts(&mut section, "labels", &mut label_keys)?,
        label_keys,
        annotations: texts(&mut section, "annotations", &mut annotation_keys)?,
        annotation_keys,
    };
    finish(section, options)?;
    Ok(raw)
}

/// A mapping of texts; `keys` learns where they stand.
fn texts<'d>(
    section: &mut Section<'d>,
    key: &'static str,
    keys: &mut Keys<'d>,
) -> Result<BTreeMap<String, String>, YamlError> {
    let Some(value) = section.value(key) else {
        return Ok(BTreeMap::new());
    };
    if let NodeKind::Mapping(pairs) = &value.node.kind {
        let at = |node| Value {
            document: value.document,
            node,
        };
        keys.extend(pairs.iter().filter_map(|(name, text)| {
            let name = at(name);
            Some((name.scalar()?.text.as_str(), (name, at(text))))
        }));
    }
    section.get_or(key, BTreeMap::new())
}

/// The key `name`, or where it cannot be found what it stands in.
fn place_of<'d>(keys: &Keys<'d>, name: &str, within: Value<'d>) -> Value<'d> {
    keys.get(name).map_or(within, |(key, _)| *key)
}

fn finish(section: Section<'_>, options: &FormatOptions) -> Result<(), YamlError> {
    if options.ignore_unknown_fields {
        return Ok(());
    }
    section.finish()
}
