//! Records of the log; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::labels::Labels;
use tsdb::wal::*;

fuzz_target!(|input: &[u8]| {
    let Some(kind) = RecordType::of(input) else {
        return;
    };
    match kind {
        RecordType::Series => series(input),
        RecordType::Samples | RecordType::SamplesWithStart => floats(input, kind),
        RecordType::Tombstones => twice(input, decode_tombstones, |out, entries| {
            encode_tombstones(out, entries.iter().copied());
        }),
        RecordType::Exemplars => twice(input, decode_exemplars, |out, entries| {
            encode_exemplars(out, entries);
        }),
        RecordType::MmapMarkers => twice(input, decode_markers, |out, entries| {
            encode_markers(out, entries.iter().copied());
        }),
        RecordType::Metadata => twice(input, decode_metadata, |out, entries| {
            encode_metadata(out, entries.iter().map(|(series, metadata)| (*series, metadata)));
        }),
        RecordType::Histograms
        | RecordType::FloatHistograms
        | RecordType::CustomHistograms
        | RecordType::CustomFloatHistograms => histograms(input, false),
        RecordType::HistogramsWithStart | RecordType::FloatHistogramsWithStart => histograms(input, true),
    }
});

/// Decodes, encodes and decodes: both times the same entries. Compared as text, where NaNs are equal.
fn twice<T: std::fmt::Debug>(
    input: &[u8],
    decode: impl Fn(&[u8], &mut Vec<T>) -> Result<(), RecordError>,
    encode: impl Fn(&mut Vec<u8>, &[T]),
) {
    let (mut entries, mut again, mut record) = (Vec::new(), Vec::new(), Vec::new());
    if decode(input, &mut entries).is_err() {
        return;
    }
    encode(&mut record, &entries);
    decode(&record, &mut again).expect("what was encoded decodes");
    assert_eq!(format!("{again:?}"), format!("{entries:?}"));
}

fn floats(input: &[u8], kind: RecordType) {
    twice(input, decode_floats, |out, entries| {
        if kind == RecordType::SamplesWithStart {
            encode_floats_with_start(out, entries.iter().copied());
        } else {
            encode_floats(out, entries.iter().copied());
        }
    });
}

fn series(input: &[u8]) {
    let decode = |record: &[u8], out: &mut Vec<(u64, Labels)>| {
        decode_series(record, |reference, pairs| {
            out.push((reference, Labels::from_pairs(pairs.iter().copied())));
        })
    };
    twice(input, decode, |out, entries| {
        begin(out, RecordType::Series);
        for (reference, labels) in entries {
            put_series(out, *reference, labels);
        }
    });
}

fn histograms(input: &[u8], with_start: bool) {
    let mut entries = Vec::new();
    if decode_histograms(input, &mut entries).is_err() {
        return;
    }
    let (mut record, mut again) = (Vec::new(), Vec::new());
    let encoded = encode_histograms(&mut record, &entries, with_start, |record| {
        decode_histograms(record, &mut again).map(|_| ())
    });
    encoded.expect("what was encoded decodes");
    // Integer and float, exponential and custom ones go to records of their own.
    assert_eq!(again.len(), entries.len());
}
