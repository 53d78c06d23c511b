//! Queries: made at random over the store's own series, and recorded ones with series that they find.

use std::io::Read as _;

use model::labels::{Labels, LabelsBuilder};
use model::matcher::MatchOp;
use promql::engine::Engine;

use crate::world::Random;

/// A query that speaks of the store's own series.
pub(crate) fn random_query(random: &mut Random) -> String {
    match random.below(12) {
        0 => selector(random),
        1 => range_function(random),
        2..=4 => aggregation(random),
        5 => format!("{} + {}", aggregation(random), aggregation(random)),
        6 => format!(
            "({}) / on (x) group_left () sum by (x) ({})",
            inner(random),
            inner(random)
        ),
        7 => {
            let (op, k) = (random.pick(&["topk", "bottomk"]), 1 + random.below(4));
            format!("{op}({k}, {})", inner(random))
        }
        8 => format!(
            "histogram_quantile(0.{}, {})",
            1 + random.below(9),
            buckets(random)
        ),
        9 => {
            let op = random.pick(&["and", "or", "unless"]);
            format!("({}) {op} on (x) ({})", inner(random), inner(random))
        }
        10 => {
            let function = random.pick(&["max", "avg", "sum", "min", "last"]);
            let (length, step) = (
                random.pick(&["2m", "5m", "95s"]),
                random.pick(&["", "30s", "20s", "1m"]),
            );
            format!(
                "{function}_over_time(({})[{length}:{step}]{})",
                inner(random),
                offset(random)
            )
        }
        _ => odd(random),
    }
}

fn inner(random: &mut Random) -> String {
    match random.below(3) {
        0 => selector(random),
        1 => range_function(random),
        _ => aggregation(random),
    }
}

fn name(random: &mut Random) -> String {
    let name = *random.pick(&["a", "b", "c_total", "b", "h_bucket", "nh"]);
    let matchers = *random.pick(&["", "", "{x=\"1\"}", "{y=~\"p|q\"}", "{y!=\"r\"}"]);
    format!("{name}{matchers}")
}

fn offset(random: &mut Random) -> String {
    match random.below(9) {
        0 => format!(" offset {}s", 1 + random.below(200)),
        1 => format!(" offset -{}s", 1 + random.below(90)),
        2 => format!(" @ {}", 1_700_000_000 + random.below(1500)),
        _ => String::new(),
    }
}

fn selector(random: &mut Random) -> String {
    let vector = format!("{}{}", name(random), offset(random));
    match random.below(5) {
        0 => format!("abs({vector})"),
        1 => format!("{vector} > 10"),
        2 => format!("timestamp({vector}) - time()"),
        _ => vector,
    }
}

fn range_function(random: &mut Random) -> String {
    let function = random.pick(&[
        "rate",
        "rate",
        "increase",
        "delta",
        "irate",
        "sum_over_time",
        "avg_over_time",
        "avg_over_time",
        "max_over_time",
        "min_over_time",
        "count_over_time",
        "last_over_time",
        "stddev_over_time",
        "changes",
        "resets",
        "deriv",
        "mad_over_time",
    ]);
    let length = random.pick(&["31s", "1m", "2m", "5m", "10m"]);
    format!("{function}({}[{length}]{})", name(random), offset(random))
}

fn aggregation(random: &mut Random) -> String {
    let op = random.pick(&[
        "sum", "sum", "avg", "min", "max", "count", "group", "stddev", "quantile",
    ]);
    let grouping = random.pick(&["", "by (x) ", "by (y) ", "without (y) ", "by (x, y) "]);
    let inner = match random.below(3) {
        0 => selector(random),
        _ => range_function(random),
    };
    match *op {
        "quantile" => format!("quantile {grouping}(0.{}, {inner})", random.below(10)),
        op => format!("{op} {grouping}({inner})"),
    }
}

fn buckets(random: &mut Random) -> String {
    let options = [
        "h_bucket",
        "rate(h_bucket[2m])",
        "sum by (le) (rate(h_bucket[3m]))",
        "nh",
        "rate(nh[4m])",
        "sum(rate(nh[2m]))",
    ];
    (*random.pick(&options)).to_owned()
}

/// What looks at more than the samples around a step, or makes annotations and errors.
fn odd(random: &mut Random) -> String {
    let options = [
        "b @ start()",
        "sum(b) + end()",
        "limitk(2, b)",
        "limit_ratio(0.4, b)",
        "rate({x=\"1\", y=\"p\"}[2m])",
        "a + on (x) b",
        "absent(b{y=\"nothing\"})",
        "absent_over_time(b{y=\"p\"}[30s])",
        "scalar(sum(b)) * 2",
        "sort_desc(b)",
        "count_values(\"v\", round(b))",
        "label_replace(b, \"z\", \"$1\", \"y\", \"(.*)\")",
        "label_replace(b, \"y\", \"same\", \"\", \"\")",
        "quantile(1.5, b)",
        "histogram_count(nh) + on (x) group_right () b",
        "histogram_quantile(2, h_bucket)",
        "rate(b[2m]) + rate(a[2m])",
        "time() % 100",
        "vector(1)",
        "nh + nh",
        "sum(nh)",
        "avg_over_time(nh[2m])",
        "topk(scalar(sum(b @ 1700000100)), a)",
        "max_over_time(b[20s:10s])",
        "predict_linear(b[3m], 60)",
        "stdvar by (x) (b)",
    ];
    (*random.pick(&options)).to_owned()
}

/// Recorded expressions of dashboards and rules, each with series that it may find.
pub(crate) struct Recorded {
    expressions: Vec<String>,
}

impl Recorded {
    /// Those of the conformance data, where it is there.
    pub(crate) fn read() -> Option<Self> {
        let path = testkit::conformance("promql/parse-golden.jsonl.gz")?;
        let file = std::fs::File::open(path).expect("golden file");
        let mut lines = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut lines)
            .expect("gzip");
        let query = |line: &str| {
            let golden: serde_json::Value = serde_json::from_str(line).expect("JSON");
            golden["query"].as_str().map(str::to_owned)
        };
        let expressions = lines.lines().filter_map(query).collect();
        Some(Recorded { expressions })
    }

    /// One of them, and series for each of its selectors.
    pub(crate) fn pick(&self, engine: &Engine, random: &mut Random) -> Option<(String, Vec<Labels>)> {
        let query = random.pick(&self.expressions).clone();
        let expr = engine.parse(&query).ok()?;
        let mut series = Vec::new();
        for selector in expr.selectors() {
            for number in ["1", "2", "3"] {
                let mut labels = LabelsBuilder::new();
                labels.set("number", number);
                for matcher in &selector.matchers {
                    let value = match matcher.op {
                        MatchOp::Equal => matcher.value.clone(),
                        MatchOp::Regex => first_word(&matcher.value),
                        MatchOp::NotEqual | MatchOp::NotRegex => continue,
                    };
                    labels.set(&matcher.name, &value);
                }
                if labels.value("__name__").ends_with("_bucket") {
                    labels.set("le", ["0.1", "5", "+Inf"][number.len() * series.len() % 3]);
                }
                if !labels.value("__name__").is_empty() {
                    series.push(labels.build());
                }
            }
        }
        series.sort();
        series.dedup();
        Some((query, series))
    }
}

/// What a simple pattern matches first: good enough for most of those that people write.
fn first_word(pattern: &str) -> String {
    let first = pattern.split('|').next().unwrap_or_default();
    first
        .chars()
        .filter(|c| c.is_alphanumeric() || "_-/.".contains(*c))
        .collect()
}
