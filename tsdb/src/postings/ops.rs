//! Set operations.

use super::Postings;

/// The series that are in every list; no list at all means no series.
///
/// Walks the shortest list and skips ahead in the others, shortest first: what drops a candidate early is asked first.
pub fn intersect(mut lists: Vec<Postings>) -> Vec<u32> {
    lists.sort_by_key(Postings::len);
    let Some((shortest, others)) = lists.split_first() else {
        return Vec::new();
    };
    let mut cursors: Vec<_> = others.iter().map(Postings::cursor).collect();
    let mut candidates = shortest.cursor();
    let mut common = Vec::new();
    let mut next = candidates.current();
    'candidates: while let Some(candidate) = next {
        for cursor in &mut cursors {
            match cursor.seek(candidate) {
                None => break 'candidates,
                Some(found) if found > candidate => {
                    next = candidates.seek(found);
                    continue 'candidates;
                }
                Some(_) => {}
            }
        }
        common.push(candidate);
        candidates.advance();
        next = candidates.current();
    }
    common
}

/// The series that are in at least one list.
pub fn union(mut lists: Vec<Postings>) -> Postings {
    lists.retain(|list| !list.is_empty());
    if lists.len() <= 1 {
        return lists.pop().unwrap_or_default();
    }
    let mut all = Vec::with_capacity(lists.iter().map(Postings::len).sum());
    for list in &lists {
        list.append_to(&mut all);
    }
    // The stable sort finds the lists as ascending runs and merges them.
    all.sort();
    all.dedup();
    all.into()
}

/// Removes from `series`, which is sorted, those that are in `list`.
pub fn subtract(series: &mut Vec<u32>, list: &Postings) {
    if list.is_empty() {
        return;
    }
    let mut cursor = list.cursor();
    series.retain(|n| cursor.seek(*n) != Some(*n));
}

/// Whether `list` has one of `series`, which is sorted.
pub fn intersects(list: &Postings, series: &[u32]) -> bool {
    let mut cursor = list.cursor();
    let mut series = super::Cursor::Native(series);
    let mut candidate = cursor.current();
    while let Some(n) = candidate {
        match series.seek(n) {
            None => return false,
            Some(found) if found == n => return true,
            Some(found) => candidate = cursor.seek(found),
        }
    }
    false
}
