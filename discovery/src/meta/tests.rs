//! Unit tests of `meta`.

use super::*;

#[test]
fn names_and_addresses_are_made_fit() {
    assert_eq!(label_name("com.example/tier-1_Ä"), "com_example_tier_1__");
    assert_eq!(host_port("2001:db8::1", 80), "[2001:db8::1]:80");
    assert_eq!(host_port("host", 80), "host:80");
    assert_eq!(surrounded(&["a".to_owned(), "b".to_owned()], ","), ",a,b,");
    assert_eq!(surrounded(&[], ","), ",,");
}

#[test]
fn a_text_from_outside_that_no_label_can_hold_is_an_error() {
    let long = "x".repeat(model::labels::LABEL_BYTES_MAX + 1);
    let error = MetaLabels::default().set("__meta_a", &long).build();
    assert!(
        error
            .expect_err("too long")
            .to_string()
            .contains("more than a label can hold")
    );
}
