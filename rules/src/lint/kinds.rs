//! Whether an expression is a counter.

use std::collections::HashMap;

use model::stack::deep;
use promql::ast::{AggregateOp, BinaryOp, Expr, ExprKind, ValueType, VectorSelector};

use super::facts::{Facts, MetricKind, metric_name};

/// What an expression's values do over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They grow, and begin anew at restarts.
    Counter(Evidence),
    /// They are counters that were put together: where one of them restarts or goes, the whole falls.
    Together,
    /// They go up and down.
    Gauge(Evidence),
    /// Who knows.
    Unknown,
}

/// Where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The metric's name.
    Name,
    /// Metadata of a server.
    Metadata,
    /// The function that it comes from.
    Function(&'static str),
}

impl Evidence {
    /// A sentence: that its metric, or what comes from its function, `does` something.
    pub(super) fn says(self, does: &str) -> String {
        match self {
            Evidence::Name => format!("its name says that it {does}"),
            Evidence::Metadata => format!("its metadata says that it {does}"),
            Evidence::Function(name) => format!("what `{name}` gives {does}"),
        }
    }
}

/// Rounds in which recording rules learn of each other: rules on rules on rules are seldom deeper.
const ROUNDS: usize = 3;

/// What recording rules give, by name.
pub(super) struct Recorded(HashMap<String, Kind>);

impl Recorded {
    /// Of `rules`: their names and expressions.
    pub(super) fn new<'r>(rules: impl Iterator<Item = (&'r str, &'r Expr)>, facts: Option<&Facts>) -> Self {
        let rules: Vec<(&str, &Expr)> = rules.collect();
        let mut recorded = Recorded(HashMap::new());
        for _ in 0..ROUNDS {
            let mut next: HashMap<String, Kind> = HashMap::with_capacity(rules.len());
            for (name, expr) in &rules {
                let kind = recorded.kind_of(expr, facts);
                let known = next.entry((*name).to_owned()).or_insert(kind);
                if *known != kind {
                    *known = Kind::Unknown;
                }
            }
            let settled = next == recorded.0;
            recorded.0 = next;
            if settled {
                break;
            }
        }
        recorded
    }

    /// Whether `name` is recorded by a rule.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What `expr` gives.
    pub(super) fn kind_of(&self, expr: &Expr, facts: Option<&Facts>) -> Kind {
        let of = |expr: &Expr| deep(|| self.kind_of(expr, facts));
        match &expr.kind {
            ExprKind::Vector(selector) => self.selected(selector, facts),
            ExprKind::Matrix(matrix) => self.selected(&matrix.selector, facts),
            ExprKind::Subquery(subquery) => of(&subquery.expr),
            ExprKind::Paren(inner) => of(inner),
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Unary(_) => Kind::Unknown,
            ExprKind::Aggregate(aggregate) => {
                use AggregateOp::{Avg, BottomK, LimitK, LimitRatio, Max, Min, Sum, TopK};
                match (aggregate.op, of(&aggregate.expr)) {
                    (Sum | Avg | Max | Min, Kind::Counter(_)) => Kind::Together,
                    (Sum | Avg | Max | Min | TopK | BottomK | LimitK | LimitRatio, kind) => kind,
                    (op, _) => Kind::Gauge(Evidence::Function(op.as_str())),
                }
            }
            ExprKind::Call(call) => match call.function.name {
                "rate" | "irate" | "increase" | "delta" | "idelta" | "deriv" | "predict_linear"
                | "changes" | "resets" | "histogram_quantile" => {
                    Kind::Gauge(Evidence::Function(call.function.name))
                }
                "label_replace" | "label_join" | "sort" | "sort_desc" | "last_over_time" => {
                    call.args.first().map_or(Kind::Unknown, of)
                }
                _ => Kind::Unknown,
            },
            ExprKind::Binary(binary) => match binary.op {
                op if op.is_comparison() && binary.return_bool => Kind::Unknown,
                op if op.is_comparison() => of(&binary.lhs),
                BinaryOp::And | BinaryOp::Unless => of(&binary.lhs),
                BinaryOp::Or => match (of(&binary.lhs), of(&binary.rhs)) {
                    (a, b) if a == b => a,
                    _ => Kind::Unknown,
                },
                BinaryOp::Mul | BinaryOp::Div if is_positive(&binary.rhs) => of(&binary.lhs),
                BinaryOp::Add if binary.matching.is_some() => match (of(&binary.lhs), of(&binary.rhs)) {
                    (Kind::Counter(_) | Kind::Together, Kind::Counter(_) | Kind::Together) => Kind::Together,
                    _ => Kind::Unknown,
                },
                _ => Kind::Unknown,
            },
        }
    }

    fn selected(&self, selector: &VectorSelector, facts: Option<&Facts>) -> Kind {
        let Some(name) = metric_name(selector) else {
            return Kind::Unknown;
        };
        if let Some(kind) = self.0.get(name) {
            return *kind;
        }
        match facts.and_then(|facts| facts.kind(name)) {
            Some(MetricKind::Counter) => Kind::Counter(Evidence::Metadata),
            Some(MetricKind::Gauge) => Kind::Gauge(Evidence::Metadata),
            Some(_) => Kind::Unknown,
            None => by_name(name),
        }
    }
}

