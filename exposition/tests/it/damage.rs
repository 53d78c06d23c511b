//! Bodies that were cut or changed: whatever comes, nothing panics, and no sample is made up.

use narthex_exposition::{Entry, Format, HistogramOptions, Parser, ParserOptions, parse_series};

/// Reads a body to its end or its first fault, labels and exemplars included; gives the number of entries.
fn drain(format: Format, body: &[u8]) -> usize {
    let histograms = HistogramOptions {
        keep_classic: true,
        convert_classic: true,
        ..HistogramOptions::default()
    };
    let mut parser = Parser::new(
        format,
        body,
        ParserOptions {
            start_timestamps: true,
            histograms,
        },
    );
    let mut entries = 0;
    loop {
        let kind = parser.kind();
        let Ok(Some(entry)) = parser.next() else {
            return entries;
        };
        entries += 1;
        let (text, exemplars) = match &entry {
            Entry::Series(series) => (series.text, series.exemplar.as_slice()),
            Entry::Histogram(series) => (series.text, series.exemplars.as_slice()),
            _ => continue,
        };
        // Names that are not UTF-8 are refused here, not by the parser.
        let _ = parse_series(format, text, kind, |_, _| {});
        for exemplar in exemplars {
            let _ = exemplar.parse();
        }
    }
}

const TEXT: &[u8] =
    b"# HELP a b\\n\\\\\n# TYPE a summary\na{quantile=\"0.5\",c=\"\\\"d\\n\"} 1.5e3 1700000000000\n\
    {\"u.n\",\"l\"=\"\xc3\xbc\"} NaN\na_sum -Inf\n# bye\n";
const OPEN_METRICS: &[u8] =
    b"# HELP a b\\n\n# TYPE a counter\n# UNIT a_s s\na_total{b=\"c\"} 1 1.5 # {id=\"x\"} 2 3\n\
    a_created{b=\"c\"} 7\n{\"u.n\",\"l\"=\"v\"} 0.1\n# EOF\n";

/// A length-delimited field.
fn field(number: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    assert!(contents.len() < 128);
    [&[number << 3 | 2, contents.len() as u8], contents.as_slice()].concat()
}

/// A family with a histogram that is classic and native, exemplars, a start timestamp and labels.
fn protobuf() -> Vec<u8> {
    let label = field(1, &[&field(1, &[b"a"]), &field(2, &[b"b"])]);
    let half = b"\x11\0\0\0\0\0\0\xe0\x3f";
    let bucket = field(
        3,
        &[
            b"\x08\x02",
            half,
            &field(3, &[&label, half, &field(3, &[b"\x08\x07\x10\x80\x01"])]),
        ],
    );
    let native = [
        &b"\x28\x06\x38\x01"[..],
        &field(12, &[b"\x08\x03\x10\x02"]),
        &field(13, &[b"\x02\x00"]),
    ]
    .concat();
    let histogram = field(
        7,
        &[b"\x08\x03", half, &bucket, &native, &field(15, &[b"\x08\x05"])],
    );
    let metric = field(4, &[&label, b"\x30\x05", &histogram]);
    let family = [
        &field(1, &[b"h"]),
        &field(2, &[b"t"]),
        &b"\x18\x04"[..],
        &field(5, &[b"s"]),
        &metric,
    ]
    .concat();
    [&[family.len() as u8], family.as_slice()].concat()
}

fn cut_and_flip(format: Format, body: &[u8]) {
    let whole = drain(format, body);
    assert!(whole > 3, "{format:?}: only {whole} entries");
    for length in 0..body.len() {
        assert!(
            drain(format, &body[..length]) <= whole,
            "{format:?} cut at {length}"
        );
    }
    let mut damaged = body.to_vec();
    for at in 0..body.len() {
        for byte in [
            0,
            b'\n',
            b' ',
            b'"',
            b'\\',
            b'{',
            b'}',
            b'#',
            0x7f,
            0x80,
            0xff,
            body[at] ^ 1,
            body[at] ^ 0x80,
        ] {
            damaged[at] = byte;
            drain(format, &damaged);
        }
        damaged[at] = body[at];
    }
}

#[test]
fn text_cut_at_every_length_and_flipped_at_every_byte() {
    cut_and_flip(Format::Text, TEXT);
}

#[test]
fn openmetrics_cut_at_every_length_and_flipped_at_every_byte() {
    cut_and_flip(Format::OpenMetrics, OPEN_METRICS);
}

#[test]
fn protobuf_cut_at_every_length_and_flipped_at_every_byte() {
    cut_and_flip(Format::Protobuf, &protobuf());
}

#[test]
fn a_cut_openmetrics_body_is_never_taken_for_whole() {
    for length in 0..OPEN_METRICS.len() - 1 {
        let mut parser = Parser::new(
            Format::OpenMetrics,
            &OPEN_METRICS[..length],
            ParserOptions::default(),
        );
        let end = loop {
            match parser.next() {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert!(end.is_err(), "cut at {length}");
    }
}

#[test]
fn known_lines_are_recognised_and_others_left_alone() {
    let body: &[u8] = b"a 1\na{b=\"}\"} 2\na {c=\"d\"} 3\nab 4\n";
    let texts: [&[u8]; 4] = [b"a", b"a{b=\"}\"}", b"a {c=\"d\"}", b"ab"];
    let mut parser = Parser::new(Format::Text, body, ParserOptions::default());
    for (i, text) in texts.iter().enumerate() {
        for other in texts.iter().filter(|other| other != &text) {
            let read = parser.next_known(other.len(), |seen| seen == *other).unwrap();
            assert_eq!(read, None, "line {i} is not {:?}", String::from_utf8_lossy(other));
        }
        let series = parser
            .next_known(text.len(), |seen| seen == *text)
            .unwrap()
            .unwrap();
        assert_eq!((series.text, series.value), (*text, (i + 1) as f64));
    }
    assert_eq!(parser.next(), Ok(None));
}
