//! Series with values, as unit tests write them; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promql::parser::parse_series;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match parse_series(text) {
        Ok((labels, values)) => {
            // In quotes even a name may be empty, as in the reference.
            assert!(labels.iter().all(|(_, value)| !value.is_empty()));
            drop(values);
        }
        Err(error) => drop(error.render()),
    }
});
