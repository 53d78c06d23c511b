//! Answering from kept pieces and evaluations of what is missing.

use std::sync::Arc;

use model::changes::{ChangedTimes, Changes, Mark};
use model::storage::{Querier, Queryable, StorageError, TimeRange};
use parking_lot::Mutex;
use promql::ast::Expr;
use promql::engine::{EvalTime, Evaluated, QueryError, QueryOptions, QueryOutput, QueryStats};
use promql::value::Value;

use crate::Frontend;
use crate::block::{Piece, assemble, bytes_of, cut};
use crate::grid::Stretch;
use crate::origin::{Origin, Peaks, told};
use crate::panel::Panel;
use crate::results::{Cover, Results};

/// Most gaps between kept pieces that are evaluated one by one; where there are more, all is evaluated at once.
const GAPS_MAX: usize = 3;
/// Largest pieces, in bytes, that are put together on the thread of whoever asks what is known.
const KNOWN_BYTES_MAX: usize = 1 << 20;
/// How often it is tried again where samples came in between two looks.
const ATTEMPTS_MAX: usize = 3;

/// A query to be answered.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// As it was written.
    pub text: &'q str,
    /// The same, parsed.
    pub expr: &'q Expr,
    /// For when.
    pub time: EvalTime,
    /// Under which limits.
    pub options: &'q QueryOptions,
}

/// How far a question got with the help of what is kept.
enum InPieces {
    /// To its answer, or to an error that does not come from the query.
    Done(Box<Evaluated>),
    /// Something came in between; another attempt may get further.
    Moved,
    /// What is kept is of no help.
    Whole,
}

/// Where pieces are kept, and what tells whether they are good.
#[derive(Clone, Copy)]
struct Keeping<'a> {
    results: &'a Results,
    changes: &'a dyn Changes,
}

impl Frontend {
    /// The answer, where all of it is kept and it is not large. Nothing is evaluated, and nothing waits.
    pub fn known(&self, question: Question<'_>) -> Option<QueryOutput> {
        let (keeping, panel) = self.kept_panel(question)?;
        let cover = keeping.results.cover(&panel, keeping.changes);
        let bytes: usize = cover.pieces.iter().map(|piece| piece.block.bytes).sum();
        if !cover.gaps.is_empty() || bytes > KNOWN_BYTES_MAX {
            return None;
        }
        let output = self.assembled(&panel, &cover.pieces, QueryStats::default(), question.options)?;
        self.instruments.hits.inc();
        self.instruments.kept_steps.add_count(panel.steps.len() as u64);
        Some(output)
    }

    /// The answer, as [`Engine::evaluate_counted`](promql::engine::Engine::evaluate_counted) gives it; what it took is what
    /// was evaluated for it.
    pub fn evaluate(&self, question: Question<'_>) -> Evaluated {
        let Some((keeping, panel)) = self.kept_panel(question) else {
            self.instruments.passed.inc();
            return self.ask_engine(&*self.storage, question, question.time, question.options);
        };
        for _ in 0..ATTEMPTS_MAX {
            match self.in_pieces(keeping, &panel, question) {
                InPieces::Done(evaluated) => return *evaluated,
                InPieces::Moved => {}
                InPieces::Whole => break,
            }
        }
        self.whole(keeping, &panel, question)
    }

    fn kept_panel(&self, question: Question<'_>) -> Option<(Keeping<'_>, Panel)> {
        let (results, changes) = (self.results.as_ref()?, self.storage.changes()?);
        let Question {
            text,
            expr,
            time,
            options,
        } = question;
        if options.explain || options.per_step_stats {
            return None;
        }
        let panel = Panel::of(&self.engine, expr, text, time, options)?;
        Some((Keeping { results, changes }, panel))
    }

    fn ask_engine(
        &self,
        storage: &dyn Queryable,
        question: Question<'_>,
        time: EvalTime,
        options: &QueryOptions,
    ) -> Evaluated {
        self.engine
            .evaluate_counted(storage, question.expr, time, options)
    }

    /// Evaluates all steps, and keeps them where that can be done.
    fn whole(&self, keeping: Keeping<'_>, panel: &Panel, question: Question<'_>) -> Evaluated {
        let mark = keeping.changes.mark();
        let options = watching(question.options);
        let evaluated = self.ask_engine(&*self.storage, question, question.time, &options);
        self.instruments.misses.inc();
        self.instruments
            .evaluated_steps
            .add_count(panel.steps.len() as u64);
        if let Ok(output) = &evaluated.result
            && let Some(pieces) = self.pieces_of(keeping, panel, panel.steps, output)
        {
            keeping.results.keep(panel, pieces, mark, keeping.changes);
        }
        evaluated
    }

