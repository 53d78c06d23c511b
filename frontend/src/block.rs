//! Pieces of results: some steps of a matrix, in columns.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::histogram::FloatHistogram;
use model::labels::Labels;
use promql::value::Series;

use crate::grid::{Grid, Stretch};
use crate::origin::Origin;

/// Most steps of a block: what a change in its midst may cost, and what is copied where a step is added to its end.
pub(crate) const BLOCK_STEPS: i64 = 128;

/// The results of some steps.
#[derive(Debug)]
pub(crate) struct Block {
    /// Which steps.
    pub(crate) steps: Stretch,
    /// The evaluation that it is of.
    pub(crate) origin: Arc<Origin>,
    /// What it takes.
    pub(crate) bytes: usize,
    /// Series that have a result at one of the steps, sorted; shared by blocks that have the same ones.
    series: Arc<[Labels]>,
    rows: Vec<Row>,
}

/// The results of one series.
#[derive(Debug)]
struct Row {
    /// Where its floats are, counted from the block's first step; empty where they are at every step.
    places: Box<[u16]>,
    values: Box<[f64]>,
    /// Its histograms, and where they are.
    histograms: Box<[(u16, Arc<FloatHistogram>)]>,
}

/// Some steps of a block.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) block: Arc<Block>,
    pub(crate) steps: Stretch,
}

impl Piece {
    /// The steps that lie in `steps`; nothing where none does.
    pub(crate) fn within(&self, steps: Stretch) -> Option<Piece> {
        let steps = self.steps.shared(steps);
        (!steps.is_empty()).then(|| Piece {
            block: self.block.clone(),
            steps,
        })
    }
}

/// Cuts the results of all steps of `origin` into pieces. Nothing where a series occurs twice: that is no matrix.
pub(crate) fn cut(matrix: &[Series], grid: Grid, origin: &Arc<Origin>) -> Option<Vec<Piece>> {
    if !matrix.is_sorted_by(|a, b| a.labels < b.labels) {
        return None;
    }
    let all: Arc<[Labels]> = matrix.iter().map(|series| series.labels.clone()).collect();
    let (mut pieces, mut first) = (Vec::new(), origin.steps.first);
    while first <= origin.steps.last {
        let end = first.div_euclid(BLOCK_STEPS) * BLOCK_STEPS + BLOCK_STEPS;
        let steps = Stretch {
            first,
            last: origin.steps.last.min(end - 1),
        };
        let is_first = pieces.is_empty();
        pieces.push(Piece {
            block: Arc::new(Block::of(matrix, grid, steps, &all, is_first, origin)),
            steps,
        });
        first = end;
    }
    Some(pieces)
}

/// What the pieces of a result take, about: before they are made.
pub(crate) fn bytes_of(matrix: &[Series]) -> usize {
    let of_series = |series: &Series| {
        let histograms: usize = series.histograms.iter().map(|(_, h)| h.size_bytes()).sum();
        labels_bytes(&series.labels) + 10 * series.values.len() + histograms
    };
    matrix.iter().map(of_series).sum()
}

fn labels_bytes(labels: &Labels) -> usize {
    /// What stands around the text of a label set, and around a row.
    const AROUND: usize = 48;
    labels.as_bytes().len() + size_of::<Row>() + AROUND
}

impl Block {
    /// `all` are the series of the matrix; `is_first` says that nobody has counted them yet.
    fn of(
        matrix: &[Series],
        grid: Grid,
        steps: Stretch,
        all: &Arc<[Labels]>,
        is_first: bool,
        origin: &Arc<Origin>,
    ) -> Self {
        let made = matrix.iter().map(|series| Row::of(series, grid, steps));
        let (kept, rows): (Vec<usize>, Vec<Row>) =
            made.enumerate().filter(|(_, row)| !row.is_empty()).unzip();
        let is_shared = rows.len() == matrix.len();
        let series: Arc<[Labels]> = match is_shared {
            true => all.clone(),
            false => kept.into_iter().map(|index| all[index].clone()).collect(),
        };
        let mut bytes = size_of::<Self>() + rows.iter().map(Row::bytes).sum::<usize>();
        if is_first || !is_shared {
            bytes += series.iter().map(labels_bytes).sum::<usize>();
        }
        Block {
            steps,
            origin: origin.clone(),
            bytes,
            series,
            rows,
        }
    }
}

