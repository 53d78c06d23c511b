//! Cases in files: `testdata/influx/*.lines` beside what is made of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;

/// What becomes of a body: a line a point, and the errors as they are told.
fn read_all(body: &str) -> String {
    let mut out = String::new();
    for read in points(body) {
        match read {
            Ok(point) => {
                write!(out, "{}: {:?}", point.line, point.measurement).expect("memory");
                point
                    .tags
                    .iter()
                    .for_each(|(name, value)| write!(out, " {name:?}={value:?}").expect("memory"));
                out.push_str(" |");
                for field in &point.fields {
                    let value = field.value.map_or("(text)".to_owned(), |value| value.to_string());
                    write!(out, " {:?}={value}", field.name).expect("memory");
                }
                if let Some(time) = point.timestamp {
                    write!(out, " @{time}").expect("memory");
                }
                out.push('\n');
            }
            Err(error) => writeln!(out, "{error}").expect("memory"),
        }
    }
    out
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/influx");
    let files = std::fs::read_dir(folder)
        .expect("cases")
        .map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    files
}

#[test]
fn every_case_is_read_as_its_file_says() {
    let mut seen = 0;
    for path in cases()
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "lines"))
    {
        let body = std::fs::read_to_string(path).expect("a case");
        let expectation = path.with_extension("expect");
        let got = read_all(&body);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expectation, &got).expect("writes");
        }
        let expected = std::fs::read_to_string(&expectation).unwrap_or_default();
        assert_eq!(got, expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
    let orphan = |path: &&PathBuf| !path.with_extension("lines").exists();
    assert_eq!(
        cases().iter().find(orphan),
        None,
        "a case has gone, its expectation has not"
    );
}

#[test]
fn damaged_lines_never_panic() {
    let whole = "cp\\ u,hö\\=st=a\\,b,c=d f\\ 1=\"te\\\"xt ü\",g=1i,h=2.5e3,i=t 1700000000000000000";
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let _ = read_all(&whole[..end]);
        for odd in ["\\", "\"", ",", "=", " ", "\n", "é\\é"] {
            let _ = read_all(&format!("{}{odd}{}", &whole[..end], &whole[end..]));
        }
    }
}

#[test]
fn times_are_told_by_their_digits_or_by_the_request() {
    for (precision, time, ms) in [
        ("", 1_700_000_000, 1_700_000_000_000),
        ("", 1_700_000_000_123, 1_700_000_000_123),
        ("", 1_700_000_000_123_456, 1_700_000_000_123),
        ("", 1_700_000_000_123_456_789, 1_700_000_000_123),
        ("ns", 1_700_000_000_123_456_789, 1_700_000_000_123),
        ("u", 1_700_000_000_123_456, 1_700_000_000_123),
        ("ms", 1_700_000_000_123, 1_700_000_000_123),
        ("s", 1_700_000_000, 1_700_000_000_000),
        ("m", 2, 120_000),
        ("h", i64::MAX, i64::MAX),
        ("s", 0, 77),
    ] {
        assert_eq!(
            Precision::from_parameter(precision).to_ms(Some(time), 77),
            ms,
            "{precision} {time}"
        );
    }
    assert_eq!(Precision::Guess.to_ms(None, 77), 77);
}
