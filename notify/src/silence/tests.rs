//! What becomes of silences, and which of them an alert meets.

use crate::wire::PutTime as _;
use files::MemFiles;
use metrics::Registry;
use model::clock::ManualClock;
use model::labels::Labels;

use super::*;
use crate::matcher::Syntax;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn open(files: &MemFiles, limits: SilenceLimits) -> Silences {
    let registry = Registry::new();
    let supervisor = Supervisor::new(&registry);
    let clock = Arc::new(ManualClock::new(0));
    let stats = LedgerStats::of_silences(&registry);
    let retention = Duration::from_secs(100);
    Silences::open(
        Arc::new(files.clone()),
        clock,
        Path::new("data"),
        retention,
        limits,
        supervisor,
        stats,
    )
    .expect("opened")
    .0
}

fn matcher(name: &str, op: MatchOp, value: &str) -> PostedMatcher {
    PostedMatcher {
        name: name.to_owned(),
        op,
        value: value.to_owned(),
    }
}

fn posted(values: &[&str], starts_at: i64, ends_at: i64) -> PostedSilence {
    PostedSilence {
        matchers: values
            .iter()
            .map(|value| matcher("a", MatchOp::Equal, value))
            .collect(),
        starts_at: Some(at(starts_at)),
        ends_at: Some(at(ends_at)),
        ..PostedSilence::default()
    }
}