impl Row {
    fn of(series: &Series, grid: Grid, steps: Stretch) -> Self {
        let (first_ms, last_ms) = (grid.time_ms(steps.first), grid.time_ms(steps.last));
        let place = |time_ms: i64| ((time_ms - first_ms) / grid.step_ms) as u16;
        let times = &series.timestamps_ms;
        let from = times.partition_point(|time| *time < first_ms);
        let to = from + times[from..].partition_point(|time| *time <= last_ms);
        let is_full = to - from == steps.len();
        let histograms = series.histograms.iter();
        let inside = histograms.filter(|(time, _)| (first_ms..=last_ms).contains(time));
        Row {
            places: match is_full {
                true => Box::default(),
                false => times[from..to].iter().map(|time| place(*time)).collect(),
            },
            values: series.values[from..to].into(),
            histograms: inside
                .map(|(time, histogram)| (place(*time), histogram.clone()))
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }

    fn bytes(&self) -> usize {
        let histograms: usize = self.histograms.iter().map(|(_, h)| 24 + h.size_bytes()).sum();
        2 * self.places.len() + 8 * self.values.len() + histograms
    }
}

/// Puts pieces that follow each other without a gap together again: the matrix of the steps from the first piece's to the
/// last's.
pub(crate) fn assemble(pieces: &[Piece], grid: Grid) -> Vec<Series> {
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
        return Vec::new();
    };
    let times: Arc<[i64]> = (first.steps.first..=last.steps.last)
        .map(|step| grid.time_ms(step))
        .collect();
    let mut growing: Vec<Growing> = Vec::new();
    // Where the series of the blocks grow; blocks next to each other mostly have the same ones.
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut places: Vec<usize> = Vec::new();
    let mut placed: Option<&Arc<[Labels]>> = None;
    for piece in pieces {
        let block = &*piece.block;
        if placed.is_none_or(|placed| !Arc::ptr_eq(placed, &block.series)) {
            places.clear();
            for labels in block.series.iter() {
                let place = *known.entry(labels.clone()).or_insert_with(|| {
                    growing.push(Growing::new(labels.clone(), times.len()));
                    growing.len() - 1
                });
                places.push(place);
            }
            placed = Some(&block.series);
        }
        let at = (piece.steps.first - first.steps.first) as usize;
        for (row, place) in block.rows.iter().zip(&places) {
            growing[*place].add(row, piece, &times[at..at + piece.steps.len()], &times[..at]);
        }
    }
    growing.retain(|series| !series.values.is_empty() || !series.histograms.is_empty());
    growing.sort_by(|a, b| a.labels.cmp(&b.labels));
    growing.into_iter().map(|series| series.finish(&times)).collect()
}

/// A series to whose end pieces are added.
struct Growing {
    labels: Labels,
    values: Vec<f64>,
    /// The times of the values; nothing while there is one at every step.
    times: Option<Vec<i64>>,
    histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

impl Growing {
    fn new(labels: Labels, steps: usize) -> Self {
        Growing {
            labels,
            values: Vec::with_capacity(steps),
            times: None,
            histograms: Vec::new(),
        }
    }

    /// Adds the row of a piece, whose steps lie at `times`, and all steps so far at `before`.
    fn add(&mut self, row: &Row, piece: &Piece, times: &[i64], before: &[i64]) {
        let skipped = (piece.steps.first - piece.block.steps.first) as u16;
        let end = skipped + piece.steps.len() as u16;
        let histograms = row.histograms.iter();
        let inside = histograms.filter(|(place, _)| (skipped..end).contains(place));
        self.histograms
            .extend(inside.map(|(place, h)| (times[usize::from(place - skipped)], h.clone())));
        let is_full = row.places.is_empty() && !row.values.is_empty();
        if is_full {
            let values = &row.values[usize::from(skipped)..usize::from(end)];
            if self.values.len() < before.len() {
                self.times_so_far(before).extend_from_slice(times);
            } else if let Some(known) = &mut self.times {
                known.extend_from_slice(times);
            }
            self.values.extend_from_slice(values);
            return;
        }
        let from = row.places.partition_point(|place| *place < skipped);
        let to = row.places.partition_point(|place| *place < end);
        let places = &row.places[from..to];
        self.times_so_far(before)
            .extend(places.iter().map(|place| times[usize::from(place - skipped)]));
        self.values.extend_from_slice(&row.values[from..to]);
    }

    /// The times of its values, one by one from now on.
    fn times_so_far(&mut self, before: &[i64]) -> &mut Vec<i64> {
        let values = self.values.len();
        // As long as there are none, there was a value at every step, or none at all.
        self.times.get_or_insert_with(|| before[..values].to_vec())
    }

    fn finish(self, all: &Arc<[i64]>) -> Series {
        let is_full = self.values.len() == all.len();
        Series {
            labels: self.labels,
            timestamps_ms: match self.times {
                None if is_full => all.clone(),
                None => all[..self.values.len()].into(),
                Some(_) if is_full => all.clone(),
                Some(times) => times.into(),
            },
            values: self.values,
            histograms: self.histograms,
        }
    }
}

#[cfg(test)]
mod tests;
