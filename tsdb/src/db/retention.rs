//! Which blocks are too old or too many. Pure: metas and sizes in, numbers out.

use crate::block::BlockMeta;

/// What a store may keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Milliseconds between the end of the newest block and that of the oldest; 0 for no limit.
    pub(crate) age_ms: i64,
    /// Bytes of blocks and everything else; 0 for no limit.
    pub(crate) bytes: u64,
    /// Bytes that are not in blocks.
    pub(crate) other_bytes: u64,
}

/// Blocks to remove: numbers into `blocks`, which gives meta and size of each; and which limits were passed (age, size).
pub(crate) fn expired(blocks: &[(&BlockMeta, u64)], limits: Limits) -> (Vec<usize>, [bool; 2]) {
    let mut newest_first: Vec<usize> = (0..blocks.len()).collect();
    newest_first.sort_by_key(|i| std::cmp::Reverse(blocks[*i].0.max_time));
    let Some(newest) = newest_first.first() else {
        return (Vec::new(), [false; 2]);
    };
    let newest_end = blocks[*newest].0.max_time;
    let too_old =
        |i: &&usize| limits.age_ms > 0 && newest_end.saturating_sub(blocks[**i].0.max_time) >= limits.age_ms;
    let keep_by_age = newest_first.iter().skip(1).take_while(|i| !too_old(i)).count() + 1;
    let mut bytes = limits.other_bytes;
    let fits = |i: &&usize| {
        bytes += blocks[**i].1;
        limits.bytes == 0 || bytes <= limits.bytes
    };
    let keep_by_size = newest_first.iter().take_while(fits).count();
    let mut gone: Vec<usize> = newest_first.split_off(keep_by_age.min(keep_by_size));
    gone.sort_unstable();
    (gone, [keep_by_age < blocks.len(), keep_by_size < blocks.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    fn check(blocks: &[(i64, i64, u64)], age_ms: i64, bytes: u64, want: &[usize]) {
        let metas: Vec<(BlockMeta, u64)> = blocks
            .iter()
            .map(|(min, max, size)| (BlockMeta::of_head(Ulid::nil(), *min, *max), *size))
            .collect();
        let metas: Vec<(&BlockMeta, u64)> = metas.iter().map(|(m, s)| (m, *s)).collect();
        let limits = Limits {
            age_ms,
            bytes,
            other_bytes: 5,
        };
        assert_eq!(expired(&metas, limits).0, want, "{blocks:?}");
    }

    #[test]
    fn the_oldest_go_first() {
        let blocks = [(0, 100, 10), (100, 200, 10), (200, 300, 10)];
        check(&blocks, 0, 0, &[]);
        check(&blocks, 200, 0, &[0]);
        check(&blocks, 201, 0, &[]);
        check(&blocks, 1, 0, &[0, 1]);
        check(&blocks, 0, 25, &[0]);
        check(&blocks, 0, 24, &[0, 1]);
        check(&blocks, 0, 3, &[0, 1, 2]);
        check(&blocks, 200, 24, &[0, 1]);
        check(&[], 1, 1, &[]);
    }
}
