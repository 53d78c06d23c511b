//! Which blocks to merge next. Pure: metas in, numbers out.

use crate::block::{BlockMeta, HINT_SELECTED_SERIES, HINT_STALE_SERIES};

/// Chooses blocks to merge: numbers into `metas`; empty where there is nothing to do. `ranges_ms` are the lengths of
/// blocks by level, ascending.
///
/// Blocks made of a part of the head's series are only merged among themselves: whether the log may be cut depends on
/// their hint, which a merge with others would lose.
pub(crate) fn plan(metas: &[&BlockMeta], ranges_ms: &[i64], merge_overlapping: bool) -> Vec<usize> {
    let class = |meta: &BlockMeta| {
        if meta.compaction.has_hint(HINT_STALE_SERIES) {
            1
        } else if meta.compaction.has_hint(HINT_SELECTED_SERIES) {
            2
        } else {
            0
        }
    };
    for wanted in 0..3 {
        let mut of_class: Vec<usize> = (0..metas.len()).filter(|i| class(metas[*i]) == wanted).collect();
        of_class.sort_by_key(|i| metas[*i].min_time);
        let chosen = plan_class(metas, &of_class, ranges_ms, merge_overlapping);
        if !chosen.is_empty() {
            return chosen;
        }
    }
    Vec::new()
}

/// `blocks` are of one class and sorted by where they begin.
fn plan_class(
    metas: &[&BlockMeta],
    blocks: &[usize],
    ranges_ms: &[i64],
    merge_overlapping: bool,
) -> Vec<usize> {
    if merge_overlapping {
        let chosen = overlapping(metas, blocks);
        if !chosen.is_empty() {
            return chosen;
        }
    }
    // The newest block is left alone for its whole length, so that backups can be made piece by piece.
    let Some((_, blocks)) = blocks.split_last() else {
        return Vec::new();
    };
    let chosen = levelled(metas, blocks, ranges_ms);
    if !chosen.is_empty() {
        return chosen;
    }
    much_deleted(metas, blocks, ranges_ms)
}

fn overlapping(metas: &[&BlockMeta], blocks: &[usize]) -> Vec<usize> {
    let mut chosen = Vec::new();
    let Some(first) = blocks.first() else {
        return chosen;
    };
    let mut end = metas[*first].max_time;
    for pair in blocks.windows(2) {
        let meta = metas[pair[1]];
        if meta.min_time < end {
            if chosen.is_empty() {
                chosen.push(pair[0]);
            }
            chosen.push(pair[1]);
        } else if !chosen.is_empty() {
            break;
        }
        end = end.max(meta.max_time);
    }
    if chosen.iter().any(|i| metas[*i].compaction.failed) {
        return Vec::new();
    }
    chosen
}

/// The first group of blocks that fills an aligned range of some level, or lies wholly before the newest block.
fn levelled(metas: &[&BlockMeta], blocks: &[usize], ranges_ms: &[i64]) -> Vec<usize> {
    let Some(newest) = blocks.last() else {
        return Vec::new();
    };
    let newest_begin = metas[*newest].min_time;
    for range_ms in ranges_ms.iter().skip(1) {
        for group in split_by_range(metas, blocks, *range_ms) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            if group.len() < 2 || group.iter().any(|i| metas[*i].compaction.failed) {
                continue;
            }
            let (begin, end) = (metas[*first].min_time, metas[*last].max_time);
            if end - begin == *range_ms || end <= newest_begin {
                return group;
            }
        }
    }
    Vec::new()
}

