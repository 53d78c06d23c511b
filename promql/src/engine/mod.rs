//! The engine: runs queries over a store, within limits.
//!
//! ```text
//! text -> syntax tree -> plan (time ranges, folded, shared) -> operators over series x steps -> Value
//! ```

mod cancel;
mod crew;
mod error;
mod explain;
mod memory;
mod options;
mod search;
mod standing;
mod stats;
mod watch;

pub use crate::plan::Reach;
pub use cancel::CancelHandle;
pub(crate) use crew::Crew;
use crew::Crews;
pub use error::{ExecutionError, QueryError};
pub use explain::{EXPLAINED_LEVELS_MAX, EXPLAINED_QUERY_BYTES_MAX, Operator, OperatorStats};
pub(crate) use memory::HumanBytes;
pub use memory::{MemoryLimit, MemoryPool, Reservation};
pub use options::{DefaultSubqueryStep, EngineOptions, Features, QueryOptions};
pub use search::Search;
pub use standing::{
    ColumnId, InstantVector, Round, Standing, StandingEvaluated, StandingOutput, StandingQuestion,
};
pub use stats::{QueryStats, StepSamples};
pub use watch::QueryWatch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::storage::{Querier, Queryable};

use crate::annotations::Annotations;
use crate::ast::Expr;
use crate::exec::{Counts, Execution, Held, Limits, OrderWatch, Profile, Shared};
use crate::parser::{ParseError, ParseOptions, parse};
use crate::plan::{self, PlanContext, PlanError};
use crate::value::Value;

/// What a query gives.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    /// The answer.
    pub value: Value,
    /// Warnings and infos beside it.
    pub annotations: Annotations,
    /// What it took.
    pub stats: QueryStats,
    /// The memory that `value` takes; to be kept as long as that is.
    pub memory: Reservation,
    /// The plan and what its operators took, where the query asked for it.
    pub explained: Option<Operator>,
    /// Whether some value may depend on more than the samples around its step: the series that storage lists besides, their
    /// order, and how much is read at once. True unless the query asked for a look ([`QueryOptions::watch_order`]).
    pub order_shows: bool,
}

/// What became of a query.
#[derive(Debug)]
pub struct Evaluated {
    /// Its answer.
    pub result: Result<QueryOutput, QueryError>,
    /// What it took, up to its failure where it failed.
    pub stats: QueryStats,
}

/// An answer without what it took.
struct Answer {
    value: Value,
    held: Held,
    annotations: Annotations,
    explained: Option<Operator>,
    order_shows: bool,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The times at which a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvalTime {
    /// Once; the answer is of the query's own type.
    Instant {
        /// When, in milliseconds since the epoch.
        at_ms: i64,
    },
    /// At every step from `start_ms` to `end_ms`, both included; the answer is a matrix.
    Range {
        /// First step, in milliseconds since the epoch.
        start_ms: i64,
        /// No step is later than this; `@ end()` means exactly this time.
        end_ms: i64,
        /// Distance of the steps, in milliseconds; positive.
        step_ms: i64,
    },
}

/// Runs queries. Holds the threads that queries take in turn, and accounts for the memory that they share.
pub struct Engine {
    options: EngineOptions,
    memory: Arc<MemoryPool>,
    crews: Arc<Crews>,
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Self {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let memory = Arc::new(MemoryPool::new(options.total_bytes_max));
        Engine {
            options,
            memory,
            crews: Crews::new(threads),
        }
    }

    /// The options it was made with.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// What its queries hold.
    pub fn memory(&self) -> &MemoryPool {
        &self.memory
    }

    /// Reads a query as this engine's features allow.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(&self, query: &str) -> Result<Expr, ParseError> {
        let options = ParseOptions {
            pattern_bytes_max: crate::exec::pattern_bytes_max(self.options.query_bytes_max),
            ..self.options.features.parse_options()
        };
        parse(query, &options)
    }

