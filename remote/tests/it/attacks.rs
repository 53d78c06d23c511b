//! Bytes that mean no good: cut, flipped, and such as ask for more than they are worth.

use std::sync::Arc;

use metrics::Registry;
use model::clock::ManualClock;
use model::protobuf::{GROUPS_DEPTH_MAX, Message, to_zigzag};
use narthex_remote::write::{Answer, Options, REQUEST_BYTES_MAX, Receiver, Request};
use tsdb::db::Db;

use crate::store;

const T: i64 = 1_735_689_600_000;
const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn receiver() -> (Arc<Db>, Receiver) {
    let clock = Arc::new(ManualClock::new(T));
    let db = store::open(tsdb::db::Options::default(), clock.clone());
    let receiver = Receiver::new(db.clone(), clock, &Registry::new(), Options::default());
    (db, receiver)
}

fn send(receiver: &Receiver, content_type: &str, message: &[u8]) -> Answer {
    let body = snap::raw::Encoder::new().compress_vec(message).expect("fits");
    receiver.receive(&Request {
        content_type,
        content_encoding: "snappy",
        body: &body,
    })
}

fn label(message: &mut Message, name: &str, value: &str) {
    message.message(1, |label| {
        label.text(1, name).text(2, value);
    });
}

fn sample(message: &mut Message, field: u64, timestamp_ms: i64) {
    message.message(field, |sample| {
        sample.always_double(1, 1.5).uint(2, timestamp_ms as u64);
    });
}

fn histogram(message: &mut Message, field: u64) {
    message.message(field, |histogram| {
        histogram.uint(1, 3).always_double(3, 2.0).uint(4, to_zigzag(1));
        histogram.message(11, |span| {
            span.uint(2, 2);
        });
        histogram
            .uints(12, &[to_zigzag(1), to_zigzag(1)])
            .uint(15, T as u64 + 1);
    });
}

/// A request of 1.0 with one of everything.
fn v1() -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |series| {
        label(series, "__name__", "m");
        label(series, "a", "1");
        sample(series, 2, T);
        series.message(3, |exemplar| {
            label(exemplar, "trace_id", "x");
            exemplar.always_double(2, 0.5).uint(3, T as u64);
        });
        histogram(series, 4);
    });
    request.message(3, |metadata| {
        metadata.uint(1, 1).text(2, "m").text(4, "help");
    });
    request.into_bytes()
}

/// A request of 2.0 with one of everything.
fn v2() -> Vec<u8> {
    let mut request = Message::default();
    for symbol in ["", "__name__", "m", "a", "1", "trace_id", "x"] {
        request.bytes(4, symbol.as_bytes());
    }
    request.message(5, |series| {
        series.uints(1, &[1, 2, 3, 4]);
        sample(series, 2, T);
        histogram(series, 3);
        series.message(4, |exemplar| {
            exemplar.uints(1, &[5, 6]).always_double(2, 0.5).uint(3, T as u64);
        });
        series.message(5, |metadata| {
            metadata.uint(1, 1).uint(3, 2).uint(4, 2);
        });
    });
    request.into_bytes()
}

#[test]
fn requests_cut_and_flipped_anywhere_are_answered() {
    for (content_type, message) in [(V1, v1()), (V2, v2())] {
        let (db, receiver) = receiver();
        let whole = send(&receiver, content_type, &message);
        assert_eq!((whole.status, whole.text.as_str()), (204, ""));
        assert_eq!(store::series(&db).len(), 1);
        for end in 0..message.len() {
            let answer = send(&receiver, content_type, &message[..end]);
            assert!(matches!(answer.status, 204 | 400), "{end}: {answer:?}");
        }
        for at in 0..message.len() {
            for bit in 0..8 {
                let mut flipped = message.clone();
                flipped[at] ^= 1 << bit;
                let answer = send(&receiver, content_type, &flipped);
                assert!(matches!(answer.status, 204 | 400), "{at}/{bit}: {answer:?}");
            }
        }
        // The block itself, too.
        let body = snap::raw::Encoder::new().compress_vec(&message).expect("fits");
        let receive = |body: &[u8]| {
            receiver.receive(&Request {
                content_type,
                content_encoding: "",
                body,
            })
        };
        for end in 0..body.len() {
            assert_eq!(receive(&body[..end]).status, 400, "{end}");
        }
        for at in 0..body.len() {
            let mut flipped = body.clone();
            flipped[at] ^= 0xff;
            assert!(matches!(receive(&flipped).status, 204 | 400));
        }
    }
}

