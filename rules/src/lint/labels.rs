//! Which labels the result of an expression has: an interpretation of the tree in which a vector is a [`LabelSet`].

use std::collections::{BTreeMap, BTreeSet};

use model::labels::{BUCKET_LABEL, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use model::stack::deep;
use promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Span, ValueType,
    VectorMatching,
};

/// How sure it is that series of a vector have a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// None of them has it.
    Never,
    /// Nothing says so, or otherwise.
    Maybe,
    /// Somebody has named it as theirs, in a `by` for instance.
    Named,
    /// All of them have it.
    Always,
    /// All of them have it, with one value.
    Constant,
}

use Presence::{Always, Constant, Maybe, Named, Never};

/// The labels of a vector's series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LabelSet {
    known: BTreeMap<String, Presence>,
    /// That of labels which are not among the known.
    rest: Presence,
    /// Who took labels away: the parts of the expression, from the innermost on, at most [`REASONS_MAX`].
    taken: Vec<Taken>,
}

/// Parts that are remembered as having taken labels away.
const REASONS_MAX: usize = 8;

/// A part of an expression that takes labels away.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    /// Where it stands.
    pub(super) span: Span,
    /// What it is.
    pub(super) by: &'static str,
    what: Which,
}

#[derive(Clone, Debug, PartialEq)]
enum Which {
    These(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

impl LabelSet {
    /// Any labels.
    fn any() -> Self {
        LabelSet {
            known: BTreeMap::new(),
            rest: Maybe,
            taken: Vec::new(),
        }
    }

    /// No labels at all.
    fn none() -> Self {
        LabelSet {
            rest: Never,
            ..LabelSet::any()
        }
    }

    /// Whether its series have the label.
    pub(super) fn presence(&self, name: &str) -> Presence {
        self.known.get(name).copied().unwrap_or(self.rest)
    }

    /// Whether nothing but the known labels can be there.
    pub(super) fn is_closed(&self) -> bool {
        self.rest == Never
    }

    /// The labels that can be there, of those that are known.
    pub(super) fn possible(&self) -> impl Iterator<Item = (&str, Presence)> {
        let known = self
            .known
            .iter()
            .map(|(name, presence)| (name.as_str(), *presence));
        known.filter(|(name, presence)| *presence != Never && *name != METRIC_NAME)
    }

    /// The innermost part that takes the label away.
    pub(super) fn taken_by(&self, name: &str) -> Option<&Taken> {
        self.taken.iter().find(|taken| match &taken.what {
            Which::These(names) => names.contains(name),
            Which::AllBut(names) => !names.contains(name),
        })
    }

    fn set(&mut self, name: &str, presence: Presence) {
        self.known.insert(name.to_owned(), presence);
    }

    fn take(&mut self, span: Span, by: &'static str, what: Which) {
        match &what {
            Which::These(names) => names.iter().for_each(|name| self.set(name, Never)),
            Which::AllBut(names) => {
                let kept = names.iter().map(|name| (name.clone(), self.presence(name)));
                self.known = kept.filter(|(_, presence)| *presence != Never).collect();
                self.rest = Never;
            }
        }
        if self.taken.len() < REASONS_MAX {
            self.taken.push(Taken { span, by, what });
        }
    }

    fn without_name(mut self) -> Self {
        self.set(METRIC_NAME, Never);
        self
    }

    /// What is true of series that come from here or from `other`.
    fn or(&self, other: &LabelSet) -> LabelSet {
        let either = |a: Presence, b: Presence| match (a.min(b), a.max(b)) {
            (Never, Never) => Never,
            (Never, Named | Always | Constant) => Named,
            (Never, Maybe) => Maybe,
            // One value each, but not the same one.
            (Constant, Constant) => Always,
            (least, _) => least,
        };
        let names = self.known.keys().chain(other.known.keys());
        let known = names.map(|name| (name.clone(), either(self.presence(name), other.presence(name))));
        LabelSet {
            known: known.collect(),
            rest: either(self.rest, other.rest),
            taken: self
                .taken
                .iter()
                .chain(&other.taken)
                .take(REASONS_MAX)
                .cloned()
                .collect(),
        }
    }
}

/// The labels of what `expr` gives.
pub(super) fn of(expr: &Expr) -> LabelSet {
    deep(|| match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => LabelSet::none(),
        ExprKind::Vector(selector) => selected(&selector.matchers),
        ExprKind::Matrix(matrix) => selected(&matrix.selector.matchers),
        ExprKind::Subquery(subquery) => of(&subquery.expr),
        ExprKind::Call(call) => called(call, expr.span),
        ExprKind::Aggregate(aggregate) => aggregated(aggregate, expr.span),
        ExprKind::Binary(binary) => combined(binary, expr.span),
        ExprKind::Unary(unary) => of(&unary.expr).without_name(),
        ExprKind::Paren(inner) => of(inner),
    })
}

fn selected(matchers: &[Matcher]) -> LabelSet {
    let mut labels = LabelSet::any();
    labels.set(METRIC_NAME, Always);
    for matcher in matchers {
        let presence = match matcher.op {
            MatchOp::Equal if matcher.value.is_empty() => Never,
            MatchOp::Equal => Constant,
            _ if !matcher.matches_empty() => Always,
            // Who asks for a label believes that it is there.
            _ => Named,
        };
        let known = labels.known.entry(matcher.name.clone()).or_insert(presence);
        *known = presence.max(*known);
    }
    labels
}

/// What `absent` can tell: labels that are compared with one value, and only once.
fn absent(arg: &Expr, span: Span) -> LabelSet {
    let matchers = match &arg.without_parens().kind {
        ExprKind::Vector(selector) => &selector.matchers[..],
        ExprKind::Matrix(matrix) => &matrix.selector.matchers[..],
        _ => &[],
    };
    let mut labels = LabelSet::any();
    let times = |name: &str| matchers.iter().filter(|matcher| matcher.name == name).count();
    let told = matchers.iter().filter(|matcher| {
        let is_told = matcher.op == MatchOp::Equal && !matcher.value.is_empty();
        is_told && matcher.name != METRIC_NAME && times(&matcher.name) == 1
    });
    let told: BTreeSet<String> = told.map(|matcher| matcher.name.clone()).collect();
    told.iter().for_each(|name| labels.set(name, Constant));
    labels.take(span, "absent", Which::AllBut(told));
    labels
}

fn called(call: &Call, span: Span) -> LabelSet {
    let is_vector = |arg: &&Expr| matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix);
    let Some(arg) = call.args.iter().find(is_vector) else {
        // `vector(1)`, `hour()`.
        return LabelSet::none();
    };
    let text = |index: usize| match call.args.get(index).map(|arg| &arg.without_parens().kind) {
        Some(ExprKind::String(text)) => text.as_str(),
        _ => "",
    };
    let bucket = || Which::These(BTreeSet::from([BUCKET_LABEL.to_owned()]));
    match call.function.name {
        "absent" | "absent_over_time" => absent(arg, span),
        "scalar" => LabelSet::none(),
        "label_replace" | "label_join" => {
            let mut labels = of(arg);
            labels.set(text(1), Named);
            labels
        }
        "histogram_quantile" | "histogram_fraction" => {
            let mut labels = of(arg).without_name();
            labels.take(span, call.function.name, bucket());
            labels
        }
        "histogram_quantiles" => {
            let mut labels = of(arg).without_name();
            labels.take(span, call.function.name, bucket());
            labels.set(text(1), Always);
            labels
        }
        // Labels of other series are added.
        "info" => {
            let mut labels = of(arg);
            labels.rest = labels.rest.max(Maybe);
            labels.known.retain(|_, presence| *presence != Never);
            labels
        }
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" | "last_over_time"
        | "first_over_time" => of(arg),
        _ => of(arg).without_name(),
    }
}