/// A number above zero.
fn is_positive(expr: &Expr) -> bool {
    let number = matches!(&expr.without_parens().kind, ExprKind::Number(number) if number.value > 0.0);
    number && expr.value_type() == ValueType::Scalar
}

/// Endings of names that counters do not have.
const GAUGE_ENDINGS: [&str; 7] = [
    "_ratio",
    "_percent",
    "_percentage",
    "_celsius",
    "_info",
    "_timestamp_seconds",
    "_utilization",
];
/// Gauges whose names do not tell, but that everybody has.
const GAUGES: [&str; 22] = [
    "container_memory_cache",
    "container_memory_rss",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "go_goroutines",
    "go_memstats_alloc_bytes",
    "go_memstats_heap_alloc_bytes",
    "go_memstats_heap_inuse_bytes",
    "go_threads",
    "jvm_memory_bytes_used",
    "jvm_memory_used_bytes",
    "machine_cpu_cores",
    "machine_memory_bytes",
    "node_load1",
    "node_load15",
    "node_load5",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "up",
];
/// The same for whole families: how their names begin and end.
const GAUGE_FAMILIES: [(&str, &str); 4] = [
    ("node_memory_", "_bytes"),
    ("node_filesystem_", "_bytes"),
    ("node_filesystem_", "_files_free"),
    ("container_spec_", "_bytes"),
];

fn by_name(name: &str) -> Kind {
    // What recording rules give is called after what was done.
    if let Some((_, operation)) = name.rsplit_once(':') {
        let is_rate = ["rate", "irate", "increase"]
            .iter()
            .any(|word| operation.starts_with(word));
        return if is_rate {
            Kind::Gauge(Evidence::Name)
        } else {
            Kind::Unknown
        };
    }
    let is_counter = name.ends_with("_total") || name.ends_with("_bucket");
    let in_family = |(begin, end): &(&str, &str)| name.starts_with(begin) && name.ends_with(end);
    if is_counter {
        Kind::Counter(Evidence::Name)
    } else if GAUGE_ENDINGS.iter().any(|ending| name.ends_with(ending))
        || GAUGES.binary_search(&name).is_ok()
        || GAUGE_FAMILIES.iter().any(in_family)
    {
        Kind::Gauge(Evidence::Name)
    } else {
        Kind::Unknown
    }
}

#[cfg(test)]
mod tests {
    use promql::parser::{ParseOptions, parse};

    use super::*;

    #[test]
    fn names_and_functions_tell() {
        let parse = |text: &str| parse(text, &ParseOptions::ALL).expect(text);
        let rules = [
            ("sum:a", "sum(a_total)"),
            ("again", "sum:a"),
            ("twice", "up"),
            ("twice", "a_total"),
        ]
        .map(|(name, expr)| (name, parse(expr)));
        let recorded = Recorded::new(rules.iter().map(|(name, expr)| (*name, expr)), None);
        let (counter, gauge) = (Kind::Counter(Evidence::Name), Kind::Gauge(Evidence::Name));
        for (query, want) in [
            ("a_total", counter),
            ("a_total{x=\"y\"} > 5", counter),
            ("a_total / 1000", counter),
            ("a_total * 8", counter),
            ("sum(a_total)", Kind::Together),
            ("a_total + b_total", Kind::Together),
            ("a_total - b_total", Kind::Unknown),
            ("topk(3, a_total)", counter),
            ("up", gauge),
            ("node_memory_MemFree_bytes", gauge),
            ("job:a:rate5m", gauge),
            ("job:a_total:sum", Kind::Unknown),
            ("sum(up)", gauge),
            ("count(a_total)", Kind::Gauge(Evidence::Function("count"))),
            ("sum(rate(a_total[5m]))", Kind::Gauge(Evidence::Function("rate"))),
            ("sum:a", Kind::Together),
            ("again", Kind::Together),
            ("twice", Kind::Unknown),
            ("something", Kind::Unknown),
        ] {
            assert_eq!(recorded.kind_of(&parse(query), None), want, "{query}");
        }
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(GAUGES.is_sorted());
    }
}
