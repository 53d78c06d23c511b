//! Queries of all kinds on their way to the engine: who may run, which are running, and the log of those that ran.
//!
//! Requests are first shown to the front end, which may have the answer. Those that are to be evaluated wait for one of `--query.max-concurrency` slots. Rules have as many of their own, so that they never wait
//! behind dashboards.

mod active;
mod instrument;
mod log;
mod rules;
mod shared;
mod stats;
mod watched;

pub(crate) use log::QueryLog;
pub(crate) use rules::RuleQueries;
use shared::Flights;
pub(crate) use shared::{Landed, Landing};
pub(crate) use stats::{QueryTimes, StatsJson};
pub(crate) use watched::{Kind, Seen, Stage, StopError};

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use frontend::Frontend;
use model::clock::Clock;
use model::storage::Queryable;
use promql::ast::Expr;
use promql::engine::{
    Engine, EvalTime, Evaluated, QueryError, QueryOptions, QueryOutput, QueryStats, StandingEvaluated,
    StandingOutput, StandingQuestion,
};
use supervise::Supervisor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::explain::Explained;

use active::{ActiveEntry, ActiveQueries};
use instrument::QueryMetrics;
use watched::{Ticket, WatchedQueries};

/// What a query was doing when its time was over before it began.
const QUEUE: &str = "query queue";

/// A query that held this part of what all may hold leaves so much behind that the allocator is to give it back at once.
const HEAVY_PARTS: usize = 16;

/// Under which name panics of queries are counted.
const QUERY_TASK: &str = "query";

/// Runs queries.
pub(crate) struct Queries {
    pub(crate) engine: Arc<Engine>,
    pub(crate) storage: Arc<dyn Queryable>,
    pub(crate) log: QueryLog,
    frontend: Frontend,
    /// Questions that may be shared.
    pub(crate) flights: Flights,
    lanes: [Lane; 2],
    active: Arc<ActiveQueries>,
    watched: Arc<WatchedQueries>,
    /// Queries that take longer are told of in the log.
    slow: Option<Duration>,
    /// Set when metrics are registered.
    metrics: OnceLock<QueryMetrics>,
    supervisor: Supervisor,
}

/// Slots for one kind of query.
struct Lane {
    slots: Arc<Semaphore>,
    slots_max: usize,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A request to the API.
    Request {
        /// Address of the client, without the port; empty where it is not known.
        client: String,
        method: String,
        path: String,
    },
    /// A rule, or a template of one.
    Rule {
        /// File of the group.
        file: String,
        /// Name of the group.
        group: String,
    },
}

/// A query that may run: to be kept while it does.
pub(crate) struct Turn {
    _slot: OwnedSemaphorePermit,
    _entry: Option<ActiveEntry>,
    ticket: Ticket,
    /// How long it has waited.
    pub(crate) waited: Duration,
}

/// A query.
pub(crate) struct Question<'q> {
    pub(crate) text: &'q str,
    /// The same, where it was parsed already.
    pub(crate) expr: Option<&'q Expr>,
    pub(crate) time: EvalTime,
    pub(crate) options: QueryOptions,
    pub(crate) origin: &'q Origin,
    /// The front end may answer it from what it keeps, and keep the answer.
    pub(crate) may_be_kept: bool,
}

impl Queries {
    /// `concurrency` queries of each kind at a time. Tells in the log which queries did not finish when the program
    /// ran on `data` last.
    pub(crate) fn new(
        engine: Arc<Engine>,
        storage: Arc<dyn Queryable>,
        frontend: Frontend,
        concurrency: usize,
        data: &Path,
        clock: Arc<dyn Clock>,
        supervisor: Supervisor,
    ) -> Self {
        supervisor.announce(QUERY_TASK);
        let concurrency = concurrency.max(1);
        let lane = || Lane {
            slots: Arc::new(Semaphore::new(concurrency)),
            slots_max: concurrency,
        };
        Queries {
            engine,
            storage,
            frontend,
            flights: Flights::default(),
            log: QueryLog::default(),
            lanes: [lane(), lane()],
            active: Arc::new(ActiveQueries::open(data, 2 * concurrency)),
            watched: Arc::new(WatchedQueries::new(clock)),
            slow: None,
            metrics: OnceLock::new(),
            supervisor,
        }
    }

    /// The same, which tells in the log of queries that take longer than `slow`, if that is anything.
    pub(crate) fn with_slow_log(self, slow: Option<Duration>) -> Self {
        Queries { slow, ..self }
    }

    /// Queries that wait or run, the oldest first, then those of requests that ended last, the newest first.
    pub(crate) fn list(&self) -> Vec<Seen> {
        self.watched.list()
    }

