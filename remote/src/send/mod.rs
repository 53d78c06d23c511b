//! Forwarding: what the store takes is sent on to receivers of remote write.
//!
//! A queue for each entry of `remote_write` follows the store's log ([`model::log`]) from a cursor on that lies on the disk
//! (`cursor`), names and drops series as relabelling says (`series`), and sends in several streams (`shards`), each
//! batch until it is taken or refused for good (`deliver`). The log is the queue: nothing is held in memory but what is on
//! its way, and neither a restart nor an outage of the receiver loses anything that the log still has. So the log is kept
//! for the slowest queue, within limits (`hold`).
//!
//! [`Forwarder::prepare`] builds clients and changes nothing; [`Forwarder::apply`] puts in force and cannot fail.

mod auth;
mod config;
mod cursor;
mod deliver;
mod encode;
mod families;
mod hold;
mod item;
mod metrics;
mod queue;
mod rate;
mod reader;
mod series;
mod shards;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::Registry;
use credentials::Machine;
use files::Files;
use model::clock::Clock;
use model::labels::Labels;
use model::log::{Appended, Log};
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use cursor::{CursorFile, forget_others};
use deliver::{Sending, Traffic};
use hold::Hold;
use metrics::SendMetrics;
use queue::Queue;
use target::HttpTarget;

use crate::section::name_of;

pub use auth::AuthConfig;
pub use config::{MessageKind, MetadataConfig, QueueConfig, RemoteWriteConfig};
pub use cursor::first_needed_segment;
pub use encode::Family;
pub use families::Families;
pub use target::{Answer, Answering, Target, TargetError, Written};

/// What panics are counted under.
const QUEUE: &str = "remote write queue";
const FAMILIES: &str = "remote write metadata";
const FORGET: &str = "remote write cursors";

/// Most bytes of the log that are kept for a queue that is behind, where nothing else is said.
pub const SPOOL_BYTES: u64 = 8 << 30;
/// Longest time for which segments of the log are kept for a queue that is behind, where nothing else is said.
pub const SPOOL_AGE: Duration = Duration::from_secs(24 * 3600);

/// What forwarding needs.
pub struct Options {
    /// The disk.
    pub files: Arc<dyn Files>,
    /// The store's folder.
    pub dir: PathBuf,
    /// The store's log.
    pub log: Arc<dyn Log>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where metrics are shown.
    pub registry: Registry,
    /// Where credentials are found, and what clients call themselves.
    pub machine: Machine,
    /// How long stopping waits for what is on its way.
    pub flush_deadline: Duration,
    /// Most bytes of the log that are kept for a queue that is behind.
    pub spool_bytes: u64,
    /// Longest time for which segments of the log are kept for a queue that is behind.
    pub spool_age: Duration,
    /// What targets say of metric families.
    pub families: Families,
    /// Whether labels say of which type and unit a series is.
    pub type_and_unit_labels: bool,
}

/// A configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A client cannot be built.
    #[error("remote_write {queue}: {source}")]
    Target {
        /// Name or address.
        queue: String,
        /// Why not.
        source: Box<TargetError>,
    },
    /// Two entries cannot be told apart.
    #[error(
        "duplicate remote write configs are not allowed, found duplicate for URL: {url}; give them names that differ"
    )]
    Duplicate {
        /// Where they send.
        url: String,
    },
}

/// What is to be put in force.
pub struct Prepared {
    queues: Vec<PreparedQueue>,
}

struct PreparedQueue {
    key: String,
    /// What metrics call it.
    name: String,
    config: Arc<RemoteWriteConfig>,
    external: Labels,
    target: Arc<dyn Target>,
}

struct Running {
    prepared: PreparedQueue,
    stop: CancellationToken,
    /// Cancelled when the queue has come to its end.
    ended: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// A metric of what the store took: its name, its help, and how it is read.
type Total = (&'static str, &'static str, fn(&Appended) -> f64);

/// All queues.
pub struct Forwarder {
    options: Options,
    supervisor: Supervisor,
    metrics: SendMetrics,
    hold: Arc<Hold>,
    written: watch::Sender<()>,
    /// The cursors of the queues that there are.
    cursors: Arc<Mutex<Vec<CursorFile>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether the logs are read.
    has_begun: bool,
    /// What waits for that.
    waiting: Option<Prepared>,
    running: Vec<Running>,
    /// Queues that end, by key; whoever takes their place waits for them.
    ending: BTreeMap<String, Vec<CancellationToken>>,
    /// Their tasks.
    ending_tasks: Vec<JoinHandle<()>>,
    /// Whether there ever was a queue.
    had_any: bool,
}

impl Forwarder {
    /// Without queues.
    pub fn new(options: Options) -> Self {
        let hold = Hold::new(
            options.log.clone(),
            options.spool_bytes,
            options.spool_age.as_millis() as i64,
        );
        let registry = &options.registry;
        let totals: [Total; 4] = [
            ("samples_in_total", "Samples that the store took.", |a| {
                a.floats as f64
            }),
            ("histograms_in_total", "Histograms that the store took.", |a| {
                a.histograms as f64
            }),
            ("exemplars_in_total", "Exemplars that the store took.", |a| {
                a.exemplars as f64
            }),
            (
                "highest_timestamp_in_seconds",
                "The newest timestamp that the store took, in seconds since the epoch.",
                |a| (a.newest_ms / 1000) as f64,
            ),
        ];
        for (name, help, of) in totals {
            let name = format!("prometheus_remote_storage_{name}");
            let (log, is_gauge) = (options.log.clone(), name.ends_with("seconds"));
            let read = move || of(&log.appended());
            match is_gauge {
                true => registry.gauge_fn(&name, help, read),
                false => registry.counter_fn(&name, help, read),
            }
        }
        Forwarder {
            supervisor: Supervisor::new(registry),
            metrics: SendMetrics::new(registry),
            hold: Arc::new(hold),
            written: watch::Sender::new(()),
            cursors: Arc::default(),
            state: Mutex::default(),
            options,
        }
    }

