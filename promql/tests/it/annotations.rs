//! What is said beside answers where it hangs on the order of series: here they are sorted by labels, while the reference
//! takes them as its storage gives them, so that its own scripts cannot tell.

use std::sync::Arc;

use narthex_promql::engine::{Engine, EngineOptions, QueryOptions};
use narthex_promql::script::{Command, MemoryStore, load, parse_script};

const DATA: &str = r#"
load 1m
    float_first{i="1"} 1 1
    float_first{i="2"} {{schema:0 count:4 sum:5 buckets:[1 2 1]}}x1
    float_first{i="3"} {{schema:-53 count:4 sum:5 custom_values:[1 2] buckets:[1 2 1]}}x1
    float_last{i="1"} {{schema:0 count:4 sum:5 buckets:[1 2 1]}}x1
    float_last{i="2"} {{schema:-53 count:4 sum:5 custom_values:[1 2] buckets:[1 2 1]}}x1
    float_last{i="3"} 1 1
    float_between{i="1"} {{schema:0 count:4 sum:5 buckets:[1 2 1]}}x1
    float_between{i="2"} 1 1
    float_between{i="3"} {{schema:-53 count:4 sum:5 custom_values:[1 2] buckets:[1 2 1]}}x1
    native{i="1"} {{schema:0 count:4 sum:5 buckets:[1 2 1]}}x1
    native{i="2"} {{schema:0 count:4 sum:5 buckets:[1 2 1]}}x1
    native{i="3"} 1 {{schema:0 count:4 sum:5 buckets:[1 2 1]}}
"#;

/// The annotations of `query` at each minute of [`DATA`], and over both.
fn told(query: &str) -> [Vec<String>; 3] {
    let store = MemoryStore::new();
    for statement in parse_script(DATA) {
        match statement.command.expect("a command") {
            Command::Load(data) => load(&data, &store).expect("loaded"),
            other => panic!("data is expected, not {other:?}"),
        }
    }
    let engine = Engine::new(EngineOptions::default());
    let options = QueryOptions::default();
    let outputs = [
        engine.instant(&store, query, 0, &options),
        engine.instant(&store, query, 60_000, &options),
        engine.range(&store, query, 0, 60_000, 60_000, &options),
    ];
    outputs.map(|output| {
        let annotations = output.expect(query).annotations;
        annotations
            .iter()
            .map(|annotation| annotation.text(query))
            .collect()
    })
}

const MIX: &str = "PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)";

fn schemas(name: &str) -> String {
    format!(
        "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for metric \
         name \"{name}\" (1:5)"
    )
}

#[test]
fn histograms_behind_a_float_do_not_quarrel() {
    for op in ["sum", "avg"] {
        for (name, expected) in [
            ("float_first", vec![MIX.to_owned()]),
            ("float_last", vec![schemas("float_last")]),
            ("float_between", vec![schemas("float_between"), MIX.to_owned()]),
        ] {
            for told in told(&format!("{op}({name})")) {
                assert_eq!(told, expected, "{op}({name})");
            }
        }
    }
}

#[test]
fn of_the_pairs_of_a_step_the_last_one_is_told() {
    let of = |lhs: &str, rhs: &str| {
        format!(
            "PromQL info: incompatible sample types encountered for binary operator \"^\": {lhs} ^ {rhs} (1:1)"
        )
    };
    let histograms = of("histogram", "histogram");
    // At the first step the last pair is a float and a float, about which there is nothing to say.
    assert_eq!(
        told("native ^ native"),
        [
            vec![histograms.clone()],
            vec![histograms.clone()],
            vec![histograms.clone()]
        ]
    );
    assert_eq!(
        told("native ^ on (i) float_first"),
        [
            vec![of("float", "histogram")],
            vec![histograms.clone()],
            vec![of("float", "histogram"), histograms],
        ]
    );
    assert_eq!(
        told("float_last ^ on (i) float_between")[0],
        [of("float", "histogram")]
    );
}

#[test]
fn sorting_a_range_says_so_even_with_one_step() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::new(EngineOptions::default());
    let warned = |query: &str, end_ms: i64| {
        let output = engine.range(&*store, query, 0, end_ms, 60_000, &QueryOptions::default());
        output.expect(query).annotations.iter().count() == 1
    };
    assert!(warned("sort(a)", 1) && warned("sort_desc(a)", 60_000));
    assert!(!warned("sort(a)", 0) && !warned("sort(a @ 5)", 60_000));
}
