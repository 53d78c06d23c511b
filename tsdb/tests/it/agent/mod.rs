//! The store of an agent: what is taken, what is in its log, and what is left of both when it is cut, killed or refused.

mod kills;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use files::{Fault, Files, MemFiles};
use model::clock::{Clock as _, ManualClock};
use model::histogram::{Buckets, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::log::{Log, LogPosition, LogReader, LogRecord, LogStep};
use model::packed_sets::PackedSets;
use model::sample::{Exemplar, Metadata, MetricType};
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, FloatSample, HistogramSample, Refusal,
    SeriesError, SeriesRef,
};
use narthex_tsdb::agent::{Agent, Options};

const MINUTE_MS: i64 = 60_000;

/// An agent's folder, and the time.
pub(super) struct World {
    pub(super) files: MemFiles,
    pub(super) clock: Arc<ManualClock>,
    pub(super) options: Options,
}

impl World {
    pub(super) fn new() -> Self {
        World {
            files: MemFiles::new(),
            clock: Arc::new(ManualClock::new(1_000_000_000)),
            options: Options {
                background: false,
                lock: false,
                wal_segment_bytes: 32 << 10,
                ..Options::default()
            },
        }
    }

    pub(super) fn open(&self) -> Agent {
        let files: Arc<dyn Files> = Arc::new(self.files.clone());
        let options = self.options.clone();
        let agent =
            Agent::new(files, Path::new("data-agent"), options, self.clock.clone()).expect("a folder");
        agent.open_log().expect("a log");
        agent
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lets time go by.
    pub(super) fn pass(&self, ms: i64) {
        self.clock.set(self.now_ms() + ms);
    }
}

fn named(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test")])
}

fn float(series: SeriesRef, timestamp_ms: i64, value: f64) -> FloatSample {
    FloatSample {
        series,
        timestamp_ms,
        value,
    }
}

/// Appends, and gives what was refused.
fn append(agent: &Agent, batch: &AppendBatch) -> Vec<(BatchList, u32, Refusal)> {
    let mut outcome = AppendOutcome::default();
    agent.append(batch, &mut outcome).expect("appended");
    let offered = batch.floats.len() + batch.histograms.len();
    let is_sample = |refused: &&(BatchList, u32, Refusal)| refused.0 != BatchList::Exemplars;
    let refused = outcome.refused.iter().filter(is_sample).count();
    if batch.start_floats.is_empty() && !batch.all_or_nothing {
        assert_eq!(outcome.accepted as usize + refused, offered);
    }
    outcome.refused
}

fn add(agent: &Agent, name: &str, timestamp_ms: i64) -> SeriesRef {
    let series = agent.resolve(&named(name)).expect("a series");
    let mut batch = AppendBatch::default();
    batch
        .floats
        .push(float(series, timestamp_ms, timestamp_ms as f64));
    assert_eq!(append(agent, &batch), []);
    series
}

/// What a reader finds up to the end: floats with the names of their series, and what else it says.
pub(super) fn read(reader: &mut dyn LogReader) -> (Vec<(String, i64)>, Vec<LogStep>) {
    let (mut names, mut record) = (BTreeMap::new(), LogRecord::default());
    let (mut found, mut steps) = (Vec::new(), Vec::new());
    loop {
        let step = reader.read(&mut record).expect("read");
        for (series, labels) in &record.series {
            names.insert(series.0, labels.metric_name().to_owned());
        }
        match step {
            LogStep::End => return (found, steps),
            LogStep::Before | LogStep::Record => {}
            step => steps.push(step),
        }
        for sample in &record.floats {
            let name = names.get(&sample.series.0).cloned();
            found.push((name.unwrap_or_else(|| "?".to_owned()), sample.timestamp_ms));
        }
    }
}

fn whole_log(agent: &Agent) -> LogRecord {
    read_all(agent, LogPosition::default())
}

/// What a reader of the log from there on hears, names from before included.
fn read_all(agent: &Agent, from: LogPosition) -> LogRecord {
    let mut reader = agent.follow(from).expect("a reader");
    let (mut all, mut record) = (LogRecord::default(), LogRecord::default());
    while reader.read(&mut record).expect("read") != LogStep::End {
        all.series.append(&mut record.series);
        all.floats.append(&mut record.floats);
        all.histograms.append(&mut record.histograms);
        all.exemplars.append(&mut record.exemplars);
        all.metadata.append(&mut record.metadata);
    }
    all
}

fn histogram(count: u64) -> Histogram {
    Histogram::Int(Arc::new(Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.0,
        zero_count: 0,
        count,
        sum: 1.5,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: Vec::new(),
        positive_buckets: vec![count as i64],
        negative_buckets: Vec::new(),
        custom_values: None,
    }))
}

