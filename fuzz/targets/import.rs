//! Lines of JSON and of text that are imported; see the crate's page.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::clock::ManualClock;
use narthex_fuzz::{open, read_all};
use remote::import::{Counts, Form, Importer, Progress, Rules, Stores};

const NOW_MS: i64 = 1_735_689_600_000;

fuzz_target!(|input: &[u8]| {
    let Some((switches, body)) = input.split_first() else {
        return;
    };
    let on = |bit: u8| switches >> bit & 1 == 1;
    let form = if on(0) { Form::Text } else { Form::Json };
    let whole = import(form, &[body]);
    // Wherever the stream is cut.
    let (first, second) = body.split_at(usize::from(switches >> 1).min(body.len()));
    assert_eq!(import(form, &[first, second]), whole);
});

/// Counts, what is told, and how many samples can be read then.
fn import(form: Form, pieces: &[&[u8]]) -> (Counts, String, usize) {
    let db = Arc::new(open(&files::MemFiles::new()));
    let stores = Stores {
        appender: db.clone(),
        history: db.clone(),
        clock: Arc::new(ManualClock::new(NOW_MS)),
    };
    let progress = Arc::new(Progress::default());
    let mut importer = Importer::new(form, Rules::default(), stores, progress.clone());
    for piece in pieces {
        importer.read(piece);
    }
    let outcome = importer.finish();
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    assert_eq!(outcome.is_whole(), outcome.problems().is_empty());
    let samples = read_all(&db);
    assert!(samples as u64 <= outcome.stored, "{samples} of {outcome:?}");
    (progress.counts(), outcome.problems(), samples)
}