    /// The pieces of an evaluation at `steps`; nothing where they cannot be kept.
    fn pieces_of(
        &self,
        keeping: Keeping<'_>,
        panel: &Panel,
        steps: Stretch,
        output: &QueryOutput,
    ) -> Option<Vec<Piece>> {
        let Value::Matrix(matrix) = &output.value else {
            return None;
        };
        if output.order_shows || bytes_of(matrix) > keeping.results.result_bytes_max() {
            return None;
        }
        let origin = Arc::new(Origin {
            steps,
            annotations: output.annotations.clone(),
            text: panel.text.clone(),
            peaks: Peaks::of(&output.stats),
        });
        cut(matrix, panel.key.grid, &origin)
    }

    fn in_pieces(&self, keeping: Keeping<'_>, panel: &Panel, question: Question<'_>) -> InPieces {
        let mark = keeping.changes.mark();
        let Cover { mut pieces, gaps } = keeping.results.cover(panel, keeping.changes);
        let missing: usize = gaps.iter().map(|gap| gap.len()).sum();
        if gaps.len() > GAPS_MAX || 2 * missing > panel.steps.len() {
            return InPieces::Whole;
        }
        let storage = Watched {
            inner: &*self.storage,
            mark,
            changed: Mutex::new(ChangedTimes::none()),
        };
        let options = watching(question.options);
        let (mut stats, mut fresh) = (QueryStats::default(), Vec::new());
        for gap in &gaps {
            let evaluated = self.ask_engine(&storage, question, panel.time_of(*gap), &options);
            add_stats(&mut stats, &evaluated.stats);
            let output = match evaluated.result {
                Ok(output) => output,
                Err(error @ (QueryError::Canceled { .. } | QueryError::Timeout { .. })) => {
                    let result = Err(error);
                    return InPieces::Done(Box::new(Evaluated { result, stats }));
                }
                // Whatever is wrong, all steps together say it in their own words.
                Err(_) => return InPieces::Whole,
            };
            match self.pieces_of(keeping, panel, *gap, &output) {
                Some(of_gap) => fresh.extend(of_gap),
                None => return InPieces::Whole,
            }
        }
        // What the last view saw, the views before it and the kept pieces must not have missed.
        let changed = storage.changed.into_inner();
        let read_before = gaps.split_last().map_or(&[][..], |(_, before)| before).iter();
        let mut of_others = pieces.iter().map(|piece| piece.steps).chain(read_before.copied());
        let is_pinned = panel.pinned().any(|range| changed.touch(range));
        if is_pinned || of_others.any(|steps| changed.touch(panel.reads(steps))) {
            return InPieces::Moved;
        }
        let kept: usize = pieces.iter().map(|piece| piece.steps.len()).sum();
        pieces.extend(fresh.iter().cloned());
        pieces.sort_by_key(|piece| piece.steps.first);
        let output = self.assembled(panel, &pieces, stats.clone(), question.options);
        keeping.results.keep(panel, fresh, mark, keeping.changes);
        let Some(output) = output else {
            return InPieces::Whole;
        };
        match gaps.is_empty() {
            true => self.instruments.hits.inc(),
            false => self.instruments.partial.inc(),
        }
        self.instruments.kept_steps.add_count(kept as u64);
        self.instruments.evaluated_steps.add_count(missing as u64);
        InPieces::Done(Box::new(Evaluated {
            result: Ok(output),
            stats,
        }))
    }

    /// The answer that `pieces` make; nothing where it does not follow from them, or an evaluation might have met a limit.
    fn assembled(
        &self,
        panel: &Panel,
        pieces: &[Piece],
        stats: QueryStats,
        options: &QueryOptions,
    ) -> Option<QueryOutput> {
        let told = told(pieces, &panel.text)?;
        let limits = self.engine.options();
        if told.peaks.samples > limits.max_samples || told.peaks.bytes > limits.query_bytes_max {
            return None;
        }
        let matrix = assemble(pieces, panel.key.grid);
        let memory = self.engine.reserve(bytes_of(&matrix), options).ok()?;
        Some(QueryOutput {
            value: Value::Matrix(matrix),
            annotations: told.annotations,
            stats,
            memory,
            explained: None,
            order_shows: false,
        })
    }
}

fn watching(options: &QueryOptions) -> QueryOptions {
    QueryOptions {
        watch_order: true,
        ..options.clone()
    }
}

fn add_stats(all: &mut QueryStats, more: &QueryStats) {
    all.total_queryable_samples += more.total_queryable_samples;
    all.samples_read += more.samples_read;
    all.peak_samples = all.peak_samples.max(more.peak_samples);
    all.peak_bytes = all.peak_bytes.max(more.peak_bytes);
    all.prepare_ns += more.prepare_ns;
    all.eval_ns += more.eval_ns;
}

/// Storage that takes down what has changed up to where the last view was opened.
struct Watched<'s> {
    inner: &'s dyn Queryable,
    mark: Mark,
    changed: Mutex<ChangedTimes>,
}

impl Queryable for Watched<'_> {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        let view = self.inner.querier(range)?;
        *self.changed.lock() = match self.inner.changes() {
            Some(changes) => changes.changed_since(self.mark),
            None => ChangedTimes {
                from_ms: i64::MIN,
                ranges: Vec::new(),
            },
        };
        Ok(view)
    }
}