#[test]
fn everything_that_is_appended_is_in_the_log() {
    let mut world = World::new();
    world.options.start_timestamps = true;
    let agent = world.open();
    let (a, b) = (
        agent.resolve(&named("a")).expect("a"),
        agent.resolve(&named("b")).expect("b"),
    );
    let metadata = Metadata {
        metric_type: MetricType::Counter,
        unit: "bytes".to_owned(),
        help: "What there is.".to_owned(),
    };
    let exemplar = Exemplar {
        labels: Labels::from_pairs([("trace_id", "t")]),
        value: 0.5,
        timestamp_ms: None,
    };
    let mut batch = AppendBatch::default();
    batch.floats.push(float(a, 1000, 1.0));
    batch.float_starts_ms.push(500);
    batch.histograms.push(HistogramSample {
        series: b,
        timestamp_ms: 1000,
        histogram: histogram(3),
    });
    batch.histogram_starts_ms.push(400);
    batch.exemplars.push((a, exemplar.clone()));
    batch.metadata.push((a, metadata.clone()));
    assert_eq!(append(&agent, &batch), []);
    // The same once more, later: what is known is not said again.
    batch.floats[0].timestamp_ms = 2000;
    batch.histograms[0].timestamp_ms = 2000;
    batch.exemplars[0].1.timestamp_ms = Some(1000);
    let duplicate = (BatchList::Exemplars, 0, Refusal::DuplicateExemplar);
    assert_eq!(append(&agent, &batch), [duplicate]);
    let appended = agent.appended();
    assert_eq!(
        (
            appended.floats,
            appended.histograms,
            appended.exemplars,
            appended.newest_ms
        ),
        (2, 2, 1, 2000)
    );
    let check = |agent: &Agent| {
        let all = whole_log(agent);
        assert_eq!(all.series, [(a, named("a")), (b, named("b"))]);
        let floats: Vec<_> = all
            .floats
            .iter()
            .map(|f| (f.series, f.start_ms, f.timestamp_ms))
            .collect();
        assert_eq!(floats, [(a, 500, 1000), (a, 500, 2000)]);
        let histograms = all
            .histograms
            .iter()
            .map(|h| (h.series, h.start_ms, h.timestamp_ms));
        assert_eq!(histograms.collect::<Vec<_>>(), [(b, 400, 1000), (b, 400, 2000)]);
        assert_eq!(all.histograms[0].histogram, histogram(3));
        let at = |ms| Exemplar {
            timestamp_ms: Some(ms),
            ..exemplar.clone()
        };
        assert_eq!(all.exemplars, [(a, at(1000))]);
        assert_eq!(all.metadata, [(a, metadata.clone())]);
    };
    check(&agent);
    // After a restart all of that is known.
    drop(agent);
    let agent = world.open();
    assert_eq!(agent.resolve(&named("a")), Ok(a));
    batch.floats[0].timestamp_ms = 1999;
    batch.histograms[0].timestamp_ms = 2000;
    let refused = append(&agent, &batch);
    assert_eq!(
        refused,
        [
            (BatchList::Floats, 0, Refusal::OutOfOrder),
            (BatchList::Histograms, 0, Refusal::OutOfOrder),
            duplicate
        ]
    );
    check(&agent);
}

#[test]
fn samples_of_a_series_go_forward() {
    let world = World::new();
    let agent = world.open();
    let a = add(&agent, "a", 1000);
    let refused_at = |batch: &AppendBatch| -> Vec<u32> {
        let refused = append(&agent, batch);
        assert!(
            refused
                .iter()
                .all(|(list, _, refusal)| { *list == BatchList::Floats && *refusal == Refusal::OutOfOrder })
        );
        refused.into_iter().map(|(_, at, _)| at).collect()
    };
    let batch = |times: &[i64]| {
        let mut batch = AppendBatch::default();
        batch.floats.extend(times.iter().map(|ms| float(a, *ms, 0.0)));
        batch
    };
    assert_eq!(
        refused_at(&batch(&[1000, 999, 1001, 1001, 1003, 1002])),
        [0, 1, 3, 5]
    );
    // All or nothing: what could have been taken can still be.
    let mut whole = batch(&[1004, 1000]);
    whole.all_or_nothing = true;
    assert_eq!(refused_at(&whole), [1]);
    assert_eq!(refused_at(&batch(&[1004])), [0u32; 0]);
    // A beginning is added to the end of a series only, and nobody hears of one that is not.
    let mut started = batch(&[1000, 1005, 1004, 1006]);
    started.start_floats = vec![0, 2];
    assert_eq!(refused_at(&started), [0u32; 0]);
    // Late samples, as far as the window goes.
    agent.set_out_of_order_window(100);
    assert_eq!(refused_at(&batch(&[907, 906, 1006])), [1]);
    let mut rules = batch(&[950]);
    rules.discard_out_of_order = true;
    assert_eq!(refused_at(&rules), [0]);
    let times: Vec<i64> = read(&mut *agent.follow(LogPosition::default()).expect("a reader"))
        .0
        .into_iter()
        .map(|(_, ms)| ms)
        .collect();
    assert_eq!(times, [1000, 1001, 1003, 1004, 1005, 1006, 907, 1006]);
}

