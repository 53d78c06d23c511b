//! The parser against the reference's trees, formatted texts and errors.

use std::io::Read;

use model::matcher::{MatchOp, Matcher};
use narthex_promql::ast_json;
use narthex_promql::parser::{ParseError, ParseOptions, parse, parse_metric, parse_selector, parse_series};
use serde_json::Value;

/// Every recorded expression of real dashboards and rules: the same tree, the same formatted text; for errors the same
/// place and words.
#[test]
fn agrees_with_recorded_expressions() {
    let Some(path) = testkit::conformance("promql/parse-golden.jsonl.gz") else {
        return;
    };
    let file = std::fs::File::open(path).expect("golden file");
    let mut lines = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut lines)
        .expect("gzip");
    all_agree(&lines, &ParseOptions::default(), 1500);
}

/// The corners of the grammar, with all of the language switched on.
#[test]
fn agrees_with_recorded_corners() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/promql/parse.jsonl");
    let lines = std::fs::read_to_string(path).expect("corners");
    all_agree(&lines, &ParseOptions::ALL, 300);
}

fn all_agree(lines: &str, options: &ParseOptions, least: usize) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines.lines() {
        count += 1;
        let golden: Value = serde_json::from_str(line).expect("JSON");
        if let Err(difference) = agrees(&golden, options) {
            wrong.push(format!(
                "{}\n{difference}",
                golden["query"].as_str().unwrap_or_default()
            ));
        }
    }
    assert!(count >= least, "only {count} expressions");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

fn agrees(golden: &Value, options: &ParseOptions) -> Result<(), String> {
    let query = golden["query"].as_str().expect("query");
    let parsed = parse(query, options);
    if let Some(expected) = golden["error"].as_str() {
        let found = parsed
            .err()
            .ok_or_else(|| format!("  parsed, but expected {expected}"))?;
        return same(
            "error",
            &normalized(&format!("invalid parameter \"query\": {found}")),
            &normalized(expected),
        );
    }
    let expr = parsed.map_err(|e: ParseError| format!("  {e}"))?;
    let mut json = String::new();
    ast_json::write(&expr, &mut json);
    let tree: Value = serde_json::from_str(&json).map_err(|e| format!("  {e} in {json}"))?;
    // Some trees have no JSON: it knows no infinities.
    if golden.get("ast").is_some() {
        same("tree", &tree, &golden["ast"])?;
    }
    let pretty = expr.pretty().expect("short");
    same(
        "formatted text",
        &Value::from(pretty.as_str()),
        &golden["formatted"],
    )?;
    // What is printed on one line reads back to the same tree, and so does what is printed on several.
    for text in [expr.to_string(), pretty] {
        let again = parse(&text, options).map_err(|e| format!("  printed {text:?}: {e}"))?;
        same("printed text", &again.to_string(), &expr.to_string())?;
    }
    Ok(())
}

/// The reference quotes only a part of a word that is not a number; we quote all of it.
fn normalized(error: &str) -> String {
    match error.split_once("bad number or duration syntax: ") {
        Some((before, _)) => before.to_owned(),
        None => error.to_owned(),
    }
}

fn same<T: PartialEq + std::fmt::Display>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "  {what}:\n    expected {expected}\n    found    {found}"
    ))
}

/// Every recorded corner cut at every place, and spoiled at random places, is read or refused, and an error can always be
/// shown.
#[test]
fn no_text_makes_the_parser_panic() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/promql/parse.jsonl");
    let lines = std::fs::read_to_string(path).expect("corners");
    let queries: Vec<String> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["query"]
                .as_str()
                .expect("query")
                .to_owned()
        })
        .collect();
    let check = |text: &str| match parse(text, &ParseOptions::ALL) {
        Ok(expr) => drop((expr.to_string(), expr.pretty())),
        Err(error) => drop((error.to_string(), error.render())),
    };
    for query in &queries {
        for (at, _) in query.char_indices() {
            check(&query[..at]);
            check(&query[at..]);
        }
    }
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x5eed_u64);
    println!("SEED={seed}");
    let mut state = seed | 1;
    let mut random = |below: usize| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    const SPOILS: [&str; 16] = [
        "(", ")", "[", "]", "{", "}", "\"", "\\", "é", "\n", "#", "5m", "@", ":", "^-", "{{",
    ];
    for _ in 0..5_000 {
        let mut chars: Vec<char> = queries[random(queries.len())].chars().collect();
        for _ in 0..=random(3) {
            let at = random(chars.len() + 1);
            let spoil = SPOILS[random(SPOILS.len())].chars();
            chars.splice(at..(at + random(3)).min(chars.len()), spoil);
        }
        let text: String = chars.into_iter().collect();
        check(&text);
        let _ = parse_series(&text).map_err(|error| error.render());
        let _ = parse_metric(&text).map_err(|error| error.render());
    }
}

#[test]
fn selectors_and_metrics_stand_alone() {
    let matchers = parse_selector("a{b=~\"c|d\", \"e.f\"!=\"g\"}").expect("selector");
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["b=~\"c|d\"", "\"e.f\"!=\"g\"", "__name__=\"a\""]);
    // Nothing is asked of what the matchers match: `match[]` checks that itself.
    assert_eq!(parse_selector("{}").expect("selector"), []);
    for (text, message) in [
        ("a[5m]", "1:2: parse error: unexpected \"[\""),
        ("rate(a[5m])", "1:5: parse error: unexpected \"(\""),
        ("a offset 5m", "1:3: parse error: unexpected <offset>"),
        ("", "unknown position: parse error: unexpected end of input"),
    ] {
        assert_eq!(parse_selector(text).expect_err(text).to_string(), message);
    }
    let labels = parse_metric("a{b=\"c\", \"d.e\"=\"f\",}").expect("metric");
    assert_eq!(labels.to_string(), "{__name__=\"a\", b=\"c\", \"d.e\"=\"f\"}");
    let error = parse_metric("a{b!=\"c\"}").expect_err("no metric").to_string();
    assert_eq!(
        error,
        "1:4: parse error: unexpected <op:!=> in label set, expected \"=\""
    );
}