#[test]
fn what_would_take_too_much_memory_is_refused() {
    let (db, receiver) = receiver();
    let declared = |bytes: usize| {
        let mut body = Vec::new();
        model::protobuf::put_varint(&mut body, bytes as u64);
        body.push(0);
        receiver.receive(&Request {
            content_type: V1,
            content_encoding: "snappy",
            body: &body,
        })
    };
    assert!(declared(REQUEST_BYTES_MAX + 1).text.contains("exceeds the"));
    assert!(declared(u32::MAX as usize).text.contains("exceeds the"));
    // Two bytes a sample, 28 in memory.
    let many_samples = |field: u64, sample_field: u64| {
        let mut request = Message::default();
        request.message(field, |series| {
            for _ in 0..3_000_000 {
                series.bytes(sample_field, &[]);
            }
        });
        request.into_bytes()
    };
    for (content_type, message) in [(V1, many_samples(1, 2)), (V2, many_samples(5, 2))] {
        let answer = send(&receiver, content_type, &message);
        assert_eq!(answer.status, 400);
        assert!(answer.text.contains("bytes of memory"), "{answer:?}");
    }
    // A bucket a byte.
    let mut request = Message::default();
    request.message(1, |series| {
        label(series, "__name__", "m");
        series.message(4, |histogram| {
            histogram.bytes(12, &vec![0; 9_000_000]);
        });
    });
    let answer = send(&receiver, V1, &request.into_bytes());
    assert!(
        answer.status == 400 && answer.text.contains("bytes of memory"),
        "{answer:?}"
    );
    // Two bytes a symbol.
    let mut request = Message::default();
    for _ in 0..=1 << 20 {
        request.bytes(4, &[]);
    }
    let answer = send(&receiver, V2, &request.into_bytes());
    assert!(
        answer.status == 400 && answer.text.contains("symbols"),
        "{answer:?}"
    );
    // A symbol of a megabyte, named 300 times.
    let mut request = Message::default();
    for symbol in ["__name__", "m", "a", &"x".repeat(1 << 20)] {
        request.bytes(4, symbol.as_bytes());
    }
    for _ in 0..300 {
        request.message(5, |series| {
            series.uints(1, &[0, 1, 2, 3]);
            sample(series, 2, T);
        });
    }
    let answer = send(&receiver, V2, &request.into_bytes());
    assert!(
        answer.status == 400 && answer.text.contains("label sets"),
        "{answer:?}"
    );
    assert!(store::series(&db).is_empty());
}

#[test]
fn a_million_labels_make_no_series() {
    let (db, receiver) = receiver();
    let mut request = Message::default();
    request.message(1, |series| {
        label(series, "__name__", "m");
        for n in 0..1_000_000 {
            label(series, &format!("l{n}"), "x");
        }
        sample(series, 2, T);
    });
    assert_eq!(send(&receiver, V1, &request.into_bytes()).status, 204);
    let mut request = Message::default();
    for n in 0..5000 {
        request.bytes(4, format!("l{n}").as_bytes());
    }
    request.message(5, |series| {
        series.uints(1, &(0..5000).flat_map(|n| [n, n]).collect::<Vec<u64>>());
        sample(series, 2, T);
    });
    let answer = send(&receiver, V2, &request.into_bytes());
    assert!(
        answer.status == 400 && answer.text.contains("labels"),
        "{answer:?}"
    );
    assert!(answer.text.len() < 10_000, "what is shown is bounded");
    assert!(store::series(&db).is_empty());
}

#[test]
fn times_that_are_not_yet_are_refused() {
    const YEAR_3000: i64 = 32_503_680_000_000;
    for (timestamp_ms, status) in [
        (T + 600_000, 204),
        (T + 600_001, 400),
        (YEAR_3000, 400),
        (i64::MAX, 400),
    ] {
        let (db, receiver) = receiver();
        let mut request = Message::default();
        request.message(1, |series| {
            label(series, "__name__", "m");
            sample(series, 2, timestamp_ms);
        });
        request.message(1, |series| {
            label(series, "__name__", "n");
            sample(series, 2, T);
        });
        let answer = send(&receiver, V1, &request.into_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
        let stored = if status == 204 { 2 } else { 0 };
        assert_eq!(store::series(&db).len(), stored, "all or nothing");
    }
}

#[test]
fn groups_and_faults_are_bounded() {
    let (_, receiver) = receiver();
    let group = |depth: usize| [vec![0x4b; depth], vec![0x4c; depth]].concat();
    assert_eq!(send(&receiver, V2, &group(GROUPS_DEPTH_MAX)).status, 204);
    assert_eq!(send(&receiver, V2, &group(10_000_000)).status, 400);
    let mut request = Message::default();
    for _ in 0..100_000 {
        request.message(5, |series| {
            series.uints(1, &[7]);
            sample(series, 2, T);
        });
    }
    let answer = send(&receiver, V2, &request.into_bytes());
    assert_eq!(answer.status, 400);
    assert!(
        answer.text.ends_with("and 99990 more") && answer.text.len() < 5000,
        "{answer:?}"
    );
}

#[test]
fn a_full_store_takes_the_series_that_it_has() {
    let clock = Arc::new(ManualClock::new(T));
    let mut options = tsdb::db::Options::default();
    options.head.series_max = 1;
    for (content_type, field) in [(V1, 1), (V2, 5)] {
        let db = store::open(options.clone(), clock.clone());
        let receiver = Receiver::new(db.clone(), clock.clone(), &Registry::new(), Options::default());
        let message = |names: &[&str], at: i64| {
            let mut request = Message::default();
            if content_type == V2 {
                ["__name__", "m", "n"].iter().for_each(|symbol| {
                    request.bytes(4, symbol.as_bytes());
                });
            }
            for name in names {
                request.message(field, |series| {
                    match content_type {
                        V1 => label(series, "__name__", name),
                        _ => drop(series.uints(1, &[0, if *name == "m" { 1 } else { 2 }])),
                    }
                    sample(series, 2, at);
                });
            }
            request.into_bytes()
        };
        assert_eq!(send(&receiver, content_type, &message(&["m"], T)).status, 204);
        // Whoever sends it again is refused again: it is no use.
        let answer = send(&receiver, content_type, &message(&["n", "m"], T + 1));
        assert!(
            answer.status == 400 && answer.text.contains("limit of active series"),
            "{answer:?}"
        );
        let written = answer.written.map(|written| written.samples);
        assert_eq!(written, (content_type == V2).then_some(1));
        let stored = store::series(&db);
        assert_eq!(
            stored[0]["samples"].as_array().map(Vec::len),
            Some(2),
            "the known one goes on"
        );
    }
}
