//! Selectors and range functions at one moment: each series gives a float or nothing.

use std::sync::Arc;
use std::time::Instant;

use model::columns::Columns;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use model::storage::{SeriesSet, TimeRange};

use crate::annotations::Annotations;
use crate::exec::Execution;
use crate::exec::blocks;
use crate::exec::counts::{Counts, WindowSizes};
use crate::exec::head::{Dropped, Head};
use crate::exec::limits::Held;
use crate::exec::pipeline::Passed;
use crate::exec::scalar::Scalars;
use crate::exec::source::note_counter;
use crate::kernels::{Extension, InstantOutput, KernelContext, RangeInput, Scratch, select_instant};
use crate::plan::{InstantSelect, Node, NodeKind, RangeSelect, Scalar};
use crate::row::Row;

use super::Halt;
use super::column::Whose;
use super::vector::Vector;

/// Series that are read between two looks at the time.
const SERIES_UNCHECKED: usize = 64;

/// What was read for a selector or a range function.
pub(super) struct Leaf {
    whose: Whose,
    places: Arc<Vec<u32>>,
    pub(super) values: Arc<Vec<f64>>,
    selected: usize,
    counts: Counts,
    passed: Passed,
}

/// A node that reads series.
#[derive(Clone, Copy)]
enum Reading<'p> {
    Instant(&'p InstantSelect),
    Range(&'p RangeSelect),
}

impl<'p> Reading<'p> {
    /// What is read for `node`, if it is one that has a form here.
    fn of(node: &'p Node) -> Option<Self> {
        match &node.kind {
            NodeKind::Select(select) => {
                let plain = select.output == InstantOutput::Value && !select.smoothed;
                plain.then_some(Reading::Instant(select))
            }
            NodeKind::Range(select) => {
                let plain = select.source.extension == Extension::None
                    && select.args.iter().all(|arg| matches!(arg, Scalar::Constant(_)));
                plain.then_some(Reading::Range(select))
            }
            _ => None,
        }
    }

    fn matchers(self) -> &'p [Matcher] {
        match self {
            Reading::Instant(select) => &select.matchers,
            Reading::Range(select) => &select.source.matchers,
        }
    }

    fn range(self) -> TimeRange {
        match self {
            Reading::Instant(select) => select.range(),
            Reading::Range(select) => select.source.range(),
        }
    }

    /// The name that all series have.
    fn metric_name(self) -> Option<&'p str> {
        let named = |matcher: &&Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        self.matchers()
            .iter()
            .find(named)
            .map(|matcher| matcher.value.as_str())
    }
}

/// Whether `node` reads series and has a form here.
pub(super) fn is_leaf(node: &Node) -> bool {
    let counted_plainly = |counting: crate::plan::Counting| counting.subquery.is_none();
    match Reading::of(node) {
        Some(Reading::Instant(select)) => counted_plainly(select.counting),
        // Messages speak of the series' names.
        Some(reading @ Reading::Range(select)) => {
            counted_plainly(select.counting) && reading.metric_name().is_some()
        }
        None => false,
    }
}

