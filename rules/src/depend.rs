//! Which rules of a group may be evaluated beside each other.

use std::collections::HashMap;

use model::labels::{ALERT_NAME, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use promql::ast::{ExprKind, VectorSelector};

use crate::rule::{ALERTS, ALERTS_FOR_STATE, Action, Rule};

/// The rules in batches, by their numbers: those of a batch look at nothing that another one of it gives, and batches
/// follow each other so that a rule comes behind all that it looks at. `None` where a rule may look at anything.
///
/// Compat: only rules further up count, and a selector that says nothing of the metric's name makes the whole group
/// wait in line, as in the reference with `--enable-feature=concurrent-rule-eval` (`rules_wait_for_what_they_look_at`).
pub(crate) fn batches<'r>(rules: impl Iterator<Item = &'r Rule>) -> Option<Vec<Vec<usize>>> {
    let mut above = Above::default();
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (index, rule) in rules.enumerate() {
        let (mut depth, mut determined) = (0, true);
        rule.expr.walk(&mut |expr| {
            let selector = match &expr.kind {
                ExprKind::Vector(selector) => selector,
                ExprKind::Matrix(matrix) => &matrix.selector,
                _ => return,
            };
            match above.depth_below(selector) {
                Some(found) => depth = depth.max(found),
                None => determined = false,
            }
        });
        if !determined {
            return None;
        }
        above.add(rule, depth + 1);
        if batches.len() == depth {
            batches.push(Vec::new());
        }
        batches[depth].push(index);
    }
    Some(batches)
}

/// The rules further up, by what they give, and the first batch that comes behind each.
#[derive(Default)]
struct Above<'r> {
    names: HashMap<&'r str, usize>,
    alerts: HashMap<&'r str, usize>,
}

impl<'r> Above<'r> {
    fn add(&mut self, rule: &'r Rule, behind: usize) {
        let alerting = matches!(rule.action, Action::Alert(_));
        let tables = [Some(&mut self.names), alerting.then_some(&mut self.alerts)];
        for table in tables.into_iter().flatten() {
            let known = table.entry(&rule.name).or_default();
            *known = behind.max(*known);
        }
    }

    /// The first batch that comes behind everything that `selector` looks at; `None` where that may be anything.
    fn depth_below(&self, selector: &VectorSelector) -> Option<usize> {
        let of = |name: &str| selector.matchers.iter().find(|matcher| matcher.name == name);
        let metric = of(METRIC_NAME)?;
        let mut depth = deepest(&self.names, Some(metric));
        if [ALERTS, ALERTS_FOR_STATE]
            .into_iter()
            .any(|name| metric.matches(name))
        {
            depth = depth.max(deepest(&self.alerts, of(ALERT_NAME)));
        }
        Some(depth)
    }
}

fn deepest(table: &HashMap<&str, usize>, matcher: Option<&Matcher>) -> usize {
    let all = table.iter();
    match matcher {
        None => all.map(|(_, behind)| *behind).max().unwrap_or(0),
        // Nearly all, and all rules further up would be looked at for each otherwise.
        Some(matcher) if matcher.op == MatchOp::Equal => {
            table.get(matcher.value.as_str()).copied().unwrap_or(0)
        }
        Some(matcher) => {
            let matching = all.filter(|(name, _)| matcher.matches(name));
            matching.map(|(_, behind)| *behind).max().unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use promql::parser::{ParseOptions, parse};

    use super::*;
    use crate::format::{self, RuleKind};

    /// Batches of rules that are written as `name expression`, alerts with a `!` in front.
    fn check(rules: &[&str], want: Option<&[&[usize]]>) {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|text| {
                let (name, expr) = text.split_once(' ').expect("name and expression");
                let (kind, name) = match name.strip_prefix('!') {
                    Some(name) => (RuleKind::Alerting, name),
                    None => (RuleKind::Recording, name),
                };
                let rule = format::Rule {
                    kind,
                    name: name.to_owned(),
                    expr: parse(expr, &ParseOptions::default()).expect("PromQL"),
                    for_ms: 0,
                    keep_firing_for_ms: 0,
                    labels: BTreeMap::new(),
                    annotations: BTreeMap::new(),
                };
                Rule::new(&rule, &BTreeMap::new()).expect("a rule")
            })
            .collect();
        let got = batches(rules.iter());
        let want = want.map(|batches| batches.iter().map(|batch| batch.to_vec()).collect::<Vec<_>>());
        assert_eq!(got, want);
    }

    #[test]
    fn rules_wait_for_what_they_look_at() {
        check(&[], Some(&[]));
        check(&["a up", "b up", "c down"], Some(&[&[0, 1, 2]]));
        check(
            &["a up", "b sum(a)", "c rate(b[5m]) + a", "d up"],
            Some(&[&[0, 3], &[1], &[2]]),
        );
        // Further down does not count, nor does the rule itself.
        check(&["a b", "b b"], Some(&[&[0, 1]]));
        check(
            &["a:x up", r#"b {__name__=~"a:.+"}"#, r#"c {__name__="a:x"}"#],
            Some(&[&[0], &[1, 2]]),
        );
        check(&["a up", r#"b {job="x"}"#], None);
        check(
            &["a up", "b max_over_time(sum(a)[5m:1m])", "c b offset 5m"],
            Some(&[&[0], &[1], &[2]]),
        );
    }

    #[test]
    fn alerts_are_looked_at_by_their_names() {
        check(
            &[
                "!A up",
                "!B up",
                r#"a ALERTS{alertname="A"}"#,
                r#"b ALERTS_FOR_STATE{alertname="C"}"#,
                "c ALERTS",
            ],
            Some(&[&[0, 1, 3], &[2, 4]]),
        );
    }
}
