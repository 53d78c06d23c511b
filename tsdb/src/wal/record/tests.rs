//! Records come back as they went in, and damaged ones are refused without a panic.

use std::sync::Arc;

use model::histogram::{
    CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, IntHistogram, Span,
};
use model::labels::Labels;
use model::sample::{Metadata, MetricType};

use super::decode::FloatTimes;
use super::*;

fn float(series: u64, timestamp_ms: i64, start_ms: i64, value: f64) -> FloatEntry {
    FloatEntry {
        series,
        start_ms,
        timestamp_ms,
        value,
    }
}

fn histograms() -> Vec<HistogramEntry> {
    let int = IntHistogram {
        counter_reset_hint: CounterResetHint::NotReset,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 2,
        count: 9,
        sum: 18.4,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span {
            offset: -2,
            length: 1,
        }],
        positive_buckets: vec![1, 2, -1],
        negative_buckets: vec![1],
        custom_values: None,
    };
    let custom = FloatHistogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 5.5,
        sum: 3.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        positive_buckets: vec![2.5, 3.0],
        negative_buckets: vec![],
        custom_values: Some(Arc::from([0.5, 1.0])),
    };
    let entry = |series, timestamp_ms, start_ms, histogram| HistogramEntry {
        series,
        start_ms,
        timestamp_ms,
        histogram,
    };
    vec![
        entry(7, 1000, 0, Histogram::Int(Arc::new(int.clone()))),
        entry(9, 1000, 400, Histogram::Float(Arc::new(custom))),
        entry(8, 990, 400, Histogram::Int(Arc::new(int))),
    ]
}

/// One record of each kind.
fn samples() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut records = Vec::new();
    begin(&mut out, RecordType::Series);
    put_series(&mut out, 5, &Labels::from_pairs([("__name__", "up"), ("é", "☺")]));
    records.push(out.clone());
    let floats = [
        float(5, 1000, 0, 1.5),
        float(3, 1015, 900, f64::NAN),
        float(900, 2, 900, -0.0),
    ];
    encode_floats(&mut out, floats);
    records.push(out.clone());
    encode_floats_with_start(&mut out, floats);
    records.push(out.clone());
    let stone = TombstoneEntry {
        series: 5,
        min_ms: i64::MIN,
        max_ms: i64::MAX,
    };
    encode_tombstones(&mut out, [stone]);
    records.push(out.clone());
    let exemplar = ExemplarEntry {
        series: 5,
        timestamp_ms: 7,
        value: 0.5,
        labels: Labels::from_pairs([("trace_id", "abc")]),
    };
    encode_exemplars(&mut out, [&exemplar]);
    records.push(out.clone());
    encode_markers(
        &mut out,
        [MarkerEntry {
            series: 5,
            chunk: 1 << 33,
        }],
    );
    records.push(out.clone());
    let metadata = Metadata {
        metric_type: MetricType::Counter,
        unit: "seconds".into(),
        help: "Zeit".into(),
    };
    encode_metadata(&mut out, [(5, &metadata)]);
    records.push(out.clone());
    for with_start in [false, true] {
        let push = |r: &[u8]| -> Result<(), ()> {
            records.push(r.to_vec());
            Ok(())
        };
        encode_histograms(&mut out, &histograms(), with_start, push).unwrap();
    }
    records
}

fn decode_any(record: &[u8]) -> Result<String, RecordError> {
    let mut text = String::new();
    match RecordType::of(record).ok_or(RecordError::Short)? {
        RecordType::Series => decode_series(record, |r, l| text += &format!("{r} {l:?}"))?,
        RecordType::Samples | RecordType::SamplesWithStart => {
            let mut out = Vec::new();
            let decoded = decode_floats(record, &mut out);
            if record[0] == RecordType::Samples as u8 {
                let times = out.iter().map(|f| f.timestamp_ms);
                let want = times
                    .clone()
                    .min()
                    .zip(times.max())
                    .map(|(min_ms, max_ms)| FloatTimes {
                        samples: out.len() as u64,
                        min_ms,
                        max_ms,
                    });
                assert_eq!(times_of_floats(record).ok(), decoded.is_ok().then_some(want));
            }
            decoded?;
            text = format!("{out:?}");
        }
        RecordType::Tombstones => {
            let mut out = Vec::new();
            decode_tombstones(record, &mut out)?;
            text = format!("{out:?}");
        }
        RecordType::Exemplars => {
            let mut out = Vec::new();
            decode_exemplars(record, &mut out)?;
            text = format!("{out:?}");
        }
        RecordType::MmapMarkers => {
            let mut out = Vec::new();
            decode_markers(record, &mut out)?;
            text = format!("{out:?}");
        }
        RecordType::Metadata => {
            let mut out = Vec::new();
            decode_metadata(record, &mut out)?;
            text = format!("{out:?}");
        }
        _ => {
            let mut out = Vec::new();
            decode_histograms(record, &mut out)?;
            text = format!("{out:?}");
        }
    }
    Ok(text)
}

#[test]
fn histograms_come_back() {
    for with_start in [false, true] {
        let mut back = Vec::new();
        let read = |r: &[u8]| decode_histograms(r, &mut back).map(|_| ());
        encode_histograms(&mut Vec::new(), &histograms(), with_start, read).unwrap();
        let mut want = histograms();
        if !with_start {
            want.iter_mut().for_each(|e| e.start_ms = 0);
        }
        want.sort_by_key(|e| e.series);
        back.sort_by_key(|e| e.series);
        assert_eq!(back, want);
    }
}

#[test]
fn floats_come_back() {
    let floats = [
        float(5, 1000, 700, 1.5),
        float(3, 1015, 0, -0.0),
        float(900, 2, 900, 2.0),
    ];
    let (mut out, mut back) = (Vec::new(), Vec::new());
    encode_floats_with_start(&mut out, floats);
    decode_floats(&out, &mut back).unwrap();
    assert_eq!(back, floats);
    encode_floats(&mut out, floats);
    back.clear();
    decode_floats(&out, &mut back).unwrap();
    assert_eq!(back, floats.map(|f| FloatEntry { start_ms: 0, ..f }));
}

#[test]
fn a_record_cut_short_or_flipped_never_panics() {
    for record in samples() {
        let whole = decode_any(&record).unwrap();
        for len in 0..record.len() {
            // A cut between two entries is a shorter record; anywhere else it is an error.
            if let Ok(text) = decode_any(&record[..len]) {
                assert_ne!(text, whole, "cut at {len}: {record:?}");
            }
        }
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut bad = record.clone();
                bad[at] ^= 1 << bit;
                let _ = decode_any(&bad);
            }
        }
    }
}

#[test]
fn a_label_longer_than_any_can_be_is_damage() {
    let mut record = Vec::new();
    begin(&mut record, RecordType::Series);
    files::codec::put_be64(&mut record, 1);
    files::codec::put_uvarint(&mut record, 1);
    files::codec::put_text(&mut record, "name");
    let value = "x".repeat(model::labels::LABEL_BYTES_MAX + 1);
    files::codec::put_text(&mut record, &value);
    let error = decode_series(&record, |_, _| panic!("it is no series"));
    assert!(matches!(error, Err(RecordError::Invalid(_))), "{error:?}");
}
