//! What is known of a group at each step while rows come in.

use std::sync::Arc;

use crate::annotations::Annotations;
use crate::ast::{AggregateOp, Span};
use crate::engine::QueryError;
use crate::exec::absent::union;
use crate::exec::head::Head;
use crate::exec::limits::Limits;
use crate::exec::operation::clear_absent;
use crate::exec::order_watch::OrderWatch;
use crate::exec::scalar::Scalars;
use crate::kernels::{Kahan, order, quantile_of_sorted};
use crate::row::{Bits, Row};

use super::histograms::{HistogramCells, Sum};

/// The state of one group, one cell a step.
pub(super) enum Cells {
    /// `sum`
    Sum {
        floats: Sums,
        histograms: HistogramCells,
    },
    /// `avg`
    Avg {
        floats: Means,
        histograms: HistogramCells,
    },
    /// `min`, `max`
    Extreme {
        max: bool,
        values: Vec<f64>,
        present: Bits,
        /// Both zeros have met, and it is for the order to say which of them stays.
        zeros_met: bool,
    },
    /// `count`
    Count(Vec<f64>),
    /// `group`
    Group(Bits),
    /// `stddev`, `stdvar`
    Variance { deviation: bool, cells: Vec<Moments> },
    /// `quantile`
    Quantile(Vec<Vec<f64>>),
}

/// Compensated sums.
pub(super) struct Sums {
    /// Minus zero where nothing was added, so that a sum of minus zeros is one.
    sums: Vec<f64>,
    compensations: Vec<f64>,
    present: Bits,
    magnitudes: Magnitudes,
}

/// Compensated means: sums, but running means from where a sum would overflow.
pub(super) struct Means {
    cells: Vec<Mean>,
    magnitudes: Magnitudes,
}

/// What tells whether sums are settled: how many values were added at most, and the sum of their absolute values at each
/// step. Without steps where nobody wants to know.
#[derive(Default)]
struct Magnitudes {
    rows: f64,
    sums: Vec<f64>,
}

/// A compensated mean by itself.
#[derive(Clone, Copy)]
pub(in crate::exec) struct Mean {
    /// Sum of the values, or their mean once `running`.
    value: Kahan,
    count: f64,
    running: bool,
}

/// Count, mean and sum of squared distances from the mean (Welford).
#[derive(Clone, Copy, Default)]
pub(super) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

/// What annotations about a row speak of.
#[derive(Clone, Copy)]
pub(super) struct About<'h> {
    /// The aggregated expression.
    pub(super) span: Span,
    /// Which aggregation.
    pub(super) op: AggregateOp,
    /// Whose row it is.
    pub(super) head: &'h Head,
}

fn unset(steps: usize) -> Bits {
    let mut bits = Bits::default();
    bits.reset(steps);
    bits
}

impl Cells {
    /// Cells that have seen nothing.
    pub(super) fn new(op: AggregateOp, steps: usize, watch: &OrderWatch) -> Self {
        let magnitudes = || Magnitudes {
            rows: 0.0,
            sums: vec![0.0; if watch.is_wanted() { steps } else { 0 }],
        };
        match op {
            AggregateOp::Sum => Cells::Sum {
                floats: Sums {
                    sums: vec![-0.0; steps],
                    compensations: vec![0.0; steps],
                    present: unset(steps),
                    magnitudes: magnitudes(),
                },
                histograms: HistogramCells::new(steps, Sum::Sum),
            },
            AggregateOp::Avg => Cells::Avg {
                floats: Means {
                    cells: vec![Mean::NOTHING; steps],
                    magnitudes: magnitudes(),
                },
                histograms: HistogramCells::new(steps, Sum::Mean),
            },
            AggregateOp::Min | AggregateOp::Max => Cells::Extreme {
                max: op == AggregateOp::Max,
                values: vec![f64::NAN; steps],
                present: unset(steps),
                zeros_met: false,
            },
            AggregateOp::Group => Cells::Group(unset(steps)),
            AggregateOp::Stddev | AggregateOp::Stdvar => Cells::Variance {
                deviation: op == AggregateOp::Stddev,
                cells: vec![Moments::default(); steps],
            },
            AggregateOp::Quantile => Cells::Quantile(vec![Vec::new(); steps]),
            _ => Cells::Count(vec![0.0; steps]),
        }
    }

