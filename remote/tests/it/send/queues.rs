//! Queues over time: receivers that are away and come back slow, limits of what is kept for them, reloads, shards. The log
//! is an agent's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use files::MemFiles;
use metrics::Registry;
use model::clock::Clock;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_remote::send::{Answer, Answering, Forwarder, Target, Written};
use parking_lot::Mutex;
use tokio::time::sleep;
use tsdb::agent::{Agent, Options};

use super::message::read;
use super::setup::{Around, DATA, SPOOL, TestClock, configured, metric};

const SERIES: u64 = 20;

/// How a receiver is at the moment.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Down,
    Slow(Duration),
}

/// What a receiver has: the value of each sample, in the order of their coming, by series.
struct Remote {
    mood: Mutex<Mood>,
    taken: Mutex<BTreeMap<String, Vec<u64>>>,
    messages: AtomicU64,
}

impl Target for Remote {
    fn send(&self, body: Bytes, _: u32) -> Answering<'_> {
        Box::pin(async move {
            let mood = *self.mood.lock();
            match mood {
                Mood::Down => {
                    return Answer::Failed {
                        reason: "away".to_owned(),
                        written: Written::default(),
                        after: None,
                    };
                }
                Mood::Slow(pause) => sleep(pause).await,
                Mood::Well => {}
            }
            self.messages.fetch_add(1, Ordering::Relaxed);
            let message = read(&body, false);
            let mut taken = self.taken.lock();
            for series in message["timeseries"].as_array().into_iter().flatten() {
                let labels = series["labels"].as_array().into_iter().flatten();
                let named = |label: &&serde_json::Value| label["name"] == "n";
                let number = labels.into_iter().find(named).expect("a number")["value"].to_string();
                for sample in series["samples"].as_array().into_iter().flatten() {
                    let value: f64 = sample["value"].as_str().unwrap_or("0").parse().expect("a number");
                    taken.entry(number.clone()).or_default().push(value as u64);
                }
            }
            Answer::Delivered(Written::default())
        })
    }
}

/// An agent, one queue and its receiver.
struct World {
    clock: Arc<TestClock>,
    agent: Arc<Agent>,
    registry: Registry,
    remote: Arc<Remote>,
    forwarder: Forwarder,
    /// Values are numbers that are used once, in order.
    appended: u64,
}

impl World {
    /// With a queue called `name`, of these settings.
    async fn begin(name: &str, queue_config: &str, spool: (u64, Duration)) -> World {
        let clock = TestClock::begin();
        let files = Arc::new(MemFiles::new());
        let options = Options {
            background: false,
            lock: false,
            wal_segment_bytes: 32 << 10,
            retention_min: Duration::ZERO,
            ..Options::default()
        };
        let agent = Agent::new(files.clone(), Path::new(DATA), options, clock.clone()).expect("a folder");
        agent.open_log().expect("a log");
        let agent = Arc::new(agent);
        let registry = Registry::new();
        let around = Around {
            files,
            log: agent.clone(),
            spool,
            clock: clock.clone(),
            registry: registry.clone(),
            families: Arc::new(Vec::new),
            type_and_unit_labels: false,
        };
        let world = World {
            clock,
            registry,
            remote: Arc::new(Remote {
                mood: Mutex::new(Mood::Well),
                taken: Mutex::default(),
                messages: AtomicU64::default(),
            }),
            forwarder: around.forwarder(),
            agent,
            appended: 0,
        };
        world.configure(name, queue_config, "");
        world.forwarder.start();
        // A new queue begins at its start.
        sleep(Duration::from_millis(50)).await;
        world
    }

    fn configure(&self, name: &str, queue_config: &str, more: &str) {
        let text = format!(
            "remote_write: [{{url: 'http://receiver/', name: {name}, metadata_config: {{send: false}}, \
             queue_config: {{{queue_config}}}{more}}}]"
        );
        let (configs, external) = configured(&text).expect("a configuration");
        let target = self.remote.clone();
        let prepared =
            self.forwarder.prepare_with(
                &configs,
                &external,
                move |_| Ok(target.clone() as Arc<dyn Target>),
            );
        self.forwarder.apply(prepared.expect("prepared"));
    }

    fn be(&self, mood: Mood) {
        *self.remote.mood.lock() = mood;
    }

