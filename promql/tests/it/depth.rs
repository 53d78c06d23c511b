//! Queries as deep and as large as they may be, and larger: everything that walks them does so on the stack of a thread
//! that a server starts for itself, or says what the bound is.

use std::time::{Duration, Instant};

use model::matcher::Matcher;
use narthex_promql::ast::Expr;
use narthex_promql::ast_json;
use narthex_promql::engine::{
    EXPLAINED_LEVELS_MAX, EXPLAINED_QUERY_BYTES_MAX, EvalTime, Operator, QueryOptions,
};
use narthex_promql::parser::{
    DIAGNOSTICS_MAX, NESTING_MAX, OPERATORS_MAX, ParseOptions, Problem, WORDS_MAX, parse, parse_metric,
    parse_selector, parse_selectors, parse_series,
};

use crate::engine::{engine, store};
use crate::parser::on_small_stack;

/// A query around something that is nested `depth` times.
fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// Queries that are as deep as may be, each in another way.
fn deepest() -> Vec<String> {
    // The query itself is a level.
    let levels = NESTING_MAX - 1;
    let chain = |operand: &str, operator: &str| vec![operand; OPERATORS_MAX + 1].join(operator);
    vec![
        chain("g", " or "),
        chain("g", " + on (i) group_left () "),
        chain("g", " == bool "),
        chain("1", " + "),
        chain("time()", " * "),
        format!("g{}", " + 1".repeat(OPERATORS_MAX)),
        format!("{}g", "1 + ".repeat(OPERATORS_MAX)),
        format!("g{}", " > 1".repeat(OPERATORS_MAX)),
        chain("(g)", " unless "),
        // To the right.
        vec!["2"; levels + 1].join(" ^ "),
        vec!["g"; levels + 1].join(" ^ "),
        nested("g + (", "g", ")", levels / 2),
        nested("g or on (i) (", "g", ")", levels / 2),
        nested("(", "g", ")", levels),
        nested("-", "g", "", levels),
        nested("-(", "g", ")", levels / 2),
        nested("abs(", "g", ")", levels),
        nested("sum(", "g", ")", levels),
        nested("sum by (i) (", "g", ")", levels),
        nested("topk by (i) (1, ", "g", ")", levels),
        nested("quantile(scalar(", "g", "), g)", levels / 2),
        nested("vector(scalar(", "g", "))", levels / 2),
        nested("clamp_max(g, scalar(", "g", "))", levels / 2),
        nested("label_replace(", "g", ", \"a\", \"$1\", \"i\", \"(.*)\")", 200),
        // Steps of subqueries inside of each other multiply where their ranges are long.
        nested("max_over_time((", "g", ")[2s:1s])", 200),
        nested("absent(", "g", ")", levels),
        nested("sort(", "g", ")", levels),
        nested("histogram_quantile(0.5, ", "g", ")", levels),
    ]
}

/// Everything that walks a tree and does not evaluate it.
fn walk(expr: &Expr) {
    let text = expr.to_string();
    assert_eq!(
        parse(&text, &ParseOptions::ALL)
            .expect("its own text")
            .to_string(),
        text
    );
    assert!(expr.clone() == *expr);
    assert!(!format!("{expr:?}").is_empty());
    assert!(expr.value_type() == expr.clone().value_type());
    // Chains are as wide as they are long, broken into lines.
    match expr.pretty() {
        Ok(lines) => assert!(lines.len() >= text.len() / 2),
        Err(error) => assert!(error.to_string().contains("more than 64 MiB"), "{error}"),
    }
    let mut json = String::new();
    ast_json::write(expr, &mut json);
    assert!(json.starts_with('{') && json.ends_with('}'));
    let mut count = 0;
    expr.walk(&mut |_| count += 1);
    assert!(count > 0);
    let mut changed = expr.clone();
    changed.set_matcher(&Matcher::equal("a", "b"));
    changed.delete_matchers("a");
    drop(changed);
}

