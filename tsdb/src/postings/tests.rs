//! Postings: cursors and set operations against plain sets.

use std::collections::BTreeSet;

use super::*;
use crate::chunk::testing::Rng;

/// The same list in each of its forms.
fn forms(list: &[u32]) -> [Postings; 3] {
    let mut file = vec![7];
    file.extend(list.iter().flat_map(|n| n.to_be_bytes()));
    let mapped = MappedPostings::new(Mapped::from(file), 1, list.len()).unwrap();
    [
        Postings::Mapped(mapped),
        Postings::from(list.to_vec()),
        Postings::from(RoaringBitmap::from_iter(list)),
    ]
}

fn random_list(rng: &mut Rng) -> Vec<u32> {
    let range = [3, 50, 1000, 100_000][rng.below(4)];
    let count = rng.below(400);
    let set: BTreeSet<u32> = (0..count).map(|_| rng.below(range) as u32).collect();
    set.into_iter().collect()
}

#[test]
fn set_operations_agree_with_sets() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let lists: Vec<Vec<u32>> = (0..1 + rng.below(4)).map(|_| random_list(&mut rng)).collect();
        let mixed: Vec<Postings> = lists.iter().map(|l| forms(l)[rng.below(3)].clone()).collect();
        let sets: Vec<BTreeSet<u32>> = lists.iter().map(|l| l.iter().copied().collect()).collect();
        let both = sets.iter().skip(1).fold(sets[0].clone(), |a, b| &a & b);
        let either = sets.iter().fold(BTreeSet::new(), |a, b| &a | b);
        let only = sets.iter().skip(1).fold(sets[0].clone(), |a, b| &a - b);
        let sorted = |set: BTreeSet<u32>| set.into_iter().collect::<Vec<_>>();
        assert_eq!(
            intersect(mixed.clone()).to_vec(),
            sorted(both.clone()),
            "seed {seed}"
        );
        assert_eq!(union(mixed.clone()).to_vec(), sorted(either), "seed {seed}");
        let others = &mixed[1..];
        let mut rest = lists[0].clone();
        retain(&mut rest, others.to_vec(), false);
        assert_eq!(rest, sorted(only.clone()), "seed {seed}");
        let mut kept = lists[0].clone();
        retain(&mut kept, others.to_vec(), true);
        assert_eq!(kept, sorted(&sets[0] - &only), "seed {seed}");
        let mut few: Vec<u32> = lists[0].iter().copied().step_by(50).collect();
        let few_set: BTreeSet<u32> = few.iter().copied().collect();
        retain(&mut few, others.to_vec(), true);
        assert_eq!(few, sorted(&few_set - &only), "seed {seed}");
        assert_eq!(as_bitmap(&mixed[0]).to_vec(), lists[0], "seed {seed}");
        if mixed.len() == 2 {
            assert_eq!(intersects(&mixed[0], &mixed[1]), !both.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn seeking_never_goes_back() {
    for list in forms(&[2, 3, 5, 7, 100, 1000, u32::MAX]) {
        let mut cursor = list.cursor();
        for (target, want) in [
            (0, Some(2)),
            (4, Some(5)),
            (1, Some(5)),
            (7, Some(7)),
            (101, Some(1000)),
            (u32::MAX, Some(u32::MAX)),
        ] {
            assert_eq!(cursor.seek(target), want);
        }
        cursor.advance();
        assert_eq!(cursor.current(), None);
        assert_eq!(cursor.seek(0), None);
        cursor.advance();
    }
}

#[test]
fn nothing_in_common_with_nothing() {
    assert!(intersect(vec![]).is_empty());
    assert!(union(vec![Postings::Empty]).is_empty());
    assert!(MappedPostings::new(Mapped::from(vec![0; 7]), 0, 2).is_none());
    assert!(MappedPostings::new(Mapped::from(vec![0; 7]), 4, usize::MAX).is_none());
}
