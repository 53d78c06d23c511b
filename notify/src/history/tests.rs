//! The history on disks that fail, fill up, lose power and flip bits.

use std::path::PathBuf;

use files::{Fault, MemFiles};
use metrics::Format;
use model::clock::ManualClock;

use super::*;
use crate::matcher::Syntax;
use model::regex::Regex;

const LIMITS: HistoryLimits = HistoryLimits {
    age: Duration::from_secs(1000),
    bytes: 4 << 20,
};

struct Bench {
    files: MemFiles,
    clock: Arc<ManualClock>,
    registry: Registry,
    history: Arc<History>,
}

impl Bench {
    fn new() -> Self {
        Bench::on(MemFiles::new(), LIMITS)
    }

    fn on(files: MemFiles, limits: HistoryLimits) -> Self {
        files.create_dir_all(Path::new("data")).unwrap();
        files.sync_dir(Path::new("")).unwrap();
        let (clock, registry) = (Arc::new(ManualClock::default()), Registry::new());
        let history = History::open(
            Arc::new(files.clone()),
            clock.clone(),
            Path::new("data"),
            limits,
            &registry,
        );
        Bench {
            files,
            clock,
            registry,
            history: history.unwrap(),
        }
    }

    /// The same on the files as a kill would leave them.
    fn after_kill(&self) -> Bench {
        let bench = Bench::on(self.files.after_kill(), LIMITS);
        bench.clock.set(self.clock.now_ms());
        bench
    }

    /// Tells of alert number `n`, one millisecond after the last.
    fn tell(&self, n: u64) {
        self.clock.set(self.clock.now_ms() + 1);
        self.history.tell(self.now(), &fired(n));
    }

    fn tell_and_write(&self, n: u64) -> bool {
        self.tell(n);
        self.history.write_all()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now_ms()).unwrap()
    }

    /// Numbers of the alerts that are in the history, newest first, asked for in pages.
    fn found(&self, page: usize) -> Vec<u64> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let query = HistoryQuery {
                limit: page,
                before,
                ..HistoryQuery::default()
            };
            let answer = self.history.ask(&query);
            assert!(answer.events.len() <= page);
            found.extend(answer.events.iter().map(number));
            before = answer.next;
            if before.is_none() {
                return found;
            }
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.registry.render(Format::Text);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let folder = Path::new("data/history");
        let entries = self.files.list(folder).unwrap_or_default();
        entries.into_iter().map(|entry| folder.join(entry.name)).collect()
    }
}

fn fired(n: u64) -> What {
    What::Alert(AlertChange {
        state: AlertState::Firing,
        labels: [("n".to_owned(), n.to_string())].into(),
        starts_at: Timestamp::UNIX_EPOCH,
        ends_at: None,
    })
}

