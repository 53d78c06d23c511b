//! Pages of a log segment; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsdb::wal::SegmentReader;

fuzz_target!(|input: &[u8]| {
    let mut reader = SegmentReader::new(input);
    let mut records = 0;
    loop {
        let before = reader.good_bytes();
        match reader.read() {
            Ok(Some(_)) => records += 1,
            Ok(None) => break,
            Err(damage) => {
                assert!(damage.good_bytes <= input.len() as u64);
                break;
            }
        }
        assert!(reader.good_bytes() > before, "reading goes on");
    }
    assert!(records <= input.len());
});
