//! Explained queries: the tree that they run as, and that its figures are about what happened.

use std::fmt::Write;

use narthex_promql::engine::{EvalTime, Operator, QueryOptions};

use crate::engine::{engine, store};

fn write(out: &mut String, operator: &Operator, depth: usize) {
    let indent = "  ".repeat(depth);
    write!(out, "{indent}{} `{}`", operator.operation, operator.query).expect("text");
    if let Some(took) = &operator.took {
        let (series_in, series_out) = (took.series_in, took.series_out);
        write!(
            out,
            " {series_in} > {series_out}, decoded {}",
            took.samples_decoded
        )
        .expect("text");
    }
    writeln!(out, " {:?}", operator.notes).expect("text");
    for input in &operator.inputs {
        write(out, input, depth + 1);
    }
}

fn tree(query: &str, analyze: bool) -> String {
    let store = store(100);
    let engine = engine(|options| options.threads = 2);
    let time = EvalTime::Range {
        start_ms: 600_000,
        end_ms: 1_000_000,
        step_ms: 100_000,
    };
    let expr = engine.parse(query).expect(query);
    let options = QueryOptions {
        explain: analyze,
        ..QueryOptions::default()
    };
    let mut text = String::new();
    if analyze {
        let output = engine.evaluate(&store, &expr, time, &options).expect(query);
        let root = output.explained.expect("asked for");
        assert!(
            root.took
                .is_none_or(|took| took.wall_ns > 0 && took.peak_bytes > 0)
        );
        write(&mut text, &root, 0);
    } else {
        write(&mut text, &engine.explain(&expr, time, &options).expect(query), 0);
    }
    text
}

#[test]
fn plans_are_shown_without_being_run() {
    assert_eq!(
        tree(
            "sum by (g) (rate(c_total[1m])) / on (g) group_left count(g @ 700)",
            false
        ),
        "join /, many to one `sum by (g) (rate(c_total[1m])) / on (g) group_left () count(g @ 700.000)` []\n  \
         aggregate, sum `sum by (g) (rate(c_total[1m]))` []\n    \
         select, rate `rate(c_total[1m])` []\n  \
         repeat `count(g @ 700.000)` [\"the same at every step: computed at one\"]\n    \
         aggregate, count `count(g @ 700.000)` []\n      \
         select `g @ 700.000` []\n"
    );
}

#[test]
fn figures_are_about_what_happened() {
    assert_eq!(
        tree("abs(sum by (g) (g)) - sum by (g) (g)", true),
        "join -, one to one `abs(sum by (g) (g)) - sum by (g) (g)` 14 > 7, decoded 0 [\"kept\"]\n  \
         abs `abs(sum by (g) (g))` 7 > 7, decoded 0 [\"kept\"]\n    \
         aggregate, sum `sum by (g) (g)` 100 > 7, decoded 0 [\"computed once, used 2 times\", \"kept\"]\n      \
         select `g` 100 > 100, decoded 4700 [\"streamed\"]\n  \
         aggregate, sum `sum by (g) (g)` [\"computed above, used again\"]\n"
    );
    assert_eq!(
        tree("vector(scalar(sum(c_total{g=\"1\"})))", true),
        "vector of scalar `vector(scalar(sum(c_total{g=\"1\"})))` 1 > 1, decoded 0 [\"kept\"]\n  \
         aggregate, sum `sum(c_total{g=\"1\"})` 15 > 1, decoded 0 [\"kept\"]\n    \
         select `c_total{g=\"1\"}` 15 > 15, decoded 621 [\"streamed\"]\n"
    );
}
