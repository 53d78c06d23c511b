//! Executes plans: operators over series × steps, in columns.
//!
//! A node is executed either as part of a [`pipeline::Pipeline`], which sends one row after the other to a consumer,
//! or by keeping all its rows in a [`table::Table`]. Kept are what several nodes use, what must be compared row by row
//! (joins, sorts), and rows whose labels may become equal.

mod absent;
mod aggregate;
mod blocks;
mod buckets;
mod counts;
mod group;
mod head;
mod histograms;
mod info;
mod join;
mod limits;
mod operation;
mod order_watch;
mod ordered;
mod pipeline;
mod profile;
mod root;
mod samples;
mod scalar;
mod select_watch;
mod set;
mod signature;
mod single;
mod smoothed;
mod sort;
mod source;
mod stage;
pub(crate) mod standing;
mod statistics;
mod table;
mod text;

pub(crate) use counts::Counts;
pub(crate) use limits::{Held, Limits};
pub(crate) use operation::scalar_operation;
pub(crate) use order_watch::OrderWatch;
pub(crate) use pipeline::Shared;
pub(crate) use profile::{Profile, Took};
pub(crate) use select_watch::SelectWatch;

use std::cell::RefCell;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::matcher::Matcher;
use model::regex::{AUTOMATON_BYTES_MAX, Regex, RegexErrorKind, Template};
use model::stack::deep;
use model::storage::{Querier, SelectHints, SeriesSet};

use crate::annotations::Annotations;
use crate::engine::{ExecutionError, QueryError};
use crate::plan::{Node, NodeId, NodeKind, Plan};
use crate::row::{Row, Steps};

use limits::float_row_bytes;
pub(crate) use limits::pattern_bytes_max;
use pipeline::{Consumer, Ledger, Pipeline};
use source::Source;
use stage::{ScalarOperation, Stage};
use standing::{Asking, Vector};
use table::{Collect, Table};

/// One query on its way.
pub(crate) struct Execution<'a> {
    plan: &'a Plan,
    /// Absent where the query selects nothing.
    querier: Option<Arc<dyn Querier>>,
    shared: Shared,
    /// Kept results of nodes that several nodes use.
    kept: RefCell<HashMap<NodeId, Kept<Table>>>,
    /// With what the query is asked, where it is asked again and again.
    asking: Option<Asking<'a>>,
    /// The same as `kept`, of queries that are asked so.
    kept_vectors: RefCell<HashMap<NodeId, Kept<Vector>>>,
    /// Results that are there before anybody has asked for them.
    given: RefCell<HashMap<NodeId, Arc<Table>>>,
    /// What was selected so far: one list of matchers is asked for once.
    selected: RefCell<Vec<Selected>>,
    /// Compiled patterns of `label_replace`.
    patterns: RefCell<HashMap<&'a str, Regex>>,
    annotations: RefCell<Annotations>,
    counts: RefCell<Counts>,
    /// Lists of series, compiled patterns, and values of scalars.
    held: RefCell<Held>,
}

/// The result of a node that several nodes use.
struct Kept<T> {
    result: Arc<T>,
    /// What was looked at for it: the reference would look again each time.
    counts: Counts,
    /// Most samples that were held for it at a time.
    sample_peak: usize,
    /// How many nodes still will ask for it.
    uses_left: u32,
}

/// Series and what they were asked for by.
type Selected = (Vec<Matcher>, Arc<dyn SeriesSet>);

impl<'a> Execution<'a> {
    /// Starts `plan`.
    pub(crate) fn new(plan: &'a Plan, querier: Option<Arc<dyn Querier>>, shared: Shared) -> Self {
        Execution {
            plan,
            querier,
            kept: RefCell::new(HashMap::new()),
            asking: None,
            kept_vectors: RefCell::new(HashMap::new()),
            given: RefCell::new(HashMap::new()),
            selected: RefCell::new(Vec::new()),
            patterns: RefCell::default(),
            annotations: RefCell::default(),
            counts: RefCell::new(shared.no_counts.clone()),
            held: RefCell::new(Held::new(&shared.limits)),
            shared,
        }
    }

    /// Starts `plan`, the plan of a query that is asked again and again.
    pub(crate) fn of_standing(
        plan: &'a Plan,
        querier: Option<Arc<dyn Querier>>,
        shared: Shared,
        asking: Asking<'a>,
    ) -> Self {
        Execution {
            asking: Some(asking),
            ..Execution::new(plan, querier, shared)
        }
    }

    /// What there is to say, and what was looked at.
    pub(crate) fn finish(self) -> (Annotations, Counts) {
        (self.annotations.into_inner(), self.counts.into_inner())
    }

