//! Answers as they come: our own, cut and flipped, and those of stores that mean no good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use files::MemFiles;
use model::clock::ManualClock;
use model::columns::Columns;
use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::matcher::MatchOp;
use model::protobuf::{Message, put_varint, to_zigzag};
use model::storage::{
    AppendBatch, AppendOutcome, Appender as _, FloatSample, HistogramSample, Interrupted, SelectHints,
    SeriesSet, TimeRange, WatchSelect,
};
use tsdb::chunk::{EncodeOptions, encode};
use tsdb::db::Db;

use super::fetched::{Account, AnswerFault, Fetched, Samples, Streamed};
use super::frames::{FrameError, put_frame};
use super::message::{MatcherKind, Query, QueryMatcher};
use super::{AnswerError, Answering, Options, sampled};

const FIRST_MS: i64 = 1_735_689_600_000;

/// Lets as many bytes be taken.
#[derive(Debug)]
struct Allowance(AtomicUsize);

impl WatchSelect for Allowance {
    fn took(&self, bytes: usize) -> Result<(), Interrupted> {
        let left = self
            .0
            .load(Ordering::Relaxed)
            .checked_sub(bytes)
            .ok_or(Interrupted)?;
        self.0.store(left, Ordering::Relaxed);
        Ok(())
    }
}

fn allow(bytes: usize) -> Arc<Allowance> {
    Arc::new(Allowance(AtomicUsize::new(bytes)))
}

fn hints(bytes: usize) -> SelectHints {
    SelectHints {
        watch: Some(allow(bytes)),
        ..SelectHints::default()
    }
}

fn histogram(n: u64) -> Histogram {
    Histogram::Int(Arc::new(Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 1,
        count: 4 + 2 * n,
        sum: 18.5,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        positive_buckets: vec![n as i64 + 2, -1],
        negative_buckets: vec![],
        custom_values: None,
    }))
}

