//! What is kept, what goes, and what it takes.

use metrics::Registry;
use model::labels::Labels;
use model::storage::TimeRange;
use promql::annotations::Annotations;
use promql::engine::{Engine, EngineOptions, EvalTime, QueryOptions};
use promql::value::Series;

use super::*;
use crate::origin::Peaks;

/// Storage that says what it is told to say.
#[derive(Default)]
struct Told(Mutex<Vec<TimeRange>>);

impl Told {
    fn change(&self, min_ms: i64, max_ms: i64) {
        self.0.lock().push(TimeRange::new(min_ms, max_ms));
    }
}

impl Changes for Told {
    fn mark(&self) -> Mark {
        Mark(self.0.lock().len() as u64)
    }

    fn changed_since(&self, mark: Mark) -> ChangedTimes {
        ChangedTimes {
            from_ms: i64::MAX,
            ranges: self.0.lock()[mark.0 as usize..].to_vec(),
        }
    }
}

const STEP_MS: i64 = 1000;

fn panel(query: &str, first: i64, last: i64) -> Panel {
    let engine = Engine::new(EngineOptions::default());
    let time = EvalTime::Range {
        start_ms: first * STEP_MS,
        end_ms: last * STEP_MS,
        step_ms: STEP_MS,
    };
    let expr = engine.parse(query).expect(query);
    Panel::of(&engine, &expr, query, time, &QueryOptions::default()).expect(query)
}

fn results(max_bytes: usize) -> Results {
    Results::new(max_bytes, Arc::new(Instruments::new(&Registry::new(), max_bytes)))
}

/// Pieces of one series with a value at every step of the panel.
fn pieces(panel: &Panel) -> Vec<Piece> {
    let steps = panel.steps.first..=panel.steps.last;
    let times: Arc<[i64]> = steps.map(|step| panel.key.grid.time_ms(step)).collect();
    let series = Series {
        labels: Labels::from_pairs([("a", "b")]),
        values: times.iter().map(|time| *time as f64).collect(),
        timestamps_ms: times,
        histograms: Vec::new(),
    };
    let origin = Arc::new(Origin {
        steps: panel.steps,
        annotations: Annotations::default(),
        text: panel.text.clone(),
        peaks: Peaks::default(),
    });
    cut(&[series], panel.key.grid, &origin).expect("a matrix")
}

fn keep(results: &Results, panel: &Panel, storage: &Told) {
    results.keep(panel, pieces(panel), storage.mark(), storage);
}

fn gaps(results: &Results, panel: &Panel, storage: &Told) -> Vec<(i64, i64)> {
    let cover = results.cover(panel, storage);
    cover.gaps.iter().map(|gap| (gap.first, gap.last)).collect()
}

#[test]
fn ranges_of_a_panel_share_their_steps() {
    let (results, storage) = (results(1 << 20), Told::default());
    keep(&results, &panel("sum_over_time(x[10s])", 1000, 1400), &storage);
    let asked = |query, first, last| gaps(&results, &panel(query, first, last), &storage);
    assert_eq!(asked("sum_over_time(x[10s])", 1100, 1400), []);
    assert_eq!(asked("sum_over_time( x [10s] ) # same", 1100, 1399), []);
    assert_eq!(asked("sum_over_time(x[10s])", 1200, 1410), [(1401, 1410)]);
    assert_eq!(
        asked("sum_over_time(x[10s])", 990, 1410),
        [(990, 999), (1401, 1410)]
    );
    assert_eq!(asked("sum_over_time(x[11s])", 1100, 1200), [(1100, 1200)]);
    // One that moves forward stays in few blocks.
    for last in 1401..1500 {
        keep(
            &results,
            &panel("sum_over_time(x[10s])", last - 1, last),
            &storage,
        );
    }
    let cover = results.cover(&panel("sum_over_time(x[10s])", 1000, 1499), &storage);
    assert!(
        cover.gaps.is_empty() && cover.pieces.len() <= 5,
        "{}",
        cover.pieces.len()
    );
}

#[test]
fn what_has_changed_is_dropped_and_nothing_else() {
    let (results, storage) = (results(1 << 20), Told::default());
    let all = panel("sum_over_time(x[10s])", 1000, 1400);
    keep(&results, &all, &storage);
    storage.change(1_200_000, 1_200_500);
    assert_eq!(gaps(&results, &all, &storage), [(1200, 1210)]);
    storage.change(1_395_001, i64::MAX);
    assert_eq!(gaps(&results, &all, &storage), [(1200, 1210), (1396, 1400)]);
    // What was evaluated before a change is not kept behind it.
    let (mark, late) = (
        storage.mark(),
        pieces(&panel("sum_over_time(x[10s])", 1200, 1205)),
    );
    storage.change(1_203_000, 1_203_000);
    results.keep(&all, late, mark, &storage);
    assert_eq!(gaps(&results, &all, &storage), [(1203, 1213), (1396, 1400)]);
    // A pinned selector is read by all steps.
    let pinned = panel("x - on () group_left () sum(x @ 500)", 1000, 1400);
    keep(&results, &pinned, &storage);
    storage.change(900_000, 900_000);
    assert_eq!(gaps(&results, &pinned, &storage), [(1000, 1200)]);
    keep(&results, &pinned, &storage);
    storage.change(499_000, 499_000);
    assert_eq!(gaps(&results, &pinned, &storage), [(1000, 1400)]);
}

#[test]
fn what_was_not_used_for_long_makes_room() {
    let (results, storage) = (results(64 << 10), Told::default());
    let of = |number: i64| panel(&format!("x{{number=\"{number}\"}}"), 1000, 1400);
    for number in 0..100 {
        keep(&results, &of(number), &storage);
        // The first is asked for again and again.
        assert_eq!(gaps(&results, &of(0), &storage), []);
        let kept = results.kept.lock();
        assert!(kept.bytes <= 64 << 10, "{}", kept.bytes);
        let counted: usize = kept
            .panels
            .iter()
            .map(|(key, track)| PANEL_BYTES + key.bytes() + track.bytes())
            .sum();
        assert_eq!(kept.bytes, counted);
    }
    assert!(results.instruments.evicted.get() > 0.0);
    assert_eq!(gaps(&results, &of(1), &storage), [(1000, 1400)]);
    assert_eq!(gaps(&results, &of(99), &storage), []);
}
