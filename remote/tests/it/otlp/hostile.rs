//! Bytes that nobody sends in good faith: they are refused, and nothing else happens.

use model::protobuf::{Message, to_zigzag};
use narthex_remote::otlp::{DecodeError, Encoding, OtlpError, TooMuch, TranslateError};
use serde_json::Value;

use super::conformance::{base64, lines, text};
use super::message::{BEGIN_NS, SECOND_NS, fixed, request};
use super::store::{Setup, Store};

/// Bodies in both encodings that have every kind of message in them.
fn bodies() -> Option<Vec<(Encoding, Vec<u8>)>> {
    const KINDS: [&str; 7] = [
        "gauge",
        "sum-exemplars",
        "histogram",
        "exponential",
        "summary",
        "attribute-types",
        "resource-typed",
    ];
    let folder = testkit::conformance("push/otlp")?;
    let payloads = lines(&folder, "payloads.jsonl.gz");
    let of_kinds = payloads
        .iter()
        .filter(|payload| KINDS.contains(&text(&payload["name"])));
    let both = of_kinds.flat_map(|payload: &Value| {
        [
            (Encoding::Protobuf, base64(&payload["protobuf"])),
            (Encoding::Json, payload["json"].to_string().into_bytes()),
        ]
    });
    let both: Vec<_> = both.collect();
    assert_eq!(both.len(), 2 * KINDS.len());
    Some(both)
}

#[test]
fn bodies_that_are_cut_or_flipped_anywhere_are_answered() {
    let Some(bodies) = bodies() else { return };
    let store = Store::open(&Setup::new(
        "global: {}",
        &["--enable-feature=otlp-deltatocumulative"],
    ));
    for (encoding, body) in bodies {
        for len in 0..body.len() {
            let cut = store.receiver.receive(encoding, "", &body[..len]);
            // A message that ends between two fields is one.
            assert!(
                cut.is_err() || encoding == Encoding::Protobuf,
                "{len} of {encoding:?}"
            );
        }
        let mut flipped = body;
        for at in 0..flipped.len() {
            // Lengths and tags change by one, letters to others, and what is not ASCII comes in between.
            let bits = if at % 2 == 0 { 0xff } else { 1 };
            flipped[at] ^= bits;
            let _ = store.receiver.receive(encoding, "", &flipped);
            flipped[at] ^= bits;
        }
    }
}

/// A gauge with one point whose attribute nests `levels` lists.
fn nested(levels: usize) -> Vec<u8> {
    let mut value = Message::default();
    value.text(1, "inside");
    for _ in 0..levels {
        let inner = std::mem::take(&mut value).into_bytes();
        value.message(5, |list| {
            list.bytes(1, &inner);
        });
    }
    let value = value.into_bytes();
    request(&[("service.name", "svc")], |scope| {
        scope.message(2, |metric| {
            metric.text(1, "g").message(5, |gauge| {
                gauge.message(1, |point| {
                    fixed(point, 3, BEGIN_NS);
                    point.message(7, |pair| {
                        pair.text(1, "k").bytes(2, &value);
                    });
                });
            });
        });
    })
}

#[test]
fn values_nest_to_a_bound() {
    let store = Store::open(&Setup::new("global: {}", &[]));
    assert!(store.push(&nested(32)).is_ok());
    let label = format!("{}\\\"inside\\\"{}", "[".repeat(32), "]".repeat(32));
    let series = store.series();
    assert!(series.keys().any(|labels| labels.contains(&label)), "{series:?}");
    for levels in [33, 100_000] {
        let refused = store.push(&nested(levels));
        assert!(
            matches!(refused, Err(OtlpError::Decode(DecodeError::Nesting))),
            "{refused:?}"
        );
    }
    let opening = r#"{"arrayValue":{"values":["#;
    for levels in [40, 100_000] {
        let deep = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"k","value":{}"#,
            opening.repeat(levels)
        );
        let refused = store.receiver.receive(Encoding::Json, "", deep.as_bytes());
        assert!(matches!(refused, Err(OtlpError::Json(_))), "{refused:?}");
    }
}