    /// Bytes that they take at least.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Cells::Sum { floats, .. } => floats.sums.len() * 17 + floats.magnitudes.bytes(),
            Cells::Avg { floats, .. } => floats.cells.len() * size_of::<Mean>() + floats.magnitudes.bytes(),
            Cells::Extreme { values, .. } => values.len() * 9,
            Cells::Count(values) => values.len() * 8,
            Cells::Group(bits) => bits.len() / 8,
            Cells::Variance { cells, .. } => cells.len() * size_of::<Moments>(),
            Cells::Quantile(values) => values.len() * size_of::<Vec<f64>>(),
        }
    }

    /// Bytes that adding `row` may cost beyond that.
    pub(super) fn growth_bytes(&self, row: &Row) -> usize {
        match self {
            // Lists double when they are full.
            Cells::Quantile(_) => 2 * 8 * row.present.count(),
            Cells::Sum { histograms, .. } | Cells::Avg { histograms, .. } => histograms.growth_bytes(row),
            _ => 0,
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: &mut Row, about: About<'_>, notes: &mut Annotations) {
        match self {
            Cells::Count(counts) => return row.present.for_each_set(|step| counts[step] += 1.0),
            Cells::Group(present) => return union(present, &row.present),
            _ => {}
        }
        if !row.histograms.is_empty() {
            self.add_histograms(row, about, notes);
        }
        match self {
            Cells::Sum { floats, .. } => floats.add(row),
            Cells::Avg { floats, .. } => {
                floats.magnitudes.add(row);
                row.present
                    .for_each_set(|step| floats.cells[step].add(row.values[step]));
            }
            Cells::Extreme {
                max,
                values,
                present,
                zeros_met,
            } => {
                *zeros_met |= match max {
                    true => take_extremes(row, values, |old, new| old < new),
                    false => take_extremes(row, values, |old, new| old > new),
                };
                union(present, &row.present);
            }
            Cells::Variance { cells, .. } => {
                row.present.for_each_set(|step| cells[step].add(row.values[step]));
            }
            Cells::Quantile(values) => row
                .present
                .for_each_set(|step| values[step].push(row.values[step])),
            Cells::Count(_) | Cells::Group(_) => {}
        }
    }

    /// Takes the histograms out of a row: into the cells, or away with a word about it.
    fn add_histograms(&mut self, row: &mut Row, about: About<'_>, notes: &mut Annotations) {
        for (step, histogram) in row.histograms.drain(..) {
            let step = step as usize;
            row.present.unset(step);
            match self {
                Cells::Sum { floats, histograms } => {
                    histograms.add(step, &histogram, floats.has(step), about.head);
                }
                Cells::Avg { floats, histograms } => {
                    histograms.add(step, &histogram, floats.has(step), about.head);
                }
                _ => crate::exec::text::histogram_ignored(notes, about.span, about.op),
            }
        }
    }

    /// Takes over cells of the same group over rows that follow. Variances are not put together: see
    /// [`super::needs_order`].
    pub(super) fn merge(&mut self, later: Cells, limits: &Limits) -> Result<(), QueryError> {
        match (self, later) {
            (
                Cells::Sum { floats, histograms },
                Cells::Sum {
                    floats: later_floats,
                    histograms: later_histograms,
                },
            ) => {
                histograms.merge(later_histograms, |step| floats.has(step));
                floats.merge(&later_floats);
            }
            (
                Cells::Avg { floats, histograms },
                Cells::Avg {
                    floats: later_floats,
                    histograms: later_histograms,
                },
            ) => {
                histograms.merge(later_histograms, |step| floats.has(step));
                floats.magnitudes.merge(&later_floats.magnitudes);
                for (mine, later) in floats.cells.iter_mut().zip(later_floats.cells) {
                    mine.merge(later);
                }
            }
            (
                Cells::Extreme {
                    max,
                    values,
                    present,
                    zeros_met,
                },
                Cells::Extreme {
                    values: later_values,
                    present: later_present,
                    zeros_met: later_zeros_met,
                    ..
                },
            ) => {
                let row = Row {
                    values: later_values,
                    present: later_present,
                    histograms: Vec::new(),
                };
                *zeros_met |= later_zeros_met;
                *zeros_met |= match max {
                    true => take_extremes(&row, values, |old, new| old < new),
                    false => take_extremes(&row, values, |old, new| old > new),
                };
                union(present, &row.present);
            }
            (Cells::Count(counts), Cells::Count(later)) => {
                counts.iter_mut().zip(later).for_each(|(a, b)| *a += b);
            }
            (Cells::Group(present), Cells::Group(later)) => union(present, &later),
            (Cells::Quantile(values), Cells::Quantile(later)) => {
                for (mine, later) in values.iter_mut().zip(later) {
                    limits.check()?;
                    mine.extend(later);
                }
            }
            _ => unreachable!("cells of one aggregation are of one kind, and of one that can be merged"),
        }
        Ok(())
    }

    /// The group's row. `param` is the quantile, where there is one.
    pub(super) fn finish(
        self,
        param: &Scalars,
        about: Span,
        limits: &Limits,
        notes: &mut Annotations,
        watch: &OrderWatch,
    ) -> Result<Row, QueryError> {
        if watch.is_wanted() && self.shows_order() {
            watch.note();
        }
        Ok(match self {
            Cells::Sum { floats, histograms } => histograms.finish(floats.finish(), about, notes),
            Cells::Avg { floats, histograms } => histograms.finish(floats.finish(), about, notes),
            Cells::Extreme {
                mut values, present, ..
            } => {
                clear_absent(&mut values, &present);
                Row {
                    values,
                    present,
                    histograms: Vec::new(),
                }
            }
            Cells::Count(counts) => row_where(&counts, |count| (*count > 0.0).then_some(*count)),
            Cells::Group(present) => {
                let mut row = Row::default();
                row.reset(present.len());
                row.values.iter_mut().for_each(|value| *value = 1.0);
                clear_absent(&mut row.values, &present);
                row.present = present;
                row
            }
            Cells::Variance { deviation, cells } => row_where(&cells, |cell| cell.finish(deviation)),
            Cells::Quantile(mut values) => {
                for values in &mut values {
                    limits.check()?;
                    values.sort_unstable_by(order);
                }
                let mut step = 0;
                row_where(&values, |values| {
                    step += 1;
                    (!values.is_empty()).then(|| quantile_of_sorted(param.at(step - 1), values))
                })
            }
        })
    }
}

