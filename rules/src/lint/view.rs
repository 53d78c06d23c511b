//! Rules as lints see them: what they say, and where it stands.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use model::matcher::Matcher;
use promql::ast::{Expr, ExprKind, Span, VectorSelector};
use yaml::{Document, NodeKind, Position, Value};

use super::comments::Comments;
use super::facts::Facts;
use super::fix::Fix;
use super::kinds::{Kind, Recorded};
use super::labels::LabelSet;
use super::settings::Settings;
use super::{Source, labels};
use crate::error::FormatError;
use crate::format::{FormatOptions, Rule, RuleFile, RuleGroup, RuleKind, read_documents};

/// A rule file and its tree.
pub(super) struct FileView<'v> {
    /// Its number among the files that were given.
    pub(super) number: usize,
    pub(super) path: &'v str,
    pub(super) text: &'v str,
    pub(super) file: RuleFile,
    pub(super) comments: Comments,
    /// The rules' places, by group.
    places: Vec<Vec<Value<'v>>>,
    /// What is worked out of each rule when it is asked for first.
    worked_out: Vec<Vec<OnceCell<LabelSet>>>,
}

/// Everything that is looked at.
pub(super) struct View<'v> {
    pub(super) files: &'v [FileView<'v>],
    pub(super) settings: &'v Settings,
    pub(super) facts: Option<&'v Facts>,
    /// What recording rules of the files give, by name.
    pub(super) recorded: Recorded,
}

/// A rule, where it stands, and what surrounds it.
#[derive(Clone, Copy)]
pub(super) struct RuleView<'v> {
    pub(super) view: &'v View<'v>,
    pub(super) file: &'v FileView<'v>,
    pub(super) group: &'v RuleGroup,
    pub(super) rule: &'v Rule,
    value: Value<'v>,
    labels: &'v OnceCell<LabelSet>,
}

impl<'v> FileView<'v> {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(
        number: usize,
        source: &'v Source,
        documents: &'v [Document],
        format: &FormatOptions,
    ) -> Result<Self, Vec<FormatError>> {
        let file = read_documents(&source.path, documents, format)?;
        let items =
            |value: Option<Value<'v>>| value.and_then(|value| value.sequence().ok()).unwrap_or_default();
        let groups = documents
            .first()
            .and_then(|document| document.root().entry("groups"));
        let places: Vec<Vec<Value<'v>>> = items(groups)
            .into_iter()
            .map(|group| items(group.entry("rules")))
            .collect();
        let mut lines: Vec<u32> = places
            .iter()
            .flatten()
            .map(|rule| rule.node.position.line)
            .collect();
        // What stands behind an alias is where its anchor is.
        lines.sort_unstable();
        Ok(FileView {
            number,
            path: &source.path,
            text: &source.text,
            comments: Comments::new(&source.text, &lines),
            worked_out: places
                .iter()
                .map(|rules| rules.iter().map(|_| OnceCell::new()).collect())
                .collect(),
            places,
            file,
        })
    }
}

impl<'v> View<'v> {
    pub(super) fn new(files: &'v [FileView<'v>], settings: &'v Settings, facts: Option<&'v Facts>) -> Self {
        let rules = files
            .iter()
            .flat_map(|file| &file.file.groups)
            .flat_map(|group| &group.rules);
        let recording = rules.filter(|rule| rule.kind == RuleKind::Recording);
        View {
            files,
            settings,
            facts,
            recorded: Recorded::new(recording.map(|rule| (rule.name.as_str(), &rule.expr)), facts),
        }
    }

    /// All rules, in order.
    pub(super) fn rules(&'v self) -> impl Iterator<Item = RuleView<'v>> {
        self.files.iter().flat_map(move |file| {
            let groups = file.file.groups.iter().zip(&file.places).zip(&file.worked_out);
            groups.flat_map(move |((group, places), worked_out)| {
                let rules = group.rules.iter().zip(places).zip(worked_out);
                rules.map(move |((rule, value), labels)| RuleView {
                    view: self,
                    file,
                    group,
                    rule,
                    value: *value,
                    labels,
                })
            })
        })
    }

    /// What is known of the metric `name`: whether it is a counter.
    pub(super) fn kind_of(&self, expr: &Expr) -> Kind {
        self.recorded.kind_of(expr, self.facts)
    }
}

impl<'v> RuleView<'v> {
    pub(super) fn is_alert(&self) -> bool {
        self.rule.kind == RuleKind::Alerting
    }

