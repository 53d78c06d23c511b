//! Plans of small queries: times, sharing, and what is computed once.

use crate::engine::Features;
use crate::parser::{ParseOptions, parse};
use crate::row::Steps;

use super::*;

fn plan(query: &str) -> Plan {
    let expr = parse(query, &ParseOptions::ALL).expect(query);
    let context = PlanContext {
        start_ms: 1_000_000,
        end_ms: 1_100_000,
        step_ms: 10_000,
        lookback_ms: 300_000,
        features: Features::default(),
        default_subquery_step: &|_| 60_000,
    };
    build(&expr, &context).expect(query)
}

fn kinds(plan: &Plan) -> Vec<&'static str> {
    let name = |node: &Node| match &node.kind {
        NodeKind::Select(_) => "select",
        NodeKind::Range(_) => "range",
        NodeKind::Subquery(_) => "subquery",
        NodeKind::Element { .. } => "element",
        NodeKind::FromScalar(_) => "scalar",
        NodeKind::Negate(_) => "negate",
        NodeKind::WithScalar { .. } => "with scalar",
        NodeKind::Join(_) => "join",
        NodeKind::Aggregate { .. } => "aggregate",
        NodeKind::Repeat(_) => "repeat",
        _ => "other",
    };
    plan.nodes.iter().map(name).collect()
}

#[test]
fn equal_parts_are_one_node() {
    let shared = plan("sum(rate(x[5m])) / (sum(rate( x[5m] )) + 1)");
    assert_eq!(kinds(&shared), ["range", "aggregate", "with scalar", "join"]);
    // The one sum that is computed is all that uses the range.
    assert_eq!((shared.nodes[0].uses, shared.nodes[1].uses), (1, 2));
    assert_eq!(kinds(&plan("x / x offset 1m")), ["select", "select", "join"]);
    assert_eq!(
        kinds(&plan("rate(x[5m]) / rate(x[6m])")),
        ["range", "range", "join"]
    );
}

#[test]
fn what_is_pinned_is_computed_once() {
    let pinned = plan("x + sum(abs(y @ 500 offset 1m))");
    assert_eq!(
        kinds(&pinned),
        ["select", "select", "element", "aggregate", "repeat", "join"]
    );
    let counts: Vec<usize> = pinned.nodes.iter().map(|node| node.steps.count).collect();
    assert_eq!(counts, [11, 1, 1, 1, 11, 11]);
    let NodeKind::Select(select) = &pinned.nodes[1].kind else {
        panic!("a selector");
    };
    assert_eq!(select.times.start_ms, 440_000);
    assert_eq!(select.counting.times, 11);
    // The end is the one that was asked for, not the last step.
    let NodeKind::Select(select) = &plan("x @ end()").nodes[0].kind.clone() else {
        panic!("a selector");
    };
    assert_eq!(select.times.start_ms, 1_100_000);
    // Functions of the time are never the same at every step, though their window is.
    let moving = plan("predict_linear(x[5m] @ 500, 60)");
    let NodeKind::Range(range) = &moving.nodes[0].kind else {
        panic!("a range");
    };
    let ends = Steps {
        start_ms: 500_000,
        step_ms: 0,
        count: 11,
    };
    assert_eq!(
        (range.source.windows.ends, moving.nodes[0].steps.count),
        (ends, 11)
    );
}

#[test]
fn constants_are_folded() {
    for (query, value) in [
        ("1 + 2 * 3", 7.0),
        ("-(2 ^ 3) + pi() * 0", -8.0),
        ("1 > bool 2", 0.0),
        ("end() - start() + range() + step()", 210.0),
    ] {
        let Root::Scalar(Scalar::Constant(folded)) = plan(query).root else {
            panic!("{query} is constant");
        };
        assert_eq!(folded, value, "{query}");
    }
}

#[test]
fn selectors_read_what_their_windows_need() {
    for (query, min_ms, max_ms) in [
        ("x", 700_001, 1_100_000),
        ("x offset 1m", 640_001, 1_040_000),
        ("x offset -1m", 760_001, 1_160_000),
        ("x @ 500", 200_001, 500_000),
        ("rate(x[1m])", 940_001, 1_100_000),
        ("rate(x[1m] anchored)", 640_001, 1_100_000),
        ("rate(x[1m] smoothed)", 640_001, 1_400_000),
        // Steps of the subquery: multiples of 30 s behind 1,000 - 120 s, at 900 s the first.
        ("max_over_time(rate(x[1m])[2m:30s])", 840_001, 1_080_000),
        ("max_over_time(x[2m:30s] offset 1m)", 540_001, 1_020_000),
        ("x + y offset 10m", 100_001, 1_100_000),
    ] {
        let range = plan(query).range.expect("a selector");
        assert_eq!((range.min_ms, range.max_ms), (min_ms, max_ms), "{query}");
    }
    assert_eq!(plan("vector(1)").range, None);
}

#[test]
fn names_that_may_differ_are_watched() {
    for (query, distinct) in [
        ("abs(x)", Distinct::Sure),
        ("abs({a=\"b\"})", Distinct::Merge),
        ("rate({a=\"b\"}[5m])", Distinct::Refuse),
        ("first_over_time({a=\"b\"}[5m])", Distinct::Sure),
        ("-sum by (a) ({a=\"b\"})", Distinct::Sure),
        ("-sum by (__name__) ({a=\"b\"})", Distinct::Merge),
        ("-(x or y)", Distinct::Merge),
        ("{a=\"b\"} > 1", Distinct::Sure),
        ("{a=\"b\"} > bool 1", Distinct::Merge),
        ("label_replace(x, \"a\", \"\", \"\", \"\")", Distinct::Merge),
    ] {
        let plan = plan(query);
        assert_eq!(plan.nodes.last().expect("a node").distinct, distinct, "{query}");
    }
}