    /// Stops a query that waits or runs.
    ///
    /// # Errors
    /// When there is none, or it is not to be stopped.
    pub(crate) fn stop(&self, id: u64) -> Result<(), StopError> {
        self.watched.stop(id)
    }

    /// Registers what is counted of queries.
    pub(crate) fn register_metrics(&self, registry: &metrics::Registry) {
        // Registering twice keeps the first handles.
        let _ = self.metrics.set(QueryMetrics::new(registry));
    }

    /// Most requests at a time.
    pub(crate) fn concurrency(&self) -> usize {
        self.lanes[0].slots_max
    }

    /// Queries that run now.
    pub(crate) fn running(&self) -> usize {
        let taken = |lane: &Lane| lane.slots_max - lane.slots.available_permits();
        self.lanes.iter().map(taken).sum()
    }

    /// Waits until the query may run.
    ///
    /// # Errors
    /// When its time is over before that.
    pub(crate) async fn turn(
        &self,
        text: &str,
        origin: &Origin,
        timeout: Option<Duration>,
    ) -> Result<Turn, QueryError> {
        let longest = self.engine.options().timeout;
        let timeout = timeout.map_or(longest, |timeout| timeout.min(longest));
        let lane = match origin {
            Origin::Request { .. } => &self.lanes[0],
            Origin::Rule { .. } => &self.lanes[1],
        };
        let queued = Instant::now();
        let ticket = self.watched.enter(text, origin);
        let slot = tokio::select! {
            slot = tokio::time::timeout(timeout, lane.slots.clone().acquire_owned()) => slot,
            () = ticket.stopped() => return Err(QueryError::Canceled { during: QUEUE }),
        };
        let slot = match slot {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) => return Err(QueryError::Canceled { during: QUEUE }),
            Err(_) => return Err(QueryError::Timeout { during: QUEUE }),
        };
        Ok(Turn {
            _slot: slot,
            _entry: self.active.enter(text),
            ticket,
            waited: queued.elapsed(),
        })
    }

    /// Evaluates a query whose turn it is. Time in the queue counts as its own.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn run(&self, turn: &Turn, question: Question<'_>) -> Result<QueryOutput, QueryError> {
        let begin = Instant::now();
        let expr;
        let parsed = match question.expr {
            Some(expr) => expr,
            None => {
                // Compat: a text that does not parse is not logged (`queries_are_logged_where_the_configuration_says`).
                expr = self.engine.parse(question.text)?;
                &expr
            }
        };
        self.watched(begin, turn, &question, |options| {
            let Evaluated { result, stats } = match question.may_be_kept {
                true => self.frontend.evaluate(kept_question(&question, parsed, options)),
                false => self
                    .engine
                    .evaluate_counted(&*self.storage, parsed, question.time, options),
            };
            (result, stats)
        })
    }

    /// The answer to a question, where the front end has all of it: it needs no turn.
    pub(crate) fn known(&self, question: &Question<'_>) -> Option<QueryOutput> {
        if !question.may_be_kept {
            return None;
        }
        let begin = Instant::now();
        let known = self.supervisor.catch(QUERY_TASK, || {
            let parsed = self.engine.parse(question.text).ok()?;
            self.frontend
                .known(kept_question(question, &parsed, &question.options))
        });
        // Where it panics, the query has its turn and tells.
        let output = known.ok()??;
        let times = QueryTimes {
            waited: Duration::ZERO,
            total: begin.elapsed(),
        };
        self.note(question, Ok(()), &output.stats, &times);
        Some(output)
    }

    /// The same for a rule's query.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn run_standing(
        &self,
        turn: &Turn,
        question: &Question<'_>,
        standing: StandingQuestion<'_>,
    ) -> Result<StandingOutput, QueryError> {
        self.watched(Instant::now(), turn, question, |options| {
            let StandingEvaluated { result, stats } =
                self.engine.evaluate_standing(&*self.storage, standing, options);
            (result, stats)
        })
    }

    /// Lets `evaluate` answer a question, counts it and logs it.
    fn watched<T>(
        &self,
        begin: Instant,
        turn: &Turn,
        question: &Question<'_>,
        evaluate: impl FnOnce(&QueryOptions) -> (Result<T, QueryError>, QueryStats),
    ) -> Result<T, QueryError> {
        let longest = self.engine.options().timeout;
        let timeout = question
            .options
            .timeout
            .map_or(longest, |timeout| timeout.min(longest));
        let options = QueryOptions {
            timeout: Some(timeout.saturating_sub(turn.waited)),
            watch: Some(turn.ticket.begin(question.time, &question.options.cancel)),
            ..question.options.clone()
        };
        // A query that panics dies alone.
        let (result, stats) = self
            .supervisor
            .catch(QUERY_TASK, || evaluate(&options))
            .unwrap_or_else(|panicked| {
                let message = panicked.message().to_owned();
                (Err(QueryError::Panicked { message }), QueryStats::default())
            });
        // Freed memory that is not given back stands beside what the next queries take, and is in nobody's count.
        if stats.peak_bytes >= self.engine.memory().max_bytes() / HEAVY_PARTS {
            crate::allocator::give_back();
        }
        let times = QueryTimes {
            waited: turn.waited,
            total: turn.waited + begin.elapsed(),
        };
        turn.ticket.end(result.as_ref().err(), &stats, &times);
        self.note(question, result.as_ref().map(drop), &stats, &times);
        result
    }

    /// Logs a query that has ended, and counts it.
    fn note(
        &self,
        question: &Question<'_>,
        ended: Result<(), &QueryError>,
        stats: &QueryStats,
        times: &QueryTimes,
    ) {
        if self.slow.is_some_and(|slow| times.total >= slow) {
            self.tell_of_slow(question, ended.err(), stats, times);
        }
        let logged = self.log.write(question, ended.err(), stats, times);
        if let Some(metrics) = self.metrics.get() {
            if ended.is_ok() {
                metrics.observe(stats, times);
            }
            metrics.log_failures.add_count(u64::from(!logged));
        }
    }
}

