//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`: classic buckets are gathered from several series,
//! native histograms stand for themselves.

use foldhash::{HashMap, HashMapExt};
use model::labels::{BUCKET_LABEL, Labels, METRIC_NAME};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::annotations::Annotations;
use crate::engine::QueryError;
use crate::functions::classic::{self, ClassicBucket};
use crate::functions::native;
use crate::plan::{BucketFunction, Distinct, Node, NodeId, Scalar};
use crate::row::Row;

use super::Execution;
use super::head::is_metadata_label;
use super::limits::{Held, float_row_bytes};
use super::pipeline::Shared;
use super::scalar::Scalars;
use super::table::Table;
use super::text::{Quoted, invalid_quantile};

/// Series that make one histogram.
#[derive(Default)]
struct Group {
    /// Rows of buckets, with their bounds.
    classic: Vec<(f64, usize)>,
    /// Rows that may hold native histograms.
    native: Vec<usize>,
}

impl Execution<'_> {
    pub(super) fn buckets(
        &self,
        function: &BucketFunction,
        child: NodeId,
        args: &[Scalar],
        node: &Node,
    ) -> Result<Table, QueryError> {
        let args = self.scalars(args, node.steps)?;
        if *function != BucketFunction::Fraction {
            self.check_quantiles(&args, node);
        }
        let mut scalars = Held::new(&self.shared.limits);
        scalars.add_samples(args.len() * node.steps.count)?;
        let (input, _samples) = self.table(child)?;
        let mut notes = Annotations::default();
        let work = Work {
            shared: &self.shared,
            node,
            input: &input,
            groups: self.gather(&input, node, &mut notes)?,
        };
        let mut table = match function {
            BucketFunction::Quantile => work.run(None, &args[..1], &mut notes, quantiles)?,
            BucketFunction::Fraction => work.run(None, &args, &mut notes, fractions)?,
            BucketFunction::Quantiles(label) => {
                let mut all = Table::new(&self.shared.limits);
                for quantile in &args {
                    let one = std::slice::from_ref(quantile);
                    let mut table = work.run(Some(label), one, &mut notes, quantiles)?;
                    all.series.append(&mut table.series);
                }
                all
            }
        };
        self.annotate(|all| all.merge(notes));
        table
            .make_distinct(Distinct::Merge)
            .map_err(|error| error.located(node.spans.whole))?;
        let gathered = input.rows_at_last() + args.len();
        self.shared.limits.touch_samples(table.samples() + gathered)?;
        Ok(table)
    }

    fn check_quantiles(&self, args: &[Scalars], node: &Node) {
        for (index, arg) in args.iter().enumerate() {
            let values = match arg {
                Scalars::Constant(value) => std::slice::from_ref(value),
                Scalars::Steps(values) => values,
            };
            let span = node.arg_spans.get(index).copied().unwrap_or(node.spans.param);
            for value in values.iter().filter(|value| !(0.0..=1.0).contains(*value)) {
                self.annotate(|notes| notes.warn(span, invalid_quantile(*value)));
            }
        }
    }

    /// Puts rows into groups, in order of their first appearance.
    fn gather(&self, input: &Table, node: &Node, notes: &mut Annotations) -> Result<Vec<Group>, QueryError> {
        let mut numbers: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = |labels: Labels| {
            let next = groups.len();
            let number = *numbers.entry(labels).or_insert(next);
            if number == next {
                groups.push(Group::default());
            }
            number
        };
        let mut places = Vec::with_capacity(input.series.len());
        for (index, series) in input.series.iter().enumerate() {
            self.shared.limits.check_now_and_then(index)?;
            let mut place = (None, None);
            if series.row.histograms.len() < series.row.present.count() {
                let le = series.labels.value(BUCKET_LABEL);
                match classic::parse_bound(le) {
                    Some(bound) => {
                        place.0 = Some((group_of(series.labels.without(|n| n == BUCKET_LABEL)), bound));
                    }
                    None => notes.warn(
                        node.spans.input,
                        format_args!(
                            "bucket label \"le\" is missing or has a malformed value of {}{}",
                            Quoted(le),
                            self.for_metric(&series.labels)
                        ),
                    ),
                }
            }
            if !series.row.histograms.is_empty() {
                place.1 = Some(group_of(series.labels.clone()));
            }
            places.push(place);
        }
        for (row, (classic, native)) in places.into_iter().enumerate() {
            if let Some((group, bound)) = classic {
                groups[group].classic.push((bound, row));
            }
            if let Some(group) = native {
                groups[group].native.push(row);
            }
        }
        for group in &mut groups {
            // In the order in which each step wants them.
            group.classic.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        }
        Ok(groups)
    }

    fn for_metric(&self, labels: &Labels) -> String {
        self.shared.for_metric(labels)
    }
}

