//! Evaluations that pieces are of, and what is told beside their results.
//!
//! Warnings and infos belong to an evaluation, not to a step: of a part of its steps nobody knows which would have been
//! told. So pieces are put together only where that follows all the same.

use std::sync::Arc;

use promql::annotations::{Annotation, Annotations};
use promql::engine::QueryStats;

use crate::block::Piece;
use crate::grid::Stretch;

/// One evaluation.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Its steps.
    pub(crate) steps: Stretch,
    /// What it had to say.
    pub(crate) annotations: Annotations,
    /// The text that annotations speak of.
    pub(crate) text: Arc<str>,
    /// What it held at most.
    pub(crate) peaks: Peaks,
}

/// Most samples and bytes held at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peaks {
    pub(crate) samples: usize,
    pub(crate) bytes: usize,
}

impl Peaks {
    pub(crate) fn of(stats: &QueryStats) -> Self {
        Peaks {
            samples: stats.peak_samples,
            bytes: stats.peak_bytes,
        }
    }

    fn add(&mut self, other: Peaks) {
        self.samples = self.samples.saturating_add(other.samples);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What is told beside pieces as one result.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) annotations: Annotations,
    /// No evaluation of all the steps holds more: what is held grows with the steps, or is the same for all.
    pub(crate) peaks: Peaks,
}

/// Puts together what is told beside `pieces`, which follow each other, of the query written as `text`. Nothing where it
/// does not follow from the pieces.
///
/// Annotations are listed as they come up, series by series. Where all evaluations list the same ones in the same order, so
/// does one of all their steps. An evaluation of which only some steps are used may have told less of them; that does not
/// matter where there is one annotation only, and another evaluation tells it.
pub(crate) fn told(pieces: &[Piece], text: &str) -> Option<Told> {
    let mut origins: Vec<(&Arc<Origin>, usize)> = Vec::new();
    for piece in pieces {
        let origin = &piece.block.origin;
        match origins
            .iter_mut()
            .rev()
            .find(|(known, _)| Arc::ptr_eq(known, origin))
        {
            Some((_, used)) => *used += piece.steps.len(),
            None => origins.push((origin, piece.steps.len())),
        }
    }
    let mut told = Told::default();
    let mut listed: Option<&Annotations> = None;
    for (origin, used) in &origins {
        told.peaks.add(origin.peaks);
        if !origin.annotations.is_empty() && *origin.text != *text {
            return None;
        }
        let is_whole = *used == origin.steps.len();
        if is_whole {
            if listed.is_some_and(|listed| !list_the_same(listed, &origin.annotations)) {
                return None;
            }
            listed = Some(&origin.annotations);
            told.annotations.merge(origin.annotations.clone());
        }
    }
    let in_part = origins
        .iter()
        .filter(|(origin, used)| *used < origin.steps.len() && !origin.annotations.is_empty());
    for (origin, _) in in_part {
        let listed = listed?;
        let is_one = origin.annotations.iter().count() == 1;
        let is_plain = origin
            .annotations
            .iter()
            .all(|annotation| annotation.details.is_none());
        if !is_one || !is_plain || !list_the_same(listed, &origin.annotations) {
            return None;
        }
    }
    Some(told)
}

/// Whether both have the same annotations in the same order, details apart.
fn list_the_same(a: &Annotations, b: &Annotations) -> bool {
    let same = |(a, b): (&Annotation, &Annotation)| {
        a.severity == b.severity
            && a.message == b.message
            && a.span == b.span
            && a.details.is_some() == b.details.is_some()
    };
    a.iter().count() == b.iter().count() && a.iter().zip(b.iter()).all(same)
}
