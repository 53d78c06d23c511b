//! When somebody is told, and how the log is written.

use super::*;
use crate::wire::PutTime as _;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn entry(timestamp: i64, firing: &[u64], resolved: &[u64]) -> Entry {
    Entry {
        key: LogKey {
            group: "{}:{}".to_owned(),
            receiver: "team".to_owned(),
            kind: "slack".to_owned(),
            index: 3,
        },
        timestamp: at(timestamp),
        firing: firing.to_vec(),
        resolved: resolved.to_vec(),
        memory: receivers::Memory::new(),
        expires_at: at(timestamp + 10),
        term: 0,
    }
}

#[test]
fn a_group_is_told_of_when_there_is_something_new() {
    use NotifyReason::{AllResolved, First, NewAlerts, NewResolved, Repeat};
    let known = entry(100, &[1, 2], &[3]);
    let over = entry(100, &[], &[1]);
    for (last, firing, resolved, send_resolved, now, expected) in [
        (None, &[1][..], &[][..], true, 100, Some(First)),
        (None, &[], &[1], true, 100, None),
        (Some(&known), &[1, 2], &[3], true, 110, None),
        (Some(&known), &[1, 2, 4], &[], true, 110, Some(NewAlerts)),
        (Some(&known), &[1], &[2, 3], true, 110, Some(NewResolved)),
        (Some(&known), &[1], &[2, 3], false, 110, None),
        (Some(&known), &[], &[1, 2], true, 110, Some(AllResolved)),
        (Some(&known), &[], &[1, 2], false, 110, Some(AllResolved)),
        (Some(&known), &[1], &[], true, 160, None),
        (Some(&known), &[1], &[], true, 161, Some(Repeat)),
        (Some(&over), &[1], &[], true, 110, Some(First)),
        (Some(&over), &[], &[2], true, 110, None),
    ] {
        let told = Told {
            firing: firing.to_vec(),
            resolved: resolved.to_vec(),
        };
        let found = reason(last, &told, send_resolved, Duration::from_secs(60), at(now));
        assert_eq!(found, expected, "{last:?} {told:?} {send_resolved} {now}");
    }
}

/// The number that the reference has in its file for this alert.
#[test]
fn alerts_have_the_references_numbers() {
    let labels = Labels::from_pairs([("alertname", "A"), ("i", "1")]);
    let bytes = b"alertname\xffA\xffi\xff1\xff";
    assert_eq!(alert_number(&labels), xxhash_rust::xxh64::xxh64(bytes, 0));
}

#[test]
fn entries_are_read_back_and_those_of_the_reference_too() {
    let mut written = entry(1_700_000_000, &[1, u64::MAX], &[]);
    written.memory = receivers::Memory::from([
        ("f".to_owned(), receivers::MemoryValue::Float(0.0)),
        ("i".to_owned(), receivers::MemoryValue::Int(-1)),
        ("t".to_owned(), receivers::MemoryValue::Text(String::new())),
    ]);
    let bytes = written.encode();
    assert_eq!(Entry::decode(&bytes), Ok(written));
    for end in 0..bytes.len() {
        let _ = Entry::decode(&bytes[..end]);
        let mut flipped = bytes.clone();
        flipped[end] ^= 0x55;
        let _ = Entry::decode(&flipped);
    }
    // Without packing, and with fields that are gone: group_hash and resolved.
    let mut message = model::protobuf::Message::default();
    message
        .message(1, |entry| {
            entry
                .bytes(1, b"key")
                .message(2, |receiver| {
                    receiver.text(1, "r").text(2, "email");
                })
                .bytes(3, b"hash")
                .uint(4, 1)
                .time(5, at(5))
                .always_uint(6, 9)
                .always_uint(6, 8);
        })
        .time(2, at(50));
    let read = Entry::decode(&message.into_bytes()).expect("an entry");
    assert_eq!(
        (read.firing, read.key.kind.as_str(), read.key.index),
        (vec![9, 8], "email", 0)
    );
    assert_eq!(Entry::decode(&[]), Err(crate::wire::WireError::Missing("entry")));
}
