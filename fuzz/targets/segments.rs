//! A chunk segment of a block; see the crate's page.
#![no_main]

use std::path::Path;

use files::MemFiles;
use libfuzzer_sys::fuzz_target;
use model::columns::Columns;
use narthex_fuzz::{put, seal_segment};
use tsdb::block::Segments;
use tsdb::chunk;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    seal_segment(&mut bytes);
    let files = MemFiles::new();
    put(&files, Path::new("b/chunks/000001"), &bytes);
    let Ok(segments) = Segments::open(&files, Path::new("b")) else {
        return;
    };
    let mut columns = Columns::default();
    for at in 0..bytes.len() as u64 + 2 {
        if let Ok(chunk) = segments.chunk(at) {
            columns.clear();
            let _ = chunk::decode(chunk.encoding, chunk.bytes, i64::MIN, i64::MAX, &mut columns);
        }
    }
    assert!(segments.chunk(1 << 32).is_err());
});