#[test]
fn whatever_walks_the_deepest_trees_has_stack_enough() {
    on_small_stack(|| {
        for query in deepest() {
            let expr = parse(&query, &ParseOptions::ALL);
            walk(&expr.unwrap_or_else(|error| panic!("{}…: {error}", &query[..40.min(query.len())])));
        }
    });
}

#[test]
fn the_deepest_queries_are_planned_evaluated_and_explained() {
    on_small_stack(|| {
        let store = store(1);
        let engine = engine(|options| {
            options.features = narthex_promql::engine::Features::all_syntax();
            options.timeout = Duration::from_secs(600);
        });
        let time = EvalTime::Range {
            start_ms: 100_000,
            end_ms: 120_000,
            step_ms: 20_000,
        };
        let explained = QueryOptions {
            explain: true,
            ..QueryOptions::default()
        };
        for query in deepest() {
            let begin = Instant::now();
            let shown = &query[..40.min(query.len())];
            let expr = engine
                .parse(&query)
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            let plan = engine
                .explain(&expr, time, &QueryOptions::default())
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            let nodes = check_explained(&plan, query.len());
            let output = engine
                .evaluate(&store, &expr, time, &explained)
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            let analyzed = check_explained(&output.explained.expect("asked for"), query.len());
            assert_eq!(nodes, analyzed, "{shown}");
            println!("{shown}: {nodes} operators shown, {:?}", begin.elapsed());
        }
    });
}

/// Bounded in depth, and no longer than the query and a bit for each operator.
fn check_explained(root: &Operator, query_bytes: usize) -> usize {
    let (mut nodes, mut bytes, mut waiting) = (0, 0, vec![(root, 1)]);
    while let Some((operator, level)) = waiting.pop() {
        assert!(level <= EXPLAINED_LEVELS_MAX);
        nodes += 1;
        bytes += operator.query.len();
        waiting.extend(operator.inputs.iter().map(|input| (input, level + 1)));
    }
    assert!(bytes <= query_bytes + nodes * (EXPLAINED_QUERY_BYTES_MAX + 4));
    nodes
}

#[test]
fn what_an_explained_query_leaves_out_is_said() {
    let engine = engine(|_| {});
    let expr = engine.parse(&vec!["g"; 9_000].join(" or ")).expect("a chain");
    let time = EvalTime::Instant { at_ms: 100_000 };
    let root = engine
        .explain(&expr, time, &QueryOptions::default())
        .expect("a plan");
    assert!(root.query.ends_with('…') && root.query.len() <= EXPLAINED_QUERY_BYTES_MAX + 4);
    let mut last = &root;
    while let Some(input) = last.inputs.first() {
        last = input;
    }
    assert_eq!(last.operation, "or");
    assert_eq!(last.notes, ["what is below 50 levels is not shown"]);
}

#[test]
fn larger_texts_are_refused_in_good_time() {
    on_small_stack(|| {
        for many in [10_000, 1_000_000] {
            for text in [
                "(".repeat(many),
                ")".repeat(many),
                nested("(", "g", ")", many),
                "-".repeat(many) + "g",
                vec!["g"; many + 2].join(" or "),
                vec!["1"; many + 2].join("^"),
                nested("sum(", "g", ")", many),
                nested("max_over_time((", "g", ")[5m:1m])", many),
                nested("g + (", "g", ")", many),
                format!("g[{}5m{}]", "(".repeat(many), ")".repeat(many)),
                format!("g[5m{}]", "+5m".repeat(many)),
                format!("g[{}5m]", "-".repeat(many)),
                format!("g{}", "[5m:]".repeat(many)),
                format!("g{}", " offset 5m".repeat(many)),
                "{".repeat(many),
                "[".repeat(many),
                "\"".repeat(many + 1),
                "\\".repeat(many),
                "@".repeat(many),
            ] {
                let begin = Instant::now();
                let shown = &text[..20.min(text.len())];
                let error = parse(&text, &ParseOptions::ALL).err();
                assert!(error.is_some(), "{shown}… times {many}");
                assert!(
                    begin.elapsed() < Duration::from_secs(20),
                    "{shown} {:?}",
                    begin.elapsed()
                );
                // Other readers of the same words.
                let _ = parse_selector(&text).map_err(|error| error.to_string());
                let _ = parse_metric(&text).map_err(|error| error.to_string());
                let _ = parse_series(&text).map_err(|error| error.to_string());
            }
        }
    });
}