impl Cells {
    /// Whether a value might be another one had rows come in another order, or in other runs.
    fn shows_order(&self) -> bool {
        match self {
            Cells::Sum { floats, histograms } => {
                let sums = floats.sums.iter().zip(&floats.compensations);
                let sums = sums.map(|(sum, compensation)| Kahan {
                    sum: *sum,
                    compensation: *compensation,
                });
                !histograms.is_empty() || !floats.magnitudes.settle(sums)
            }
            Cells::Avg { floats, histograms } => {
                let running = floats.cells.iter().any(|cell| cell.running);
                let sums = floats.cells.iter().map(|cell| cell.value);
                running || !histograms.is_empty() || !floats.magnitudes.settle(sums)
            }
            Cells::Extreme { zeros_met, .. } => *zeros_met,
            // Means are updated value by value.
            Cells::Variance { cells, .. } => cells.iter().any(|cell| cell.count > 1.0),
            Cells::Count(_) | Cells::Group(_) | Cells::Quantile(_) => false,
        }
    }
}

/// A row of what `f` gives for each cell.
fn row_where<T>(cells: &[T], mut f: impl FnMut(&T) -> Option<f64>) -> Row {
    let mut row = Row::default();
    row.reset(cells.len());
    for (step, cell) in cells.iter().enumerate() {
        if let Some(value) = f(cell) {
            row.set(step, value);
        }
    }
    row
}

/// Puts the row's values where they are `better`; NaN loses to everything. Says whether both zeros have met.
fn take_extremes(row: &Row, values: &mut [f64], better: impl Fn(f64, f64) -> bool) -> bool {
    let mut zeros_met = false;
    row.present.for_each_set(|step| {
        let (old, new) = (values[step], row.values[step]);
        zeros_met |= (old == new) & (old.to_bits() != new.to_bits());
        if better(old, new) || old.is_nan() {
            values[step] = new;
        }
    });
    zeros_met
}

impl Sums {
    fn has(&self, step: usize) -> bool {
        self.present.get(step)
    }

    /// Adds a row: steps without a gap between them at once, by words of its bitmap.
    fn add(&mut self, row: &Row) {
        const WORD: usize = u64::BITS as usize;
        let cells = self
            .sums
            .chunks_mut(WORD)
            .zip(self.compensations.chunks_mut(WORD));
        let values = row.present.words().iter().zip(row.values.chunks(WORD));
        for ((sums, compensations), (word, values)) in cells.zip(values) {
            if *word == u64::MAX >> (WORD - values.len()) {
                let cells = sums.iter_mut().zip(compensations);
                for ((sum, compensation), value) in cells.zip(values) {
                    (*sum, *compensation) = compensated(*sum, *compensation, *value);
                }
                continue;
            }
            let mut word = *word;
            while word != 0 {
                let step = word.trailing_zeros() as usize;
                (sums[step], compensations[step]) =
                    compensated(sums[step], compensations[step], values[step]);
                word &= word - 1;
            }
        }
        self.magnitudes.add(row);
        union(&mut self.present, &row.present);
    }

