//! A snapshot of the head; see the crate's page.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use narthex_fuzz::{go_on, open, put, read_all, sample_store, seal_snapshot};

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    seal_snapshot(&mut bytes);
    let files = sample_store().after_kill();
    put(&files, Path::new("data/head_snapshot"), &bytes);
    let db = open(&files);
    read_all(&db);
    go_on(&files, db);
});
