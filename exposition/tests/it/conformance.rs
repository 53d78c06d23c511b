//! The conformance data: bodies with the entries that the reference's parsers read from them.

use std::io::Read;
use std::path::Path;

use narthex_exposition::{Format, HistogramOptions, ParserOptions};
use serde_json::Value;

use crate::render;

fn golden(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn format_of_file(name: &str) -> Format {
    match name {
        _ if name.ends_with(".om.txt") => Format::OpenMetrics,
        _ if name.ends_with(".bin") => Format::Protobuf,
        _ => Format::Text,
    }
}

#[test]
fn bodies_give_the_references_entries() {
    let Some(folder) = testkit::conformance("exposition") else {
        return;
    };
    let mut bodies = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".gz") {
            continue;
        }
        let body = std::fs::read(&path).unwrap();
        let options = ParserOptions {
            start_timestamps: true,
            ..ParserOptions::default()
        };
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

/// Cases where the reference's parser is knowingly laxer than the standard: testdata says which and why.
fn laxer() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/exposition/openmetrics-laxer.txt");
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn openmetrics_parser_cases() {
    let Some(folder) = testkit::conformance("openmetrics/parsers") else {
        return;
    };
    let mut laxer = laxer();
    let mut cases = 0;
    for case in std::fs::read_dir(&folder).unwrap() {
        let case = case.unwrap();
        let name = case.file_name().to_string_lossy().into_owned();
        let expected: Value =
            serde_json::from_slice(&std::fs::read(case.path().join("test.json")).unwrap()).unwrap();
        let body = std::fs::read(case.path().join("metrics")).unwrap();
        let (_, error) = render::entries(Format::OpenMetrics, &body, ParserOptions::default());
        let mut should_parse = expected["shouldParse"].as_bool().unwrap();
        if let Some(at) = laxer.iter().position(|lax| *lax == name) {
            laxer.remove(at);
            assert!(!should_parse, "{name} is listed as laxer and should parse anyway");
            should_parse = true;
        }
        assert_eq!(error.is_none(), should_parse, "{name}: {error:?}");
        cases += 1;
    }
    assert!(cases > 200, "only {cases} cases");
    assert_eq!(laxer, Vec::<String>::new(), "listed, but no such case");
}

#[test]
fn own_bodies() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/exposition/ok");
    let mut bodies = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".want") {
            continue;
        }
        let body = std::fs::read(&path).unwrap();
        let options = ParserOptions {
            start_timestamps: true,
            histograms: HistogramOptions {
                convert_classic: name.contains(".converted"),
                keep_classic: name.contains(".kept"),
                ..HistogramOptions::default()
            },
        };
        let (got, error) = render::entries(format_of_file(&name), &body, options);
        assert_eq!(error, None, "{name}");
        let want = std::fs::read_to_string(path.with_file_name(format!("{name}.want"))).unwrap();
        let want: Vec<Value> = want
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got, want, "{name}, entry {i}");
        }
        assert_eq!(got.len(), want.len(), "{name}");
        bodies += 1;
    }
    assert!(bodies > 0);
}

#[test]
fn own_faults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/exposition/err/cases.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "));
    let mut cases = 0;
    while let Some(case) = lines.next() {
        let (format, body) = case.split_once(' ').unwrap();
        let format = if format == "om" {
            Format::OpenMetrics
        } else {
            Format::Text
        };
        let body: String = serde_json::from_str(body).unwrap();
        let (_, error) = render::entries(format, body.as_bytes(), ParserOptions::default());
        let message = error.map(|error| error.to_string());
        assert_eq!(message.as_deref(), lines.next(), "{body:?}");
        cases += 1;
    }
    assert!(cases > 10);
}
