//! Lines of InfluxDB's protocol; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remote::influx::points;

fuzz_target!(|input: &[u8]| {
    let Ok(body) = std::str::from_utf8(input) else {
        return;
    };
    for read in points(body) {
        match read {
            Ok(point) => assert!(!point.fields.is_empty()),
            Err(error) => {
                let text = error.to_string();
                assert_eq!(text.lines().count(), 3, "{text:?}");
            }
        }
    }
});
