//! Requests of remote write; see the crate's page.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use metrics::Registry;
use model::clock::ManualClock;
use narthex_fuzz::{open, read_all};
use remote::write::{Options, Receiver, Request};

fuzz_target!(|input: &[u8]| {
    let Some((switches, message)) = input.split_first() else {
        return;
    };
    let on = |bit: u8| switches >> bit & 1 == 1;
    let db = Arc::new(open(&files::MemFiles::new()));
    let options = Options {
        start_zeros: on(1),
        type_and_unit_labels: on(2),
        keep_metadata: on(3),
        ..Options::default()
    };
    let clock = Arc::new(ManualClock::new(1_735_689_600_000));
    let receiver = Receiver::new(db.clone(), clock, &Registry::new(), options);
    let body = snap::raw::Encoder::new().compress_vec(message).expect("short");
    let request = Request {
        content_type: match on(0) {
            true => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            false => "application/x-protobuf",
        },
        content_encoding: "snappy",
        // The block itself is the library's, but what surrounds it is not.
        body: if on(7) { message } else { &body },
    };
    for _ in 0..2 {
        let answer = receiver.receive(&request);
        assert!(matches!(answer.status, 204 | 400), "{answer:?}");
        assert_eq!(answer.status == 204, answer.text.is_empty(), "{answer:?}");
    }
    read_all(&db);
});