    /// Builds what a configuration asks for.
    ///
    /// # Errors
    /// When a client cannot be built, or two entries are the same.
    pub fn prepare(
        &self,
        configs: &[RemoteWriteConfig],
        external: &Labels,
    ) -> Result<Prepared, PrepareError> {
        self.prepare_with(configs, external, |config| {
            Ok(Arc::new(HttpTarget::new(config, &self.options.machine)?))
        })
    }

    /// As [`Forwarder::prepare`], with receivers of another kind.
    ///
    /// # Errors
    /// As [`Forwarder::prepare`].
    pub fn prepare_with(
        &self,
        configs: &[RemoteWriteConfig],
        external: &Labels,
        target: impl Fn(&RemoteWriteConfig) -> Result<Arc<dyn Target>, TargetError>,
    ) -> Result<Prepared, PrepareError> {
        let mut queues: Vec<PreparedQueue> = Vec::with_capacity(configs.len());
        for config in configs {
            let url = crate::section::redacted(&config.url);
            if queues.iter().any(|other| *other.config == *config) {
                return Err(PrepareError::Duplicate { url });
            }
            // The cursor of a queue without a name is found again by where it sends.
            let key = match config.name.as_str() {
                "" => {
                    let same = |other: &&PreparedQueue| {
                        other.config.name.is_empty() && other.config.url == config.url
                    };
                    format!("url {url} {}", queues.iter().filter(same).count())
                }
                name => format!("name {name}"),
            };
            let target = target(config).map_err(|source| PrepareError::Target {
                queue: if config.name.is_empty() {
                    url
                } else {
                    config.name.clone()
                },
                source: Box::new(source),
            })?;
            let name = match config.name.as_str() {
                "" => name_of(config),
                name => name.to_owned(),
            };
            queues.push(PreparedQueue {
                key,
                name,
                config: Arc::new(config.clone()),
                external: external.clone(),
                target,
            });
        }
        Ok(Prepared { queues })
    }

    /// Puts a configuration in force: what has not changed goes on as it is, what has changed goes on where it was.
    pub fn apply(&self, prepared: Prepared) {
        let mut state = self.state.lock();
        if !state.has_begun {
            state.waiting = Some(prepared);
            return;
        }
        let State {
            running,
            ending,
            ending_tasks,
            ..
        } = &mut *state;
        ending_tasks.retain(|task| !task.is_finished());
        ending.retain(|_, ended| {
            ended.retain(|ended| !ended.is_cancelled());
            !ended.is_empty()
        });
        // Before any of them begins: whoever removes cursors must know of it.
        *self.cursors.lock() = prepared
            .queues
            .iter()
            .map(|queue| self.cursor(&queue.key))
            .collect();
        let mut before: Vec<Running> = std::mem::take(running);
        let mut end = |old: Running| {
            old.stop.cancel();
            ending.entry(old.prepared.key).or_default().push(old.ended);
            ending_tasks.extend(old.tasks);
        };
        let mut fresh = Vec::new();
        for queue in prepared.queues {
            let same = before.iter().position(|old| old.prepared.key == queue.key);
            match same.map(|at| before.swap_remove(at)) {
                Some(old)
                    if *old.prepared.config == *queue.config && old.prepared.external == queue.external =>
                {
                    running.push(old);
                }
                old => {
                    old.map(&mut end);
                    fresh.push(queue);
                }
            }
        }
        before.into_iter().for_each(end);
        for queue in fresh {
            let predecessors = ending.get(&queue.key).cloned().unwrap_or_default();
            running.push(self.begin(queue, predecessors));
        }
        self.settle(&mut state);
    }

    /// The store's logs are read: queues begin.
    pub fn start(&self) {
        let written = self.written.clone();
        self.options.log.on_write(Arc::new(move || {
            written.send_replace(());
        }));
        let waiting = {
            let mut state = self.state.lock();
            state.has_begun = true;
            state.waiting.take()
        };
        match waiting {
            Some(prepared) => self.apply(prepared),
            None => self.settle(&mut self.state.lock()),
        }
    }