impl Shared {
    /// ` for metric name "…"` where the name is still there when its removal is delayed.
    fn for_metric(&self, labels: &Labels) -> String {
        let name = labels.metric_name();
        match self.features.delayed_name_removal && !name.is_empty() {
            true => format!(" for metric name {}", Quoted(name)),
            false => String::new(),
        }
    }
}

/// What is the same for all groups. Threads share it.
struct Work<'e> {
    shared: &'e Shared,
    node: &'e Node,
    input: &'e Table,
    groups: Vec<Group>,
}

/// Computes one step: of classic buckets, or of a native histogram.
type Compute = fn(&Work<'_>, usize, &[Scalars], Input<'_>, &mut Annotations) -> f64;

enum Input<'i> {
    Classic(&'i mut Vec<ClassicBucket>),
    Native(&'i model::histogram::FloatHistogram, &'i Labels),
}

/// What comes out of a group.
struct GroupRows {
    /// One row for each of [`Group::native`].
    native: Vec<Row>,
    classic: Row,
    notes: Annotations,
    /// Accounts for the rows until they are in a table.
    _held: Held,
}

/// Groups times steps from which on threads are worth waking.
const CELLS_TO_SHARE_MIN: usize = 10_000;

impl Work<'_> {
    /// One row a group: first those of native histograms, then those of classic ones.
    fn run(
        &self,
        quantile_label: Option<&str>,
        args: &[Scalars],
        notes: &mut Annotations,
        compute: Compute,
    ) -> Result<Table, QueryError> {
        let mut natives = Table::new(&self.shared.limits);
        let mut classics = Table::new(&self.shared.limits);
        let one_by_one = || self.groups.iter().map(|group| self.rows(group, args, compute));
        let all: Vec<_> = match self.groups.len() * self.node.steps.count < CELLS_TO_SHARE_MIN {
            true => one_by_one().collect(),
            false => self.shared.crew.install(|helped| match helped {
                true => {
                    let groups = self.groups.par_iter();
                    groups.map(|group| self.rows(group, args, compute)).collect()
                }
                false => one_by_one().collect(),
            }),
        };
        let quantile = quantile_label.map(|label| (label, args[0].at(0)));
        for (group, rows) in self.groups.iter().zip(all) {
            let rows = rows?;
            notes.merge(rows.notes);
            for (row, results) in group.native.iter().zip(rows.native) {
                let labels = self.native_labels(&self.input.series[*row].labels);
                natives.push(with_quantile(labels, quantile), true, results)?;
            }
            if let Some((_, row)) = group.classic.first() {
                let labels = self.classic_labels(&self.input.series[*row].labels);
                classics.push(with_quantile(labels, quantile), true, rows.classic)?;
            }
        }
        natives.series.append(&mut classics.series);
        Ok(natives)
    }

    /// The rows of one group.
    fn rows(&self, group: &Group, args: &[Scalars], compute: Compute) -> Result<GroupRows, QueryError> {
        self.shared.limits.check()?;
        let steps = self.node.steps.count;
        let mut held = Held::new(&self.shared.limits);
        held.add_bytes((1 + group.native.len()).saturating_mul(float_row_bytes(steps)))?;
        let mut notes = Annotations::default();
        let mut classic_row = Row::default();
        classic_row.reset(steps);
        let mut native_rows = vec![classic_row.clone(); group.native.len()];
        let mut buckets = Vec::with_capacity(group.classic.len());
        for step in 0..steps {
            self.fill(group, step, &mut buckets);
            for (at, row) in group.native.iter().enumerate() {
                let series = &self.input.series[*row];
                let Some(histogram) = series.row.histogram(step) else {
                    continue;
                };
                if !buckets.is_empty() {
                    let metric = self.shared.for_metric(&series.labels);
                    notes.warn(
                        self.node.spans.input,
                        format_args!("vector contains a mix of classic and native histograms{metric}"),
                    );
                    buckets.clear();
                    continue;
                }
                let input = Input::Native(histogram, &series.labels);
                native_rows[at].set(step, compute(self, step, args, input, &mut notes));
            }
            if !buckets.is_empty() {
                let input = Input::Classic(&mut buckets);
                classic_row.set(step, compute(self, step, args, input, &mut notes));
            }
        }
        Ok(GroupRows {
            native: native_rows,
            classic: classic_row,
            notes,
            _held: held,
        })
    }

    /// The buckets that a group has at a step.
    fn fill(&self, group: &Group, step: usize, buckets: &mut Vec<ClassicBucket>) {
        buckets.clear();
        for (upper_bound, row) in &group.classic {
            let row = &self.input.series[*row].row;
            if row.present.get(step) && (row.histograms.is_empty() || row.histogram(step).is_none()) {
                buckets.push(ClassicBucket {
                    upper_bound: *upper_bound,
                    count: row.values[step],
                });
            }
        }
    }

    fn native_labels(&self, labels: &Labels) -> Labels {
        match self.shared.features.delayed_name_removal {
            true => labels.clone(),
            false => labels.without(is_metadata_label),
        }
    }

    fn classic_labels(&self, labels: &Labels) -> Labels {
        let delayed = self.shared.features.delayed_name_removal;
        labels.without(|name| {
            matches!(name, BUCKET_LABEL | METRIC_NAME) || (!delayed && is_metadata_label(name))
        })
    }

    fn note_nan(&self, note: Option<native::NanNote>, labels: &Labels, notes: &mut Annotations) {
        if let Some(note) = note {
            let metric = self.shared.for_metric(labels);
            notes.info(self.node.spans.input, format_args!("{note}{metric}"));
        }
    }
}

