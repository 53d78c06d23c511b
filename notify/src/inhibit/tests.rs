//! Rules and what they inhibit.

use std::time::Duration;

use super::*;
use crate::alert::PostedAlert;
use crate::matcher::Syntax;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn rules(text: &str) -> Inhibitor {
    let document = yaml::parse("rules.yml", text).expect("YAML");
    let rules = document.root().sequence().expect("a list");
    let read = |value| InhibitRuleConfig::read(value, Syntax::Fallback).expect("a rule");
    Inhibitor::new(&rules.into_iter().map(read).collect::<Vec<_>>())
}

fn alert(pairs: &[(&str, &str)], ends_at: i64) -> Arc<StoredAlert> {
    let posted = PostedAlert {
        labels: Labels::from_pairs(pairs.iter().copied()),
        starts_at: Some(at(0)),
        ends_at: Some(at(ends_at)),
        ..PostedAlert::default()
    };
    Arc::new(posted.stored(at(0), Duration::from_secs(300)))
}

#[test]
fn the_source_that_lasts_longest_inhibits() {
    let inhibitor = rules("- {source_matchers: [s=c], target_matchers: [s=w], equal: [cluster]}\n");
    let target = Labels::from_pairs([("s", "w"), ("cluster", "a")]);
    let by = |now| {
        inhibitor
            .inhibiting(&target, at(now))
            .map(|source| source.labels.value("i").to_owned())
    };
    assert_eq!(by(10), None);
    inhibitor.see(&alert(&[("s", "c"), ("cluster", "a"), ("i", "1")], 100));
    inhibitor.see(&alert(&[("s", "c"), ("cluster", "a"), ("i", "2")], 200));
    inhibitor.see(&alert(&[("s", "c"), ("cluster", "b"), ("i", "3")], 300));
    assert_eq!(by(10).as_deref(), Some("2"));
    // One that ends earlier than it seemed leaves it to the other, which an index of one a key would have forgotten.
    inhibitor.see(&alert(&[("s", "c"), ("cluster", "a"), ("i", "2")], 20));
    assert_eq!(by(30).as_deref(), Some("1"));
    assert_eq!(by(100), None);
    inhibitor.forget(&[alert(&[("s", "c"), ("cluster", "a"), ("i", "1")], 100)]);
    assert_eq!(inhibitor.rules[0].sources.read().by_equal.len(), 2);
}

#[test]
fn an_alert_that_is_like_both_sides_inhibits_only_those_that_are_not() {
    let inhibitor = rules("- {source_matchers: [kind=~\"x|y\"], target_matchers: [kind=~\"y|z\"]}\n");
    let y = alert(&[("kind", "y")], 100);
    inhibitor.see(&y);
    let of = |kind| Labels::from_pairs([("kind", kind), ("n", "1")]);
    assert!(inhibitor.inhibiting(&y.labels, at(1)).is_none());
    assert!(inhibitor.inhibiting(&of("y"), at(1)).is_none());
    assert!(inhibitor.inhibiting(&of("z"), at(1)).is_some());
    inhibitor.see(&alert(&[("kind", "x")], 50));
    assert!(inhibitor.inhibiting(&of("y"), at(1)).is_some());
    assert!(inhibitor.inhibiting(&of("y"), at(60)).is_none());
}

#[test]
fn a_label_that_is_missing_equals_one_that_is_empty() {
    let inhibitor = rules("- {source_match: {s: c}, target_match_re: {s: 'w|i'}, equal: [a, b]}\n");
    inhibitor.see(&alert(&[("s", "c"), ("a", "1")], 100));
    let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    assert!(
        inhibitor
            .inhibiting(&of(&[("s", "w"), ("a", "1")]), at(1))
            .is_some()
    );
    assert!(
        inhibitor
            .inhibiting(&of(&[("s", "w"), ("a", "1"), ("b", "2")]), at(1))
            .is_none()
    );
    assert!(
        inhibitor
            .inhibiting(&of(&[("s", "info"), ("a", "1")]), at(1))
            .is_none()
    );
}