    pub(super) fn expr(&self) -> &'v Expr {
        &self.rule.expr
    }

    /// The labels that the expression's result has.
    pub(super) fn result_labels(&self) -> &'v LabelSet {
        self.labels.get_or_init(|| labels::of(&self.rule.expr))
    }

    /// Labels of the group and the rule, as the rule adds them.
    pub(super) fn added_labels(&self) -> BTreeMap<&'v str, &'v str> {
        let labels = self.group.labels.iter().chain(&self.rule.labels);
        labels
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// How often the rule is evaluated, where that is known.
    pub(super) fn interval_ms(&self) -> Option<i64> {
        let of_server = || self.view.facts.and_then(|facts| facts.evaluation_interval_ms);
        let of_settings = self.view.settings.evaluation_interval_ms;
        self.group.interval_ms.or(of_settings).or_else(of_server)
    }

    /// How often targets are scraped, where that is known.
    pub(super) fn scrape_interval_ms(&self) -> Option<i64> {
        let of_server = || self.view.facts.and_then(|facts| facts.scrape_interval_ms);
        self.view.settings.scrape_interval_ms.or_else(of_server)
    }

    /// Where a part of the expression stands.
    pub(super) fn place(&self, span: Span) -> Position {
        self.place_in("expr", span)
    }

    fn place_in(&self, key: &str, span: Span) -> Position {
        match self.value.entry(key) {
            Some(value) => value.place_in_text(span.start as usize, span.end as usize),
            None => self.value.node.position,
        }
    }

    /// All selectors of the expression, with their places.
    pub(super) fn selectors(&self) -> Vec<(&'v VectorSelector, Span)> {
        let mut found = Vec::new();
        self.rule.expr.walk(&mut |expr| match &expr.kind {
            ExprKind::Vector(selector) => found.push((selector, expr.span)),
            ExprKind::Matrix(matrix) => found.push((&matrix.selector, matrix.selector_span)),
            _ => {}
        });
        found
    }

    /// Where a matcher of the selector at `span` stands: its value, or the selector where it is written in another form.
    pub(super) fn place_of_matcher(&self, span: Span, matcher: &Matcher) -> Position {
        let text = span.of(self.expr_text());
        let value = ['"', '\'', '`'].iter().find_map(|quote| {
            let written = format!("{quote}{}{quote}", matcher.value);
            Some((text.find(&written)?, written.len()))
        });
        value.map_or_else(
            || self.place(span),
            |(at, length)| {
                let start = span.start + at as u32;
                self.place(Span {
                    start,
                    end: start + length as u32,
                })
            },
        )
    }

    /// Where the rule stands, as it is told at `other`: the file is named where it is another one.
    pub(super) fn told_from(&self, other: &RuleView<'_>) -> String {
        let line = self.place_of_name().line;
        if self.file.number == other.file.number {
            format!("line {line}")
        } else {
            format!("{}:{line}", self.file.path)
        }
    }

    /// Where the value of `key` stands.
    pub(super) fn place_of(&self, key: &str) -> Position {
        self.value
            .entry(key)
            .map_or(self.value.node.position, |value| value.node.position)
    }

    /// Where the rule's name stands.
    pub(super) fn place_of_name(&self) -> Position {
        self.place_of(if self.is_alert() { "alert" } else { "record" })
    }

    /// Where the name of a label stands that the rule adds; that of the rule for those of its group.
    pub(super) fn place_of_label(&self, name: &str) -> Position {
        let labels = self.value.entry("labels").map(|labels| &labels.node.kind);
        let Some(NodeKind::Mapping(pairs)) = labels else {
            return self.place_of_name();
        };
        let is_name = |kind: &NodeKind| matches!(kind, NodeKind::Scalar(scalar) if scalar.text == name);
        let key = pairs.iter().find(|(key, _)| is_name(&key.kind));
        key.map_or_else(|| self.place_of_name(), |(key, _)| key.position)
    }

    /// Where a part of a template stands: of the entry `name` of `labels` or `annotations`.
    pub(super) fn place_in_template(&self, section: &str, name: &str, start: usize, end: usize) -> Position {
        match self.value.entry(section).and_then(|section| section.entry(name)) {
            Some(value) => value.place_in_text(start, end),
            None => self.place_of_name(),
        }
    }

    /// Replaces `span` of the expression; `None` where the file has it in another form than the expression.
    pub(super) fn fix(&self, span: Span, replacement: &str) -> Option<Fix> {
        let value = self.value.entry("expr")?;
        Fix::in_scalar(
            self.file.text,
            value,
            span.start as usize..span.end as usize,
            replacement,
        )
    }

    /// Replaces a part of a template.
    pub(super) fn fix_template(
        &self,
        section: &str,
        name: &str,
        range: std::ops::Range<usize>,
        replacement: &str,
    ) -> Option<Fix> {
        let value = self.value.entry(section)?.entry(name)?;
        Fix::in_scalar(self.file.text, value, range, replacement)
    }

    /// The expression as it is written.
    pub(super) fn expr_text(&self) -> &'v str {
        let scalar = self.value.entry("expr").and_then(|value| value.scalar());
        scalar.map_or("", |scalar| scalar.text.as_str())
    }

    /// The labels' and annotations' texts that are templates, each with its section and name.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&'static str, &'v str, &'v str)> {
        let rule = self.rule;
        let of = move |section, texts: &'v BTreeMap<String, String>| {
            texts
                .iter()
                .filter(|(_, text)| text.contains("{{"))
                .map(move |(name, text)| (section, name.as_str(), text.as_str()))
        };
        of("labels", &rule.labels).chain(of("annotations", &rule.annotations))
    }
}

/// Things by a key, each list in order.
pub(super) fn grouped<K: Eq + std::hash::Hash, T>(items: impl Iterator<Item = (K, T)>) -> HashMap<K, Vec<T>> {
    let mut groups: HashMap<K, Vec<T>> = HashMap::new();
    for (key, item) in items {
        groups.entry(key).or_default().push(item);
    }
    groups
}