    fn merge(&mut self, later: &Sums) {
        // Where nothing was added a sum of minus zero changes nothing, so that presence need not be asked.
        let mine = self.sums.iter_mut().zip(&mut self.compensations);
        let others = later.sums.iter().zip(&later.compensations);
        for ((sum, compensation), (other, other_compensation)) in mine.zip(others) {
            (*sum, *compensation) = united((*sum, *compensation), (*other, *other_compensation));
        }
        self.magnitudes.merge(&later.magnitudes);
        union(&mut self.present, &later.present);
    }

    fn finish(mut self) -> Row {
        for (sum, compensation) in self.sums.iter_mut().zip(&self.compensations) {
            *sum = settled(*sum, *compensation);
        }
        clear_absent(&mut self.sums, &self.present);
        Row {
            values: self.sums,
            present: self.present,
            histograms: Vec::new(),
        }
    }
}

/// A step of a compensated sum, written without branches.
#[inline(always)]
fn compensated(sum: f64, compensation: f64, value: f64) -> (f64, f64) {
    let total = sum + value;
    let sum_larger = sum.abs() >= value.abs();
    let (large, small) = if sum_larger { (sum, value) } else { (value, sum) };
    let lost = compensation + ((large - total) + small);
    (total, if total.is_infinite() { 0.0 } else { lost })
}

/// Two compensated sums as one, written without branches.
#[inline(always)]
fn united((sum, compensation): (f64, f64), (other, other_compensation): (f64, f64)) -> (f64, f64) {
    let (sum, compensation) = compensated(sum, compensation, other);
    // An infinite sum has no rounding errors worth keeping.
    let more = if sum.is_infinite() {
        0.0
    } else {
        other_compensation
    };
    (sum, compensation + more)
}

/// A sum with what it has lost.
#[inline(always)]
fn settled(sum: f64, compensation: f64) -> f64 {
    let total = sum + compensation;
    // Minus zero plus no compensation would lose its sign.
    if compensation == 0.0 { sum } else { total }
}

/// A compensated sum by itself.
#[derive(Clone, Copy)]
pub(in crate::exec) struct SumCell {
    sum: f64,
    compensation: f64,
}

impl SumCell {
    /// Nothing was added: minus zero, so that a sum of minus zeros is one.
    pub(in crate::exec) const NOTHING: SumCell = SumCell {
        sum: -0.0,
        compensation: 0.0,
    };

    /// Adds a value.
    pub(in crate::exec) fn add(&mut self, value: f64) {
        (self.sum, self.compensation) = compensated(self.sum, self.compensation, value);
    }

    /// Adds the sum of values that follow.
    pub(in crate::exec) fn merge(&mut self, later: SumCell) {
        (self.sum, self.compensation) =
            united((self.sum, self.compensation), (later.sum, later.compensation));
    }

    /// The sum.
    pub(in crate::exec) fn total(self) -> f64 {
        settled(self.sum, self.compensation)
    }
}

impl Mean {
    pub(in crate::exec) const NOTHING: Mean = Mean {
        value: Kahan {
            sum: 0.0,
            compensation: 0.0,
        },
        count: 0.0,
        running: false,
    };

    pub(in crate::exec) fn add(&mut self, value: f64) {
        if self.count == 0.0 {
            self.value = Kahan::new(value);
            self.count = 1.0;
            return;
        }
        self.count += 1.0;
        if !self.running {
            let mut sum = self.value;
            sum.add(value);
            if !sum.sum.is_infinite() {
                self.value = sum;
                return;
            }
            self.run(self.count - 1.0);
        }
        let kept = (self.count - 1.0) / self.count;
        self.value.sum *= kept;
        self.value.compensation *= kept;
        self.value.add(value / self.count);
    }

    /// Makes the sum of `count` values their mean.
    fn run(&mut self, count: f64) {
        self.running = true;
        self.value.sum /= count;
        self.value.compensation /= count;
    }

