//! Alerts: what follows what, what is refused, in which order they are told.

use std::time::Duration;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn stored(starts_at: i64, ends_at: i64, times_out: bool) -> StoredAlert {
    let posted = PostedAlert {
        labels: Labels::from_pairs([("alertname", "A")]),
        starts_at: Some(at(starts_at)),
        ..PostedAlert::default()
    };
    StoredAlert {
        ends_at: at(ends_at),
        times_out,
        ..posted.stored(at(0), Duration::from_secs(300))
    }
}

/// What is held, what is told, at which second; what is held then.
#[test]
fn an_alert_that_is_told_of_again_keeps_its_beginning() {
    for ((held_start, held_end, held_out), (start, end, out), now, (then_start, then_end)) in [
        // Both time out: the later patience counts.
        ((0, 400, true), (60, 460, true), 60, (0, 460)),
        ((0, 460, true), (60, 400, true), 60, (0, 400)),
        // An end that was named counts more than patience, if it is later.
        ((0, 460, false), (60, 400, true), 60, (0, 460)),
        ((0, 400, true), (60, 460, false), 60, (0, 460)),
        ((0, 460, false), (60, 400, false), 60, (0, 460)),
        // Resolved now: so it is, unless it was resolved later already.
        ((0, 400, false), (0, 50, false), 60, (0, 50)),
        ((0, 55, false), (0, 50, false), 60, (0, 55)),
        // No overlap: another story.
        ((0, 50, false), (100, 400, true), 100, (100, 400)),
        ((100, 400, false), (0, 50, false), 100, (0, 50)),
    ] {
        let held = stored(held_start, held_end, held_out);
        let then = stored(start, end, out).follow(&held, at(now));
        assert_eq!(
            (then.starts_at, then.ends_at),
            (at(then_start), at(then_end)),
            "{held:?}"
        );
    }
}

#[test]
fn what_is_not_said_is_filled_in() {
    let patience = Duration::from_secs(300);
    for (starts_at, ends_at, expected) in [
        (None, None, (100, 400, true)),
        (Some(at(50)), None, (50, 400, true)),
        (None, Some(at(90)), (90, 90, false)),
        (Some(at(50)), Some(at(500)), (50, 500, false)),
    ] {
        let posted = PostedAlert {
            starts_at,
            ends_at,
            ..PostedAlert::default()
        };
        let stored = posted.stored(at(100), patience);
        let (start, end, times_out) = expected;
        assert_eq!(
            (stored.starts_at, stored.ends_at, stored.times_out),
            (at(start), at(end), times_out)
        );
    }
}

#[test]
fn alerts_that_make_no_sense_are_refused() {
    let of = |labels: Labels, annotations: Labels, ends_at| {
        let posted = PostedAlert {
            labels,
            annotations: annotations
                .iter()
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
            starts_at: Some(at(10)),
            ends_at,
            ..PostedAlert::default()
        };
        posted.stored(at(10), Duration::from_secs(1))
    };
    let (good, utf8) = (
        Labels::from_pairs([("a", "b")]),
        Labels::from_pairs([("größe", "b")]),
    );
    for (alert, syntax, expected) in [
        (of(good.clone(), utf8.clone(), None), Syntax::Fallback, ""),
        (
            of(Labels::empty(), good.clone(), None),
            Syntax::Fallback,
            "at least one label pair required",
        ),
        (
            of(good.clone(), good.clone(), Some(at(9))),
            Syntax::Fallback,
            "start time must be before end time",
        ),
        (
            of(utf8.clone(), good.clone(), None),
            Syntax::Classic,
            "invalid label set: invalid name \"größe\"",
        ),
        (
            of(good, utf8, None),
            Syntax::Classic,
            "invalid annotations: invalid name \"größe\"",
        ),
    ] {
        let said = alert
            .check(syntax)
            .map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(said, expected);
    }
}

#[test]
fn alerts_are_told_in_the_references_order() {
    let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    let ordered = [
        labels(&[("job", "j1"), ("instance", "i1"), ("alertname", "an1")]),
        labels(&[("job", "j1"), ("instance", "i1"), ("alertname", "an2")]),
        labels(&[("job", "j1"), ("alertname", "an1")]),
        labels(&[("job", "j2"), ("instance", "i1")]),
        labels(&[("instance", "i1")]),
        labels(&[("alertname", "an1")]),
        labels(&[("alertname", "an2")]),
        labels(&[("a", "z"), ("c", "a")]),
        labels(&[("a", "z"), ("b", "a")]),
    ];
    for (index, a) in ordered.iter().enumerate() {
        for (other, b) in ordered.iter().enumerate() {
            assert_eq!(by_job(a, b), index.cmp(&other), "{a} {b}");
        }
    }
}