/// Runs `test` on a thread with the stack of a thread that a server starts for itself.
pub(crate) fn on_small_stack(test: impl FnOnce() + Send + 'static) {
    const STACK_BYTES: usize = 2 << 20;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(test);
    thread.expect("thread").join().expect("no panic");
}

#[test]
fn long_chains_are_no_deep_trees() {
    on_small_stack(|| {
        for operator in [" or ", " + ", " == bool "] {
            let query = vec!["a"; 5_000].join(operator);
            let expr = parse(&query, &ParseOptions::ALL).expect("chain");
            assert_eq!(expr.to_string(), query);
            assert!(expr.clone() == expr);
            assert_eq!(expr.selectors().len(), 5_000);
            assert!(expr.pretty().expect("not too long").ends_with("\n  a"));
            let mut json = String::new();
            ast_json::write(&expr, &mut json);
            assert_eq!(json.matches("binaryExpr").count(), 4_999);
        }
    });
}

#[test]
fn what_is_too_deep_or_too_long_is_an_error() {
    const MANY: usize = 1_000_000;
    on_small_stack(|| {
        let cases = [
            (
                "(".repeat(MANY),
                "1:2001: parse error: expression is nested more than 2000 levels deep",
            ),
            (
                "a-".to_owned() + &"-".repeat(MANY),
                "1:2002: parse error: expression is nested more than 2000 levels deep",
            ),
            (
                "sum(".repeat(MANY),
                "1:8001: parse error: expression is nested more than 2000 levels deep",
            ),
            (
                "abs(".repeat(MANY),
                "1:8001: parse error: expression is nested more than 2000 levels deep",
            ),
            (
                "1^".repeat(MANY),
                "1:4001: parse error: expression is nested more than 2000 levels deep",
            ),
            (
                "a or ".repeat(MANY),
                "1:50003: parse error: expression has more than 10000 operators",
            ),
            (
                "a[".to_owned() + &"(".repeat(MANY),
                "1:131: parse error: duration is nested, or durations are chained, more than 128 levels deep",
            ),
            (
                "a[".to_owned() + &"1+".repeat(MANY),
                "1:260: parse error: duration is nested, or durations are chained, more than 128 levels deep",
            ),
            (
                "a".to_owned() + &"[5m:]".repeat(MANY),
                "1:10006: parse error: expression is nested more than 2000 levels deep",
            ),
            ("[".repeat(MANY), "1:1: parse error: unexpected \"[\""),
            ("{".repeat(MANY), "1:2: parse error: unexpected left brace '{'"),
        ];
        for (query, expected) in cases {
            let error = parse(&query, &ParseOptions::ALL).expect_err(expected);
            assert_eq!(error.to_string(), expected);
            error.render();
        }
        for nested in [
            format!("{}a{}", "(".repeat(1999), ")".repeat(1999)),
            "-".repeat(1999) + "a",
        ] {
            let expr = parse(&nested, &ParseOptions::ALL).expect("just not too deep");
            assert_eq!(expr.to_string(), nested);
            expr.pretty().expect("not too long");
        }
    });
}

#[test]
fn errors_point_at_their_place() {
    let error = parse(
        "sum(rate(x[5m])) by (job)\n\t/ sum_over_tim(y[5m])",
        &ParseOptions::default(),
    )
    .unwrap_err();
    assert_eq!(
        error.render(),
        "error: unknown function with name \"sum_over_tim\"\n  |\n2 | \t/ sum_over_tim(y[5m])\n  | \t  ^^^^^^^^^^^^\n  = help: did you mean sum_over_time?\n"
    );
    // Types are all checked; each finding has its own place.
    let error = parse("rate(a) + sum(b[5m]) + \"c\"", &ParseOptions::default()).unwrap_err();
    let found: Vec<String> = error
        .diagnostics()
        .map(|d| format!("{}..{} {}", d.span.start, d.span.end, d.problem))
        .collect();
    assert_eq!(
        found,
        [
            "5..6 expected type range vector in call to function \"rate\", got instant vector",
            "14..19 expected type instant vector in aggregation expression, got range vector",
            "23..26 binary expression must contain only scalar and instant vector types",
        ]
    );
}

#[test]
fn matchers_are_set_and_deleted_everywhere() {
    let mut expr = parse(
        "sum(a{b=\"c\"}) / max_over_time({__name__=\"d\"}[5m:]) + rate(e[5m] offset 1m)",
        &ParseOptions::default(),
    )
    .expect("query");
    expr.set_matcher(&Matcher::equal("b", "x"));
    let set =
        "sum(a{b=\"x\"}) / max_over_time({__name__=\"d\",b=\"x\"}[5m:]) + rate(e{b=\"x\"}[5m] offset 1m)";
    assert_eq!(expr.to_string(), set);
    expr.delete_matchers("b");
    let deleted = "sum(a) / max_over_time({__name__=\"d\"}[5m:]) + rate(e[5m] offset 1m)";
    assert_eq!(expr.to_string(), deleted);
    expr.set_matcher(&Matcher::new(MatchOp::Regex, "__name__", "z.*").expect("pattern"));
    let renamed = "sum({__name__=~\"z.*\"}) / max_over_time({__name__=~\"z.*\"}[5m:]) + rate({__name__=~\"z.*\"}[5m] offset 1m)";
    assert_eq!(expr.to_string(), renamed);
}
