//! The index of a block; see the crate's page.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use files::MemFiles;
use libfuzzer_sys::fuzz_target;
use model::columns::Columns;
use model::matcher::{MatchOp, Matcher};
use model::storage::TimeRange;
use narthex_fuzz::{put, sample_block, seal_index};
use tsdb::block::{Block, SeriesEntry};

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    seal_index(&mut bytes);
    let files = MemFiles::new();
    let sample = sample_block();
    put(&files, Path::new("b/index"), &bytes);
    put(&files, Path::new("b/chunks/000001"), &sample.segment);
    put(&files, Path::new("b/meta.json"), &sample.meta);
    let Ok(block) = Block::open(Arc::new(files), Path::new("b")) else {
        return;
    };
    for symbol in block.index().symbols().iter().flatten().take(64) {
        assert!(symbol.len() <= bytes.len());
    }
    let pattern = Matcher::new(MatchOp::NotRegex, "i", "1.*|2").expect("a pattern");
    let wanted = [
        Matcher::equal("__name__", "m"),
        pattern,
        Matcher::new(MatchOp::Regex, "i", ".+").expect("a pattern"),
    ];
    let (mut columns, mut entry) = (Columns::default(), SeriesEntry::default());
    for matchers in [&wanted[..1], &wanted[1..2], &wanted[..]] {
        for (series, _) in block.select_in(TimeRange::ALL, matchers).unwrap_or_default() {
            drop(block.index().series(series, &mut entry));
            drop(block.read(series, TimeRange::ALL, &mut columns));
        }
        for name in block.label_names(matchers, 0).unwrap_or_default() {
            drop(block.label_values(&name, matchers, 0));
        }
    }
    for name in block.label_names(&[], 0).unwrap_or_default() {
        drop(block.label_values(&name, &[], 10));
    }
});
