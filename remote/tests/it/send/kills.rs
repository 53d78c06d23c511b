//! What is left of samples when the sender is killed and the receiver goes away: nothing is lost, and only what was on its
//! way is sent twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use files::{Fault, MemFiles};
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_remote::send::{Answer, Answering, Target, Written};
use parking_lot::Mutex;

use super::message::read;
use super::setup::{Around, SPOOL, TestClock, configured, open};
use model::clock::Clock;

/// Rounds with seeds of their own.
const ROUNDS: u64 = 40;
/// Lives of the sender in a round.
const LIVES: u64 = 5;
const SERIES: u64 = 9;

/// What a receiver has, and how it is at the moment.
#[derive(Default)]
struct Remote {
    /// How often each value came: values are numbers that are used once.
    taken: Mutex<HashMap<u64, u32>>,
    state: Mutex<Mood>,
    seed: Mutex<u64>,
    /// It never fails.
    is_honest: AtomicBool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Down,
    Slow,
}

fn random(seed: &mut u64) -> u64 {
    // xorshift: the same for the same seed, on every machine.
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

impl Remote {
    fn take(&self, body: &[u8]) -> u64 {
        let message = read(body, true);
        let mut taken = self.taken.lock();
        let mut count = 0;
        for series in message["timeseries"].as_array().into_iter().flatten() {
            for sample in series["samples"].as_array().into_iter().flatten() {
                let value: f64 = sample["value"].as_str().unwrap_or("0").parse().expect("a number");
                *taken.entry(value as u64).or_default() += 1;
                count += 1;
            }
        }
        count
    }
}

impl Target for Remote {
    fn send(&self, body: Bytes, _: u32) -> Answering<'_> {
        Box::pin(async move {
            let mood = *self.state.lock();
            let chance = random(&mut self.seed.lock());
            let failed = || Answer::Failed {
                reason: "away".to_owned(),
                written: Written::default(),
                after: None,
            };
            if mood == Mood::Down {
                return failed();
            }
            let pause = if mood == Mood::Slow { 2_000 } else { chance % 50 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let is_honest = self.is_honest.load(Ordering::Relaxed);
            if chance.is_multiple_of(13) && !is_honest {
                return failed();
            }
            let floats = self.take(&body);
            // The answer takes its time, too: who dies meanwhile does not know.
            tokio::time::sleep(Duration::from_millis(chance % 20)).await;
            if chance.is_multiple_of(17) && !is_honest {
                return failed();
            }
            Answer::Delivered(Written {
                floats,
                is_told: true,
                ..Written::default()
            })
        })
    }
}

/// A round: a store that goes on, senders that are killed, a receiver of changing moods. Returns what was sent twice.
async fn round(seed: u64, kills: bool) -> u64 {
    let mut chance = seed;
    let clock = TestClock::begin();
    let files = MemFiles::new();
    // Cursors lie on a disk of their own, which stops with the sender.
    let mut cursors = MemFiles::new();
    let db = open(Arc::new(files.clone()), clock.clone(), 64 << 10);
    let remote = Arc::new(Remote::default());
    *remote.seed.lock() = seed ^ 0x5eed;
    remote.is_honest.store(!kills, Ordering::Relaxed);
    let text = "remote_write: [{url: 'http://receiver/', name: r, protobuf_message: io.prometheus.write.v2.Request, \
                queue_config: {min_shards: 2, max_shards: 4, max_samples_per_send: 7, capacity: 30, batch_send_deadline: 500ms}}]";
    let (configs, external) = configured(text).expect("a configuration");
    let series: Vec<_> = (0..SERIES)
        .map(|n| {
            db.resolve(&Labels::from_pairs([("__name__", "s"), ("n", &n.to_string())]))
                .expect("a series")
        })
        .collect();
    let (mut stored, mut at_ms) = (0u64, clock.now_ms());
    for life in 0..LIVES {
        let around = Around {
            files: Arc::new(cursors.clone()),
            log: db.clone(),
            spool: SPOOL,
            clock: clock.clone(),
            registry: metrics::Registry::new(),
            families: Arc::new(Vec::new),
            type_and_unit_labels: false,
        };
        let forwarder = around.forwarder();
        let target = remote.clone();
        let prepared =
            forwarder.prepare_with(
                &configs,
                &external,
                move |_| Ok(target.clone() as Arc<dyn Target>),
            );
        forwarder.apply(prepared.expect("prepared"));
        forwarder.start();
        let is_last = life + 1 == LIVES;
        if life == 0 {
            // A new queue begins at its start.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..(20 + random(&mut chance) % 60) {
            *remote.state.lock() = match random(&mut chance) % 8 {
                0 if kills => Mood::Down,
                1 => Mood::Slow,
                _ => Mood::Well,
            };
            at_ms = (at_ms + 1).max(clock.now_ms());
            let mut batch = AppendBatch::default();
            for series in &series {
                stored += 1;
                batch.floats.push(FloatSample {
                    series: *series,
                    timestamp_ms: at_ms,
                    value: stored as f64,
                });
            }
            let mut outcome = AppendOutcome::default();
            db.append(&batch, &mut outcome).expect("appended");
            assert_eq!(outcome.refused, []);
            tokio::time::sleep(Duration::from_millis(random(&mut chance) % 400)).await;
        }
        if is_last || !kills {
            *remote.state.lock() = Mood::Well;
            let pause = if is_last {
                120_000
            } else {
                random(&mut chance) % 500
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            forwarder.stop().await;
        } else {
            // Killed with all its tasks, wherever they are, and perhaps in the midst of writing its cursor.
            cursors.inject(Fault::FreezeAtCall(cursors.calls() + random(&mut chance) % 12));
            tokio::time::sleep(Duration::from_millis(random(&mut chance) % 1_500)).await;
            drop(forwarder);
            cursors = cursors.after_kill();
            tokio::task::yield_now().await;
            if random(&mut chance).is_multiple_of(2) {
                // An outage of an hour, and samples all the while.
                tokio::time::sleep(Duration::from_secs(3_600)).await;
            }
        }
    }
    let taken = remote.taken.lock();
    let lost: Vec<u64> = (1..=stored).filter(|value| !taken.contains_key(value)).collect();
    assert!(
        lost.is_empty(),
        "SEED={seed}: {} of {stored} lost: {:?}",
        lost.len(),
        &lost[..lost.len().min(20)]
    );
    assert_eq!(
        taken.len() as u64,
        stored,
        "SEED={seed}: nothing that was never stored"
    );
    taken.values().map(|count| u64::from(*count) - 1).sum()
}

#[test]
fn nothing_is_lost_by_kills_and_outages() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = first.map_or_else(
        || {
            (1..=ROUNDS)
                .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .collect()
        },
        |seed| vec![seed],
    );
    let mut twice = 0;
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        twice += runtime.expect("a runtime").block_on(round(seed, true));
    }
    // Answers that were lost, and what was delivered after the cursor was last written.
    assert!(twice > 0, "kills and lost answers force some");
}

#[test]
fn nothing_is_sent_twice_without_need() {
    for seed in 1..=8 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        let twice = runtime.expect("a runtime").block_on(round(seed, false));
        assert_eq!(twice, 0, "SEED={seed}: orderly ends and a receiver that is well");
    }
}
