//! Tombstones of a block; see the crate's page.
#![no_main]

use std::path::Path;

use files::MemFiles;
use libfuzzer_sys::fuzz_target;
use narthex_fuzz::{put, seal_tombstones};
use tsdb::block::Tombstones;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    seal_tombstones(&mut bytes);
    let files = MemFiles::new();
    put(&files, Path::new("b/tombstones"), &bytes);
    let Ok(read) = Tombstones::read(&files, Path::new("b")) else {
        return;
    };
    put(&files, Path::new("b/tombstones"), &read.to_bytes());
    let again = Tombstones::read(&files, Path::new("b")).expect("what was written is read");
    assert_eq!(again, read);
});
