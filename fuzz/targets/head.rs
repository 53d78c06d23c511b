//! A store that finds what a crash or a bad disk has left; see the crate's page.
#![no_main]

use std::path::Path;

use files::MemFiles;
use libfuzzer_sys::fuzz_target;
use narthex_fuzz::{frame_records, go_on, open, put, read_all, seal_chunk_file};

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    let files = MemFiles::new();
    match kind % 6 {
        0 => put(&files, Path::new("data/wal/00000000"), &frame_records(input)),
        1 => {
            let inside = Path::new("data/wal/checkpoint.00000002/00000000");
            put(&files, inside, &frame_records(input));
            put(&files, Path::new("data/wal/00000003"), &[]);
        }
        2 => put(&files, Path::new("data/wal/00000000"), input),
        3 => {
            let mut bytes = input.to_vec();
            seal_chunk_file(&mut bytes);
            put(&files, Path::new("data/chunks_head/000001"), &bytes);
        }
        4 => {
            // The same records in both logs: late samples need their series.
            put(&files, Path::new("data/wal/00000000"), &frame_records(input));
            put(&files, Path::new("data/wbl/00000000"), &frame_records(input));
        }
        _ => {
            // Chunks together with the log that has their series.
            let (chunks, log) = input.split_at(input.len() / 2);
            let mut chunks = chunks.to_vec();
            seal_chunk_file(&mut chunks);
            put(&files, Path::new("data/chunks_head/000001"), &chunks);
            put(&files, Path::new("data/wal/00000000"), &frame_records(log));
        }
    }
    let db = open(&files);
    read_all(&db);
    go_on(&files, db);
});
