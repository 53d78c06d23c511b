//! Rules as people have them, over what the exporters expose: rates summed by a label, ratios, quantiles, thresholds.

use std::fmt::Write as _;
use std::time::Duration;

/// Rule groups of [`GROUP_RULES`] rules each.
pub(super) struct Rules {
    /// How many groups.
    pub(super) groups: usize,
    /// How often each is evaluated.
    pub(super) interval: Duration,
}

/// Rules of a group.
pub(super) const GROUP_RULES: usize = 20;

/// What the exporters have at the least: handlers of `http_requests_total`, namespaces, clusters.
const HANDLERS: usize = 25;
const NAMESPACES: usize = 7;
const CLUSTERS: usize = 3;

impl Rules {
    /// All rules.
    pub(super) fn count(&self) -> usize {
        self.groups * GROUP_RULES
    }

    /// The rule file.
    pub(super) fn file(&self) -> String {
        let interval = model::duration::format_duration(self.interval.as_millis() as i64);
        let mut text = "groups:\n".to_owned();
        for group in 0..self.groups {
            let _ = writeln!(text, "- name: service-{group}\n  interval: {interval}\n  rules:");
            for rule in rules_of(group) {
                text += &rule.yaml(group);
            }
        }
        text
    }
}

enum Rule {
    /// Name and expression.
    Record(&'static str, String),
    /// Name, expression, `for`.
    Alert(&'static str, String, &'static str),
}

impl Rule {
    fn yaml(&self, group: usize) -> String {
        match self {
            Rule::Record(name, expr) => {
                format!("  - record: {name}\n    expr: {expr}\n    labels: {{team: team-{group}}}\n")
            }
            Rule::Alert(name, expr, hold) => format!(
                "  - alert: {name}\n    expr: {expr}\n    for: {hold}\n    labels: {{severity: page, team: team-{group}}}\n    \
                 annotations:\n      summary: '{name} on {{{{ $labels.instance }}}}: {{{{ $value | humanize }}}}'\n"
            ),
        }
    }
}

/// The rules of a group: about a handler, in the clusters and in one of them, and about the machines of a namespace.
fn rules_of(group: usize) -> [Rule; GROUP_RULES] {
    use Rule::{Alert, Record};
    let handler = format!("handler=\"/api/v1/resource{}\"", group % HANDLERS);
    let cluster = format!("cluster=\"eu-west-{}\"", group / HANDLERS % CLUSTERS);
    let namespace = format!("namespace=\"team-{}\"", group % NAMESPACES);
    let all = format!("rate(http_requests_total{{{handler}}}[5m])");
    let bad = format!("rate(http_requests_total{{{handler},code=~\"5..\"}}[5m])");
    let here = format!("rate(http_requests_total{{{handler},{cluster}}}[5m])");
    let bad_here = format!("rate(http_requests_total{{{handler},{cluster},code=~\"5..\"}}[5m])");
    let buckets = format!("rate(http_request_duration_seconds_bucket{{{handler},{cluster}}}[5m])");
    let seconds = format!("rate(http_request_duration_seconds_sum{{{handler}}}[5m])");
    let requests = format!("rate(http_request_duration_seconds_count{{{handler}}}[5m])");
    let memory = format!("container_memory_working_set_bytes{{{namespace},{cluster}}}");
    let idle = format!("rate(node_cpu_seconds_total{{mode=\"idle\",{cluster}}}[5m])");
    let team = format!("{{team=\"team-{group}\"}}");
    [
        Record(
            "cluster_code:http_requests:rate5m",
            format!("sum by (cluster, code) ({all})"),
        ),
        Record(
            "instance:http_requests:rate5m",
            format!("sum by (instance) ({all})"),
        ),
        Record(
            "instance:http_errors:rate5m",
            format!("sum by (instance) ({bad})"),
        ),
        Record(
            "instance:http_errors:ratio5m",
            format!("sum by (instance) ({bad}) / sum by (instance) ({all})"),
        ),
        Record(
            "cluster:http_errors:ratio5m",
            format!("sum by (cluster) ({bad}) / sum by (cluster) ({all})"),
        ),
        Record(
            "method:http_requests:rate5m",
            format!("sum by (method, code) ({here})"),
        ),
        Record(
            "instance:http_requests_here:rate5m",
            format!("sum without (code, method) ({here})"),
        ),
        Record("le:http_duration:rate5m", format!("sum by (le) ({buckets})")),
        Record(
            "instance:http_duration:p99",
            format!("histogram_quantile(0.99, sum by (instance, le) ({buckets}))"),
        ),
        Record(
            "instance:http_duration:mean5m",
            format!("sum by (instance) ({seconds}) / sum by (instance) ({requests})"),
        ),
        Record("instance:memory:sum", format!("sum by (instance) ({memory})")),
        Record("namespace:memory:max", format!("max by (namespace) ({memory})")),
        Record("instance:cpu_idle:avg5m", format!("avg by (instance) ({idle})")),
        Alert(
            "HighErrorRatio",
            format!("instance:http_errors:ratio5m{team} > 0.3"),
            "5m",
        ),
        Alert(
            "ClusterErrors",
            format!("sum by (cluster) ({bad_here}) / sum by (cluster) ({here}) > 0.15"),
            "10m",
        ),
        Alert(
            "SlowRequests",
            format!("instance:http_duration:p99{team} > 60"),
            "10m",
        ),
        Alert("MemoryHigh", format!("{memory} > 1e12"), "15m"),
        Alert(
            "CpuBusy",
            format!("1 - instance:cpu_idle:avg5m{team} > 0.9"),
            "5m",
        ),
        Alert("NoTraffic", format!("sum by (instance) ({here}) == 0"), "15m"),
        Alert(
            "TargetDown",
            format!("up{{job=\"bench-service\",{cluster}}} == 0"),
            "5m",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one() {
        let rules = Rules {
            groups: 2,
            interval: Duration::from_secs(30),
        };
        let file = rules::format::read(
            "rules.yml",
            &rules.file(),
            &rules::format::FormatOptions::default(),
        );
        let file = file.expect("a rule file");
        let count: usize = file.groups.iter().map(|group| group.rules.len()).sum();
        assert_eq!((count, file.groups[1].interval_ms), (rules.count(), Some(30_000)));
    }
}
