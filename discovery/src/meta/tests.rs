//! Unit tests of `meta`.

use super::*;

#[test]
fn names_lists_and_addresses_are_written_as_the_reference_writes_them() {
    assert_eq!(label_name("com.example/tier-1_Ä"), "com_example_tier_1__");
    assert_eq!(label_name("my.key/é-x_9"), "my_key___x_9");
    assert_eq!(host_port("2001:db8::1", 80), "[2001:db8::1]:80");
    assert_eq!(host_port("host", 80), "host:80");
    assert_eq!(surrounded(&["a", "b"], "|"), "|a|b|");
    assert_eq!(surrounded(&[""; 0], ","), ",,");
}

#[test]
fn labels_are_set_under_the_prefix_and_empty_ones_are_none() {
    let mut common = MetaLabels::new("__meta_a_");
    common.meta("zone", 4).meta("empty", "");
    let pairs = BTreeMap::from([("x/y".to_owned(), "1".to_owned())]);
    let mut labels = MetaLabels::new("__meta_b_");
    labels
        .add(&common)
        .all("tag_", &pairs)
        .list("none", &[""; 0], SEPARATOR)
        .list("two", &["p", "q"], SEPARATOR)
        .address("h", 1);
    let labels = labels.build().expect("short enough");
    let shown: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        shown,
        [
            "__address__=h:1",
            "__meta_a_zone=4",
            "__meta_b_tag_x_y=1",
            "__meta_b_two=,p,q,"
        ]
    );
}

#[test]
fn a_text_from_outside_that_no_label_can_hold_is_an_error() {
    let long = "x".repeat(model::labels::LABEL_BYTES_MAX + 1);
    let error = MetaLabels::new("__meta_").meta("a", &long).build();
    assert!(
        error
            .expect_err("too long")
            .to_string()
            .contains("more than a label can hold")
    );
}
