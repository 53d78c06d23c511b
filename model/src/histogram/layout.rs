//! One side's spans and buckets as a whole: building, merging, coarsening and compacting them.

use super::Span;
use super::iter::Indexed;
use super::kahan::Kahan;

/// What a bucket holds while histograms are computed with.
pub(super) trait Cell: Copy + Default {
    /// Adds another cell.
    fn absorb(&mut self, other: Self);
    /// Whether nothing would be lost with the cell.
    fn is_empty(&self) -> bool;
}

impl Cell for f64 {
    fn absorb(&mut self, other: f64) {
        *self += other;
    }

    fn is_empty(&self) -> bool {
        *self == 0.0
    }
}

impl Cell for i64 {
    fn absorb(&mut self, other: i64) {
        *self = self.wrapping_add(other);
    }

    fn is_empty(&self) -> bool {
        *self == 0
    }
}

impl Cell for Kahan {
    fn absorb(&mut self, other: Kahan) {
        self.add(other.sum);
        if other.compensation != 0.0 {
            self.add(other.compensation);
        }
    }

    fn is_empty(&self) -> bool {
        self.sum == 0.0 && self.compensation == 0.0
    }
}

/// Spans and absolute buckets of one side.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout<C> {
    pub(super) spans: Vec<Span>,
    pub(super) buckets: Vec<C>,
}

impl<C: Cell> Layout<C> {
    /// The layout of cells with ascending indices.
    pub(super) fn collect(cells: impl Iterator<Item = (i32, C)>) -> Self {
        let mut layout = Layout {
            spans: Vec::new(),
            buckets: Vec::with_capacity(cells.size_hint().0),
        };
        let mut end = 0;
        for (index, cell) in cells {
            layout.push(&mut end, index, cell);
        }
        layout
    }

    /// Adds a cell at `index`, which is not before `end`, and moves `end` behind it.
    fn push(&mut self, end: &mut i32, index: i32, cell: C) {
        let gap = index.wrapping_sub(*end);
        match self.spans.last_mut() {
            Some(span) if gap == 0 => span.length += 1,
            _ => self.spans.push(Span {
                offset: gap,
                length: 1,
            }),
        }
        self.buckets.push(cell);
        *end = index.wrapping_add(1);
    }

    pub(super) fn indexed(&self) -> Indexed<'_, C> {
        Indexed::new(&self.spans, &self.buckets)
    }

    /// Without empty cells, except where at most `max_empty` of them fill the gap between others.
    pub(super) fn compacted(cells: impl Iterator<Item = (i32, C)>, max_empty: usize) -> Self {
        let mut layout = Layout::default();
        let mut end = 0;
        for (index, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
            let gap = i64::from(index) - i64::from(end);
            if !layout.spans.is_empty() && usize::try_from(gap).is_ok_and(|gap| gap <= max_empty) {
                while end < index {
                    let empty = end;
                    layout.push(&mut end, empty, C::default());
                }
            }
            layout.push(&mut end, index, cell);
        }
        layout
    }
}

/// Index of the bucket of `target_schema` that holds bucket `index` of the finer `schema`.
pub(super) fn coarser_index(index: i32, schema: i32, target_schema: i32) -> i32 {
    let shift = schema.saturating_sub(target_schema).clamp(0, 31);
    (index.wrapping_sub(1) >> shift).wrapping_add(1)
}

/// Cells of a coarser schema: those that fall into one bucket are added in order.
pub(super) fn coarser<C: Cell>(
    cells: impl Iterator<Item = (i32, C)>,
    schema: i32,
    target_schema: i32,
) -> impl Iterator<Item = (i32, C)> {
    let mut cells = cells
        .map(move |(index, cell)| (coarser_index(index, schema, target_schema), cell))
        .peekable();
    std::iter::from_fn(move || {
        let (index, mut cell) = cells.next()?;
        while let Some((_, more)) = cells.next_if(|(next, _)| *next == index) {
            cell.absorb(more);
        }
        Some((index, cell))
    })
}

/// Cells of both, by index; those of one index are added, the left one's to start with.
pub(super) fn merged<C: Cell>(
    left: impl Iterator<Item = (i32, C)>,
    right: impl Iterator<Item = (i32, C)>,
) -> impl Iterator<Item = (i32, C)> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some((l, _)), Some((r, _))) if l == r => {
            let (index, mut cell) = left.next()?;
            cell.absorb(right.next()?.1);
            Some((index, cell))
        }
        (Some((l, _)), Some((r, _))) if r < l => right.next(),
        (None, _) => right.next(),
        _ => left.next(),
    })
}

/// Differences to absolute values.
pub(super) fn absolute(deltas: &[i64]) -> Vec<i64> {
    deltas
        .iter()
        .scan(0_i64, |count, delta| {
            *count = count.wrapping_add(*delta);
            Some(*count)
        })
        .collect()
}

/// Absolute values to differences.
pub(super) fn deltas(counts: &[i64]) -> Vec<i64> {
    counts
        .iter()
        .scan(0_i64, |before, count| {
            let delta = count.wrapping_sub(*before);
            *before = *count;
            Some(delta)
        })
        .collect()
}

/// Whether two lists of spans describe the same buckets; spans of length 0 only move the next one.
pub(super) fn same_spans(left: &[Span], right: &[Span]) -> bool {
    fn solid(spans: &[Span]) -> impl Iterator<Item = Span> {
        let mut skipped = 0_i32;
        spans.iter().filter_map(move |span| {
            let offset = skipped.wrapping_add(span.offset);
            if span.length == 0 {
                skipped = offset;
                return None;
            }
            skipped = 0;
            Some(Span {
                offset,
                length: span.length,
            })
        })
    }
    solid(left).eq(solid(right))
}