fn number(event: &Event) -> u64 {
    match &event.what {
        What::Alert(change) => change.labels["n"].parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn down_from(last: u64) -> Vec<u64> {
    (1..=last).rev().collect()
}

#[test]
fn what_was_told_is_found_newest_first_and_outlives_a_kill() {
    let bench = Bench::new();
    for n in 1..=9 {
        assert!(bench.tell_and_write(n));
    }
    for page in [1, 2, 4, 9, 100] {
        assert_eq!(bench.found(page), down_from(9));
    }
    let after = bench.after_kill();
    assert_eq!(after.found(100), down_from(9));
    // It goes on in the same file, with numbers that were not given yet.
    assert!(after.tell_and_write(10));
    assert_eq!(after.found(3), down_from(10));
    assert_eq!(after.segments().len(), 1);
    let ids = after.history.ask(&HistoryQuery::default()).events;
    assert_eq!(
        ids.iter().map(|event| event.id).collect::<Vec<_>>(),
        down_from(10)
    );
}

#[test]
fn nothing_is_kept_where_nothing_is_wanted() {
    for limits in [
        HistoryLimits::default(),
        HistoryLimits { bytes: 0, ..LIMITS },
        HistoryLimits {
            age: Duration::ZERO,
            ..LIMITS
        },
    ] {
        let clock = Arc::new(ManualClock::default());
        let files = Arc::new(MemFiles::new());
        assert!(History::open(files, clock, Path::new("data"), limits, &Registry::new()).is_none());
    }
}

#[test]
fn the_oldest_go_once_all_take_too_many_bytes() {
    let limits = HistoryLimits {
        bytes: 256 << 10,
        ..LIMITS
    };
    let bench = Bench::on(MemFiles::new(), limits);
    for n in 1..=400 {
        for _ in 0..30 {
            bench.tell(n);
        }
        assert!(bench.history.write_all());
        let bytes: u64 = bench
            .segments()
            .iter()
            .map(|path| bench.files.len(path).unwrap())
            .sum();
        assert!(bytes <= limits.bytes, "{bytes}");
        assert_eq!(bench.metric("narthex_alertmanager_history_bytes"), bytes as f64);
    }
    let found = bench.found(1000);
    assert_eq!(found[0], 400);
    assert!(found.len() > 2000 && found.is_sorted_by(|a, b| a >= b));
}

#[test]
fn what_is_too_old_is_neither_shown_nor_kept() {
    let bench = Bench::new();
    bench.tell_and_write(1);
    bench.clock.set(600_000);
    bench.tell_and_write(2);
    bench.clock.set(1_100_000);
    assert_eq!(bench.found(10), [2]);
    assert!(bench.history.write_all());
    assert_eq!(bench.segments().len(), 1, "its segment holds what is younger");
    bench.clock.set(1_700_000);
    assert!(bench.history.write_all());
    assert_eq!(bench.segments().len(), 0);
    assert!(bench.tell_and_write(3));
    assert_eq!(bench.after_kill().found(10), [3]);
}

#[test]
fn events_are_asked_for_by_kind_time_receiver_and_matchers() {
    let bench = Bench::new();
    let labels = |n: &str| {
        Pairs::from([
            ("alertname".to_owned(), "Down".to_owned()),
            ("n".to_owned(), n.to_owned()),
        ])
    };
    let notified = |receiver: &str, n: &str| {
        What::Notification(Notified {
            result: NotifiedResult::Failed,
            receiver: receiver.to_owned(),
            integration: "webhook[0]".to_owned(),
            route: "{}".to_owned(),
            group_key: "{}:{}".to_owned(),
            group_labels: Pairs::new(),
            reason: Some("first notification".to_owned()),
            attempts: 3,
            error: Some("refused".to_owned()),
            template_error: None,
            not_durable: false,
            alert_count: 1,
            alerts: vec![ToldAlert {
                state: AlertState::Firing,
                labels: labels(n),
            }],
        })
    };
    let silence = What::Silence(SilenceChange {
        change: SilenceFate::Created,
        silence: "id".to_owned(),
        replaces: None,
        by: Some("ops".to_owned()),
        created_by: "me".to_owned(),
        comment: "disks".to_owned(),
        matchers: vec!["alertname=\"Down\"".to_owned()],
        starts_at: Timestamp::UNIX_EPOCH,
        ends_at: Timestamp::UNIX_EPOCH,
    });
    for (ms, what) in [
        (1, fired(1)),
        (2, notified("team-a", "1")),
        (3, notified("team-b", "2")),
        (4, silence),
    ] {
        bench
            .history
            .tell(Timestamp::from_millisecond(ms).unwrap(), &what);
    }
    assert!(bench.history.write_all());
    let ids = |query: HistoryQuery| {
        let page = bench.history.ask(&query);
        page.events.iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let like = |text: &str| HistoryQuery {
        matchers: std::iter::once(Syntax::Fallback.matcher(text).unwrap()).collect(),
        ..HistoryQuery::default()
    };
    let at = |ms| Timestamp::from_millisecond(ms).ok();
    assert_eq!(ids(HistoryQuery::default()), [4, 3, 2, 1]);
    assert_eq!(ids(like("alertname=Down")), [4, 3, 2]);
    assert_eq!(ids(like("n=~\"1|3\"")), [2, 1]);
    assert_eq!(
        ids(HistoryQuery {
            receiver: Some(Regex::anchored_in_line("team-.*").unwrap()),
            start: at(3),
            ..HistoryQuery::default()
        }),
        [3]
    );
    assert_eq!(
        ids(HistoryQuery {
            kinds: vec![EventKind::Silence, EventKind::Alert],
            end: at(3),
            ..HistoryQuery::default()
        }),
        [1]
    );
}

#[test]
fn a_question_reads_so_many_bytes_and_says_where_to_go_on() {
    let bench = Bench::on(
        MemFiles::new(),
        HistoryLimits {
            bytes: 256 << 10,
            ..LIMITS
        },
    );
    for n in 1..=900 {
        bench.tell_and_write(n);
    }
    assert!(bench.segments().len() > 3);
    let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let query = HistoryQuery {
            before,
            ..HistoryQuery::default()
        };
        let page = query::ask(&bench.history.segments, &query, 1);
        found.extend(page.events.iter().map(number));
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, down_from(900));
    assert_eq!(pages, bench.segments().len());
}

#[test]
fn an_answer_has_so_many_bytes() {
    let bench = Bench::on(
        MemFiles::new(),
        HistoryLimits {
            bytes: 64 << 20,
            ..LIMITS
        },
    );
    let mut what = fired(1);
    if let What::Alert(change) = &mut what {
        change
            .labels
            .insert("x".to_owned(), "x".repeat(EVENT_BYTES_MAX / 2));
    }
    for _ in 0..100 {
        bench.history.tell(bench.now(), &what);
    }
    assert!(bench.history.write_all());
    let page = bench.history.ask(&HistoryQuery::default());
    assert_eq!(page.events.len(), 63, "8 MiB");
    assert_eq!(page.next, Some(38));
}

#[test]
fn whichever_call_fails_what_was_written_stays_and_the_rest_follows() {
    for call in 1..40 {
        let bench = Bench::new();
        bench.files.inject(Fault::Call(bench.files.calls() + call));
        for n in 1..=6 {
            bench.tell_and_write(n);
        }
        assert!(bench.history.write_all());
        assert_eq!(bench.found(4), down_from(6), "call {call}");
        assert_eq!(bench.after_kill().found(4), down_from(6), "call {call}");
    }
}

#[test]
fn a_power_cut_or_a_torn_write_costs_what_was_not_written() {
    for call in 1..40 {
        let bench = Bench::new();
        bench.files.inject(Fault::TornAtCall(bench.files.calls() + call));
        let mut written = 0;
        for n in 1..=6 {
            if bench.tell_and_write(n) {
                written = n;
            }
        }
        for left in [bench.files.after_kill(), bench.files.after_power_loss()] {
            let after = Bench::on(left, LIMITS);
            after.clock.set(bench.clock.now_ms());
            let found = after.found(4);
            assert!(
                found.len() as u64 >= written,
                "call {call}: {found:?}, written {written}"
            );
            assert_eq!(found, down_from(found.len() as u64));
            assert!(after.tell_and_write(found.len() as u64 + 1), "call {call}");
            assert_eq!(after.after_kill().found(4), down_from(found.len() as u64 + 1));
        }
    }
}

#[test]
fn a_full_disk_costs_what_does_not_fit_into_memory() {
    let bench = Bench::on(
        MemFiles::new(),
        HistoryLimits {
            bytes: 64 << 20,
            ..LIMITS
        },
    );
    bench.files.inject(Fault::CallsFrom(0));
    for n in 1..=10 {
        assert!(!bench.tell_and_write(n));
    }
    assert_eq!(
        bench.metric("narthex_alertmanager_history_write_failures_total"),
        10.0
    );
    let long = What::Alert(AlertChange {
        state: AlertState::Firing,
        labels: [
            ("n".to_owned(), "0".to_owned()),
            ("x".to_owned(), "x".repeat(200_000)),
        ]
        .into(),
        starts_at: Timestamp::UNIX_EPOCH,
        ends_at: None,
    });
    let fit = (QUEUE_BYTES_MAX / 200_000) as f64;
    for _ in 0..100 {
        bench.history.tell(bench.now(), &long);
    }
    let dropped = bench.metric("narthex_alertmanager_history_dropped_total");
    assert!((100.0 - fit..=101.0 - fit).contains(&dropped), "{dropped}");
    assert!(bench.history.queue.lock().bytes <= QUEUE_BYTES_MAX);
    bench.files.heal();
    assert!(bench.history.write_all());
    assert_eq!(bench.found(1000).len() as f64, 10.0 + 100.0 - dropped);
}

#[test]
fn an_event_that_is_too_long_is_dropped() {
    let bench = Bench::new();
    let mut what = fired(1);
    if let What::Alert(change) = &mut what {
        change.labels.insert("x".to_owned(), "x".repeat(EVENT_BYTES_MAX));
    }
    bench.history.tell(bench.now(), &what);
    assert_eq!(bench.metric("narthex_alertmanager_history_dropped_total"), 1.0);
}

#[test]
fn cut_and_flipped_bytes_cost_their_events() {
    let bench = Bench::new();
    for n in 1..=4 {
        bench.tell_and_write(n);
    }
    let path = bench.segments().remove(0);
    let len = bench.files.len(&path).unwrap();
    for at in 0..len {
        let files = bench.files.after_kill();
        files.truncate(&path, at).unwrap();
        check_damaged(files, &bench, &format!("cut at {at}"));
        let files = bench.files.after_kill();
        files.flip(&path, at as usize, 0x40).unwrap();
        let left = check_damaged(files, &bench, &format!("flipped at {at}"));
        assert!(left >= 3 || at < 16, "flipped at {at}: {left}");
    }
}

/// What is left is in order, and the history goes on; how much is left.
fn check_damaged(files: MemFiles, bench: &Bench, what: &str) -> usize {
    let after = Bench::on(files, LIMITS);
    after.clock.set(bench.clock.now_ms());
    let found = after.found(10);
    assert!(
        found.iter().all(|n| (1..=4).contains(n)) && found.is_sorted_by(|a, b| a > b),
        "{what}"
    );
    assert!(after.tell_and_write(5), "{what}");
    let mut expected = found.clone();
    expected.insert(0, 5);
    assert_eq!(after.found(10), expected, "{what}");
    assert_eq!(after.after_kill().found(10), expected, "{what}");
    found.len()
}

#[test]
fn a_folder_that_cannot_be_read_keeps_nobody_from_starting() {
    let bench = Bench::new();
    bench.tell_and_write(1);
    for read in 1..6 {
        let files = bench.files.after_kill();
        files.inject(Fault::Read(files.reads() + read));
        let after = Bench::on(files, LIMITS);
        after.clock.set(bench.clock.now_ms());
        let written = after.tell_and_write(2) || after.history.write_all();
        assert!(written, "read {read}");
        let page = after.history.ask(&HistoryQuery::default());
        assert!(
            !page.events.is_empty() || !page.warnings.is_empty(),
            "read {read}"
        );
        assert_eq!(after.after_kill().found(10), [2, 1], "read {read}");
    }
}

#[test]
fn a_restart_does_not_tell_again_what_fires() {
    let bench = Bench::new();
    let alert = |ends_at_ms| StoredAlert {
        labels: Labels::from_pairs([("n", "7")]),
        annotations: Pairs::new(),
        starts_at: Timestamp::UNIX_EPOCH,
        ends_at: Timestamp::from_millisecond(ends_at_ms).unwrap(),
        times_out: false,
        generator_url: String::new(),
        offsets: crate::alert::Offsets::default(),
        updated_at: Timestamp::UNIX_EPOCH,
        fingerprint: 0,
    };
    let fires = alert(1_000_000);
    bench.history.alert(&fires, bench.now());
    bench.history.alert(&fires, bench.now());
    assert!(bench.history.write_all());
    assert_eq!(bench.found(10), [7]);
    let after = bench.after_kill();
    after.history.alert(&fires, after.now());
    assert!(after.history.write_all());
    assert_eq!(after.found(10), [7]);
    after.clock.set(5);
    after.history.alert(&alert(4), after.now());
    after.history.alert(&alert(4), after.now());
    assert!(after.history.write_all());
    assert_eq!(after.found(10), [7, 7]);
}

/// The example of `notify/docs/history.md`.
#[test]
fn the_documented_example_is_what_is_written() {
    let text = include_str!("../../docs/history.md");
    let (_, block) = text.split_once("```hex file\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let digits: String = block
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.chars().filter(char::is_ascii_hexdigit))
        .collect();
    let bench = Bench::new();
    bench.tell_and_write(7);
    let written = bench.files.read(&bench.segments()[0]).unwrap();
    let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, digits, "{hex}");
}
