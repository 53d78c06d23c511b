//! The local store and stores elsewhere behind one read door.
//!
//! The local store is the first among them: what goes wrong there is the query's error. A store elsewhere that fails is left
//! out, of all selections of a view alike, and a warning says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::Registry;
use futures_util::future::join_all;
use httpclient::{HttpClientError, Surroundings};
use model::changes::{ChangedTimes, Changes, Mark};
use model::labels::Labels;
use model::matcher::Matcher;
use model::purpose::{SelectPurpose, Selection};
use model::storage::{Interrupted, Querier, Queryable, SelectHints, SeriesSet, StorageError, TimeRange};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use super::client::{Store, StoreError};
use super::config::RemoteReadConfig;
use super::merge::merge;
use super::message::Query;
use super::metrics::ReadMetrics;
use crate::section::{name_of, redacted};

/// How often whoever waits for stores elsewhere looks whether the query goes on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What names and values of labels are told with where there are stores elsewhere.
///
/// Compat: the protocol has no question for them (push: `default`).
const NOT_ASKED: &str = "not implemented";

/// What the fan-in is made of.
pub struct FanInOptions {
    /// The local store.
    pub local: Arc<dyn Queryable>,
    /// From which time on the local store has everything, in milliseconds since the epoch.
    pub local_start_ms: Arc<dyn Fn() -> Result<i64, StorageError> + Send + Sync>,
    /// What requests call us.
    pub user_agent: String,
    /// From names to addresses, and whom to trust.
    pub surroundings: Surroundings,
    /// Where connections live. Whoever queries does so on a thread for work that takes long, never on one of these.
    pub runtime: Handle,
    /// Where metrics are registered.
    pub registry: Registry,
}

/// The local store and stores elsewhere.
pub struct FanIn {
    options: FanInOptions,
    metrics: ReadMetrics,
    stores: RwLock<Arc<[Arc<Store>]>>,
    /// The local store's mark when stores were last exchanged.
    exchanged: AtomicU64,
}

/// Stores that can be put in force.
pub struct Prepared(Arc<[Arc<Store>]>);

/// Stores cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// An address that names no host.
    #[error(
        "remote_read url {url:?} cannot be read from: {source}; it needs a scheme and a host, as in http://example.test/api/v1/read"
    )]
    Url {
        /// It.
        url: String,
        /// Why not.
        source: url::ParseError,
    },
    /// A client cannot be built.
    #[error("remote_read: {0}")]
    Client(#[from] HttpClientError),
    /// Two entries cannot be told apart.
    #[error(
        "duplicate remote read configs are not allowed, found duplicate for URL: {url}; give them names that differ"
    )]
    Duplicate {
        /// Where they read.
        url: String,
    },
}

impl FanIn {
    /// The local store alone.
    pub fn new(options: FanInOptions) -> Self {
        FanIn {
            metrics: ReadMetrics::new(&options.registry),
            stores: RwLock::new(Arc::new([])),
            exchanged: AtomicU64::new(0),
            options,
        }
    }

    /// Sets up the stores of a configuration. Nothing changes yet.
    ///
    /// # Errors
    /// When one of them cannot be set up.
    pub fn prepare(&self, configs: &[RemoteReadConfig], external: &Labels) -> Result<Prepared, PrepareError> {
        let mut stores = Vec::with_capacity(configs.len());
        for (at, config) in configs.iter().enumerate() {
            if configs[..at].contains(config) {
                let url = redacted(&config.url);
                return Err(PrepareError::Duplicate { url });
            }
            let name = match config.name.as_str() {
                "" => name_of(config),
                name => name.to_owned(),
            };
            let client = (self.options.user_agent.as_str(), &self.options.surroundings);
            stores.push(Arc::new(Store::new(
                config,
                &name,
                external,
                client,
                &self.metrics,
            )?));
        }
        Ok(Prepared(stores.into()))
    }

    /// Puts stores in force: for views that are opened from now on.
    pub fn apply(&self, prepared: Prepared) {
        self.metrics.keep(prepared.0.iter().map(|store| &store.metrics));
        *self.stores.write() = prepared.0;
        // Behind the exchange: a view that was opened in between, under an older mark, may have seen either.
        let local = self.options.local.changes();
        self.exchanged
            .store(local.map_or(0, |local| local.mark().0), Ordering::SeqCst);
    }

    /// The stores to be asked for `range`, and up to when.
    fn stores_for(&self, range: TimeRange) -> Result<Vec<Asked>, StorageError> {
        let stores = self.stores.read().clone();
        if stores.is_empty() {
            return Ok(Vec::new());
        }
        let local_start_ms = match stores.iter().all(|store| store.read_recent) {
            true => i64::MAX,
            false => (self.options.local_start_ms)()?,
        };
        let asked = stores.iter().map(|store| Asked {
            store: store.clone(),
            end_ms: if store.read_recent {
                i64::MAX
            } else {
                local_start_ms
            },
        });
        Ok(asked.filter(|asked| range.min_ms <= asked.end_ms).collect())
    }
}

impl Queryable for FanIn {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        let local = self.options.local.querier(range)?;
        let stores = self.stores_for(range)?;
        if stores.is_empty() {
            return Ok(local);
        }
        Ok(Arc::new(View {
            local,
            stores,
            range,
            runtime: self.options.runtime.clone(),
            state: Mutex::default(),
        }))
    }

    /// Of stores elsewhere nobody knows what has changed.
    fn changes(&self) -> Option<&dyn Changes> {
        let is_alone = self.stores.read().is_empty();
        let local = self.options.local.changes();
        (is_alone && local.is_some()).then_some(self)
    }
}