#[test]
fn tiny_messages_in_great_number_are_refused() {
    let store = Store::open(&Setup::new("global: {}", &[]));
    let points = [0x0a, 0x00].repeat(5 << 20);
    let many = request(&[], |scope| {
        scope.message(2, |metric| {
            metric.text(1, "g").bytes(5, &points);
        });
    });
    let refused = store.push(&many);
    assert!(
        matches!(refused, Err(OtlpError::Decode(DecodeError::TooMuch))),
        "{refused:?}"
    );
}

fn gauge(resource: &[(&str, &str)], times_ns: &[u64]) -> Vec<u8> {
    request(resource, |scope| {
        scope.message(2, |metric| {
            metric.text(1, "g").message(5, |gauge| {
                for (i, time_ns) in times_ns.iter().enumerate() {
                    gauge.message(1, |point| {
                        fixed(point, 3, *time_ns);
                        super::message::attribute(point, 7, "i", &i.to_string());
                    });
                }
            });
        });
    })
}

fn too_much(taken: &Result<(), OtlpError>, of: TooMuch) -> bool {
    matches!(taken, Err(OtlpError::Translate(errors)) if errors.shown() == [TranslateError::TooMuch(of)])
        && taken.as_ref().is_err_and(|error| error.status() == 400)
}

#[test]
fn labels_that_are_repeated_too_often_are_refused() {
    let store = Store::open(&Setup::new("otlp: {promote_all_resource_attributes: true}", &[]));
    let long = "x".repeat(8 << 20);
    let refused = store.push(&gauge(
        &[("service.name", "svc"), ("long", &long)],
        &[BEGIN_NS; 40],
    ));
    assert!(too_much(&refused, TooMuch::LabelSets), "{refused:?}");
}

#[test]
fn target_info_over_all_of_time_is_refused() {
    let store = Store::open(&Setup::new("global: {}", &[]));
    let resource = [("service.name", "svc"), ("host.name", "h")];
    let refused = store.push(&gauge(&resource, &[SECOND_NS, BEGIN_NS]));
    assert!(too_much(&refused, TooMuch::TargetInfo), "{refused:?}");
    // As far as the bound lets it.
    let month = [BEGIN_NS, BEGIN_NS + 30 * 86_400 * SECOND_NS];
    assert!(store.push(&gauge(&resource, &month)).is_ok());
    // Times that are none.
    for times in [
        [u64::MAX, 1],
        [i64::MAX as u64, i64::MAX as u64 - 1],
        [1 << 63, 0],
    ] {
        assert!(store.push(&gauge(&resource, &times)).is_err(), "{times:?}");
    }
}

fn exponential(scale: i64, offset: i64, counts: &[u64]) -> Vec<u8> {
    request(&[("service.name", "svc")], |scope| {
        scope.message(2, |metric| {
            metric.text(1, "e").message(10, |data| {
                data.message(1, |point| {
                    fixed(point, 3, BEGIN_NS);
                    fixed(point, 4, counts.iter().sum());
                    point.uint(6, to_zigzag(scale)).message(8, |side| {
                        side.uint(1, to_zigzag(offset)).uints(2, counts);
                    });
                });
                data.uint(2, 2);
            });
        });
    })
}

#[test]
fn histograms_are_bounded() {
    let store = Store::open(&Setup::new("global: {}", &[]));
    assert!(store.push(&exponential(0, 0, &[1; 1 << 16])).is_ok());
    for (scale, offset, counts) in [
        (0, 0, vec![1; (1 << 16) + 1]),
        (0, i64::from(i32::MAX), vec![1]),
        (0, i64::from(i32::MAX) - 1, vec![1, 1, 1]),
    ] {
        let refused = store.push(&exponential(scale, offset, &counts));
        assert_eq!(
            refused.as_ref().map_err(OtlpError::status),
            Err(400),
            "{refused:?}"
        );
    }
    // At any scale and place.
    for scale in [i64::from(i32::MIN), -5, 8, 9, 20, i64::from(i32::MAX)] {
        for offset in [i64::from(i32::MIN), -1, 0, i64::from(i32::MAX) - 2] {
            let _ = store.push(&exponential(scale, offset, &[1, 0, 1]));
        }
    }
}
