//! The parser against the reference's trees, formatted texts and errors.

use std::io::Read;

use narthex_promql::ast_json;
use narthex_promql::parser::{ParseError, ParseOptions, parse};
use serde_json::Value;

/// Every recorded expression: the same tree, the same formatted text; for errors the same place and words.
#[test]
fn agrees_with_recorded_expressions() {
    let Some(dir) = crate::conformance_dir() else {
        return;
    };
    let file = std::fs::File::open(dir.join("promql/parse-golden.jsonl.gz")).expect("golden file");
    let mut lines = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut lines)
        .expect("gzip");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines.lines() {
        count += 1;
        let golden: Value = serde_json::from_str(line).expect("JSON");
        if let Err(difference) = agrees(&golden) {
            wrong.push(format!(
                "{}\n{difference}",
                golden["query"].as_str().unwrap_or_default()
            ));
        }
    }
    assert!(count > 1500, "only {count} expressions");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

fn agrees(golden: &Value) -> Result<(), String> {
    let query = golden["query"].as_str().expect("query");
    let parsed = parse(query, &ParseOptions::default());
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
    same("tree", &tree, &golden["ast"])?;
    let pretty = expr.pretty();
    same(
        "formatted text",
        &Value::from(pretty.as_str()),
        &golden["formatted"],
    )?;
    // What is printed on one line reads back to the same tree, and so does what is printed on several.
    for text in [expr.to_string(), pretty] {
        let again = parse(&text, &ParseOptions::default()).map_err(|e| format!("  printed {text:?}: {e}"))?;
        same("printed text", &again.to_string(), &expr.to_string())?;
    }
    Ok(())
}

/// The reference quotes only a part of a word that is no number; we quote all of it.
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