fn aggregated(aggregate: &Aggregate, span: Span) -> LabelSet {
    let mut labels = of(&aggregate.expr);
    let op = aggregate.op;
    if matches!(
        op,
        AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio
    ) {
        return labels;
    }
    match &aggregate.grouping {
        Some(grouping) if grouping.without => {
            labels = labels.without_name();
            labels.take(
                span,
                "without",
                Which::These(grouping.labels.iter().cloned().collect()),
            );
        }
        Some(grouping) => {
            for name in &grouping.labels {
                if labels.presence(name) == Maybe {
                    labels.set(name, Named);
                }
            }
            labels.take(
                span,
                "by",
                Which::AllBut(grouping.labels.iter().cloned().collect()),
            );
        }
        None => labels.take(span, op.as_str(), Which::AllBut(BTreeSet::new())),
    }
    if op == AggregateOp::CountValues
        && let Some(ExprKind::String(name)) =
            aggregate.param.as_ref().map(|param| &param.without_parens().kind)
    {
        labels.set(name, Always);
    }
    labels
}

fn combined(binary: &Binary, span: Span) -> LabelSet {
    let keeps_name = (binary.op.is_comparison() && !binary.return_bool) || binary.op.is_set();
    let mut labels = match &binary.matching {
        Some(matching) => matched(binary, matching, span),
        None if binary.rhs.value_type() == ValueType::Scalar => of(&binary.lhs),
        None => of(&binary.rhs),
    };
    if !keeps_name {
        labels.set(METRIC_NAME, Never);
    }
    labels
}

