//! NX506: a selector that costs much at each evaluation.

use promql::ast::{Duration, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::facts::metric_name;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX506",
    name: "heavy-selector",
    severity: Severity::Info,
    explanation: Explanation {
        what: "A selector reads very many series or samples at each evaluation.",
        why: "The server says how many series the metric has; with the range and the scrape interval that makes samples. \
              From `thresholds.series` (100,000) or `thresholds.samples` (50 million) on it is told. Record what is needed \
              of it by a rule with a shorter range, or select less. All series of the metric count, whatever else the \
              selector asks for. (The example is with a server that has 200,000 series of `http_latency_seconds_bucket`.)",
        wrong: "- record: http_latency:p99
  expr: histogram_quantile(0.99, sum by (le) (rate(http_latency_seconds_bucket[5m])))",
        right: "- record: http_latency:p99
  expr: histogram_quantile(0.99, sum by (le) (job:http_latency_bucket:rate5m))",
        needs_server: true,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    let Some(facts) = rule.view.facts else { return };
    let thresholds = rule.view.settings.thresholds;
    rule.expr().walk(&mut |expr| {
        let (selector, span, range) = match &expr.kind {
            ExprKind::Vector(selector) => (selector, expr.span, None),
            ExprKind::Matrix(matrix) => (&matrix.selector, expr.span, Some(&matrix.range)),
            _ => return,
        };
        let Some((name, series)) =
            metric_name(selector).and_then(|name| Some((name, *facts.series.get(name)?)))
        else {
            return;
        };
        let samples = match (range, rule.scrape_interval_ms()) {
            (Some(Duration::Literal(range_ms)), Some(interval_ms)) if interval_ms > 0 => {
                series.saturating_mul(u64::try_from(range_ms / interval_ms).unwrap_or(0))
            }
            _ => series,
        };
        if series >= thresholds.series || samples >= thresholds.samples {
            report.add(
                rule,
                rule.place(span),
                format!("`{name}` has {series} series: about {samples} samples at each evaluation"),
            );
        }
    });
}