/// Groups blocks by the aligned range of length `range_ms` that they lie in; blocks that lie in none are left out.
fn split_by_range(metas: &[&BlockMeta], blocks: &[usize], range_ms: i64) -> Vec<Vec<usize>> {
    let mut groups: Vec<(i64, Vec<usize>)> = Vec::new();
    for block in blocks {
        let meta = metas[*block];
        let begin = meta.min_time.div_euclid(range_ms) * range_ms;
        match groups.last_mut() {
            // A block belongs to the group at hand even where it begins before it: blocks may overlap.
            Some((start, group)) if meta.max_time <= *start + range_ms => group.push(*block),
            _ if meta.max_time <= begin + range_ms => groups.push((begin, vec![*block])),
            _ => {}
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// A large block of which more than a twentieth is deleted, or a small one that is deleted altogether.
fn much_deleted(metas: &[&BlockMeta], blocks: &[usize], ranges_ms: &[i64]) -> Vec<usize> {
    let large_ms = ranges_ms.get(ranges_ms.len() / 2).copied().unwrap_or(i64::MAX);
    for block in blocks.iter().rev() {
        let meta = metas[*block];
        let (stones, series) = (meta.stats.num_tombstones, meta.stats.num_series);
        if meta.compaction.failed {
            continue;
        }
        if meta.max_time - meta.min_time < large_ms {
            if stones > 0 && stones >= series {
                return vec![*block];
            }
            break;
        }
        if stones as f64 / (series + 1) as f64 > 0.05 {
            return vec![*block];
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    const RANGES: [i64; 4] = [20, 60, 180, 540];

    /// Blocks as `min-max`; `!` marks a failed one, `xN` gives N tombstones on 10 series.
    fn check(blocks: &str, want: &str) {
        let metas: Vec<BlockMeta> = blocks
            .split_whitespace()
            .map(|text| {
                let failed = text.contains('!');
                let (range, stones) = text
                    .trim_end_matches('!')
                    .split_once('x')
                    .unwrap_or((text.trim_end_matches('!'), "0"));
                let (min, max) = range.split_once('-').unwrap();
                let mut meta = BlockMeta::of_head(Ulid::nil(), min.parse().unwrap(), max.parse().unwrap());
                meta.compaction.failed = failed;
                meta.stats.num_tombstones = stones.parse().unwrap();
                meta.stats.num_series = 10;
                meta
            })
            .collect();
        let metas: Vec<&BlockMeta> = metas.iter().collect();
        let names: Vec<&str> = blocks.split_whitespace().collect();
        let chosen = plan(&metas, &RANGES, true);
        let chosen: Vec<&str> = chosen.into_iter().map(|i| names[i]).collect();
        assert_eq!(chosen.join(" "), want, "{blocks}");
    }

    #[test]
    fn blocks_are_merged_level_by_level() {
        check("", "");
        check("0-20", "");
        check("0-20 20-40", "");
        // A full range, but the newest block is not counted.
        check("0-20 20-40 40-60", "");
        check("0-20 20-40 40-60 60-80", "0-20 20-40 40-60");
        // A gap in a range that is past.
        check("0-20 40-60 60-80 80-100", "0-20 40-60");
        check("0-20 60-80 80-100", "");
        check("0-60 60-120 120-180 180-200", "0-60 60-120 120-180");
        check("0-60 60-80 80-100 100-120 120-140", "60-80 80-100 100-120");
        check("0-20 20-40! 40-60 60-80", "");
        check(
            "0-20 20-40 40-60 60-80 80-100 100-120 120-140 140-160 160-180 180-200",
            "0-20 20-40 40-60",
        );
    }

    #[test]
    fn overlapping_blocks_come_first() {
        check("0-20 19-40 40-60", "0-20 19-40");
        check("0-20 20-40 30-50 45-60 60-80", "20-40 30-50 45-60");
        check("0-100 10-20 30-40 100-120", "0-100 10-20 30-40");
        check("0-20! 10-40", "");
    }

    #[test]
    fn much_deleted_blocks_are_rewritten() {
        check("0-540x1 540-560", "0-540x1");
        check("0-540 540-560", "");
        check("0-20x10 20-40", "0-20x10");
        check("0-20x9 20-40", "");
    }
}