    /// Series for `matchers`, in the store's order.
    fn series(&self, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, QueryError> {
        let known = self
            .selected
            .borrow()
            .iter()
            .find(|(asked, _)| asked == matchers)
            .map(|(_, set)| set.clone());
        if let Some(set) = known {
            return Ok(set);
        }
        let set = match &self.querier {
            Some(querier) => {
                let watch = Arc::new(SelectWatch::new(&self.shared.limits));
                let hints = SelectHints {
                    watch: Some(watch.clone()),
                    ..SelectHints::default()
                };
                let selected = querier.select(&hints, matchers);
                let held = watch.finish()?;
                self.held.borrow_mut().absorb(held);
                selected?
            }
            None => Arc::new(NoSeries),
        };
        self.shared.limits.check()?;
        for warning in set.warnings() {
            self.annotate(|notes| notes.warn_of_store(warning));
        }
        self.selected.borrow_mut().push((matchers.to_vec(), set.clone()));
        Ok(set)
    }

    /// The same for node `id`.
    fn series_for(&self, id: NodeId, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, QueryError> {
        let frame = self.enter();
        let set = self.series(matchers)?;
        self.leave_selection(frame, id);
        Ok(set)
    }

    /// Refuses numbers of steps whose rows alone would not fit.
    fn check_steps(&self, steps: Steps) -> Result<(), QueryError> {
        self.shared.limits.touch_bytes(float_row_bytes(steps.count))
    }

    /// Sends the rows of node `id` to consumers made by `make`. The samples behind them stay accounted for until the
    /// second result is dropped.
    fn consume<C: Consumer>(&self, id: NodeId, make: impl Fn() -> C + Sync) -> Result<(C, Held), QueryError> {
        let mut pipeline = self.input(id)?;
        self.run(&mut pipeline, make)
    }

    fn run<C: Consumer>(
        &self,
        pipeline: &mut Pipeline<'_>,
        make: impl Fn() -> C + Sync,
    ) -> Result<(C, Held), QueryError> {
        let frame = self.enter();
        let (consumer, ledger) = pipeline.run(&self.shared, &make)?;
        self.leave_pipeline(frame, pipeline, &ledger);
        let Ledger {
            annotations,
            counts,
            mut held,
            passed,
            ..
        } = ledger;
        match pipeline.table_samples.take() {
            Some(samples) => held = samples,
            None => {
                let source = passed[0];
                let steps = self.plan.node(pipeline.places[0].id).steps.count;
                let extra = pipeline.source.extra_samples(source.last, steps);
                let more = (source.peak + extra).saturating_sub(held.samples());
                self.shared.limits.touch_samples(more)?;
            }
        }
        for (index, (stage, pair)) in pipeline.stages.iter().zip(passed.windows(2)).enumerate() {
            let (input, output) = (pair[0], pair[1]);
            let steps = self.plan.node(pipeline.places[index + 1].id).steps.count;
            let extra = stage.extra_samples(input.last, steps);
            if !stage.is_in_place() {
                self.shared.limits.touch_samples(output.peak + extra)?;
            }
            held.set_samples(output.samples)?;
        }
        self.annotations.borrow_mut().merge(annotations);
        self.counts.borrow_mut().merge(counts);
        Ok((consumer, held))
    }

    /// The rows of node `id`, for another node: streaming, unless they must be kept.
    fn input(&self, id: NodeId) -> Result<Pipeline<'a>, QueryError> {
        let node = self.plan.node(id);
        if node.uses > 1 || node.distinct != crate::plan::Distinct::Sure {
            return self.table_pipeline(id, node);
        }
        self.pipeline(id)
    }

    /// The rows of node `id`, kept, and their samples: held as long as whoever asks works with them.
    fn table(&self, id: NodeId) -> Result<(Arc<Table>, Held), QueryError> {
        let given = self.given.borrow().get(&id).cloned();
        if let Some(table) = given {
            return self.with_samples(table);
        }
        let node = self.plan.node(id);
        let table = match node.uses {
            1 => {
                self.shared.limits.check()?;
                Arc::new(self.new_table(id, node)?)
            }
            uses => self.kept(&self.kept, id, uses, || {
                self.shared.limits.check()?;
                self.new_table(id, node)
            })?,
        };
        self.with_samples(table)
    }

    /// The result of node `id`, which has several users: what `make` gives, once for all of them.
    fn kept<T, E>(
        &self,
        kept: &RefCell<HashMap<NodeId, Kept<T>>>,
        id: NodeId,
        uses: u32,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(result) = self.take_kept(kept, id) {
            return Ok(result);
        }
        let outside = self.counts.replace(self.shared.no_counts.clone());
        let limits = &self.shared.limits;
        let (before, peak) = limits.restart_sample_peak();
        let result = Arc::new(make()?);
        let sample_peak = limits.peak_samples().saturating_sub(before);
        limits.restore_sample_peak(peak);
        let counts = self.counts.replace(outside);
        self.counts.borrow_mut().merge(counts.clone());
        let keeping = Kept {
            result: result.clone(),
            counts,
            sample_peak,
            uses_left: uses - 1,
        };
        kept.borrow_mut().insert(id, keeping);
        Ok(result)
    }

    fn with_samples(&self, table: Arc<Table>) -> Result<(Arc<Table>, Held), QueryError> {
        let mut held = Held::new(&self.shared.limits);
        held.add_samples(table.samples())?;
        Ok((table, held))
    }

    fn new_table(&self, id: NodeId, node: &'a Node) -> Result<Table, QueryError> {
        deep(|| self.new_table_here(id, node))
    }

    fn new_table_here(&self, id: NodeId, node: &'a Node) -> Result<Table, QueryError> {
        let frame = self.enter();
        let table = self
            .unlocated_table(id, node)
            .map_err(|error| error.located(node.spans.whole))?;
        self.leave_operator(frame, id, &table);
        Ok(table)
    }

    fn unlocated_table(&self, id: NodeId, node: &'a Node) -> Result<Table, QueryError> {
        let mut table = match self.operator(node)? {
            Some(table) => table,
            None => {
                let mut pipeline = self.pipeline(id)?;
                let limits = &self.shared.limits;
                let (collect, _samples) = self.run(&mut pipeline, || Collect::new(limits))?;
                collect.finish()
            }
        };
        table.make_distinct(node.distinct)?;
        Ok(table)
    }

    fn take_kept<T>(&self, kept: &RefCell<HashMap<NodeId, Kept<T>>>, id: NodeId) -> Option<Arc<T>> {
        let mut kept = kept.borrow_mut();
        let known = kept.get_mut(&id)?;
        let result = known.result.clone();
        let limits = &self.shared.limits;
        let (now, peak) = limits.restart_sample_peak();
        limits.restore_sample_peak(peak.max(now + known.sample_peak));
        self.counts.borrow_mut().merge(known.counts.clone());
        known.uses_left -= 1;
        if known.uses_left == 0 {
            kept.remove(&id);
        }
        Some(result)
    }

    /// The rows of a node that compares rows with each other; nothing for nodes that look at one row at a time.
    fn operator(&self, node: &'a Node) -> Result<Option<Table>, QueryError> {
        let table = match &node.kind {
            NodeKind::Aggregate { .. } => self.aggregate(node)?,
            NodeKind::Join(join) => self.join(join, node)?,
            NodeKind::Set { op, lhs, rhs, on } => self.set(*op, *lhs, *rhs, on, node)?,
            NodeKind::Absent { child, labels } => self.absent(*child, labels, node)?,
            NodeKind::Sort {
                child,
                by_labels,
                descending,
                over_range,
            } => {
                let order = by_labels.as_deref();
                self.sort(*child, order, *descending, *over_range, node)?
            }
            NodeKind::Buckets {
                function,
                child,
                args,
            } => self.buckets(function, *child, args, node)?,
            NodeKind::Info(info) => self.info(info, node)?,
            NodeKind::FromScalar(scalar) => {
                // The scalar, its value at one step, and the vector.
                self.shared.limits.touch_samples(2 * node.steps.count + 1)?;
                let values = self.scalar(scalar, node.steps)?.into_steps(node.steps.count);
                let mut row = Row::default();
                row.reset(node.steps.count);
                for (step, value) in values.into_iter().enumerate() {
                    row.set(step, value);
                }
                let mut table = Table::new(&self.shared.limits);
                table.push(model::labels::Labels::empty(), false, row)?;
                table
            }
            NodeKind::Nothing => Table::new(&self.shared.limits),
            _ => return Ok(None),
        };
        Ok(Some(table))
    }

    /// The operators of a node that looks at one row at a time, down to where rows come from.
    fn pipeline(&self, id: NodeId) -> Result<Pipeline<'a>, QueryError> {
        deep(|| self.pipeline_here(id))
    }