/// A question as the front end takes it.
fn kept_question<'q>(
    question: &Question<'q>,
    expr: &'q Expr,
    options: &'q QueryOptions,
) -> frontend::Question<'q> {
    frontend::Question {
        text: question.text,
        expr,
        time: question.time,
        options,
    }
}

impl Queries {
    /// A query took long: what it was, what it took, and how it was evaluated.
    #[cold]
    fn tell_of_slow(
        &self,
        question: &Question<'_>,
        error: Option<&QueryError>,
        stats: &QueryStats,
        times: &QueryTimes,
    ) {
        let parsed;
        let expr = match question.expr {
            Some(expr) => Some(expr),
            None => {
                parsed = self.engine.parse(question.text).ok();
                parsed.as_ref()
            }
        };
        let plan = expr.and_then(|expr| self.engine.explain(expr, question.time, &question.options).ok());
        let plan = plan.and_then(|plan| serde_json::to_string(&Explained::planned(&plan)).ok());
        tracing::warn!(
            query = question.text,
            origin = %question.origin,
            seconds = times.total.as_secs_f64(),
            queued_seconds = times.waited.as_secs_f64(),
            samples_read = stats.samples_read,
            peak_samples = stats.peak_samples,
            peak_bytes = stats.peak_bytes,
            error = error.map(tracing::field::display),
            plan,
            "Slow query"
        );
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Request { client, method, path } => write!(f, "{method} {path} of {client}"),
            Origin::Rule { file, group } => write!(f, "group {group} of {file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use metrics::Registry;
    use model::storage::{Querier, StorageError, TimeRange};
    use promql::engine::EngineOptions;

    use super::*;

    /// A store whose every view panics.
    struct Broken;

    impl Queryable for Broken {
        fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
            panic!("a broken store")
        }
    }

    #[tokio::test]
    async fn a_query_that_panics_dies_alone_and_is_counted() {
        let folder = tempfile::tempdir().expect("folder");
        let supervisor = Supervisor::new(&Registry::new());
        let engine = Arc::new(Engine::new(EngineOptions::default()));
        let frontend = Frontend::new(engine.clone(), Arc::new(Broken), 0, &Registry::new());
        let clock = Arc::new(model::clock::SystemClock);
        let queries = Queries::new(
            engine,
            Arc::new(Broken),
            frontend,
            1,
            folder.path(),
            clock,
            supervisor.clone(),
        );
        let origin = Origin::Rule {
            file: String::new(),
            group: String::new(),
        };
        let mut answers = BTreeMap::new();
        for text in ["up", "sum(up)", "1 + 1"] {
            let turn = queries.turn(text, &origin, None).await.expect("a slot");
            let question = Question {
                text,
                expr: None,
                time: EvalTime::Instant { at_ms: 0 },
                options: QueryOptions::default(),
                origin: &origin,
                may_be_kept: true,
            };
            answers.insert(
                text,
                queries
                    .run(&turn, question)
                    .map(drop)
                    .map_err(|error| error.to_string()),
            );
        }
        let panicked = Err("query evaluation panicked: a broken store".to_owned());
        assert_eq!(answers["up"], panicked);
        assert_eq!(answers["sum(up)"], panicked);
        assert_eq!(answers["1 + 1"], Ok(()));
        assert_eq!((supervisor.panics(QUERY_TASK), queries.running()), (2, 0));
        assert_eq!(queries.engine.memory().held_bytes(), 0);
    }
}