impl Execution<'_> {
    /// The vector of a node for which [`is_leaf`] holds.
    pub(super) fn leaf(&self, node: &Node) -> Result<Vector, Halt> {
        let Some(reading) = Reading::of(node) else {
            return Err(Halt::Odd);
        };
        let read = || self.read_leaf(reading, node);
        let leaf = match (self.asking()?.round, self.plan.range) {
            (Some(round), Some(range)) => round.leaf(range, &node.kind, read)?,
            _ => Arc::new(read()?),
        };
        self.counts.borrow_mut().merge(leaf.counts.clone());
        if let Reading::Range(select) = reading
            && let Some(first) = leaf.values.first()
        {
            self.note_leaf(select, reading, node, *first);
        }
        let mut held = Held::new(&self.shared.limits);
        held.add_bytes(leaf.values.len() * (size_of::<u32>() + size_of::<f64>()))?;
        held.add_samples_quietly(leaf.passed.samples)?;
        let extra = match reading {
            Reading::Instant(_) => 0,
            Reading::Range(select) => select.args.len() * node.steps.count,
        };
        let more = (leaf.passed.peak + extra).saturating_sub(held.samples());
        self.shared.limits.touch_samples(more)?;
        let dropped = match reading {
            Reading::Range(select) if !select.function.0.keeps_name => Dropped::Metadata,
            _ => Dropped::Nothing,
        };
        Ok(Vector {
            whose: leaf.whose.clone().without(dropped),
            places: leaf.places.clone(),
            values: leaf.values.clone(),
            selected: Some(leaf.selected),
            held,
        })
    }

    /// What there is to say of a range function over floats, where its first result is `first`.
    fn note_leaf(&self, select: &RangeSelect, reading: Reading<'_>, node: &Node, first: f64) {
        let function = select.function.0.name;
        let name = reading.metric_name().unwrap_or_default();
        if !matches!(function, "rate" | "increase") {
            return;
        }
        let head = Head::new(Labels::from_pairs([(METRIC_NAME, name)]));
        let row = super::vector::full_row(vec![first]);
        self.annotate(|notes| note_counter(function, &head, &row, node.spans.param, &self.shared, notes));
    }

    fn read_leaf(&self, reading: Reading<'_>, node: &Node) -> Result<Leaf, Halt> {
        let set = self.series(reading.matchers())?;
        let mut reader = Reader {
            execution: self,
            reading,
            node,
            args: match reading {
                Reading::Instant(_) => Vec::new(),
                Reading::Range(select) => self.scalars(&select.args, node.steps)?,
            },
            columns: Columns::default(),
            scratch: Scratch::default(),
            row: Row::default(),
            annotations: Annotations::default(),
            counts: self.shared.no_counts.clone(),
        };
        let (mut places, mut values) = (Vec::new(), Vec::new());
        let mut passed = Passed::default();
        let mut held = Held::new(&self.shared.limits);
        held.add_bytes(set.len() * (size_of::<u32>() + size_of::<f64>()))?;
        let mut columns_held = Held::new(&self.shared.limits);
        for index in 0..set.len() {
            self.shared.limits.check_canceled()?;
            if index % SERIES_UNCHECKED == 0 {
                self.shared.limits.check_at(Instant::now())?;
            }
            let sizes = reader.read(&*set, index)?;
            columns_held.grow_bytes(reader.columns.timestamps_ms.capacity() * size_of::<[u64; 4]>())?;
            passed.add(&reader.row, sizes);
            if let Some(value) = reader.row.get(0) {
                places.push(index as u32);
                values.push(value);
            }
        }
        // What single series give rise to is said with their names.
        if !reader.annotations.is_empty() {
            return Err(Halt::Odd);
        }
        let counts = reader.counts;
        let (selected, range) = (set.len(), self.plan.range.unwrap_or(TimeRange::ALL));
        Ok(Leaf {
            whose: self.asking()?.standing.whose(reading.matchers(), range, set),
            places: Arc::new(places),
            values: Arc::new(values),
            selected,
            counts,
            passed,
        })
    }
}

/// Reads one series after the other.
struct Reader<'e, 'p> {
    execution: &'e Execution<'p>,
    reading: Reading<'e>,
    node: &'e Node,
    args: Vec<Scalars>,
    columns: Columns,
    scratch: Scratch,
    /// The result, of one step.
    row: Row,
    annotations: Annotations,
    counts: Counts,
}

impl Reader<'_, '_> {
    /// Makes the row of series `index`.
    fn read(&mut self, set: &dyn SeriesSet, index: usize) -> Result<WindowSizes, Halt> {
        set.read(index, self.reading.range(), &mut self.columns)
            .map_err(crate::engine::QueryError::from)?;
        if !self.columns.histograms.is_empty() {
            return Err(Halt::Odd);
        }
        match self.reading {
            Reading::Instant(select) => {
                select_instant(
                    &self.columns,
                    select.times,
                    select.lookback_ms,
                    select.output,
                    &mut self.scratch,
                    &mut self.row,
                );
                self.counts.add_row(select.counting, self.node.steps, &self.row);
                Ok(WindowSizes::default())
            }
            Reading::Range(select) => self.range(select),
        }
    }

    fn range(&mut self, select: &RangeSelect) -> Result<WindowSizes, Halt> {
        let shared = &self.execution.shared;
        let input = RangeInput {
            columns: &self.columns,
            windows: select.source.windows,
            eval: self.node.steps,
            extension: select.source.extension,
            lookback_ms: select.source.lookback_ms,
            use_start_timestamps: shared.features.use_start_timestamps,
        };
        let function = select.function.0;
        function.prepare(&input, &mut self.scratch);
        let (windows, bounds) = (input.reached(), self.scratch.bounds());
        let eval = self.node.steps;
        let sizes = self
            .counts
            .add_windows(select.counting, &self.columns, windows, eval, true, bounds);
        shared.limits.allow_samples(sizes.largest)?;
        let mut context = KernelContext::new(
            "",
            self.node.spans.param,
            &mut self.annotations,
            &mut self.scratch,
        );
        let (args, row) = (&self.args, &mut self.row);
        blocks::run(function, &input, args, sizes, &shared.limits, &mut context, row)?;
        Ok(sizes)
    }
}