    /// Appends a sample to each series, `rounds` times, with `pause` behind each.
    async fn append(&mut self, rounds: u64, pause: Duration) {
        for _ in 0..rounds {
            let timestamp_ms = self.clock.now_ms();
            let mut batch = AppendBatch::default();
            for n in 0..SERIES {
                self.appended += 1;
                // The agent may have forgotten it.
                let labels = Labels::from_pairs([("__name__", "s"), ("n", &n.to_string())]);
                batch.floats.push(FloatSample {
                    series: self.agent.resolve(&labels).expect("a series"),
                    timestamp_ms,
                    value: self.appended as f64,
                });
            }
            let mut outcome = AppendOutcome::default();
            self.agent.append(&batch, &mut outcome).expect("appended");
            assert_eq!(outcome.refused, []);
            sleep(pause).await;
        }
    }

    /// As the agent does from time to time: the log is cut behind what was delivered.
    fn truncate(&self) {
        self.agent.truncate().expect("cut");
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&self.registry, name, None).unwrap_or(0.0)
    }

    /// Values that were delivered, sorted; in each series they came in order.
    fn delivered(&self) -> Vec<u64> {
        let taken = self.remote.taken.lock();
        for (series, values) in &*taken {
            assert!(values.is_sorted(), "series {series} came out of order");
        }
        let mut all: Vec<u64> = taken.values().flatten().copied().collect();
        all.sort_unstable();
        all
    }

    /// Values that were not delivered; each that was came once.
    fn missing(&self) -> Vec<u64> {
        let delivered = self.delivered();
        assert!(
            delivered.windows(2).all(|two| two[0] < two[1]),
            "nothing comes twice"
        );
        (1..=self.appended)
            .filter(|value| delivered.binary_search(value).is_err())
            .collect()
    }
}

/// Lines of the log of severity error, of all tests of this binary.
fn errors() -> &'static Mutex<Vec<String>> {
    static LINES: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    LINES.get_or_init(|| {
        // Another test may have set one; then nothing is found here, and the test says so.
        let _ = tracing::subscriber::set_global_default(Lines);
        Mutex::default()
    })
}

struct Lines;

struct Words(String);