fn quantiles(
    work: &Work<'_>,
    step: usize,
    args: &[Scalars],
    input: Input<'_>,
    notes: &mut Annotations,
) -> f64 {
    let q = args[0].at(step);
    match input {
        Input::Native(histogram, labels) => {
            let (value, note) = native::quantile(q, histogram);
            work.note_nan(note, labels, notes);
            value
        }
        Input::Classic(buckets) => {
            let (value, forced) = classic::quantile(q, buckets);
            if let Some(forced) = forced {
                let time_ms = work.node.steps.at(step);
                notes.forced_monotonicity(work.node.spans.input, time_ms, forced);
            }
            value
        }
    }
}

fn fractions(
    work: &Work<'_>,
    step: usize,
    args: &[Scalars],
    input: Input<'_>,
    notes: &mut Annotations,
) -> f64 {
    let (lower, upper) = (args[0].at(step), args[1].at(step));
    match input {
        Input::Native(histogram, labels) => {
            let (value, note) = native::fraction(lower, upper, histogram);
            work.note_nan(note, labels, notes);
            value
        }
        Input::Classic(buckets) => classic::fraction(lower, upper, buckets),
    }
}

/// The labels with the quantile that the row is for.
fn with_quantile(labels: Labels, quantile: Option<(&str, f64)>) -> Labels {
    let Some((label, q)) = quantile else {
        return labels;
    };
    let mut builder = labels.to_builder();
    builder.set(label, &open_metrics_float(q));
    builder.build()
}

/// A float as OpenMetrics writes it: whole numbers with `.0`.
fn open_metrics_float(value: f64) -> String {
    let text = model::float::format_general(value);
    match text.contains(['e', '.', 'N', 'I']) {
        true => text,
        false => text + ".0",
    }
}
