//! An Alertmanager in simulated time, with receivers that write down what they are told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use files::{Files, MemFiles};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use metrics::Registry;
use model::clock::Clock;
use narthex_notify::config::Config;
use narthex_notify::matcher::Syntax;
use narthex_notify::{Alertmanager, Options};
use parking_lot::Mutex;
use receivers::{Failure, FailureReason, Integration, Memory, Notification, Receiver};
use tokio::time::Instant;

/// The time of day that a simulation begins at: ten seconds before a full minute.
pub(crate) const BEGIN: &str = "2026-05-13T10:00:50Z";

/// Time of the paused clock of the runtime.
pub(crate) struct SimClock {
    begin: Instant,
    begin_ms: i64,
}

impl SimClock {
    pub(crate) fn new() -> Arc<Self> {
        let begin: Timestamp = BEGIN.parse().expect("a time");
        Arc::new(SimClock {
            begin: Instant::now(),
            begin_ms: begin.as_millisecond(),
        })
    }

    /// Seconds since the beginning.
    pub(crate) fn elapsed_s(&self) -> u64 {
        self.elapsed().as_secs()
    }

    /// The moment that is so long after the beginning.
    pub(crate) fn at(&self, after: Duration) -> Instant {
        self.begin + after
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.begin_ms + self.elapsed().as_millis() as i64
    }

    fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// What was told: when, where to, what.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) after: Duration,
    pub(crate) url: String,
    pub(crate) notification: Notification,
}

/// Everything that was told.
pub(crate) type Inbox = Arc<Mutex<Vec<Told>>>;

/// What a webhook does instead of writing down at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// It never answers.
    Hangs,
    /// It takes so long.
    Takes(Duration),
    /// It refuses so many times; whether trying again may help.
    Refuses(u32, bool),
    /// It panics.
    Panics,
}

/// Manners by URL.
type Manners = Arc<Mutex<BTreeMap<String, Manner>>>;

/// A webhook that writes down.
struct Note {
    url: String,
    clock: Arc<SimClock>,
    inbox: Inbox,
    manners: Manners,
}

impl Note {
    async fn behave(&self) -> Result<(), Failure> {
        let manner = self.manners.lock().get(&self.url).copied();
        match manner {
            None => {}
            Some(Manner::Hangs) => std::future::pending().await,
            Some(Manner::Takes(long)) => tokio::time::sleep(long).await,
            Some(Manner::Panics) => panic!("a receiver panics"),
            Some(Manner::Refuses(0, _)) => {}
            Some(Manner::Refuses(times, retry)) => {
                let next = Manner::Refuses(times - 1, retry);
                self.manners.lock().insert(self.url.clone(), next);
                return Err(Failure {
                    retry,
                    reason: FailureReason::ServerError,
                    message: "refused".to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl Receiver for Note {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _: &'a mut Memory,
        _: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.behave().await?;
            self.inbox.lock().push(Told {
                after: self.clock.elapsed(),
                url: self.url.clone(),
                notification: notification.clone(),
            });
            Ok(())
        })
    }
}

/// URLs of a configuration's webhooks and whether they are told of resolved alerts, by receiver.
type Webhooks = BTreeMap<String, Vec<(String, bool)>>;

/// What outlives a server.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) clock: Arc<SimClock>,
    pub(crate) inbox: Inbox,
    manners: Manners,
    webhooks: Arc<Mutex<Webhooks>>,
}

impl Sim {
    pub(crate) fn new() -> Self {
        Sim {
            clock: SimClock::new(),
            inbox: Inbox::default(),
            manners: Manners::default(),
            webhooks: Arc::default(),
        }
    }

    /// Options of a server on `files`, whose webhooks write down what they are told.
    pub(crate) fn options(&self, files: &MemFiles, registry: &Registry) -> Options {
        let sim = self.clone();
        let build = move |config: &receivers::ReceiverConfig, _: &receivers::Templates| {
            let webhooks = sim.webhooks.lock();
            let entries = webhooks.get(&config.name).into_iter().flatten();
            let integration = |(index, (url, send_resolved)): (usize, &(String, bool))| {
                let note = Note {
                    url: url.clone(),
                    clock: sim.clock.clone(),
                    inbox: sim.inbox.clone(),
                    manners: sim.manners.clone(),
                };
                Integration::new(&config.name, "webhook", index, *send_resolved, Arc::new(note))
            };
            Ok(entries.enumerate().map(integration).collect())
        };
        Options {
            files: Arc::new(files.clone()),
            clock: self.clock.clone(),
            ..Options::new(folder(), Arc::new(build), registry.clone())
        }
    }

    /// How the webhook at `url` behaves from now on.
    pub(crate) fn behaves(&self, url: &str, manner: Option<Manner>) {
        let mut manners = self.manners.lock();
        match manner {
            Some(manner) => drop(manners.insert(url.to_owned(), manner)),
            None => drop(manners.remove(url)),
        }
    }

    /// The time of day.
    pub(crate) fn clock_time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now_ms()).expect("a time")
    }

    /// Waits until so long after the beginning.
    pub(crate) async fn until(&self, seconds: u64) {
        tokio::time::sleep_until(self.clock.at(Duration::from_secs(seconds))).await;
    }

    /// A server on `files`, without a configuration.
    pub(crate) fn open(&self, files: &MemFiles, registry: &Registry) -> Alertmanager {
        Alertmanager::open(self.options(files, registry)).expect("opened")
    }

    /// Puts a configuration in force.
    pub(crate) fn configure(&self, server: &Alertmanager, text: &str) -> Result<(), String> {
        let config = Config::parse("alertmanager.yml", text, Syntax::Fallback).map_err(|e| e.to_string())?;
        *self.webhooks.lock() = webhooks(text);
        let prepared = server.prepare(config).map_err(|error| error.to_string())?;
        server.apply(prepared);
        Ok(())
    }
}

/// Where state is kept.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from("data")
}

/// Files with the folder for the state.
pub(crate) fn files() -> MemFiles {
    let files = MemFiles::new();
    files.create_dir_all(&folder()).expect("folder");
    files
}

fn webhooks(text: &str) -> Webhooks {
    let document = yaml::parse("alertmanager.yml", text).expect("YAML");
    let list = |value: yaml::Value<'_>, key: &str| {
        let list = value.entry(key).map(|list| list.sequence().expect("a list"));
        list.unwrap_or_default()
            .into_iter()
            .map(|item| item.node.clone())
            .collect::<Vec<_>>()
    };
    let text_of = |value: Option<yaml::Value<'_>>| {
        let scalar = value.and_then(|value| value.scalar().map(|scalar| scalar.text.clone()));
        scalar.unwrap_or_default()
    };
    let mut found = Webhooks::new();
    for receiver in &list(document.root(), "receivers") {
        let receiver = yaml::Value {
            document: &document,
            node: receiver,
        };
        let entries = list(receiver, "webhook_configs");
        let entries = entries.iter().map(|node| {
            let entry = yaml::Value {
                document: &document,
                node,
            };
            let send_resolved = text_of(entry.entry("send_resolved"));
            (text_of(entry.entry("url")), send_resolved != "false")
        });
        found.insert(text_of(receiver.entry("name")), entries.collect());
    }
    found
}
