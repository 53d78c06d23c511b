//! Sorting that can be stopped: long lists are sorted in runs, and the runs merged, with a look at the query's limits
//! every few thousand rows.

use std::cmp::Ordering;

use crate::engine::QueryError;

use super::limits::{Held, Limits};

/// Rows that are sorted or merged without looking up: a few milliseconds, where labels are compared.
const RUN: usize = if cfg!(test) { 4 } else { 8192 };

/// Sorts `items` as [`slice::sort_by`] does; equal ones stay in order.
pub(super) fn sort_by<T>(
    items: &mut [T],
    limits: &std::sync::Arc<Limits>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<(), QueryError> {
    if items.len() <= RUN {
        items.sort_by(compare);
        return Ok(());
    }
    let mut held = Held::new(limits);
    held.add_bytes(2 * size_of::<u32>() * items.len())?;
    // Numbers are moved in place of rows.
    let at = |number: u32| &items[number as usize];
    let mut order: Vec<u32> = (0..items.len() as u32).collect();
    for run in order.chunks_mut(RUN) {
        limits.check()?;
        run.sort_by(|a, b| compare(at(*a), at(*b)));
    }
    let (mut merged, mut run) = (Vec::with_capacity(order.len()), RUN);
    while run < order.len() {
        merged.clear();
        for pair in order.chunks(2 * run) {
            let (left, right) = pair.split_at(run.min(pair.len()));
            merge(left, right, limits, &mut merged, |a, b| compare(at(a), at(b)))?;
        }
        std::mem::swap(&mut order, &mut merged);
        run = run.saturating_mul(2);
    }
    put_in_order(items, &mut order);
    Ok(())
}

/// Appends the numbers of two sorted runs, sorted.
fn merge(
    mut left: &[u32],
    mut right: &[u32],
    limits: &Limits,
    merged: &mut Vec<u32>,
    compare: impl Fn(u32, u32) -> Ordering,
) -> Result<(), QueryError> {
    limits.check()?;
    // Lists that were sorted before stay as they are.
    if let (Some(last), Some(first)) = (left.last(), right.first())
        && compare(*last, *first) != Ordering::Greater
    {
        merged.extend_from_slice(left);
        merged.extend_from_slice(right);
        return Ok(());
    }
    while let (Some(a), Some(b)) = (left.first(), right.first()) {
        if merged.len().is_multiple_of(RUN) {
            limits.check()?;
        }
        if compare(*a, *b) == Ordering::Greater {
            merged.push(*b);
            right = &right[1..];
        } else {
            merged.push(*a);
            left = &left[1..];
        }
    }
    merged.extend_from_slice(left);
    merged.extend_from_slice(right);
    Ok(())
}

/// Puts at each place the item that `order` names for it. Cycle by cycle: each item is moved once.
fn put_in_order<T>(items: &mut [T], order: &mut [u32]) {
    for start in 0..order.len() {
        let mut place = start;
        loop {
            let from = order[place] as usize;
            order[place] = place as u32;
            if from == start {
                break;
            }
            items.swap(place, from);
            place = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::{CancelHandle, MemoryPool};

    fn limits(cancel: &CancelHandle) -> Arc<Limits> {
        let pool = Arc::new(MemoryPool::new(usize::MAX));
        Arc::new(Limits::new(None, cancel.clone(), usize::MAX, usize::MAX, pool))
    }

    #[test]
    fn lists_of_all_lengths_are_sorted_and_stable() {
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for len in (0..40).chain([100, 1000]) {
            for distinct in [1, 3, 1000] {
                let items: Vec<(u64, usize)> = (0..len).map(|at| (next(distinct), at)).collect();
                let (mut sorted, mut wanted) = (items.clone(), items);
                wanted.sort_by_key(|item| item.0);
                sort_by(&mut sorted, &limits(&CancelHandle::new()), |a, b| a.0.cmp(&b.0)).expect("goes on");
                assert_eq!(sorted, wanted, "{len} of {distinct}");
            }
        }
    }

    #[test]
    fn a_long_sort_can_be_stopped() {
        let cancel = CancelHandle::new();
        let limits = limits(&cancel);
        let mut items: Vec<u32> = (0..1000).rev().collect();
        let compared = std::cell::Cell::new(0);
        let compare = |a: &u32, b: &u32| {
            compared.set(compared.get() + 1);
            if compared.get() == 100 {
                cancel.cancel();
            }
            a.cmp(b)
        };
        assert!(matches!(
            sort_by(&mut items, &limits, compare),
            Err(QueryError::Canceled { .. })
        ));
        assert!(compared.get() < 100 + 4 * RUN, "{} more", compared.get() - 100);
    }
}
