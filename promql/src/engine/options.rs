//! What an engine and a single query can be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::parser::ParseOptions;

use super::{CancelHandle, QueryWatch};

/// Optional parts of the language, by the names of the reference's feature flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `promql-experimental-functions`
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub binop_fill_modifiers: bool,
    /// `promql-delayed-name-removal`: `__name__` goes at the very end.
    pub delayed_name_removal: bool,
    /// `promql-per-step-stats`: queries may ask for statistics by step.
    pub per_step_stats: bool,
    /// `type-and-unit-labels`: `__type__` and `__unit__` are part of a metric's name.
    pub type_and_unit_labels: bool,
    /// `use-start-timestamps`: counters' start times take part in `rate` and its kin.
    pub use_start_timestamps: bool,
}

impl Features {
    /// Everything switched on that changes only what is accepted, as the reference's own tests do.
    pub fn all_syntax() -> Self {
        Features {
            experimental_functions: true,
            extended_range_selectors: true,
            binop_fill_modifiers: true,
            ..Features::default()
        }
    }
}

impl Features {
    /// What the parser is told.
    pub fn parse_options(&self) -> ParseOptions {
        ParseOptions {
            experimental_functions: self.experimental_functions,
            extended_range_selectors: self.extended_range_selectors,
            binop_fill_modifiers: self.binop_fill_modifiers,
            ..ParseOptions::default()
        }
    }
}

/// Gives the step in milliseconds of a subquery that names none, from its range in milliseconds.
pub type DefaultSubqueryStep = Arc<dyn Fn(i64) -> i64 + Send + Sync>;

/// What an engine is told when it is made.
#[derive(Clone)]
pub struct EngineOptions {
    /// How far back an instant selector looks for a sample, in milliseconds.
    pub lookback_delta_ms: i64,
    /// Most samples that a query may hold at a time, counted as the reference counts them.
    pub max_samples: usize,
    /// Longest time that a query may take.
    pub timeout: Duration,
    /// Most bytes that the buffers of one query may take.
    pub query_bytes_max: usize,
    /// Most bytes that the buffers of all queries may take together, answers that are being sent included.
    pub total_bytes_max: usize,
    /// Threads for the work of queries; 0 takes one a core.
    pub threads: usize,
    /// Step of subqueries that name none: the global evaluation interval.
    pub default_subquery_step: DefaultSubqueryStep,
    /// Optional parts of the language.
    pub features: Features,
}

impl Default for EngineOptions {
    /// The reference's defaults: 5 minutes lookback, 50,000,000 samples, 2 minutes, steps of 1 minute.
    fn default() -> Self {
        EngineOptions {
            lookback_delta_ms: 5 * 60 * 1000,
            max_samples: 50_000_000,
            timeout: Duration::from_secs(120),
            query_bytes_max: 4 << 30,
            total_bytes_max: usize::MAX,
            threads: 0,
            default_subquery_step: Arc::new(|_| 60_000),
            features: Features::default(),
        }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("lookback_delta_ms", &self.lookback_delta_ms)
            .field("max_samples", &self.max_samples)
            .field("timeout", &self.timeout)
            .field("query_bytes_max", &self.query_bytes_max)
            .field("total_bytes_max", &self.total_bytes_max)
            .field("threads", &self.threads)
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

/// What a single query is told.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Overrides the engine's lookback, in milliseconds.
    pub lookback_delta_ms: Option<i64>,
    /// Shortens the engine's timeout.
    pub timeout: Option<Duration>,
    /// Count samples step by step too; needs [`Features::per_step_stats`].
    pub per_step_stats: bool,
    /// Note what each operator takes.
    pub explain: bool,
    /// Look whether [`QueryOutput::order_shows`](super::QueryOutput::order_shows).
    pub watch_order: bool,
    /// Stops the query from outside.
    pub cancel: CancelHandle,
    /// Shows what the query holds meanwhile.
    pub watch: Option<QueryWatch>,
}
