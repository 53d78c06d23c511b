//! Bodies of pushes; see the crate's page.
#![no_main]

use std::sync::Arc;

use exposition::strict;
use libfuzzer_sys::fuzz_target;
use model::clock::SystemClock;
use model::labels::NameScheme;
use remote::gateway::{Gateway, GroupKey, Options, Push, PushError};

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fuzz_target!(|input: &[u8]| {
    let Some((switches, body)) = input.split_first() else {
        return;
    };
    let on = |bit: u8| switches >> bit & 1 == 1;
    let names = if on(0) {
        NameScheme::Utf8
    } else {
        NameScheme::Legacy
    };
    let options = Options {
        names,
        check: on(1),
        ..Options::default()
    };
    let gateway = Gateway::new(options, Arc::new(SystemClock));
    let (path, body) = match body.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&body[..end], &body[end + 1..]),
        None => (body, &[][..]),
    };
    let fallback = || GroupKey::from_path(b"job/a", names).expect("a key");
    let key = GroupKey::from_path(path, names).unwrap_or_else(|error| {
        drop(error.to_string());
        fallback()
    });
    let push = Push {
        body,
        content_type: if on(2) { PROTOBUF } else { "" },
        replace: on(3),
        ..Push::default()
    };
    for _ in 0..2 {
        match gateway.push(&key, &push) {
            Ok(()) => {}
            Err(PushError::Body(error)) => drop(error.to_string()),
            Err(error) => drop(error.to_string()),
        }
    }
    if let Ok(families) = gateway.families() {
        for family in &families {
            for metric in family.metrics() {
                let _ = metric.value(family.kind);
            }
        }
    }
    drop(strict::families(body, names));
});