fn matched(binary: &Binary, matching: &VectorMatching, span: Span) -> LabelSet {
    let named = || matching.labels.iter().cloned().collect::<BTreeSet<String>>();
    match (binary.op, matching.cardinality) {
        (BinaryOp::Or, _) => of(&binary.lhs).or(&of(&binary.rhs)),
        (BinaryOp::And | BinaryOp::Unless, _) => of(&binary.lhs),
        (_, Cardinality::ManyToOne | Cardinality::OneToMany) => {
            let (many, one) = match matching.cardinality {
                Cardinality::ManyToOne => (&binary.lhs, &binary.rhs),
                _ => (&binary.rhs, &binary.lhs),
            };
            let (mut labels, one) = (of(many), of(one));
            for name in &matching.include {
                // Compat: a label that the one side lacks is taken away.
                labels.set(name, one.presence(name).max(Named).min(Always));
                if one.presence(name) == Never {
                    let these = Which::These(BTreeSet::from([name.clone()]));
                    labels.take(span, "group_left of a label that the other side lacks", these);
                }
            }
            filled(labels, matching)
        }
        _ => {
            let mut labels = of(&binary.lhs);
            if matching.on {
                for name in &matching.labels {
                    if labels.presence(name) == Maybe {
                        labels.set(name, Named);
                    }
                }
                labels.take(span, "on", Which::AllBut(named()));
            } else if !matching.labels.is_empty() {
                labels.take(span, "ignoring", Which::These(named()));
            } else {
                // Partners have the same labels: what one side cannot have is not in the result.
                let other = of(&binary.rhs);
                if other.is_closed() {
                    let possible = other.possible().map(|(name, _)| name.to_owned());
                    labels.take(span, "a right side without it", Which::AllBut(possible.collect()));
                }
            }
            filled(labels, matching)
        }
    }
}

/// A side that is filled in may lack what its partner has.
fn filled(mut labels: LabelSet, matching: &VectorMatching) -> LabelSet {
    if matching.fill_left.is_some() || matching.fill_right.is_some() {
        for presence in labels.known.values_mut().filter(|presence| **presence > Named) {
            *presence = Named;
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use promql::parser::{ParseOptions, parse};

    use super::*;

    /// The labels of `query`: those that are always there with `!`, constant ones with `=`, those that never are with
    /// `-`, and `*` where there may be others.
    fn check(query: &str, want: &str) {
        let labels = of(&parse(query, &ParseOptions::ALL).expect(query));
        let known = labels.known.iter().filter(|(name, _)| *name != METRIC_NAME);
        let mut shown: Vec<String> = known
            .filter(|(_, presence)| **presence != labels.rest)
            .map(|(name, presence)| match presence {
                Never => format!("-{name}"),
                Maybe => format!("{name}?"),
                Named => name.clone(),
                Always => format!("{name}!"),
                Constant => format!("{name}="),
            })
            .collect();
        if !labels.is_closed() {
            shown.push("*".to_owned());
        }
        assert_eq!(shown.join(" "), want, "{query}");
    }

    #[test]
    fn selectors_promise_what_they_ask_for() {
        check("up", "*");
        check(
            r#"up{a="1",b!="",c=~"x|",d=~"y",e="",f!~"z"}"#,
            "a= b! c d! -e f *",
        );
        check(r#"rate(x{a="1"}[5m])"#, "a= *");
        check("1 + 2", "");
        check("vector(1)", "");
    }

    #[test]
    fn aggregations_keep_and_drop() {
        check("sum(up)", "");
        check("sum by (a, b) (up)", "a b");
        check(r#"sum by (a, b) (up{a="1"})"#, "a= b");
        check("sum without (a) (up)", "-a *");
        check("sum by (a) (sum without (a) (up))", "");
        check("topk(3, sum by (a) (up))", "a");
        check(r#"count_values by (a) ("v", up)"#, "a v!");
        check(
            "histogram_quantile(0.9, sum by (le, a) (rate(x_bucket[5m])))",
            "a",
        );
    }

    #[test]
    fn absence_has_the_labels_that_were_asked_for() {
        check("absent(up)", "");
        check(r#"absent(up{job="a",b=~"c",d="",e!="f"})"#, "job=");
        check(r#"absent(up{job="a",job="b"})"#, "");
        check(r#"absent(sum(up{job="a"}))"#, "");
        check(r#"absent_over_time(up{job="a"}[5m])"#, "job=");
    }

    #[test]
    fn operators_join() {
        check("up > 1", "*");
        check("sum by (a) (x) / on (a) y", "a");
        check("x / on (a) y", "a");
        check("x / ignoring (a) y", "-a *");
        check("sum by (a) (x) / sum by (a, b) (y)", "a");
        check("x * on (a) group_left (b) y", "b *");
        check("x * on (a) group_left (b) sum by (a) (y)", "-b *");
        check("sum by (a, b) (x) * on (a) group_left sum by (a) (y)", "a b");
        check("sum by (a) (x) * on (a) group_right (c) sum by (a, b) (y)", "a b");
        check("sum by (a) (x) or sum by (b) (y)", "a b");
        check("sum by (a) (x) and y", "a");
        check("x unless on (a) y", "*");
        check(r#"sum by (a) (x{a="1"}) or sum by (a) (y{a="2"})"#, "a!");
        check("1 - sum by (a) (x)", "a");
        check("-x", "*");
    }

    #[test]
    fn functions_name_labels() {
        check(r#"label_replace(sum by (a) (x), "b", "$1", "a", "(.*)")"#, "a b");
        check(r#"label_join(sum by (a) (x), "b", "-", "a")"#, "a b");
        check("info(sum by (a) (x))", "a *");
        check("max_over_time(sum by (a) (x)[5m:])", "a");
    }

    #[test]
    fn chains_of_operators_are_as_long_as_they_like() {
        let chain = vec!["sum by (a) (x)"; 2_000].join(" or ");
        check(&chain, "a");
    }
}