/// A store of 3 series: two of floats, more than a chunk of each, and one of histograms.
fn answering(samples_max: usize) -> Answering {
    let options = tsdb::db::Options {
        background: false,
        ..tsdb::db::Options::default()
    };
    let clock = Arc::new(ManualClock::new(FIRST_MS));
    let db = Db::open(Arc::new(MemFiles::new()), "data".as_ref(), options, clock).expect("memory");
    let mut batch = AppendBatch::default();
    for name in ["a", "b"] {
        let series = db.resolve(&Labels::from_pairs([("__name__", name), ("job", "x")]));
        let series = series.expect("a series");
        for n in 0..300 {
            batch.floats.push(FloatSample {
                series,
                timestamp_ms: FIRST_MS + n * 1000,
                value: n as f64 / 3.0,
            });
        }
    }
    let series = db
        .resolve(&Labels::from_pairs([("__name__", "h")]))
        .expect("a series");
    for n in 0..20 {
        batch.histograms.push(HistogramSample {
            series,
            timestamp_ms: FIRST_MS + n * 1000,
            histogram: histogram(n as u64),
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).expect("taken");
    Answering {
        storage: Arc::new(db),
        external_labels: Labels::from_pairs([("job", "outer"), ("zone", "z")]),
        watch: allow(1 << 30),
        options: Options {
            samples_max,
            frame_bytes_max: 500,
        },
    }
}

fn everything() -> Query {
    Query {
        start_ms: i64::MIN,
        end_ms: i64::MAX,
        matchers: vec![QueryMatcher {
            kind: MatcherKind::Known(MatchOp::Regex),
            name: "__name__".to_owned(),
            value: ".+".to_owned(),
        }],
        hints: None,
    }
}

fn stream(answering: Answering) -> Vec<u8> {
    let (mut stream, mut body) = (answering.stream(vec![everything()]), Vec::new());
    while stream.put_next(&mut body).expect("memory") {}
    body
}

fn read_stream(body: &[u8], frame_bytes_max: u64, hints: &SelectHints) -> Result<Fetched, AnswerFault> {
    let mut account = Account::new(hints);
    let mut streamed = Streamed::new(frame_bytes_max);
    for piece in body.chunks(100) {
        streamed.push(piece, &mut account)?;
    }
    Ok(Fetched::new("there".into(), streamed.finish(&mut account)?).sorted())
}

fn read_samples(body: &[u8], hints: &SelectHints) -> Result<Fetched, AnswerFault> {
    Ok(Fetched::new("there".into(), sampled::read(body, &mut Account::new(hints))?).sorted())
}

/// A series: its times, its floats, and which rows are histograms.
type Rows = (Labels, Vec<i64>, Vec<f64>, Vec<(u32, Histogram)>);

/// All series with their samples.
fn rows(set: &Fetched) -> Vec<Rows> {
    let mut columns = Columns::default();
    (0..set.len())
        .map(|index| {
            set.read(index, TimeRange::ALL, &mut columns).expect("reads");
            let Columns {
                timestamps_ms,
                values,
                histograms,
                ..
            } = columns.clone();
            (set.labels(index), timestamps_ms, values, histograms)
        })
        .collect()
}

fn without_hints(mut rows: Vec<Rows>) -> String {
    for (.., histograms) in &mut rows {
        for (_, histogram) in histograms {
            if let Histogram::Int(inner) = histogram {
                Arc::make_mut(inner).counter_reset_hint = CounterResetHint::Unknown;
            }
        }
    }
    format!("{rows:?}")
}

#[test]
fn both_forms_of_an_answer_say_the_same() {
    let body = answering(0).samples(&[everything()]).expect("an answer");
    let samples = rows(&read_samples(&body, &hints(1 << 30)).expect("an answer"));
    let chunks = rows(&read_stream(&stream(answering(0)), 1 << 20, &hints(1 << 30)).expect("frames"));
    assert_eq!(samples.len(), 3);
    let shown = samples[0].0.to_string();
    assert_eq!(
        shown, r#"{__name__="a", job="x", zone="z"}"#,
        "its own label wins"
    );
    assert_eq!(samples[2].0.value("job"), "outer");
    assert_eq!((samples[0].1.len(), samples[2].3.len()), (300, 20));
    assert_eq!(without_hints(samples), without_hints(chunks));
}

#[test]
fn a_sample_limit_holds_for_a_query() {
    assert!(answering(620).samples(&[everything(), everything()]).is_ok());
    let refused = answering(619).samples(&[everything()]);
    assert!(matches!(refused, Err(AnswerError::TooManySamples(619))));
}

#[test]
fn what_is_answered_counts() {
    let mut answering = answering(0);
    answering.watch = allow(1000);
    let refused = answering.samples(&[everything()]).expect_err("too much");
    assert!(refused.is_interruption(), "{refused}");
}

#[test]
fn damaged_answers_are_refused_and_no_panic() {
    let samples = answering(0).samples(&[everything()]).expect("an answer");
    let message = snap::raw::Decoder::new().decompress_vec(&samples).expect("ours");
    let chunks = stream(answering(0));
    let hints = hints(1 << 30);
    let read_all = |read: Result<Fetched, AnswerFault>| {
        let Ok(set) = read else { return };
        let mut columns = Columns::default();
        for index in 0..set.len() {
            let _ = set.read(index, TimeRange::ALL, &mut columns);
        }
    };
    let compressed = |message: &[u8]| snap::raw::Encoder::new().compress_vec(message).expect("short");
    for len in (0..message.len()).step_by(3) {
        read_all(read_samples(&compressed(&message[..len]), &hints));
    }
    for len in (0..chunks.len()).step_by(5) {
        read_all(read_stream(&chunks[..len], 1 << 20, &hints));
    }
    for at in (0..message.len()).step_by(7) {
        let mut flipped = message.clone();
        flipped[at] ^= 1 << (at % 8);
        read_all(read_samples(&compressed(&flipped), &hints));
    }
    for at in (0..chunks.len()).step_by(11) {
        let mut flipped = chunks.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(read_stream(&flipped, 1 << 20, &hints).is_err(), "{at}");
    }
}

/// A frame of one series with these chunks: encoding, bytes.
fn frame(chunks: &[(u64, &[u8])]) -> Vec<u8> {
    let mut message = Message::default();
    message.message(1, |out| {
        out.message(1, |out| {
            out.text(1, "__name__").text(2, "m");
        });
        for (encoding, bytes) in chunks {
            out.message(2, |out| {
                out.uint(2, i64::MAX as u64).uint(3, *encoding).bytes(4, bytes);
            });
        }
    });
    let mut body = Vec::new();
    put_frame(&mut body, &message.into_bytes());
    body
}

#[test]
fn bounds_hold() {
    let plenty = hints(usize::MAX >> 1);
    let long = vec![0; (1 << 20) + 1];
    let read = read_stream(&frame(&[(1, &long)]), 1 << 30, &plenty);
    assert!(matches!(read, Err(AnswerFault::ChunkTooLong { bytes }) if bytes == long.len()));
    let read = read_stream(&frame(&[(7, &[0, 0])]), 1 << 30, &plenty);
    assert!(matches!(read, Err(AnswerFault::Encoding(_))));
    let read = read_stream(&frame(&[(1, &[0, 0])]), 10, &plenty);
    assert!(matches!(
        read,
        Err(AnswerFault::Frame(FrameError::TooLong { limit: 10, .. }))
    ));
    // What comes counts before it is all there.
    let read = read_stream(&frame(&[(1, &long[..1 << 20])]), 1 << 30, &hints(1 << 18));
    assert!(matches!(read, Err(AnswerFault::Interrupted(_))));
    // Four bytes of snappy that stand for 1 GiB and one more.
    let lie = [0x81, 0x80, 0x80, 0x80, 0x04];
    assert!(matches!(
        read_samples(&lie, &plenty),
        Err(AnswerFault::TooLarge { .. })
    ));
    let half = [0x80, 0x80, 0x80, 0x80, 0x02];
    let read = read_samples(&half, &hints(1 << 20));
    assert!(
        matches!(read, Err(AnswerFault::Interrupted(_))),
        "before there is room for it"
    );
}

#[test]
fn a_series_that_is_too_much_once_decoded_is_refused() {
    const SAMPLES: i64 = u16::MAX as i64;
    let mut columns = Columns::default();
    (0..SAMPLES).for_each(|t| columns.push(t, 1.0));
    let options = EncodeOptions {
        samples_max: SAMPLES as usize,
        ..EncodeOptions::default()
    };
    let first = encode(&columns, &options).remove(0);
    // The others differ in the time of the first sample, a number of variable length behind the count.
    let moved = |n: i64| {
        let mut bytes = first.bytes[..2].to_vec();
        put_varint(&mut bytes, to_zigzag(n * SAMPLES));
        bytes.extend_from_slice(&first.bytes[3..]);
        bytes
    };
    let chunks: Vec<Vec<u8>> = (0..300).map(moved).collect();
    let listed: Vec<(u64, &[u8])> = chunks.iter().map(|bytes| (1, bytes.as_slice())).collect();
    let set = read_stream(&frame(&listed), 1 << 30, &hints(1 << 30)).expect("a few megabytes");
    let error = set
        .read(0, TimeRange::ALL, &mut Columns::default())
        .expect_err("300 MB");
    assert!(error.to_string().contains("more than 268435456 bytes"), "{error}");
}

#[test]
fn series_that_are_none_are_refused() {
    let series = |labels: &[(&str, &[u8])], fill: &dyn Fn(&mut Message)| {
        let mut message = Message::default();
        message.message(1, |out| {
            out.message(1, |out| {
                for (name, value) in labels {
                    out.message(1, |out| {
                        out.text(1, name).bytes(2, value);
                    });
                }
                fill(out);
            });
        });
        snap::raw::Encoder::new()
            .compress_vec(&message.into_bytes())
            .expect("short")
    };
    let none: &dyn Fn(&mut Message) = &|_| {};
    let refused = |body: &[u8]| read_samples(body, &hints(1 << 30)).expect_err("none").to_string();
    for (labels, what) in [
        (
            &[("a", &b"1"[..]), ("b", b"2"), ("a", b"3")][..],
            "duplicate label with name: a",
        ),
        (&[("", b"1")], "invalid label name: \"\""),
        (&[("a", b"\xff")], "invalid value of label \"a\""),
        (&[("__name__", b"")], "invalid value of label \"__name__\""),
    ] {
        assert_eq!(refused(&series(labels, none)), what);
    }
    let names: Vec<String> = (0..4097).map(|n| format!("l{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"v"[..])).collect();
    assert_eq!(
        refused(&series(&many, none)),
        "a series has more than 4096 labels"
    );
    // Spans that promise more buckets than there are; and one byte a bucket, eight in memory.
    let contradicts: &dyn Fn(&mut Message) = &|out| {
        out.message(4, |out| {
            out.always_uint(1, 3).message(11, |out| {
                out.uint(2, 5);
            });
        });
    };
    let text = refused(&series(&[("a", b"1")], contradicts));
    assert!(text.starts_with("invalid native histogram: "), "{text}");
    let huge: &dyn Fn(&mut Message) = &|out| {
        out.message(4, |out| {
            out.bytes(12, &vec![0; (1 << 20) + 1]);
        });
    };
    let text = refused(&series(&[("a", b"1")], huge));
    assert_eq!(text, "a histogram takes more than 8388608 bytes of memory");
    let two = snap::raw::Encoder::new()
        .compress_vec(&[0x0a, 0, 0x0a, 0])
        .expect("short");
    assert_eq!(refused(&two), "responses: want 1, got 2");
}

#[test]
fn chunks_that_are_out_of_order_inside_are_an_error_of_reading() {
    // Two samples, the second a second before the first: 1000 zigzagged is 0x7d0, and its negative 0x7cf.
    let mut columns = Columns::default();
    columns.push(5000, 1.0);
    columns.push(6000, 1.0);
    let mut chunk = encode(&columns, &EncodeOptions::default()).remove(0);
    // Count, the first time as two bytes, the value, and then the distance as a number of variable length.
    let at = 2 + 2 + 8;
    assert_eq!(&chunk.bytes[at..at + 2], [0xe8, 0x07]);
    // A distance that wraps around to minus one.
    chunk.bytes.splice(
        at..at + 2,
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    );
    let set = read_stream(&frame(&[(1, &chunk.bytes)]), 1 << 20, &hints(1 << 30)).expect("frames");
    let mut columns = Columns::default();
    let read = set.read(0, TimeRange::ALL, &mut columns);
    assert!(read.is_err(), "{columns:?}");
}

#[test]
fn samples_of_a_series_are_cut_to_what_is_read() {
    let mut columns = Columns::default();
    columns.push(1, 1.0);
    columns.push_histogram(2, histogram(1));
    columns.push(3, 3.0);
    columns.push_histogram(4, histogram(2));
    let set = Fetched::new("there".into(), vec![(Labels::empty(), Samples::Columns(columns))]);
    let mut read = Columns::default();
    set.read(0, TimeRange::new(2, 3), &mut read).expect("reads");
    assert_eq!((read.timestamps_ms, read.histograms[0].0), (vec![2, 3], 0));
}