#[test]
fn what_the_disk_refuses_can_be_tried_again() {
    let world = World::new();
    let agent = world.open();
    let a = add(&agent, "a", 1000);
    world.files.inject(Fault::CallsFrom(world.files.calls() + 1));
    let b = agent.resolve(&named("b")).expect("made in memory");
    let mut batch = AppendBatch::default();
    batch
        .floats
        .extend([float(a, 2000, 1.0), float(b, 2000, 2.0), float(a, 3000, 3.0)]);
    let failed = agent.append(&batch, &mut AppendOutcome::default());
    assert!(matches!(failed, Err(AppendError::Storage(_))), "{failed:?}");
    assert!(agent.write_failure().is_some());
    world.files.heal();
    assert_eq!(append(&agent, &batch), []);
    assert_eq!(agent.write_failure(), None);
    let (found, steps) = read(&mut *agent.follow(LogPosition::default()).expect("a reader"));
    let name = |name: &str, ms| (name.to_owned(), ms);
    assert_eq!(
        (found, steps),
        (
            vec![name("a", 1000), name("a", 2000), name("b", 2000), name("a", 3000)],
            vec![]
        )
    );
}

#[test]
fn label_sets_are_found_as_they_lie_in_requests() {
    let mut world = World::new();
    world.options.series_max = 2;
    let agent = world.open();
    let (a, b) = (add(&agent, "a", 1), add(&agent, "b", 1));
    let mut sets = PackedSets::default();
    for name in ["b", "c", "a"] {
        sets.push(b"__name__", name.as_bytes()).expect("short");
        sets.push(b"job", b"test").expect("short");
        sets.finish();
    }
    let mut found = vec![Some(SeriesRef(99))];
    agent.find(&sets, &mut found);
    assert_eq!(found, [Some(b), None, Some(a)]);
    assert_eq!(agent.resolve(&named("c")), Err(SeriesError::LimitReached));
    assert_eq!(agent.resolve(&Labels::empty()), Err(SeriesError::Empty));
    assert_eq!(agent.series_len(), 2);
}

#[test]
fn a_series_that_is_forgotten_must_be_resolved_again() {
    let world = World::new();
    let agent = world.open();
    let old = add(&agent, "old", world.now_ms() - 10 * MINUTE_MS);
    let young = add(&agent, "young", world.now_ms() - 4 * MINUTE_MS);
    assert_eq!(agent.truncate().expect("cut").series, 1);
    assert_eq!(agent.series_len(), 1);
    let mut batch = AppendBatch::default();
    batch
        .floats
        .extend([float(young, world.now_ms(), 1.0), float(old, world.now_ms(), 1.0)]);
    batch.metadata.push((old, Metadata::default()));
    match agent.append(&batch, &mut AppendOutcome::default()) {
        Err(AppendError::UnknownSeries(unknown)) => assert_eq!(unknown, [old]),
        other => panic!("{other:?}"),
    }
    // Nothing of it was taken.
    batch.floats.truncate(1);
    batch.metadata.clear();
    assert_eq!(append(&agent, &batch), []);
    let again = add(&agent, "old", world.now_ms());
    assert!(again > young, "never the same reference");
}

/// Fills segments with samples of series that end, and of one that goes on. Gives what there should be in the log.
fn fill(world: &World, agent: &Agent, rounds: i64) -> Vec<(String, i64)> {
    let mut expected = Vec::new();
    for round in 0..rounds {
        for n in 0..40 {
            let name = format!("round_{round}_{n}_{}", "x".repeat(60));
            add(agent, &name, world.now_ms());
            expected.push((name, world.now_ms()));
        }
        add(agent, "always", world.now_ms());
        expected.push(("always".to_owned(), world.now_ms()));
        agent.wal().next_segment().expect("cut");
        world.pass(MINUTE_MS);
    }
    expected
}

