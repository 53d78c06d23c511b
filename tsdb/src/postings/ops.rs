//! Set operations.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Cursor, Postings};

/// Steps of a cursor that cost as much as skipping ahead to a far place once.
const SEEK_COST: usize = 8;
/// A list of at most so many is looked up in a bitmap one by one.
const FEW: usize = 64;

/// The series that are in every list; no list at all means no series.
///
/// Walks the shortest list and skips ahead in the others, shortest first: what drops a candidate early is asked first.
/// Bitmaps are cut with each other as bitmaps.
pub fn intersect(mut lists: Vec<Postings>) -> Postings {
    lists.sort_by_key(Postings::len);
    if lists.len() <= 1 || lists[0].is_empty() {
        return lists.into_iter().next().unwrap_or_default();
    }
    if lists.iter().all(|list| matches!(list, Postings::Bitmap(_))) {
        return intersect_bitmaps(&lists).into();
    }
    let (shortest, others) = lists.split_at(1);
    let mut cursors: Vec<_> = others.iter().map(Postings::cursor).collect();
    let mut candidates = shortest[0].cursor();
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
    common.into()
}

fn intersect_bitmaps(lists: &[Postings]) -> RoaringBitmap {
    let mut bitmaps = lists.iter().filter_map(|list| match list {
        Postings::Bitmap(bitmap) => Some(&**bitmap),
        _ => None,
    });
    let first = bitmaps.next();
    let second = bitmaps.next();
    let (Some(first), Some(second)) = (first, second) else {
        return first.cloned().unwrap_or_default();
    };
    bitmaps.fold(first & second, |common, bitmap| common & bitmap)
}

/// The series that are in at least one list.
pub fn union(mut lists: Vec<Postings>) -> Postings {
    lists.retain(|list| !list.is_empty());
    if lists.len() <= 1 {
        return lists.pop().unwrap_or_default();
    }
    let total = total_len(&lists);
    if lists.iter().any(|list| matches!(list, Postings::Bitmap(_))) {
        return union_bitmap(lists).into();
    }
    let mut all = Vec::with_capacity(total);
    for list in &lists {
        list.append_to(&mut all);
    }
    if total / lists.len() < SEEK_COST {
        all.sort_unstable();
    } else {
        // The stable sort finds the lists as ascending runs and merges them.
        all.sort();
    }
    all.dedup();
    all.into()
}

fn union_bitmap(lists: Vec<Postings>) -> RoaringBitmap {
    let (bitmaps, others): (Vec<_>, Vec<_>) = lists
        .into_iter()
        .partition(|list| matches!(list, Postings::Bitmap(_)));
    let mut all = RoaringBitmap::new();
    for list in bitmaps {
        if let Postings::Bitmap(bitmap) = list {
            all |= &*bitmap;
        }
    }
    let mut rest = Vec::with_capacity(total_len(&others));
    for list in &others {
        list.append_to(&mut rest);
    }
    all.extend(rest);
    all
}

fn total_len(lists: &[Postings]) -> usize {
    lists.iter().map(Postings::len).sum()
}

/// Keeps of `series`, which is sorted, those that are in at least one of `lists`, or those that are in none.
pub fn retain(series: &mut Vec<u32>, lists: Vec<Postings>, in_lists: bool) {
    if let [list] = lists.as_slice() {
        return retain_one(series, list, in_lists);
    }
    if lists.len() * series.len() * SEEK_COST > total_len(&lists) {
        return retain_one(series, &union(lists), in_lists);
    }
    if !in_lists {
        for list in &lists {
            retain_one(series, list, false);
        }
        return;
    }
    // Few series and large lists: look into each list, and put none of them together.
    let mut found = vec![false; series.len()];
    for list in &lists {
        let mut cursor = list.cursor();
        for (number, found) in series.iter().zip(&mut found) {
            if !*found {
                *found = cursor.seek(*number) == Some(*number);
            }
        }
    }
    let mut found = found.into_iter();
    series.retain(|_| found.next() == Some(true));
}

fn retain_one(series: &mut Vec<u32>, list: &Postings, in_list: bool) {
    let mut cursor = list.cursor();
    series.retain(|n| (cursor.seek(*n) == Some(*n)) == in_list);
}

/// Whether some series is in both lists.
pub fn intersects(a: &Postings, b: &Postings) -> bool {
    match (a, b) {
        (Postings::Bitmap(a), Postings::Bitmap(b)) => !a.is_disjoint(b),
        (Postings::Bitmap(bitmap), list) | (list, Postings::Bitmap(bitmap)) if list.len() <= FEW => {
            let mut cursor = list.cursor();
            std::iter::from_fn(|| next(&mut cursor)).any(|number| bitmap.contains(number))
        }
        _ => {
            let (mut a, mut b) = (a.cursor(), b.cursor());
            let mut candidate = a.current();
            while let Some(number) = candidate {
                match b.seek(number) {
                    None => return false,
                    Some(found) if found == number => return true,
                    Some(found) => candidate = a.seek(found),
                }
            }
            false
        }
    }
}

fn next(cursor: &mut Cursor<'_>) -> Option<u32> {
    let current = cursor.current()?;
    cursor.advance();
    Some(current)
}

/// The same list as a bitmap, for who looks up many series in it.
pub fn as_bitmap(list: &Postings) -> Postings {
    match list {
        Postings::Empty | Postings::Bitmap(_) => list.clone(),
        _ => {
            let mut bitmap = RoaringBitmap::new();
            let mut cursor = list.cursor();
            bitmap.extend(std::iter::from_fn(|| next(&mut cursor)));
            Postings::Bitmap(Arc::new(bitmap))
        }
    }
}
