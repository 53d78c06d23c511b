//! The conformance data: bodies with the entries that the reference's parsers read from them.

use std::io::Read;
use std::path::{Path, PathBuf};

use narthex_exposition::{Format, ParserOptions};
use serde_json::Value;

use crate::render;

/// A folder of the conformance data, if there is any.
fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("NARTHEX_CONFORMANCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"), PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is not there", folder.display());
    None
}

fn golden(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn format_of_file(name: &str) -> Format {
    match name {
        _ if name.ends_with(".om.txt") => Format::OpenMetrics,
        _ if name.ends_with(".bin") => Format::Protobuf,
        _ => Format::Text,
    }
}

#[test]
fn bodies_give_the_references_entries() {
    let Some(folder) = folder("exposition") else { return };
    let mut bodies = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".gz") {
            continue;
        }
        let body = std::fs::read(&path).unwrap();
        let options = ParserOptions { start_timestamps: true, ..ParserOptions::default() };
        let (got, error) = render::entries(format_of_file(&name), &body, options);
        assert_eq!(error, None, "{name}");
        let want = golden(&folder.join(format!("{name}.golden.jsonl.gz")));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got, want, "{name}, entry {i}");
        }
        assert_eq!(got.len(), want.len(), "{name}");
        bodies += 1;
    }
    assert!(bodies >= 11, "only {bodies} bodies");
}