#[test]
fn the_log_is_cut_behind_who_follows_it_and_what_is_left_keeps_its_names() {
    let world = World::new();
    let agent = world.open();
    let expected = fill(&world, &agent, 20);
    // Somebody is at the beginning: nothing may go.
    agent.keep_from(Some(0));
    let truncated = agent.truncate().expect("nothing to cut");
    assert_eq!(truncated.segments, 0);
    assert!(truncated.series > 500, "idle ones are forgotten all the same");
    let all = |from| read(&mut *agent.follow(from).expect("a reader"));
    assert_eq!(all(LogPosition::default()), (expected.clone(), vec![]));
    // Somebody is in the midst: what comes before goes, and what is left can be named.
    let midst = LogPosition {
        segment: 11,
        offset: 0,
    };
    agent.keep_from(Some(midst.segment));
    assert_eq!(agent.truncate().expect("cut").segments, 11);
    let (found, steps) = all(midst);
    assert_eq!((found.as_slice(), steps), (&expected[11 * 41..], vec![]));
    // Also after a restart, which still knows who was idle.
    drop(agent);
    let agent = world.open();
    let (found, steps) = read(&mut *agent.follow(midst).expect("a reader"));
    assert_eq!((found.as_slice(), steps), (&expected[11 * 41..], vec![]));
    // Who comes too late is told.
    agent.keep_from(None);
    assert!(agent.truncate().expect("cut").segments > 0);
    let (found, steps) = read(&mut *agent.follow(midst).expect("a reader"));
    assert!(
        found.is_empty() && matches!(steps[..], [LogStep::Gone { .. }]),
        "{steps:?}"
    );
    assert!(
        agent.bytes_from(0).expect("bytes") < 4 << 10,
        "an empty log but for its checkpoint"
    );
    // Samples of the last minutes are in the checkpoint: an older one is refused even now.
    drop(agent);
    let agent = world.open();
    let always = agent.resolve(&named("always")).expect("known");
    let mut batch = AppendBatch::default();
    batch.floats.push(float(always, world.now_ms() - MINUTE_MS, 0.0));
    assert_eq!(
        append(&agent, &batch),
        [(BatchList::Floats, 0, Refusal::OutOfOrder)]
    );
}

#[test]
fn names_of_what_is_gone_are_forgotten_with_the_last_of_its_samples() {
    let world = World::new();
    let agent = world.open();
    fill(&world, &agent, 10);
    world.pass(10 * MINUTE_MS);
    add(&agent, "always", world.now_ms());
    let named_in_log = |agent: &Agent| {
        let all = read_all(agent, agent.end());
        let mut names: Vec<String> = all
            .series
            .iter()
            .map(|(_, l)| l.metric_name().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names.len()
    };
    agent.keep_from(Some(5));
    agent.truncate().expect("cut");
    assert_eq!((agent.series_len(), named_in_log(&agent)), (1, 401));
    agent.keep_from(None);
    agent.truncate().expect("cut");
    add(&agent, "always", world.now_ms() + 1);
    assert_eq!(named_in_log(&agent), 1);
}

#[test]
fn a_damaged_segment_costs_its_rest_alone() {
    let world = World::new();
    let agent = world.open();
    for n in 0..10 {
        add(&agent, &format!("first_{n}"), n);
    }
    let segment = agent.end().segment;
    agent.wal().next_segment().expect("cut");
    let second = add(&agent, "second", 100);
    drop(agent);
    let path = Path::new("data-agent/wal").join(format!("{segment:08}"));
    let len = world.files.len(&path).expect("there");
    world.files.flip(&path, len as usize / 2, 0x10).expect("flipped");
    let agent = world.open();
    let report = agent.report().expect("read");
    assert_eq!(
        (report.damages.len(), report.damages[0].path.as_path()),
        (1, path.as_path())
    );
    assert!(report.series > 1 && report.series < 11, "{report:?}");
    assert_eq!(agent.resolve(&named("second")), Ok(second));
    // It is cut: whoever reads it next finds no damage.
    let (found, steps) = read(&mut *agent.follow(LogPosition::default()).expect("a reader"));
    assert_eq!(steps, []);
    assert_eq!(found.last(), Some(&("second".to_owned(), 100)));
}

#[test]
fn a_folder_is_one_agents() {
    let mut world = World::new();
    world.options.lock = true;
    let agent = world.open();
    let files: Arc<dyn Files> = Arc::new(world.files.clone());
    let second = Agent::new(
        files,
        Path::new("data-agent"),
        world.options.clone(),
        world.clock.clone(),
    );
    assert!(second.is_err());
    agent.close().expect("closed");
    world.open().close().expect("free again");
}
