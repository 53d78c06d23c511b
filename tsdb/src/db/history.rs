//! Samples of any age, straight into blocks.
//!
//! A block is made as long as compaction would make it in the end, so that years of samples are some dozen blocks and not
//! thousands that are merged level by level. Blocks that overlap, with each other or with what is there, are merged in the
//! background as ever. All bear the hint of late samples: they say nothing about how far the log has been written out.

use std::collections::BTreeMap;
use std::ops::Range;

use model::columns::Columns;
use model::labels::Labels;
use model::storage::{History, StorageError, TimeRange};

use super::{Db, Shared};
use crate::block::{BlockMeta, HINT_OUT_OF_ORDER, write_sorted};
use files::Result;

impl History for Db {
    fn range(&self) -> TimeRange {
        let shared = &self.shared;
        let now_ms = shared.clock.now_ms();
        let (age_ms, _, _) = *shared.retention.lock();
        let begin_ms = match age_ms {
            0 => i64::MIN,
            age_ms => now_ms.saturating_sub(age_ms),
        };
        TimeRange::new(begin_ms, shared.history_end_ms().saturating_sub(1))
    }

    fn insert(&self, mut series: Vec<(Labels, Columns)>) -> std::result::Result<(), StorageError> {
        series.sort_by(|a, b| a.0.cmp(&b.0));
        self.shared.insert(series)
    }
}

impl Shared {
    /// From here on the head takes samples that come in order.
    fn history_end_ms(&self) -> i64 {
        let head = self.head();
        let newest_ms = head.max_ms().max(self.clock.now_ms());
        let recent_ms = newest_ms.saturating_sub(self.options.head.chunk_range_ms / 2);
        recent_ms.max(head.min_valid_ms())
    }

    /// Writes blocks of series that are sorted.
    fn insert(&self, mut series: Vec<(Labels, Columns)>) -> Result<()> {
        let lengths = Lengths {
            ranges_ms: self.options.block_ranges_ms(),
            settled_ms: self.settled_ms(),
        };
        let mut written = Vec::new();
        let mut done = Ok(());
        for ((begin_ms, end_ms), pieces) in pieces(&series, &lengths) {
            if self.stop.is_stopping() {
                done = Err(StorageError::Closed);
                break;
            }
            let of_block: Vec<(Labels, Columns)> = pieces
                .into_iter()
                .map(|(index, rows)| (series[index].0.clone(), cut(&mut series[index].1, rows)))
                .collect();
            // All of the range, so that blocks of one range count as such that overlap, and are merged.
            let mut meta = BlockMeta::of_head(self.new_ulid(), begin_ms, end_ms);
            meta.compaction.add_hint(HINT_OUT_OF_ORDER);
            let floats = self.head().float_encoding();
            let block = write_sorted(&self.files, &self.dir, meta, floats, &of_block);
            match block {
                Ok(meta) => written.extend(meta.map(|meta| meta.ulid)),
                Err(error) => {
                    done = Err(error);
                    break;
                }
            }
        }
        // Seen together; what is written stays, whatever became of the rest.
        let listed = self.list_blocks(&written, &[]);
        done.and(listed)
    }

    /// Up to here time is over for the head, and blocks may be as long as they ever become.
    fn settled_ms(&self) -> i64 {
        match self.state.read().in_order_end_ms {
            i64::MIN => self.history_end_ms(),
            end_ms => end_ms,
        }
    }
}

/// How long blocks are.
struct Lengths {
    /// By level, ascending.
    ranges_ms: Vec<i64>,
    settled_ms: i64,
}

impl Lengths {
    /// The range of the block that a sample goes to: of the longest that are settled, else of the shortest.
    fn range_of(&self, timestamp_ms: i64) -> Range<i64> {
        let aligned = |length: &i64| {
            let begin_ms = timestamp_ms.div_euclid(*length).saturating_mul(*length);
            begin_ms..begin_ms.saturating_add(*length)
        };
        let mut longest_first = self.ranges_ms.iter().rev().map(aligned);
        let settled = longest_first.find(|range| range.end <= self.settled_ms);
        settled
            .or_else(|| self.ranges_ms.first().map(aligned))
            .unwrap_or(timestamp_ms..timestamp_ms.saturating_add(1))
    }
}

/// Rows of a series, by its number.
type Piece = (usize, Range<usize>);

/// Which rows of which series go to which block, by where it begins and ends. Series stay in their order.
fn pieces(series: &[(Labels, Columns)], lengths: &Lengths) -> BTreeMap<(i64, i64), Vec<Piece>> {
    let mut pieces: BTreeMap<(i64, i64), Vec<Piece>> = BTreeMap::new();
    for (index, (_, columns)) in series.iter().enumerate() {
        let times_ms = &columns.timestamps_ms;
        let mut begin = 0;
        while let Some(first_ms) = times_ms.get(begin) {
            let range = lengths.range_of(*first_ms);
            let rows = times_ms[begin..].partition_point(|time_ms| *time_ms < range.end);
            // A range that holds its first sample has a row.
            let end = begin + rows.max(1);
            let block = pieces.entry((range.start, range.end)).or_default();
            block.push((index, begin..end));
            begin = end;
        }
    }
    pieces
}

/// These rows; taken out where they are all.
fn cut(columns: &mut Columns, rows: Range<usize>) -> Columns {
    if rows.len() == columns.len() {
        return std::mem::take(columns);
    }
    Columns {
        timestamps_ms: columns.timestamps_ms[rows.clone()].to_vec(),
        values: columns.values[rows].to_vec(),
        ..Columns::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_long_as_what_is_settled_lets_them_be() {
        let lengths = Lengths {
            ranges_ms: vec![20, 60, 180],
            settled_ms: 400,
        };
        for (timestamp_ms, range) in [
            (0, 0..180),
            (359, 180..360),
            (360, 360..380),
            (399, 380..400),
            (400, 400..420),
            (-1, -180..0),
        ] {
            assert_eq!(lengths.range_of(timestamp_ms), range, "{timestamp_ms}");
        }
        let columns = Columns {
            timestamps_ms: vec![-5, 0, 10, 200, 395, 400, 419, 420],
            values: vec![0.0; 8],
            ..Columns::default()
        };
        let pieces = pieces(&[(Labels::empty(), columns)], &lengths);
        let rows: Vec<(i64, Range<usize>)> = pieces
            .into_iter()
            .map(|((begin, _), mut of)| (begin, of.remove(0).1))
            .collect();
        assert_eq!(
            rows,
            [
                (-180, 0..1),
                (0, 1..3),
                (180, 3..4),
                (380, 4..5),
                (400, 5..7),
                (420, 7..8)
            ]
        );
    }
}