/// Puts a silence at a second; gives its id or the complaint.
async fn put(silences: &Silences, silence: PostedSilence, now: i64) -> Result<String, String> {
    let put = silences.put(silence, Syntax::Fallback, || at(now)).await;
    put.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_change_that_would_rewrite_the_past_makes_another_silence() {
    let silences = open(&MemFiles::new(), SilenceLimits::default());
    let active = put(&silences, posted(&["x", "y"], 5, 50), 10)
        .await
        .expect("made");
    assert_eq!(
        silences.get(&active).expect("there").starts_at,
        at(10),
        "a start in the past is now"
    );
    let pending = put(&silences, posted(&["x"], 30, 50), 10).await.expect("made");
    for (id, silence, keeps) in [
        (&active, posted(&["x", "y"], 10, 60), true),
        (&pending, posted(&["x"], 35, 45), true),
        (&active, posted(&["y", "x"], 10, 60), false),
    ] {
        let silence = PostedSilence {
            id: id.clone(),
            ..silence
        };
        let then = put(&silences, silence, 12).await.expect("changed");
        assert_eq!(then == *id, keeps);
    }
    assert_eq!(
        silences.get(&active).expect("kept").state(at(12)),
        SilenceState::Expired
    );
    // What is over is not begun again.
    let again = PostedSilence {
        id: active.clone(),
        ..posted(&["x", "y"], 10, 60)
    };
    assert_ne!(put(&silences, again, 13).await.expect("made"), active);
    // A pending one that is to have begun before now.
    let earlier = PostedSilence {
        id: pending.clone(),
        ..posted(&["x"], 5, 45)
    };
    assert_ne!(put(&silences, earlier, 13).await.expect("made"), pending);
    let unknown = PostedSilence {
        id: "nonsense".to_owned(),
        ..posted(&["x"], 5, 45)
    };
    assert_eq!(
        put(&silences, unknown, 13).await,
        Err("silence not found".to_owned())
    );
}

#[tokio::test]
async fn silences_that_make_no_sense_are_refused_in_the_references_words() {
    let silences = open(&MemFiles::new(), SilenceLimits::default());
    let of = |matchers: Vec<PostedMatcher>| PostedSilence {
        matchers,
        ..posted(&[], 1, 50)
    };
    let all_empty = "invalid silence: matcher set 0: at least one matcher must not match the empty string";
    for (silence, expected) in [
        (of(vec![]), "invalid silence: matcher set 0 is empty"),
        (of(vec![matcher("a", MatchOp::Equal, "")]), all_empty),
        (of(vec![matcher("a", MatchOp::Regex, ".*")]), all_empty),
        (of(vec![matcher("a", MatchOp::NotEqual, "x")]), ""),
        (
            of(vec![matcher("", MatchOp::Equal, "x")]),
            "invalid silence: invalid label matcher 0 in set 0: invalid label name \"\"",
        ),
        (
            of(vec![
                matcher("b", MatchOp::Equal, "x"),
                matcher("a", MatchOp::Regex, "("),
            ]),
            "invalid silence: invalid label matcher 1 in set 0: invalid regular expression \"(\": \
             error parsing regexp: missing closing ): `(`",
        ),
        (
            posted(&["x"], 60, 50),
            "invalid silence: end time must not be before start time",
        ),
    ] {
        let said = put(&silences, silence, 10).await.err().unwrap_or_default();
        assert_eq!(said, expected);
    }
}

#[tokio::test]
async fn silences_are_limited() {
    let limits = SilenceLimits {
        count_max: 2,
        bytes_max: 200,
    };
    let silences = open(&MemFiles::new(), limits);
    let long = PostedSilence {
        comment: "x".repeat(200),
        ..posted(&["x"], 5, 50)
    };
    let said = put(&silences, long, 10).await.expect_err("too long");
    assert!(said.starts_with("silence exceeded maximum size: ") && said.ends_with(" (limit: 200 bytes)"));
    let first = put(&silences, posted(&["x"], 5, 50), 10).await.expect("made");
    put(&silences, posted(&["x"], 5, 50), 10).await.expect("made");
    let full = Err("exceeded maximum number of silences: 2 (limit: 2)".to_owned());
    assert_eq!(put(&silences, posted(&["x"], 5, 50), 10).await, full);
    let other = PostedSilence {
        id: first.clone(),
        ..posted(&["z"], 10, 50)
    };
    assert_eq!(put(&silences, other, 11).await, full);
    assert_eq!(
        silences.get(&first).expect("there").state(at(11)),
        SilenceState::Active,
        "nothing has changed"
    );
    // Expired ones count until they are forgotten.
    silences.expire(&first, || at(12)).await.expect("expired");
    silences
        .expire(&first, || at(13))
        .await
        .expect("twice does no harm");
    assert_eq!(put(&silences, posted(&["x"], 5, 50), 20).await, full);
    silences.maintain(at(112)).expect("maintained");
    put(&silences, posted(&["x"], 5, 150), 113).await.expect("made");
}

#[tokio::test]
async fn what_an_alert_meets_is_found_once_and_stays_right() {
    let silences = open(&MemFiles::new(), SilenceLimits::default());
    let (mutes, labels) = (MuteCache::default(), Labels::from_pairs([("a", "x")]));
    let met = |now| mutes.silencing(&silences, &labels, at(now));
    assert!(met(10).is_empty());
    put(&silences, posted(&["other"], 5, 50), 10).await.expect("made");
    let pending = put(&silences, posted(&["x"], 20, 30), 10).await.expect("made");
    let active = put(&silences, posted(&["x"], 5, 25), 11).await.expect("made");
    assert_eq!(met(12), [&*active]);
    assert_eq!(met(22), [&*pending, &*active]);
    assert_eq!(met(27), [&*pending]);
    assert!(met(31).is_empty());
    // A clock that is set back finds them as they were.
    assert_eq!(met(12), [&*active]);
    // A change of its times is seen without looking for it anew.
    let longer = PostedSilence {
        id: active.clone(),
        ..posted(&["x"], 11, 40)
    };
    assert_eq!(put(&silences, longer, 12).await.as_ref(), Ok(&active));
    assert_eq!(met(35), [&*active]);
    silences.maintain(at(200)).expect("maintained");
    assert!(met(35).is_empty());
}

#[tokio::test]
async fn the_references_file_is_read_and_written() {
    let files = MemFiles::new();
    let silences = open(&files, SilenceLimits::default());
    let wanted = PostedSilence {
        matchers: vec![
            matcher("größe", MatchOp::Regex, "XL|L"),
            matcher("b", MatchOp::NotEqual, ""),
        ],
        created_by: "me".to_owned(),
        comment: "why".to_owned(),
        annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        ..posted(&[], 5, 5_000)
    };
    let id = put(&silences, wanted, 10).await.expect("made");
    let before = silences.get(&id).expect("there");
    silences.maintain(at(11)).expect("written");
    // Another program that reads its own file only.
    files
        .remove_file(Path::new("data/silences.journal"))
        .expect("removed");
    let after = open(&files, SilenceLimits::default());
    assert_eq!(after.get(&id), Some(before));
}

#[test]
fn records_of_all_versions_are_read() {
    let mut old = model::protobuf::Message::default();
    old.message(1, |silence| {
        silence
            .text(1, "id")
            .message(2, |matcher| {
                matcher.uint(1, 3).text(2, "a").text(3, "x.*");
            })
            .time(3, at(1))
            .time(4, at(2))
            .time(5, at(3))
            .message(7, |comment| {
                comment.text(1, "author").text(2, "words");
            })
            // Of a later version.
            .message(12, |set| {
                set.text(1, "unknown");
            });
    })
    .time(2, at(9));
    let record = Record::decode(&old.into_bytes()).expect("a record");
    let silence = &record.silence;
    assert_eq!(silence.matchers[0].to_string(), r#"{a!~"x.*"}"#);
    assert_eq!(
        (silence.created_by.as_str(), silence.comment.as_str()),
        ("author", "words")
    );
    let again = Record::decode(&record.encode()).expect("a record");
    assert_eq!(again, record);
    assert!(!again.silence.unknown.is_empty());
    // Cut and flipped everywhere: an error, or another record.
    let bytes = record.encode();
    for end in 0..bytes.len() {
        let _ = Record::decode(&bytes[..end]);
        let mut flipped = bytes.clone();
        flipped[end] ^= 0x55;
        let _ = Record::decode(&flipped);
    }
}

/// One that is in force from minute to minute of each hour of the first day.
fn recurring(values: &[&str], starts_at: i64, ends_at: i64, times: &str) -> PostedSilence {
    PostedSilence {
        annotations: [(RECURRENCE.to_owned(), times.to_owned())].into(),
        ..posted(values, starts_at, ends_at)
    }
}

#[tokio::test]
async fn one_that_recurs_silences_at_its_times_only() {
    let files = MemFiles::new();
    let silences = open(&files, SilenceLimits::default());
    let times =
        "[{times: [{start_time: '00:01', end_time: '00:02'}, {start_time: '00:03', end_time: '00:04'}]}]";
    let id = put(&silences, recurring(&["x"], 30, 200, times), 0)
        .await
        .expect("made");
    let labels = Labels::from_pairs([("a", "x")]);
    for silences in [silences, open(&files.after_kill(), SilenceLimits::default())] {
        let silence = silences.get(&id).expect("there");
        let mutes = MuteCache::default();
        for (second, state) in [
            (29, SilenceState::Pending),
            (59, SilenceState::Pending),
            (60, SilenceState::Active),
            (119, SilenceState::Active),
            (120, SilenceState::Pending),
            (180, SilenceState::Active),
            (200, SilenceState::Active),
            (201, SilenceState::Expired),
        ] {
            assert_eq!(silence.state(at(second)), state, "{second}");
            let met = mutes.silencing(&silences, &labels, at(second));
            assert_eq!(!met.is_empty(), state == SilenceState::Active, "{second}");
        }
    }
}

#[tokio::test]
async fn one_that_recurs_is_changed_like_others_between_its_times() {
    let silences = open(&MemFiles::new(), SilenceLimits::default());
    let times = "[{times: [{start_time: '00:01', end_time: '00:02'}]}]";
    let id = put(&silences, recurring(&["x"], 0, 1000, times), 0)
        .await
        .expect("made");
    let longer = |times: &str| PostedSilence {
        id: id.clone(),
        ..recurring(&["x"], 0, 2000, times)
    };
    assert_eq!(put(&silences, longer(times), 30).await.as_ref(), Ok(&id));
    // Other times are another silence: what it has silenced stays as it was.
    let other = "[{times: [{start_time: '00:05', end_time: '00:06'}]}]";
    let changed = put(&silences, longer(other), 90).await.expect("made");
    assert_ne!(changed, id);
    assert_eq!(
        silences.get(&id).expect("there").state(at(91)),
        SilenceState::Expired
    );
    silences.expire(&changed, || at(100)).await.expect("expired");
    let ended = silences.get(&changed).expect("there");
    assert!(ended.starts_at == at(90) && ended.ends_at < at(100), "{ended:?}");
    let wrong = put(&silences, recurring(&["x"], 0, 1000, "[{weekdays: [never]}]"), 0).await;
    assert_eq!(
        wrong,
        Err("invalid silence: annotation narthex_recurrence: never is not a valid weekday".to_owned())
    );
}
