//! What discovery reads of others; see the crate's page.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else {
        return;
    };
    match kind % 6 {
        0 => discovery::fuzzing::list(body),
        1 => discovery::fuzzing::watch(body),
        2 => discovery::fuzzing::zookeeper(body),
        3 => discovery::fuzzing::xml_rpc(body),
        4 => drop(credentials::xml::Element::parse(body)),
        _ => {
            if let Ok(text) = std::str::from_utf8(body) {
                discovery::fuzzing::target_groups(text);
            }
        }
    }
});