    /// Evaluates `query` at one point in time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        storage: &dyn Queryable,
        query: &str,
        at_ms: i64,
        options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        self.evaluate(storage, &self.parse(query)?, EvalTime::Instant { at_ms }, options)
    }

    /// Evaluates `query` at every step from `start_ms` to `end_ms`, both included.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn range(
        &self,
        storage: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        let time = EvalTime::Range {
            start_ms,
            end_ms,
            step_ms,
        };
        self.evaluate(storage, &self.parse(query)?, time, options)
    }

    /// Evaluates a parsed expression: rules parse once and evaluate often.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn evaluate(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        time: EvalTime,
        options: &QueryOptions,
    ) -> Result<QueryOutput, QueryError> {
        self.evaluate_counted(storage, expr, time, options).result
    }

    /// The same, with what was counted where it fails, too.
    pub fn evaluate_counted(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        time: EvalTime,
        options: &QueryOptions,
    ) -> Evaluated {
        let started = Instant::now();
        let limits = self.limits(started, options);
        let mut stats = QueryStats::default();
        let result = self.evaluate_within(&limits, started, storage, expr, time, options, &mut stats);
        stats.peak_samples = limits.peak_samples();
        stats.peak_bytes = limits.peak_bytes();
        stats.eval_ns = nanoseconds(started.elapsed()).saturating_sub(stats.prepare_ns);
        let result = result.map(|answer| QueryOutput {
            value: answer.value,
            annotations: answer.annotations,
            stats: stats.clone(),
            memory: Reservation::new(answer.held),
            explained: answer.explained,
            order_shows: answer.order_shows,
        });
        Evaluated { result, stats }
    }

    #[expect(clippy::too_many_arguments, reason = "what its only caller has")]
    fn evaluate_within(
        &self,
        limits: &Arc<Limits>,
        started: Instant,
        storage: &dyn Queryable,
        expr: &Expr,
        time: EvalTime,
        options: &QueryOptions,
        stats: &mut QueryStats,
    ) -> Result<Answer, QueryError> {
        limits.check()?;
        let context = self.plan_context(time, options);
        let plan = plan::build(expr, &context)?;
        let querier = match plan.range {
            Some(range) => Some(storage.querier(range)?),
            None => None,
        };
        announce(querier.as_deref(), expr, &context);
        let by_step = options.per_step_stats && self.options.features.per_step_stats;
        let profile = options.explain.then(|| Arc::new(Profile::new(&plan)));
        let order = OrderWatch::new(options.watch_order);
        let shared = Shared {
            limits: limits.clone(),
            features: self.options.features,
            no_counts: Counts::new(&plan, by_step),
            crew: self.crews.crew(started),
            profile: profile.clone(),
            order: order.clone(),
        };
        stats.prepare_ns = nanoseconds(started.elapsed());
        let execution = Execution::new(&plan, querier, shared);
        let evaluated = execution.evaluate(matches!(time, EvalTime::Instant { .. }));
        let (annotations, counts) = execution.finish();
        stats.total_queryable_samples = counts.total;
        stats.total_queryable_samples_per_step = counts.total_by_step();
        stats.samples_read = counts.read;
        stats.samples_read_per_step = counts.read_by_step();
        let (value, held) = evaluated.map_err(|error| error.worded(expr))?;
        Ok(Answer {
            value,
            held,
            annotations,
            explained: profile.map(|profile| explain::tree(expr, &plan, Some(&profile))),
            order_shows: order.shows(),
        })
    }

    /// How `expr` would be evaluated. Nothing is read.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate), as far as they can be known before.
    pub fn explain(
        &self,
        expr: &Expr,
        time: EvalTime,
        options: &QueryOptions,
    ) -> Result<Operator, QueryError> {
        let plan = plan::build(expr, &self.plan_context(time, options))?;
        Ok(explain::tree(expr, &plan, None))
    }

    /// What the result at each step of `expr` depends on, for those who keep answers in pieces; `None` where it is more than
    /// the samples around the step, or the query cannot be evaluated.
    pub fn reach(&self, expr: &Expr, time: EvalTime, options: &QueryOptions) -> Option<Reach> {
        let context = self.plan_context(time, options);
        let plan = plan::build(expr, &context).ok()?;
        plan::reach_of(expr, &plan, &context)
    }

    /// How far back an instant selector of a query with `options` looks, in milliseconds.
    pub fn lookback_ms(&self, options: &QueryOptions) -> i64 {
        match options.lookback_delta_ms {
            Some(lookback_ms) if lookback_ms > 0 => lookback_ms,
            _ => self.options.lookback_delta_ms,
        }
    }

    /// Accounts for the `bytes` of an answer that was not evaluated, as for one that was.
    ///
    /// # Errors
    /// When queries may not hold as much.
    pub fn reserve(&self, bytes: usize, options: &QueryOptions) -> Result<Reservation, QueryError> {
        let mut held = Held::new(&self.limits(Instant::now(), options));
        held.add_bytes(bytes)?;
        Ok(Reservation::new(held))
    }

    fn limits(&self, started: Instant, options: &QueryOptions) -> Arc<Limits> {
        let deadline = started.checked_add(match options.timeout {
            Some(timeout) => timeout.min(self.options.timeout),
            None => self.options.timeout,
        });
        let limits = Arc::new(Limits::new(
            deadline,
            options.cancel.clone(),
            self.options.max_samples,
            self.options.query_bytes_max,
            self.memory.clone(),
        ));
        if let Some(watch) = &options.watch {
            watch.begin(&limits);
        }
        limits
    }

    fn plan_context(&self, time: EvalTime, options: &QueryOptions) -> PlanContext<'_> {
        let (start_ms, end_ms, step_ms) = match time {
            EvalTime::Instant { at_ms } => (at_ms, at_ms, 0),
            EvalTime::Range {
                start_ms,
                end_ms,
                step_ms,
            } => (start_ms, end_ms, step_ms.max(1)),
        };
        PlanContext {
            start_ms,
            end_ms,
            step_ms,
            lookback_ms: self.lookback_ms(options),
            features: self.options.features,
            default_subquery_step: &*self.options.default_subquery_step,
        }
    }
}

/// Tells the view what will be selected from it.
fn announce(querier: Option<&dyn Querier>, expr: &Expr, context: &PlanContext<'_>) {
    if let Some(querier) = querier {
        // What has no value was refused when the plan was made.
        querier.announce(&|| plan::selections(expr, context).unwrap_or_default());
    }
}

impl From<PlanError> for QueryError {
    fn from(error: PlanError) -> Self {
        let span = error.span();
        match error.is_early() {
            true => QueryError::Invalid {
                message: error.to_string(),
                span,
            },
            false => QueryError::Execution {
                source: ExecutionError::Arguments(error.to_string()),
                span,
            },
        }
    }
}
