//! Queries that are asked again and again, each time at one moment: rules.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::storage::Queryable;

use crate::annotations::Annotations;
use crate::ast::Expr;
use crate::exec::standing::{Asking, Halt, Whose};
use crate::exec::{Counts, Execution, Held, Limits, OrderWatch, Shared};
use crate::plan::{self, Plan, PlanContext, Root};
use crate::value::{Sample, SampleValue, Value};

use super::{
    Answer, Engine, EvalTime, ExecutionError, QueryError, QueryOptions, QueryStats, Reservation, announce,
    nanoseconds,
};

pub use crate::exec::standing::{Round, Standing};

/// One of the queries of a [`Standing`], asked at a moment.
#[derive(Clone, Copy, Debug)]
pub struct StandingQuestion<'q> {
    /// The query.
    pub expr: &'q Expr,
    /// What is remembered of it and of others.
    pub standing: &'q Standing,
    /// Its number among them; always the same.
    pub number: usize,
    /// What it shares with others that are asked at the same moment.
    pub round: Option<&'q Round>,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// Stands for a list of label sets, in which elements of vectors have their places. Two vectors of one column have equal
/// labels at equal places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnId {
    column: u64,
    dropped: u8,
}

/// A vector whose labels are looked at when they are wanted.
pub struct InstantVector {
    timestamp_ms: i64,
    whose: Whose,
    places: Arc<Vec<u32>>,
    values: Arc<Vec<f64>>,
    /// By index; the value is 0 there.
    histograms: Vec<(u32, Arc<FloatHistogram>)>,
}

/// What such a query gives.
pub struct StandingOutput {
    /// The answer; a scalar is one element without labels.
    pub vector: InstantVector,
    /// Warnings and infos beside it.
    pub annotations: Annotations,
    /// The memory that `vector` takes; to be kept as long as that is.
    pub memory: Reservation,
}

/// What became of such a query.
pub struct StandingEvaluated {
    /// Its answer.
    pub result: Result<StandingOutput, QueryError>,
    /// What it took, up to its failure where it failed.
    pub stats: QueryStats,
}

impl InstantVector {
    /// A vector of these samples, all of one time, in a column of its own.
    pub fn of_samples(samples: Vec<Sample>, timestamp_ms: i64) -> Self {
        let (sets, values) = samples
            .into_iter()
            .map(|sample| (sample.labels, sample.value))
            .unzip();
        InstantVector::of_values(Whose::of_sets(sets), values, timestamp_ms)
    }

    fn of_values(whose: Whose, values: Vec<SampleValue>, timestamp_ms: i64) -> Self {
        let mut histograms = Vec::new();
        let floats = values.into_iter().enumerate().map(|(index, value)| match value {
            SampleValue::Float(value) => value,
            SampleValue::Histogram(histogram) => {
                histograms.push((index as u32, histogram));
                0.0
            }
        });
        let values: Vec<f64> = floats.collect();
        InstantVector {
            timestamp_ms,
            whose,
            places: Arc::new((0..values.len() as u32).collect()),
            values: Arc::new(values),
            histograms,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The time of all elements, in milliseconds since the epoch.
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Where its labels stand.
    pub fn column(&self) -> ColumnId {
        ColumnId {
            column: self.whose.column.id(),
            dropped: self.whose.dropped as u8,
        }
    }

    /// Number of places in the column: each element's is below.
    pub fn column_len(&self) -> usize {
        self.whose.column.len()
    }

    /// The place of each element in the column: no two are the same.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// The labels at a place of the column.
    ///
    /// # Panics
    /// Where there is no such place.
    pub fn labels_at(&self, place: u32) -> Labels {
        self.whose.labels(place)
    }

    /// The value of element `index`.
    ///
    /// # Panics
    /// Where there is no such element.
    pub fn value(&self, index: usize) -> SampleValue {
        let histogram = self
            .histograms
            .binary_search_by_key(&(index as u32), |(at, _)| *at);
        match histogram {
            Ok(at) => SampleValue::Histogram(self.histograms[at].1.clone()),
            Err(_) => SampleValue::Float(self.values[index]),
        }
    }

    /// Its elements as samples.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.places.iter().enumerate().map(|(index, place)| Sample {
            labels: self.labels_at(*place),
            timestamp_ms: self.timestamp_ms,
            value: self.value(index),
        })
    }
}

