//! NX105: a quantile of buckets whose bounds were aggregated away.

use model::labels::BUCKET_LABEL;
use promql::ast::ExprKind;

use super::{Check, Explanation, Lint, Report, Severity};
use crate::lint::facts::metric_name;
use crate::lint::labels::{self, Presence};
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX105",
    name: "quantile-without-le",
    severity: Severity::Error,
    explanation: Explanation {
        what: "`histogram_quantile` of buckets without the label `le`.",
        why: "The bounds of classic buckets stand in the label `le`. Where an aggregation drops it, there is nothing to find \
              a quantile in: the result is empty, and the alert never fires. Keep `le` in `by`.",
        wrong: "- record: job:latency:p99
  expr: histogram_quantile(0.99, sum by (job) (rate(request_duration_seconds_bucket[5m])))",
        right: "- record: job:latency:p99
  expr: histogram_quantile(0.99, sum by (job, le) (rate(request_duration_seconds_bucket[5m])))",
        needs_server: false,
    },
    check: Check::Rule(check),
};

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    rule.expr().walk(&mut |expr| {
        let ExprKind::Call(call) = &expr.kind else { return };
        let arg = match call.function.name {
            "histogram_quantile" => call.args.get(1),
            "histogram_fraction" => call.args.get(2),
            _ => None,
        };
        let Some(arg) = arg else { return };
        let selectors = arg.selectors();
        let mut names = selectors.iter().filter_map(|selector| metric_name(selector));
        // Native histograms have their buckets within.
        if !names.any(|name| name.ends_with("_bucket")) {
            return;
        }
        let labels = labels::of(arg);
        if labels.presence(BUCKET_LABEL) != Presence::Never {
            return;
        }
        let place = labels
            .taken_by(BUCKET_LABEL)
            .map_or(expr.span, |taken| taken.span);
        report
            .add(
                rule,
                rule.place(place),
                format!(
                    "`{}` gets buckets without `le`, and gives nothing",
                    call.function.name
                ),
            )
            .help("keep `le` when aggregating: `by (le, …)`");
    });
}