    pub(in crate::exec) fn merge(&mut self, mut later: Mean) {
        if self.count == 0.0 || later.count == 0.0 {
            if later.count > 0.0 {
                *self = later;
            }
            return;
        }
        let count = self.count + later.count;
        if !self.running && !later.running {
            let mut sum = self.value;
            sum.add(later.value.sum);
            if !sum.sum.is_infinite() {
                sum.compensation += later.value.compensation;
                self.value = sum;
                self.count = count;
                return;
            }
        }
        for mean in [&mut *self, &mut later] {
            if !mean.running {
                mean.run(mean.count);
            }
            let share = mean.count / count;
            mean.value.sum *= share;
            mean.value.compensation *= share;
        }
        self.value.add(later.value.sum);
        self.value.compensation += later.value.compensation;
        self.count = count;
    }

    pub(in crate::exec) fn finish(&self) -> Option<f64> {
        match (self.count > 0.0, self.running) {
            (false, _) => None,
            (true, true) => Some(self.value.total()),
            (true, false) => Some(self.value.total() / self.count),
        }
    }
}

impl Means {
    fn has(&self, step: usize) -> bool {
        self.cells[step].count > 0.0
    }

    fn finish(self) -> Row {
        row_where(&self.cells, Mean::finish)
    }
}

impl Magnitudes {
    fn bytes(&self) -> usize {
        size_of_val(&self.sums[..])
    }

    /// Adds a row's values; absent ones are zeros.
    fn add(&mut self, row: &Row) {
        self.rows += 1.0;
        for (sum, value) in self.sums.iter_mut().zip(&row.values) {
            *sum += value.abs();
        }
    }

    fn merge(&mut self, later: &Magnitudes) {
        self.rows += later.rows;
        for (sum, later) in self.sums.iter_mut().zip(&later.sums) {
            *sum += later;
        }
    }

    /// Whether the sums of all steps are settled.
    fn settle(&self, sums: impl Iterator<Item = Kahan>) -> bool {
        // Each run begins with an addition of its own.
        let operations = 2.0 * self.rows;
        self.sums
            .iter()
            .zip(sums)
            .all(|(magnitude, sum)| sum.is_settled(operations, *magnitude))
    }
}

impl Moments {
    fn add(&mut self, value: f64) {
        if self.count == 0.0 {
            *self = Moments {
                count: 1.0,
                mean: value,
                squares: if value.is_finite() { 0.0 } else { f64::NAN },
            };
            return;
        }
        self.count += 1.0;
        let distance = value - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (value - self.mean);
    }

    fn finish(&self, deviation: bool) -> Option<f64> {
        (self.count > 0.0).then(|| {
            let variance = self.squares / self.count;
            if deviation { variance.sqrt() } else { variance }
        })
    }
}

/// A histogram that is shared.
pub(super) type Shared = Arc<model::histogram::FloatHistogram>;

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> Mean {
        let mut mean = Mean::NOTHING;
        values.iter().for_each(|value| mean.add(*value));
        mean
    }

    #[test]
    fn parts_of_a_mean_come_together() {
        for values in [
            vec![1.0, 2.0, 4.0],
            vec![1e308, 1e308, 1e308, -1e308],
            vec![f64::INFINITY, 1.0, 2.0],
            vec![f64::INFINITY, f64::NEG_INFINITY],
            vec![1.0, 1e100, 1.0, -1e100],
        ] {
            let whole = mean(&values).finish().expect("values");
            for cut in 0..=values.len() {
                let (first, later) = values.split_at(cut);
                let mut parts = mean(first);
                parts.merge(mean(later));
                let value = parts.finish().expect("values");
                let close = value == whole || (value - whole).abs() <= 1e-12 * whole.abs();
                assert!(
                    close || value.is_nan() && whole.is_nan(),
                    "{values:?} cut at {cut}: {value}, not {whole}"
                );
            }
        }
        assert_eq!(mean(&[1e308, 1e308]).finish(), Some(1e308));
        assert_eq!(mean(&[]).finish(), None);
    }

    #[test]
    fn sums_keep_minus_zero_and_infinities() {
        let sum = |values: &[f64]| {
            let start = (-0.0, 0.0);
            let add = |(sum, lost): (f64, f64), value: &f64| compensated(sum, lost, *value);
            let (sum, lost) = values.iter().fold(start, add);
            if lost == 0.0 { sum } else { sum + lost }
        };
        assert_eq!(sum(&[-0.0, -0.0]).to_bits(), (-0.0_f64).to_bits());
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[1e308, 1e308, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }
}