impl Engine {
    /// Evaluates a query that is asked again and again. Its answer is that of [`Engine::evaluate`], to the last bit.
    ///
    /// # Panics
    /// Where the question's [`Standing`] is not for as many queries.
    pub fn evaluate_standing(
        &self,
        storage: &dyn Queryable,
        question: StandingQuestion<'_>,
        options: &QueryOptions,
    ) -> StandingEvaluated {
        let started = Instant::now();
        let mut stats = QueryStats::default();
        let result = self.standing_within(started, storage, question, options, &mut stats);
        stats.eval_ns = nanoseconds(started.elapsed()).saturating_sub(stats.prepare_ns);
        StandingEvaluated { result, stats }
    }

    fn standing_within(
        &self,
        started: Instant,
        storage: &dyn Queryable,
        question: StandingQuestion<'_>,
        options: &QueryOptions,
        stats: &mut QueryStats,
    ) -> Result<StandingOutput, QueryError> {
        let limits = self.limits(started, options);
        limits.check()?;
        let time = EvalTime::Instant {
            at_ms: question.at_ms,
        };
        let features = self.options.features;
        let query = &question.standing.queries[question.number];
        let late_or_odd = features.delayed_name_removal
            || features.type_and_unit_labels
            || options.explain
            || options.per_step_stats
            || query.is_odd.load(Ordering::Relaxed);
        if !late_or_odd {
            let context = self.plan_context(time, options);
            let plan = plan::build(question.expr, &context)?;
            stats.prepare_ns = nanoseconds(started.elapsed());
            match self.by_columns(&limits, started, storage, question, (&context, &plan), stats) {
                Ok(output) => return Ok(output),
                Err(Halt::Odd) => query.is_odd.store(true, Ordering::Relaxed),
                Err(Halt::Failed(error @ (QueryError::Canceled { .. } | QueryError::Timeout { .. }))) => {
                    return Err(error);
                }
                // The general way tells what is wrong, and where.
                Err(Halt::Failed(_) | Halt::Contradiction) => {}
            }
        }
        let limits = self.limits(started, options);
        let answer = self.evaluate_within(&limits, started, storage, question.expr, time, options, stats);
        note_peaks(&limits, stats);
        let Answer {
            value,
            held,
            annotations,
            ..
        } = answer?;
        let (sets, values) = match value {
            Value::Vector(samples) => samples
                .into_iter()
                .map(|sample| (sample.labels, sample.value))
                .unzip(),
            Value::Scalar { value, .. } => (vec![Labels::empty()], vec![SampleValue::Float(value)]),
            Value::String { .. } | Value::Matrix(_) => return Err(ExecutionError::NotAVector.into()),
        };
        let whose = Whose::of_column(query.column(None, sets));
        Ok(StandingOutput {
            vector: InstantVector::of_values(whose, values, question.at_ms),
            annotations,
            memory: Reservation::new(held),
        })
    }

    /// The way that looks at columns of label sets, where there is one.
    fn by_columns(
        &self,
        limits: &Arc<Limits>,
        started: Instant,
        storage: &dyn Queryable,
        question: StandingQuestion<'_>,
        (context, plan): (&PlanContext<'_>, &Plan),
        stats: &mut QueryStats,
    ) -> Result<StandingOutput, Halt> {
        if !matches!(plan.root, Root::Vector(_)) {
            return Err(Halt::Odd);
        }
        let view = |range| match question.round {
            Some(round) => round.view(storage, range),
            None => storage.querier(range),
        };
        let querier = plan.range.map(view).transpose().map_err(QueryError::from)?;
        announce(querier.as_deref(), question.expr, context);
        let shared = Shared {
            limits: limits.clone(),
            features: self.options.features,
            no_counts: Counts::new(plan, false),
            crew: self.crews.crew(started),
            profile: None,
            order: OrderWatch::default(),
        };
        let asking = Asking {
            standing: question.standing,
            query: &question.standing.queries[question.number],
            round: question.round,
        };
        let execution = Execution::of_standing(plan, querier, shared, asking);
        let vector = execution.root_vector()?;
        let (annotations, counts) = execution.finish();
        stats.total_queryable_samples = counts.total;
        stats.samples_read = counts.read;
        note_peaks(limits, stats);
        let held: Held = vector.held;
        Ok(StandingOutput {
            vector: InstantVector {
                timestamp_ms: question.at_ms,
                whose: vector.whose,
                places: vector.places,
                values: vector.values,
                histograms: Vec::new(),
            },
            annotations,
            memory: Reservation::new(held),
        })
    }
}

fn note_peaks(limits: &Limits, stats: &mut QueryStats) {
    stats.peak_samples = limits.peak_samples();
    stats.peak_bytes = limits.peak_bytes();
}