    fn pipeline_here(&self, id: NodeId) -> Result<Pipeline<'a>, QueryError> {
        let node = self.plan.node(id);
        let located = |error: QueryError| error.located(node.spans.whole);
        self.check_steps(node.steps).map_err(located)?;
        if self.given.borrow().contains_key(&id) {
            return self.table_pipeline(id, node);
        }
        if let Some((child, stage)) = self.stage(node).map_err(located)? {
            let mut pipeline = self.input(child)?;
            pipeline.push(stage, id, node);
            return Ok(pipeline);
        }
        let source = match &node.kind {
            NodeKind::Select(select) => {
                let set = self.series_for(id, &select.matchers).map_err(located)?;
                Source::Select(set, select, node)
            }
            NodeKind::Range(select) => {
                let set = self.series_for(id, &select.source.matchers).map_err(located)?;
                let args = self.scalars(&select.args, node.steps).map_err(located)?;
                Source::Range(set, select, args, node)
            }
            _ => return self.table_pipeline(id, node),
        };
        Ok(Pipeline::new(source, id, node))
    }

    fn table_pipeline(&self, id: NodeId, node: &'a Node) -> Result<Pipeline<'a>, QueryError> {
        let (table, samples) = self.table(id)?;
        let mut pipeline = Pipeline::new(Source::Table(table), id, node);
        pipeline.table_samples = Some(samples);
        Ok(pipeline)
    }

    /// What a node does with each row of its child, if it looks at one row at a time.
    fn stage(&self, node: &'a Node) -> Result<Option<(NodeId, Stage<'a>)>, QueryError> {
        let steps = node.steps;
        let (child, stage) = match &node.kind {
            NodeKind::Element {
                function,
                child,
                args,
            } => (*child, Stage::Element(function.0, self.scalars(args, steps)?)),
            NodeKind::StepTime(child) => (*child, Stage::StepTime(steps)),
            NodeKind::Negate(child) => (*child, Stage::Negate),
            NodeKind::WithScalar {
                op,
                vector,
                scalar,
                scalar_left,
                return_bool,
            } => {
                let operation = ScalarOperation {
                    op: *op,
                    scalar: self.scalar(scalar, steps)?,
                    scalar_left: *scalar_left,
                    return_bool: *return_bool,
                    span: node.spans.whole,
                };
                let drops_name = crate::plan::drops_name(*op, *return_bool);
                let stage = Stage::WithScalar {
                    operation,
                    drops_name,
                };
                (*vector, stage)
            }
            NodeKind::Repeat(child) => (*child, Stage::Repeat(steps.count)),
            NodeKind::Subquery(call) => {
                let stage = Stage::Subquery {
                    call,
                    args: self.scalars(&call.args, steps)?,
                    inner: self.plan.node(call.child).steps,
                    node,
                };
                (call.child, stage)
            }
            NodeKind::LabelReplace(replace) => {
                let pattern = self.replaced_pattern(&replace.pattern);
                let pattern = pattern.map_err(|error| error.located(node.spans.whole))?;
                let stage = Stage::LabelReplace {
                    destination: &replace.destination,
                    replacement: Template::new(&replace.replacement),
                    replacement_bytes: replace.replacement.len(),
                    source: &replace.source,
                    pattern,
                };
                (replace.child, stage)
            }
            NodeKind::LabelJoin(join) => (join.child, Stage::LabelJoin(join)),
            _ => return Ok(None),
        };
        Ok(Some((child, stage)))
    }

    /// A pattern of `label_replace`, compiled once for all that write it the same.
    fn replaced_pattern(&self, pattern: &'a str) -> Result<Regex, QueryError> {
        let mut patterns = self.patterns.borrow_mut();
        if let Some(known) = patterns.get(pattern) {
            return Ok(known.clone());
        }
        let bytes_max = self.shared.limits.pattern_bytes_max();
        let taken: usize = patterns.values().map(Regex::memory_bytes).sum();
        let left = bytes_max.saturating_sub(taken);
        let too_large = ExecutionError::LabelReplacePatternsTooLarge(bytes_max);
        let compiled = Regex::anchored_with_groups_within(pattern, left.min(AUTOMATON_BYTES_MAX));
        let compiled = compiled.map_err(|error| match error.kind {
            RegexErrorKind::TooLarge if left < AUTOMATON_BYTES_MAX => too_large.clone(),
            _ => ExecutionError::LabelReplacePattern(pattern.to_owned()),
        })?;
        if compiled.memory_bytes() > left {
            return Err(too_large.into());
        }
        self.held.borrow_mut().add_bytes(compiled.memory_bytes())?;
        patterns.insert(pattern, compiled.clone());
        Ok(compiled)
    }

    fn annotate(&self, note: impl FnOnce(&mut Annotations)) {
        note(&mut self.annotations.borrow_mut());
    }
}

/// A set for queries without selectors.
struct NoSeries;

impl SeriesSet for NoSeries {
    fn len(&self) -> usize {
        0
    }

    fn labels(&self, _: usize) -> model::labels::Labels {
        model::labels::Labels::empty()
    }

    fn read(
        &self,
        _: usize,
        _: model::storage::TimeRange,
        columns: &mut model::columns::Columns,
    ) -> Result<(), model::storage::StorageError> {
        columns.clear();
        Ok(())
    }
}