    /// Forgets what queues leave behind that are no longer there.
    fn settle(&self, state: &mut State) {
        let keys: Vec<&str> = state
            .running
            .iter()
            .map(|running| running.prepared.key.as_str())
            .collect();
        self.hold.retain(&keys);
        state.had_any |= !keys.is_empty();
        if state.had_any {
            let labels = |running: &Running| {
                let prepared = &running.prepared;
                (
                    prepared.name.clone(),
                    crate::section::redacted(&prepared.config.url),
                )
            };
            self.metrics
                .retain(&state.running.iter().map(labels).collect::<Vec<_>>());
        }
        let ending: Vec<CancellationToken> = state.ending.values().flatten().cloned().collect();
        let (files, dir, kept) = (
            self.options.files.clone(),
            self.options.dir.clone(),
            self.cursors.clone(),
        );
        let supervisor = self.supervisor.clone();
        self.supervisor.spawn(FORGET, &CancellationToken::new(), move || {
            let (files, dir, kept) = (files.clone(), dir.clone(), kept.clone());
            let (ending, supervisor) = (ending.clone(), supervisor.clone());
            async move {
                for ended in ending {
                    // A queue that ends writes its cursor once more.
                    ended.cancelled().await;
                }
                // Under the lock: no queue begins that is not known here.
                let forgetting =
                    supervisor.blocking(FORGET, move || forget_others(&*files, &dir, &kept.lock()));
                let why = match forgetting.await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                tracing::error!(why, "Cursors of queues that are gone cannot be removed");
            }
        });
    }

    fn cursor(&self, key: &str) -> CursorFile {
        CursorFile::new(self.options.files.clone(), &self.options.dir, key)
    }

    fn begin(&self, prepared: PreparedQueue, predecessors: Vec<CancellationToken>) -> Running {
        let options = &self.options;
        let url = crate::section::redacted(&prepared.config.url);
        let metrics = self.metrics.queue(&prepared.name, &url);
        self.metrics.limits(&metrics, &prepared.config.queue_config);
        self.hold.set(&prepared.key, 0);
        let stop = CancellationToken::new();
        let queue = Arc::new(Queue {
            key: prepared.key.clone(),
            config: prepared.config.clone(),
            external: prepared.external.clone(),
            type_and_unit_labels: options.type_and_unit_labels,
            target: prepared.target.clone(),
            metrics: metrics.clone(),
            log: options.log.clone(),
            written: self.written.subscribe(),
            cursor: self.cursor(&prepared.key),
            hold: self.hold.clone(),
            clock: options.clock.clone(),
            supervisor: self.supervisor.clone(),
            flush_deadline: options.flush_deadline,
        });
        let ended = CancellationToken::new();
        let mut tasks = vec![self.supervisor.spawn(QUEUE, &stop, {
            let stop = stop.clone();
            // Goes with the task, however that ends.
            let guard = ended.clone().drop_guard();
            move || {
                let _ = &guard;
                let (queue, stop, predecessors) = (queue.clone(), stop.clone(), predecessors.clone());
                async move {
                    for before in predecessors {
                        before.cancelled().await;
                    }
                    queue.run(stop).await;
                }
            }
        })];
        let config = &prepared.config;
        if config.protobuf_message == MessageKind::V1 && config.metadata_config.send {
            let (config, target, clock) = (config.clone(), prepared.target.clone(), options.clock.clone());
            let families = options.families.clone();
            tasks.push(self.supervisor.spawn(FAMILIES, &stop, {
                let stop = stop.clone();
                move || {
                    let sending = Sending {
                        config: config.clone(),
                        target: target.clone(),
                        metrics: metrics.clone(),
                        clock: clock.clone(),
                        traffic: Traffic::default(),
                        type_and_unit_labels: false,
                        stop: stop.clone(),
                    };
                    families::tell(sending, families.clone(), stop.clone())
                }
            }));
        }
        Running {
            prepared,
            stop,
            ended,
            tasks,
        }
    }

    /// Sends what is on its way, within the deadline, and ends.
    pub async fn stop(&self) {
        let (running, ending) = {
            let mut state = self.state.lock();
            state.has_begun = false;
            (
                std::mem::take(&mut state.running),
                std::mem::take(&mut state.ending_tasks),
            )
        };
        running.iter().for_each(|running| running.stop.cancel());
        let tasks = running.into_iter().flat_map(|running| running.tasks);
        for task in tasks.chain(ending) {
            if let Err(error) = task.await {
                tracing::error!(%error, "A queue of remote write ended badly");
            }
        }
    }
}

/// Breaks off what has not been stopped, as the end of the process would: what is under way is sent again by whoever goes on
/// at the cursor.
impl Drop for Forwarder {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let running = state.running.iter().flat_map(|running| &running.tasks);
        running.chain(&state.ending_tasks).for_each(JoinHandle::abort);
    }
}
