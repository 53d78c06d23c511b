//! NX403: a range that holds too few samples.

use model::duration::format_duration;
use promql::ast::{Duration, Expr, ExprKind};

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::facts::metric_name;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX403",
    name: "range-below-scrape-interval",
    severity: Severity::Warning,
    explanation: Explanation {
        what: "The range of `rate` and its kind is shorter than two scrapes.",
        why: "These functions need two samples. A range shorter than two scrape intervals holds one at times, and the result \
              has gaps; one missed scrape makes it empty. Four intervals are usual. The interval is known from \
              `scrape_interval` in the configuration of the linter, or from a server; ranges over what recording rules \
              give are not looked at. (The example is with `scrape_interval: 1m`.)",
        wrong: "- record: job:requests:rate1m
  expr: sum by (job) (rate(requests_total[1m]))",
        right: "- record: job:requests:rate5m
  expr: sum by (job) (rate(requests_total[5m]))",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    let Some(interval_ms) = rule.scrape_interval_ms().filter(|interval| *interval > 0) else {
        return;
    };
    rule.expr().walk(&mut |expr| {
        let ExprKind::Call(call) = &expr.kind else { return };
        let function = call.function.name;
        if !matches!(
            function,
            "rate" | "irate" | "increase" | "delta" | "idelta" | "deriv"
        ) {
            return;
        }
        let Some(arg) = call.args.first().map(Expr::without_parens) else {
            return;
        };
        let ExprKind::Matrix(matrix) = &arg.kind else {
            return;
        };
        let (Duration::Literal(range_ms), Some(name)) = (&matrix.range, metric_name(&matrix.selector)) else {
            return;
        };
        let is_recorded = name.contains(':') || rule.view.recorded.contains(name);
        if is_recorded || *range_ms >= interval_ms.saturating_mul(2) {
            return;
        }
        let (range, interval) = (format_duration(*range_ms), format_duration(interval_ms));
        report
            .add(
                rule,
                rule.place(arg.span),
                format!("the range of {range} holds less than two scrapes, which are {interval} apart"),
            )
            .help(format!(
                "`{function}` needs two samples; four intervals are usual"
            ));
    });
}
