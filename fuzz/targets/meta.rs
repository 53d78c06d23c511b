//! `meta.json` of a block; see the crate's page.
#![no_main]

use std::path::Path;

use files::MemFiles;
use libfuzzer_sys::fuzz_target;
use narthex_fuzz::put;
use tsdb::block::BlockMeta;

fuzz_target!(|input: &[u8]| {
    let files = MemFiles::new();
    put(&files, Path::new("b/meta.json"), input);
    let Ok(read) = BlockMeta::read(&files, Path::new("b")) else {
        return;
    };
    put(&files, Path::new("b/meta.json"), &read.to_json());
    let again = BlockMeta::read(&files, Path::new("b")).expect("what was written is read");
    assert_eq!(again.to_json(), read.to_json());
});