impl tracing::field::Visit for Words {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        errors().lock().push(words.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

fn said(name: &str, what: &str) -> usize {
    let lines = errors().lock();
    let of_queue = |line: &&String| line.contains(&format!("\"{name}\"")) && line.contains(what);
    lines.iter().filter(of_queue).count()
}

const FEW: &str =
    "min_shards: 1, max_shards: 1, max_samples_per_send: 40, capacity: 80, batch_send_deadline: 1s";

#[tokio::test(start_paused = true)]
async fn an_hour_without_a_receiver_that_comes_back_slow_loses_nothing() {
    let queue =
        "min_shards: 1, max_shards: 20, max_samples_per_send: 50, capacity: 200, batch_send_deadline: 1s";
    let mut world = World::begin("hour", queue, SPOOL).await;
    world.append(60, Duration::from_secs(1)).await;
    world.be(Mood::Down);
    for _ in 0..12 {
        world.append(30, Duration::from_secs(10)).await;
        world.truncate();
    }
    let behind = world.appended - world.delivered().len() as u64;
    assert!(behind > 7_000, "{behind}");
    assert_eq!(
        world.metric("prometheus_remote_storage_shards"),
        1.0,
        "not while nothing gets through"
    );
    world.be(Mood::Slow(Duration::from_secs(2)));
    let mut shards = 1.0f64;
    for _ in 0..20 {
        world.append(6, Duration::from_secs(10)).await;
        world.truncate();
        shards = shards.max(world.metric("prometheus_remote_storage_shards"));
    }
    assert!(shards > 1.0, "what is behind asks for more");
    world.be(Mood::Well);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.missing(), [0u64; 0]);
    assert_eq!(world.metric("narthex_remote_write_segments_lost_total"), 0.0);
    // The log is kept no longer than it is needed.
    world.truncate();
    assert!(world.agent.wal().disk_bytes().expect("bytes") < 64 << 10);
    world.forwarder.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shards_come_and_go_with_the_load_and_samples_stay_in_order() {
    let queue =
        "min_shards: 1, max_shards: 10, max_samples_per_send: 20, capacity: 100, batch_send_deadline: 1s";
    let mut world = World::begin("shards", queue, SPOOL).await;
    world.append(30, Duration::from_millis(500)).await;
    assert_eq!(world.metric("prometheus_remote_storage_shards"), 1.0);
    // Forty samples a second come, and one stream takes ten.
    world.be(Mood::Slow(Duration::from_secs(2)));
    let mut most = 0.0f64;
    for _ in 0..12 {
        world.append(20, Duration::from_millis(500)).await;
        most = most.max(world.metric("prometheus_remote_storage_shards"));
    }
    assert!((4.0..=10.0).contains(&most), "{most}");
    world.be(Mood::Well);
    for _ in 0..30 {
        world.append(20, Duration::from_millis(500)).await;
    }
    assert_eq!(world.metric("prometheus_remote_storage_shards"), 1.0);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.missing(), [0u64; 0]);
    world.forwarder.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_a_reload_changes_goes_on_where_it_was() {
    let mut world = World::begin("reload", FEW, SPOOL).await;
    world.append(20, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(5)).await;
    world.be(Mood::Down);
    world.append(100, Duration::from_secs(1)).await;
    let more = ", write_relabel_configs: [{target_label: dc, replacement: a}]";
    world.configure("reload", &FEW.replace("40", "50"), more);
    world.append(100, Duration::from_secs(1)).await;
    world.configure("reload", FEW, "");
    world.append(10, Duration::from_secs(1)).await;
    world.be(Mood::Well);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.missing(), [0u64; 0]);
    // One that is taken away is forgotten, and begins anew when it comes back.
    let none = world.forwarder.prepare(&[], &Labels::empty()).expect("nothing");
    world.forwarder.apply(none);
    world.append(10, Duration::from_secs(1)).await;
    let before = world.appended;
    world.configure("reload", FEW, "");
    sleep(Duration::from_secs(1)).await;
    world.append(10, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(
        world.missing(),
        (before - 10 * SERIES + 1..=before).collect::<Vec<_>>()
    );
    world.forwarder.stop().await;
}

/// What is missing is one run of samples; gives its first and last.
fn gap(world: &World) -> (u64, u64) {
    let missing = world.missing();
    let (first, last) = (missing[0], missing[missing.len() - 1]);
    assert_eq!(missing.len() as u64, last - first + 1, "one gap");
    assert_eq!((first % SERIES, last % SERIES), (1, 0), "of whole transactions");
    (first, last)
}

#[tokio::test(start_paused = true)]
async fn what_goes_beyond_the_bytes_of_the_spool_is_given_up_from_its_old_end_and_told() {
    errors();
    let mut world = World::begin("bytes", FEW, (96 << 10, SPOOL.1)).await;
    world.append(10, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(5)).await;
    world.be(Mood::Down);
    // Far more than may be kept.
    for _ in 0..40 {
        world.append(60, Duration::from_secs(1)).await;
        world.truncate();
    }
    let kept = world.agent.wal().disk_bytes().expect("bytes");
    assert!(kept <= (96 + 2 * 32) << 10, "{kept}");
    assert_eq!(
        said("bytes", "spool.size"),
        0,
        "what is gone is missed when it is looked for"
    );
    world.be(Mood::Well);
    sleep(Duration::from_secs(120)).await;
    let (first, last) = gap(&world);
    assert!(
        first > 10 * SERIES && last < world.appended - 20 * SERIES,
        "{first} {last}"
    );
    let lost = world.metric("narthex_remote_write_segments_lost_total");
    assert!(lost >= 1.0, "{lost}");
    assert_eq!(said("bytes", "--storage.remote.spool.size"), 1);
    // From then on all is well again.
    world.append(10, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(gap(&world), (first, last));
    world.forwarder.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_spools_age_is_given_up() {
    errors();
    let mut world = World::begin("age", FEW, (SPOOL.0, Duration::from_secs(600))).await;
    world.append(10, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(5)).await;
    world.be(Mood::Down);
    for _ in 0..30 {
        world.append(12, Duration::from_secs(5)).await;
        world.agent.wal().next_segment().expect("cut");
        world.truncate();
    }
    world.be(Mood::Well);
    sleep(Duration::from_secs(60)).await;
    let (first, last) = gap(&world);
    assert!(first > 10 * SERIES, "{first}");
    // Ten minutes are kept, and a segment is given up as a whole.
    let age_of_gap = (world.appended - last) / SERIES * 5;
    assert!((590..=720).contains(&age_of_gap), "{age_of_gap}");
    assert!(world.metric("narthex_remote_write_segments_lost_total") >= 10.0);
    assert_eq!(said("age", "--storage.remote.spool.age"), 1);
    world.forwarder.stop().await;
}
