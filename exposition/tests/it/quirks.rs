//! What `Compat:` notes speak of and the recorded bodies do not have: peculiarities of the reference's parsers, each in a
//! body of a line or two.

use exposition::{Format, ParserOptions};
use narthex_exposition as exposition;

use crate::render;

fn read(format: Format, body: &[u8]) -> String {
    let (entries, error) = render::entries(format, body, ParserOptions::default());
    let mut lines: Vec<String> = entries.iter().map(ToString::to_string).collect();
    lines.extend(error.map(|error| error.to_string()));
    lines.join("\n")
}

#[test]
fn a_nul_ends_a_body_in_text() {
    for body in [
        &b"a 1\n\0b 2\nc 3\n"[..],
        b"a 1\n \0\nb 2\n",
        b"a 1\n#b\0\nb 2\n",
        b"a 1\n#\0b\nb 2\n",
    ] {
        let a = r#"{"series":{"__name__":"a"},"value":"1"}"#;
        assert_eq!(read(Format::Text, body), a, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn the_byte_behind_a_metadata_name_is_dropped() {
    for (body, want) in [
        (&b"# HELP a\x01b c\n"[..], r#"{"help":["a","b c"]}"#),
        (b"# HELP a  \t \n", r#"{"help":["a",""]}"#),
        (b"# HELP a \0\n", r#"{"help":["a",""]}"#),
    ] {
        assert_eq!(
            read(Format::Text, body),
            want,
            "{}",
            String::from_utf8_lossy(body)
        );
    }
}

#[test]
fn blanks_before_a_name_are_part_of_it() {
    assert_eq!(
        read(Format::Text, b" \ta{b=\"c\"} 1\n"),
        r#"{"series":{"__name__":" \ta","b":"c"},"value":"1"}"#
    );
}

#[test]
fn lines_of_open_metrics_are_read_one_by_one() {
    // Families that interleave, a suffix that does not fit the type, a counter below zero.
    let body = b"# TYPE a counter\na_total 1\n# TYPE b gauge\nb_bucket 2\na_total{c=\"d\"} -3\n# EOF\n";
    let read = read(Format::OpenMetrics, body);
    assert_eq!(read.matches("series").count(), 3, "{read}");
    assert!(!read.contains("expected"), "{read}");
}

#[test]
fn times_that_do_not_fit_become_the_smallest() {
    let read = read(Format::OpenMetrics, b"a 1 1e300\n# EOF\n");
    assert!(read.contains(&format!(r#""ts":{}"#, i64::MIN)), "{read}");
}

fn field(number: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    [&[number << 3 | 2, contents.len() as u8], contents.as_slice()].concat()
}

fn family(parts: &[&[u8]]) -> Vec<u8> {
    let family = parts.concat();
    [&[family.len() as u8], family.as_slice()].concat()
}

#[test]
fn a_family_without_metrics_gives_nothing() {
    let body = family(&[&field(1, &[b"a"]), &field(2, &[b"help"])]);
    assert_eq!(read(Format::Protobuf, &body), "");
}

#[test]
fn a_timestamp_of_zero_is_none() {
    let gauge = field(2, &[b"\x09\0\0\0\0\0\0\xf0\x3f"]);
    let body = |time: &[u8]| family(&[&field(1, &[b"a"]), b"\x18\x01", &field(4, &[&gauge, time])]);
    let read = |time: &[u8]| read(Format::Protobuf, &body(time));
    assert!(!read(b"\x30\x00").contains("ts"), "{}", read(b"\x30\x00"));
    assert!(read(b"\x30\x05").contains(r#""ts":5"#), "{}", read(b"\x30\x05"));
}
