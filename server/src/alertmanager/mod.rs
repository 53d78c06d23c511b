//! The Alertmanager that runs in this process: inside a server ([`Slot`] among its rooms), or alone ([`alone`]).
//!
//! What it does with alerts is the room `notify`'s; here it is opened, configured and stopped.

pub(crate) mod alone;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use credentials::Machine;
use model::alert::{Alert, AlertSink};
use model::clock::Clock;
use model::storage::StorageError;
use notify::config::Config;
use notify::{Alertmanager, Options, PrepareError};
use receivers::Setup;
use sha2::{Digest as _, Sha256};
use yaml::YamlError;

use crate::version::{self, ALERTMANAGER, USER_AGENT};

/// What panics of configuring it are counted under.
const TASK: &str = "alertmanager configuration";

/// Why it cannot be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SetUpError {
    /// Its files cannot be opened.
    #[error("cannot open {}: {source}", folder.display())]
    Open {
        /// Where they are.
        folder: PathBuf,
        /// Why not.
        source: StorageError,
    },
    /// Templates or receivers are not to be had.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A mistake of ours on the way.
    #[error(transparent)]
    Ended(#[from] supervise::Ended),
}

/// The place of the Alertmanager: there is one while there is a configuration for it. As an [`AlertSink`] it passes alerts
/// on to it.
pub(crate) struct Slot {
    options: Options,
    current: ArcSwapOption<Alertmanager>,
}

/// What becomes of the place, ready to be put in force.
pub(crate) struct Change(Option<(Arc<Alertmanager>, notify::Prepared)>);

impl Slot {
    /// An empty place; `options` are for whoever takes it.
    pub(crate) fn new(options: Options) -> Arc<Self> {
        Arc::new(Slot {
            options,
            current: ArcSwapOption::empty(),
        })
    }

    /// Who is there.
    pub(crate) fn current(&self) -> Option<Alertmanager> {
        self.current.load().as_deref().cloned()
    }

    /// Builds all that a configuration needs, `None` being no Alertmanager. Nothing that is in force changes.
    ///
    /// # Errors
    /// See [`SetUpError`].
    pub(crate) async fn prepare(&self, config: Option<Config>) -> Result<Change, SetUpError> {
        let Some(config) = config else {
            return Ok(Change(None));
        };
        let (current, options) = (self.current.load_full(), self.options.clone());
        let preparing = move || {
            let alertmanager = match current {
                Some(current) => current,
                None => {
                    let folder = options.folder.clone();
                    let opened = Alertmanager::open(options);
                    Arc::new(opened.map_err(|source| SetUpError::Open { folder, source })?)
                }
            };
            let prepared = alertmanager.prepare(config)?;
            Ok(Change(Some((alertmanager, prepared))))
        };
        self.options.supervisor.blocking(TASK, preparing).await?
    }

    /// Puts it in force; cannot fail. One that is not wanted any more ends in an orderly way first. Gives whether one begins,
    /// which has not heard of any alert.
    pub(crate) async fn apply(&self, Change(change): Change) -> bool {
        let Some((alertmanager, prepared)) = change else {
            if let Some(gone) = self.current.swap(None) {
                tracing::info!("The Alertmanager is turned off");
                end(&gone).await;
            }
            return false;
        };
        self.tell(prepared.config());
        alertmanager.apply(prepared);
        self.current.swap(Some(alertmanager)).is_none()
    }

    /// Says in the log who will be told, and in metrics which configuration it is.
    fn tell(&self, config: &Config) {
        let names: Vec<String> = config.receivers.iter().map(receiver_text).collect();
        tracing::info!(receivers = names.join(", "), "Alertmanager configured");
        let digest = Sha256::digest(config.to_yaml());
        let hash = digest[..6]
            .iter()
            .fold(0u64, |hash, byte| hash << 8 | u64::from(*byte));
        let registry = &self.options.registry;
        let help = "Hash of the currently loaded alertmanager configuration. Note that this is not a cryptographically \
                    strong hash.";
        registry.gauge("alertmanager_config_hash", help).set(hash as f64);
        version::tell_build(registry, "alertmanager", ALERTMANAGER);
    }

    /// Ends who is there, in an orderly way.
    pub(crate) async fn stop(&self) {
        if let Some(alertmanager) = self.current.swap(None) {
            end(&alertmanager).await;
        }
    }
}

async fn end(alertmanager: &Alertmanager) {
    if let Err(error) = alertmanager.stop().await {
        // Nothing is lost: what was answered and sent is in the journals.
        tracing::error!(%error, "The Alertmanager's files of the reference's form could not be written");
    }
}

/// `team-db (email, slack)`
fn receiver_text(receiver: &receivers::ReceiverConfig) -> String {
    let kinds: Vec<&str> = receiver.kinds().collect();
    match kinds.as_slice() {
        [] => format!("{} (nobody)", receiver.name),
        kinds => format!("{} ({})", receiver.name, kinds.join(", ")),
    }
}

/// Alerts of our own rules, without a network between.
impl AlertSink for Slot {
    fn send(&self, alerts: Vec<Alert>) {
        if let Some(alertmanager) = self.current.load().as_deref() {
            alertmanager.send(alerts);
        }
    }
}

/// The reference's settings for an Alertmanager in this process, whose files are in `folder`; `external_url` is where users
/// reach it.
pub(crate) fn options(
    folder: impl Into<PathBuf>,
    external_url: String,
    clock: Arc<dyn Clock>,
    registry: &metrics::Registry,
) -> Options {
    let machine = Machine {
        clock: clock.clone(),
        ..Machine::new(USER_AGENT)
    };
    let of_leases = machine.clone();
    let open_lease = move |config: &notify::lease::LeaseConfig| notify::lease::open_store(config, &of_leases);
    let build = move |config: &receivers::ReceiverConfig, templates: &receivers::Templates| {
        let setup = Setup {
            templates: templates.clone(),
            machine: machine.clone(),
        };
        receivers::build(config, &setup)
    };
    Options {
        external_url,
        clock,
        open_lease: Arc::new(open_lease),
        ..Options::new(folder, Arc::new(build), registry.clone())
    }
}

/// What the reference's reader of YAML calls otherwise than ours, by how ours begins.
const SYNTAX_WORDS: [(&str, &str); 3] = [
    ("unclosed bracket '{'", "did not find expected ',' or '}'"),
    ("unclosed bracket '['", "did not find expected ',' or ']'"),
    ("tabs disallowed", "found character that cannot start any token"),
];

/// What is wrong with a configuration, as the reference says it: without the place, but for what its reader of YAML finds
/// by itself.
///
/// Compat: reloads and `check-config` are judged by these words (`general`: an unknown field; `check-config`).
pub(crate) fn in_the_references_words(error: &YamlError) -> String {
    let (message, line) = (error.message(), error.position().line);
    if let Some((_, words)) = SYNTAX_WORDS.iter().find(|(ours, _)| message.starts_with(ours)) {
        return format!("yaml: line {line}: {words}");
    }
    let of_types = |words: &str| format!("yaml: unmarshal errors:\n  line {line}: {words}");
    let list = message.strip_prefix("expected a mapping (type ");
    if let Some(expected) = list.and_then(|rest| rest.strip_suffix("), found a list")) {
        return of_types(&format!("cannot unmarshal !!seq into {expected}"));
    }
    let is_unknown_field = message.starts_with("field ") && message.contains(" not found in type ");
    if is_unknown_field || message.starts_with("cannot unmarshal ") {
        return of_types(message);
    }
    message.to_owned()
}
