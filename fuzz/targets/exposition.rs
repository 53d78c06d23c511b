//! Scrape bodies; see the crate's page.
#![no_main]

use exposition::{Entry, Format, HistogramOptions, Parser, ParserOptions, parse_series};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((switches, body)) = input.split_first() else {
        return;
    };
    let format = match switches % 3 {
        0 => Format::Text,
        1 => Format::OpenMetrics,
        _ => Format::Protobuf,
    };
    let on = |bit: u8| switches >> bit & 1 == 1;
    let options = ParserOptions {
        start_timestamps: on(4),
        histograms: HistogramOptions {
            ignore_native: on(5),
            keep_classic: on(6),
            convert_classic: on(7),
        },
    };
    let mut parser = Parser::new(format, body, options);
    let mut texts = Vec::new();
    loop {
        let kind = parser.kind();
        match parser.next() {
            Ok(Some(Entry::Series(series))) => {
                let _ = parse_series(format, series.text, kind, |_, _| ());
                drop(series.exemplar.map(|exemplar| exemplar.parse()));
                texts.push(series.text.to_vec());
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    known(format, body, options, &texts);
});

/// A parser that is told what to expect finds the same series.
fn known(format: Format, body: &[u8], options: ParserOptions, texts: &[Vec<u8>]) {
    if format == Format::Protobuf || options.histograms.convert_classic {
        return;
    }
    let mut parser = Parser::new(format, body, options);
    let mut expected = texts.iter();
    let mut next = expected.next();
    loop {
        if let Some(text) = next
            && let Ok(Some(series)) = parser.next_known(text.len(), |found| found == text.as_slice())
        {
            assert_eq!(series.text, text.as_slice());
            next = expected.next();
            continue;
        }
        match parser.next() {
            Ok(Some(Entry::Series(series))) => {
                assert_eq!(Some(series.text), next.map(Vec::as_slice));
                next = expected.next();
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    assert!(next.is_none(), "{next:?} was found without expectations");
}
