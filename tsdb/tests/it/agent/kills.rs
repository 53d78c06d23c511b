//! An agent against an oracle: whatever happens to it and its disk, a follower gets what was acknowledged.
//!
//! A follower reads from a cursor that it remembers over all restarts, and tells the agent what it still needs. What was
//! acknowledged must come to it, once for each time that it has to begin again, in order for each series.

use std::collections::{BTreeMap, BTreeSet};

use files::Fault;
use model::log::{Log, LogPosition, LogReader, LogRecord, LogStep};
use model::storage::{AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, SeriesRef};
use narthex_tsdb::agent::Agent;

use super::{World, named};
use crate::support::{Rng, seeds};

const SERIES: u64 = 30;
const STEPS: usize = 400;

/// What there should be.
#[derive(Default)]
struct Oracle {
    /// Values that were acknowledged; each is used once.
    acknowledged: BTreeSet<u64>,
    /// Values that may have come into the log although nobody said so.
    offered: BTreeSet<u64>,
    /// Values that the follower has, with the series that they came under.
    followed: BTreeMap<u64, String>,
    /// As it should be.
    series_of: BTreeMap<u64, String>,
    next: u64,
}

/// Reads the log from a place that outlives it.
struct Follower {
    reader: Box<dyn LogReader>,
    names: BTreeMap<u64, String>,
}

impl Follower {
    fn new(agent: &Agent, from: LogPosition) -> Self {
        agent.keep_from(Some(from.segment));
        Follower {
            reader: agent.follow(from).expect("a reader"),
            names: BTreeMap::new(),
        }
    }

    /// Reads up to `records`, and gives the place behind them.
    fn read(&mut self, oracle: &mut Oracle, records: u64) -> LogPosition {
        let mut record = LogRecord::default();
        for _ in 0..records {
            let step = self.reader.read(&mut record).expect("read");
            for (series, labels) in &record.series {
                self.names.insert(series.0, labels.metric_name().to_owned());
            }
            match step {
                LogStep::End => break,
                LogStep::Before | LogStep::Record => {}
                other => panic!("{other:?}: the log was cut before it was read"),
            }
            for sample in &record.floats {
                let name = self.names.get(&sample.series.0).cloned();
                oracle
                    .followed
                    .insert(sample.value as u64, name.unwrap_or_default());
            }
        }
        self.reader.position()
    }
}

/// Appends to some series; series that are forgotten are resolved again, as sources do.
fn batch(
    world: &World,
    agent: &Agent,
    oracle: &mut Oracle,
    known: &mut BTreeMap<u64, SeriesRef>,
    rng: &mut Rng,
) {
    let first = rng.below(SERIES);
    let numbers: Vec<u64> = (first..(first + 1 + rng.below(8)).min(SERIES)).collect();
    for _ in 0..3 {
        let mut batch = AppendBatch::default();
        for number in &numbers {
            let name = format!("series_{number}_{}", "y".repeat(200));
            let series = *known
                .entry(*number)
                .or_insert_with(|| agent.resolve(&named(&name)).expect("a series"));
            oracle.next += 1;
            oracle.series_of.insert(oracle.next, name);
            batch.floats.push(FloatSample {
                series,
                timestamp_ms: world.now_ms(),
                value: oracle.next as f64,
            });
        }
        let values = batch.floats.iter().map(|sample| sample.value as u64);
        let mut outcome = AppendOutcome::default();
        match agent.append(&batch, &mut outcome) {
            Ok(()) => {
                assert_eq!(outcome.refused, [], "time goes on");
                oracle.acknowledged.extend(values);
                return;
            }
            Err(AppendError::UnknownSeries(gone)) => known.retain(|_, series| !gone.contains(series)),
            Err(_) => {
                oracle.offered.extend(values);
                return;
            }
        }
    }
    panic!("the agent goes on forgetting");
}

fn round(seed: u64, faults: bool) {
    let mut rng = Rng::new(seed);
    let mut world = World::new();
    let mut oracle = Oracle::default();
    let mut cursor = LogPosition::default();
    let mut agent = world.open();
    let mut follower = Follower::new(&agent, cursor);
    let mut known = BTreeMap::new();
    for _ in 0..STEPS {
        world.pass(1 + rng.below(20_000) as i64);
        match rng.below(100) {
            0..70 => batch(&world, &agent, &mut oracle, &mut known, &mut rng),
            70..84 => {
                cursor = follower.read(&mut oracle, 1 + rng.below(60));
                agent.keep_from(Some(cursor.segment));
            }
            84..88 => world.pass(6 * 60_000),
            88..94 => {
                // What the disk refuses is tried again later.
                let _ = agent.truncate();
            }
            94..97 if faults => world.files.inject(match rng.below(3) {
                0 => Fault::Call(world.files.calls() + 1 + rng.below(6)),
                1 => Fault::ShortWrite(world.files.calls() + 1),
                _ => Fault::FreezeAtCall(world.files.calls() + 1 + rng.below(8)),
            }),
            _ => {
                // Killed, wherever it is.
                drop(follower);
                drop(agent);
                world.files = world.files.after_kill();
                agent = world.open();
                follower = Follower::new(&agent, cursor);
                known.clear();
            }
        }
    }
    drop(follower);
    drop(agent);
    world.files = world.files.after_kill();
    let agent = world.open();
    Follower::new(&agent, cursor).read(&mut oracle, u64::MAX);
    for value in &oracle.acknowledged {
        let name = oracle.followed.get(value);
        assert_eq!(
            name,
            oracle.series_of.get(value),
            "NARTHEX_SEED={seed}: value {value}"
        );
    }
    for value in oracle.followed.keys() {
        let is_known = oracle.acknowledged.contains(value) || oracle.offered.contains(value);
        assert!(is_known, "NARTHEX_SEED={seed}: nobody has offered {value}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_and_cuts() {
    seeds(20).for_each(|seed| round(seed, false));
}

#[test]
fn nothing_acknowledged_is_lost_by_a_disk_that_fails() {
    seeds(40).for_each(|seed| round(seed, true));
}