#[test]
fn words_are_counted_before_they_take_memory() {
    const MANY: usize = WORDS_MAX;
    for text in [
        format!("g{{{}}}", "a=\"\",".repeat(MANY)),
        format!("sum by ({}) (g)", "a,".repeat(MANY)),
        format!("label_join(g, \"a\"{})", ",\"b\"".repeat(MANY)),
        format!("g + on ({}) g", "a,".repeat(MANY)),
    ] {
        let error = parse(&text, &ParseOptions::ALL).expect_err("too many words");
        assert_eq!(error.first().problem, Problem::TooManyWords(WORDS_MAX));
        assert!(
            error
                .to_string()
                .ends_with("expression has more than 500000 words")
        );
    }
}

#[test]
fn compiled_patterns_have_a_budget() {
    let options = ParseOptions {
        pattern_bytes_max: 1 << 20,
        ..ParseOptions::default()
    };
    // As many as fit into a request of 16 MB.
    let many: String = (0..266_000).map(|i| format!("a=~\"x{i}.+y.*z[0-9]\",")).collect();
    let begin = Instant::now();
    let error = parse(&format!("g{{{many}}}"), &options).expect_err("too many patterns");
    assert_eq!(error.first().problem, Problem::PatternsTooLarge(1 << 20));
    assert_eq!(
        error.first().problem.to_string(),
        "the regular expressions of the query would take more than 1.0MiB when compiled"
    );
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    // A single one that is larger than the budget, and smaller than any pattern may be.
    let wide = "g{a=~\"(?:[a-z]{1,50}\\\\pL){20}\"}";
    let error = parse(wide, &options).expect_err("a large pattern");
    assert_eq!(error.first().problem, Problem::PatternsTooLarge(1 << 20));
    parse(wide, &ParseOptions::default()).expect("fits into an ordinary budget");
    // One that is written many times is compiled once.
    let same = vec!["g{a=~\"x.+y.*z[0-9]\"}"; 5_000].join(" or ");
    parse(&same, &options).expect("a pattern");
}

#[test]
fn selectors_of_one_request_share_a_budget() {
    let texts: Vec<String> = (0..20_000)
        .map(|i| format!("g{{a=~\"x{i}.+y.*z[0-9]\"}}"))
        .collect();
    let parsed = |count: usize, budget| parse_selectors(texts[..count].iter().map(String::as_str), budget);
    assert_eq!(parsed(20, 1 << 20).map(|selectors| selectors.len()), Ok(20));
    let error = parsed(20_000, 1 << 20).expect_err("too many patterns");
    assert_eq!(error.first().problem, Problem::PatternsTooLarge(1 << 20));
    // One that is written many times is compiled once.
    let same = vec!["g{a=~\"x.+y.*z[0-9]\"}"; 5_000];
    assert_eq!(
        parse_selectors(same, 1 << 20).map(|selectors| selectors.len()),
        Ok(5_000)
    );
}

#[test]
fn not_everything_wrong_is_kept() {
    let text = format!("g{{{}}}", "a=~\"(\",".repeat(10_000));
    let error = parse(&text, &ParseOptions::ALL).expect_err("open groups");
    assert_eq!(error.diagnostics().count(), DIAGNOSTICS_MAX);
}