impl Changes for FanIn {
    fn mark(&self) -> Mark {
        self.options.local.changes().map_or(Mark(0), Changes::mark)
    }

    fn changed_since(&self, mark: Mark) -> ChangedTimes {
        match self.options.local.changes() {
            Some(local) if mark.0 > self.exchanged.load(Ordering::SeqCst) => local.changed_since(mark),
            // All of it.
            _ => ChangedTimes {
                from_ms: i64::MIN,
                ranges: Vec::new(),
            },
        }
    }
}

/// A store that a view asks.
struct Asked {
    store: Arc<Store>,
    /// What is later has the local store.
    end_ms: i64,
}

/// A view that asks stores elsewhere, too.
struct View {
    local: Arc<dyn Querier>,
    stores: Vec<Asked>,
    range: TimeRange,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was announced and has not been asked for.
    coming: Vec<Selection>,
    /// What has come and was not selected yet.
    come: Vec<(Vec<Matcher>, Answers)>,
}

/// What stores elsewhere gave for one selection.
#[derive(Default)]
struct Answers {
    sets: Vec<Arc<dyn SeriesSet>>,
    warnings: Vec<String>,
}

impl View {
    /// What the stores give for `matchers`: asked for now, together with all that was announced, or before.
    fn answers(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Answers, StorageError> {
        let mut asking = {
            let mut state = self.state.lock();
            if let Some(at) = state.come.iter().position(|(known, _)| known == matchers) {
                return Ok(state.come.swap_remove(at).1);
            }
            std::mem::take(&mut state.coming)
        };
        let own = match asking.iter().position(|selection| selection.matchers == matchers) {
            Some(at) => at,
            None => {
                let purpose = hints.purpose.as_deref().cloned();
                asking.push(Selection {
                    matchers: matchers.to_vec(),
                    purpose: purpose.unwrap_or_else(|| SelectPurpose::of("", self.range)),
                });
                asking.len() - 1
            }
        };
        let mut answers = self.ask(hints, &asking)?;
        let wanted = std::mem::take(&mut answers[own]);
        let come = asking.into_iter().zip(answers).enumerate();
        let others = come.filter(|(at, _)| *at != own);
        let mut state = self.state.lock();
        state
            .come
            .extend(others.map(|(_, (selection, answers))| (selection.matchers, answers)));
        Ok(wanted)
    }

    /// Asks all stores for all selections at the same time, and waits for them as long as the query goes on.
    fn ask(&self, hints: &SelectHints, selections: &[Selection]) -> Result<Vec<Answers>, Interrupted> {
        let asking = join_all(self.stores.iter().map(|asked| asked.ask(hints, selections)));
        let given = self.runtime.block_on(async {
            tokio::select! {
                given = asking => Ok(given),
                interrupted = ended(hints) => Err(interrupted),
            }
        })?;
        let mut answers: Vec<Answers> = selections.iter().map(|_| Answers::default()).collect();
        for given in given {
            match given {
                Ok(sets) => {
                    for (at, set) in sets {
                        answers[at].sets.push(set);
                    }
                }
                Err(StoreError::Interrupted(interrupted)) => return Err(interrupted),
                // Compat: all of a store's series or none (push: `answer/too-few-results`).
                Err(error) => {
                    for answer in &mut answers {
                        answer.warnings.push(error.to_string());
                    }
                }
            }
        }
        Ok(answers)
    }
}

impl Asked {
    /// What the store gives for the selections that are for it, by their places.
    async fn ask(
        &self,
        hints: &SelectHints,
        selections: &[Selection],
    ) -> Result<Vec<(usize, Arc<dyn SeriesSet>)>, StoreError> {
        let own = selections
            .iter()
            .enumerate()
            .filter(|(_, selection)| self.store.is_for(&selection.matchers));
        let asking = own.map(|(at, selection)| async move {
            let added = self.store.added(&selection.matchers);
            let names: Vec<&str> = added.iter().map(|(name, _)| *name).collect();
            let external = added.iter().map(|(name, value)| Matcher::equal(*name, *value));
            let matchers: Vec<Matcher> = selection.matchers.iter().cloned().chain(external).collect();
            let asked = selection.purpose.query;
            let range = TimeRange::new(asked.min_ms, asked.max_ms.min(self.end_ms));
            let query = Query::new(range, &matchers, &selection.purpose);
            let fetched = self.store.read(query, &names, hints).await?;
            Ok((at, Arc::new(fetched) as Arc<dyn SeriesSet>))
        });
        join_all(asking).await.into_iter().collect()
    }
}

/// Returns when whoever watches over the selection wants it to end.
async fn ended(hints: &SelectHints) -> Interrupted {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(watch) = &hints.watch
            && let Err(interrupted) = watch.took(0)
        {
            return interrupted;
        }
    }
}

impl Querier for View {
    fn announce(&self, coming: &dyn Fn() -> Vec<Selection>) {
        self.state.lock().coming.append(&mut coming());
    }

    fn select(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError> {
        let local = self.local.select(hints, matchers)?;
        let Answers { mut sets, warnings } = self.answers(hints, matchers)?;
        sets.insert(0, local);
        merge(sets, warnings, hints)
    }

    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>, StorageError> {
        self.local.label_names(hints, matchers)
    }

    fn label_values(
        &self,
        name: &str,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        self.local.label_values(name, hints, matchers)
    }

    fn label_warnings(&self) -> Vec<String> {
        vec![NOT_ASKED.to_owned()]
    }
}
