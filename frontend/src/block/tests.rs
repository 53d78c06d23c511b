//! Matrices that are cut and put together again.

use promql::annotations::Annotations;

use super::*;
use crate::origin::Peaks;

const GRID: Grid = Grid {
    step_ms: 10,
    phase_ms: 3,
};

fn series(name: &str, at: impl IntoIterator<Item = i64>) -> Series {
    let times: Vec<i64> = at.into_iter().map(|step| GRID.time_ms(step)).collect();
    Series {
        labels: Labels::from_pairs([("__name__", name)]),
        values: times.iter().map(|time| *time as f64 / 7.0).collect(),
        timestamps_ms: times.into(),
        histograms: Vec::new(),
    }
}

fn origin(steps: Stretch) -> Arc<Origin> {
    Arc::new(Origin {
        steps,
        annotations: Annotations::default(),
        text: "x".into(),
        peaks: Peaks::default(),
    })
}

fn within(matrix: &[Series], steps: Stretch) -> Vec<Series> {
    let (first_ms, last_ms) = (GRID.time_ms(steps.first), GRID.time_ms(steps.last));
    let inside = |time: i64| (first_ms..=last_ms).contains(&time);
    let cut = matrix.iter().map(|series| {
        let (times, values): (Vec<i64>, Vec<f64>) = series.floats().filter(|(time, _)| inside(*time)).unzip();
        Series {
            labels: series.labels.clone(),
            timestamps_ms: times.into(),
            values,
            histograms: Vec::new(),
        }
    });
    cut.filter(|series| !series.is_empty()).collect()
}

#[test]
fn what_is_cut_is_put_together_again() {
    let steps = Stretch { first: -5, last: 400 };
    let matrix = [
        series("a", -5..=400),
        series("b", (-5..=400).filter(|step| step % 3 == 0)),
        series("c", 130..=140),
        series("d", (-5..=400).filter(|step| !(128..256).contains(step))),
        series(
            "e",
            (0..=400).rev().step_by(400).collect::<Vec<_>>().into_iter().rev(),
        ),
        series("f", 128..=400),
    ];
    let pieces = cut(&matrix, GRID, &origin(steps)).expect("a matrix");
    assert_eq!(pieces.len(), 5);
    assert_eq!(assemble(&pieces, GRID), matrix);
    for (first, last) in [(-5, -5), (0, 130), (100, 300), (129, 131), (256, 400), (400, 400)] {
        let asked = Stretch { first, last };
        let some: Vec<Piece> = pieces.iter().filter_map(|piece| piece.within(asked)).collect();
        assert_eq!(assemble(&some, GRID), within(&matrix, asked), "{asked:?}");
    }
    assert!(pieces.iter().all(|piece| piece.block.bytes > 0));
}

#[test]
fn a_series_that_occurs_twice_is_no_matrix() {
    let steps = Stretch { first: 0, last: 1 };
    let twice = [series("a", 0..=1), series("a", 0..=1)];
    assert!(cut(&twice, GRID, &origin(steps)).is_none());
    assert_eq!(
        assemble(&cut(&[], GRID, &origin(steps)).expect("empty"), GRID),
        []
    );
}
