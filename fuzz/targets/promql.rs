//! Queries; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promql::ast_json;
use promql::parser::{ParseOptions, parse, parse_metric, parse_selector};

fuzz_target!(|input: &[u8]| {
    let Some((switches, text)) = input.split_first() else {
        return;
    };
    let Ok(query) = std::str::from_utf8(text) else {
        return;
    };
    let on = |bit: u8| switches >> bit & 1 == 1;
    let options = ParseOptions {
        experimental_functions: on(0),
        duration_expressions: on(1),
        extended_range_selectors: on(2),
        binop_fill_modifiers: on(3),
        ..ParseOptions::default()
    };
    drop(parse_selector(query));
    drop(parse_metric(query));
    match parse(query, &options) {
        Ok(expr) => {
            let printed = expr.to_string();
            // The reference's printing of arithmetic behind `offset` loses what holds it together, and a number written
            // as a duration may lose a millisecond each time that it is printed; ours does as it does.
            let exact = !(options.duration_expressions && query.to_ascii_lowercase().contains("offset"));
            let milliseconds = |three: &[u8]| three[0].is_ascii_digit() && &three[1..] == b"ms";
            let exact = exact && !query.as_bytes().windows(3).any(milliseconds);
            let lines = expr.pretty().unwrap_or_else(|_| printed.clone());
            for text in [&printed, &lines].into_iter().filter(|_| exact) {
                let again = parse(text, &options).unwrap_or_else(|e| panic!("{query:?}: {text:?}: {e}"));
                assert_eq!(again.to_string(), printed, "{query:?} by way of {text:?}");
                let (mut a, mut b) = (String::new(), String::new());
                ast_json::write(&expr, &mut a);
                ast_json::write(&again, &mut b);
                // A duration of minus zero is printed as the reference prints it, without its sign.
                let a = a.replace("\"-0\"", "\"0\"");
                let b = b.replace("\"-0\"", "\"0\"");
                // Matchers are printed in order of their names, so the same bytes may come in another order.
                let sorted = |json: &str| {
                    let mut bytes = json.as_bytes().to_vec();
                    bytes.sort_unstable();
                    bytes
                };
                assert!(
                    sorted(&a) == sorted(&b),
                    "{query:?} by way of {text:?}:\n{a}\n{b}"
                );
            }
        }
        Err(error) => {
            drop(error.render());
            let place = error.position();
            assert!(place.is_none_or(|(line, column)| line >= 1 && column >= 1));
        }
    }
});
