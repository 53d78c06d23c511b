//! Unit tests of `series`.

use super::*;
use model::labels::Labels;

fn of(series: &Series, number: u64) -> Identity {
    let labels = Labels::from_pairs([("__name__", "s"), ("n", &number.to_string())]);
    series.identity(labels.packed())
}

#[test]
fn a_label_set_has_one_reference_until_it_is_idle() {
    let series = Series::default();
    let mut made = Vec::new();
    let mut resolve = |number| series.resolve(of(&series, number), 0, |reference| made.push(reference));
    let references: Vec<u64> = (0..1_000).map(|n| resolve(n).expect("new").0).collect();
    for n in 0..1_000 {
        assert_eq!(resolve(n).expect("known").0, references[n as usize]);
    }
    assert_eq!(made, references);
    assert_eq!(made, (1..=1_000).collect::<Vec<u64>>());
    let mut walk = Walk::new(&series);
    for reference in &references {
        let time = walk.time(SeriesRef(*reference)).expect("known");
        assert_eq!(time.note(*reference as i64, 0), Some(NO_SAMPLE));
    }
    let mut gone = series.remove_idle(401);
    gone.sort_unstable();
    assert_eq!((gone, series.len()), ((1..=400).collect(), 600));
    assert!(!series.has(400) && series.has(401));
    assert!(Walk::new(&series).time(SeriesRef(400)).is_none());
    assert_eq!(series.find(of(&series, 3)), None);
    assert_eq!(series.find(of(&series, 500)), Some(SeriesRef(501)));
    // Never the same reference again.
    let again = series.resolve(of(&series, 3), 0, |_| {}).expect("new");
    assert_eq!(again, SeriesRef(1_001));
}

#[test]
fn a_limit_refuses_new_series_only() {
    let series = Series::default();
    for n in 0..3 {
        series.resolve(of(&series, n), 3, |_| {}).expect("within");
    }
    let beyond = series.resolve(of(&series, 3), 3, |_| panic!("not made"));
    assert_eq!(beyond, Err(SeriesError::LimitReached));
    assert!(series.resolve(of(&series, 2), 3, |_| {}).is_ok());
}

#[test]
fn times_go_forward_and_notes_can_be_taken_back() {
    let series = Series::default();
    let reference = series.resolve(of(&series, 0), 0, |_| {}).expect("new");
    let mut walk = Walk::new(&series);
    let time = walk.time(reference).expect("known");
    assert_eq!(time.note(100, 0), Some(NO_SAMPLE));
    assert_eq!(time.note(100, 0), None, "the same moment");
    assert_eq!(time.note(99, 0), None);
    assert_eq!(time.note(60, 40), None, "the window's end is outside");
    assert_eq!(time.note(61, 40), Some(100), "late, within the window");
    assert_eq!(time.note(150, 0), Some(100));
    time.take_back(150, 100);
    time.take_back(61, 100);
    assert_eq!(time.note(100, 0), None);
    assert_eq!(time.note(101, 0), Some(100));
    // Another one has come since.
    time.note(200, 0).expect("newer");
    time.take_back(101, 100);
    assert_eq!(time.note(200, 0), None);
}

#[test]
fn the_log_decides_which_reference_a_label_set_has() {
    let series = Series::default();
    assert_eq!(series.take_in(7, of(&series, 0)), None);
    assert_eq!(series.take_in(7, of(&series, 0)), None, "said again");
    assert_eq!(series.take_in(9_000_000_000, of(&series, 0)), Some(7));
    let next = series.resolve(of(&series, 1), 0, |_| {}).expect("new");
    assert_eq!(next, SeriesRef(9_000_000_001));
    assert_eq!(series.len(), 2);
}
