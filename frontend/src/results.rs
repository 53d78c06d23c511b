//! The pieces that are kept: by panel, within a number of bytes.
//!
//! A panel's pieces have one mark, since which nothing has changed in what they depend on. Whoever looks asks storage what
//! has changed since, drops that, and moves the mark on.

use std::sync::Arc;

use foldhash::HashMap;
use model::changes::{ChangedTimes, Changes, Mark};
use parking_lot::Mutex;

use crate::block::{BLOCK_STEPS, Piece, assemble, cut};
use crate::grid::{Grid, Stretch};
use crate::instrument::Instruments;
use crate::origin::{Origin, told};
use crate::panel::{Panel, PanelKey};

/// Bytes that a panel takes beside its texts and pieces, about.
const PANEL_BYTES: usize = 256;
/// Part of the bound that is made free at once when it is reached: finding what is oldest looks at everything.
const FREED_PARTS: usize = 8;

/// The kept pieces of all panels.
pub(crate) struct Results {
    max_bytes: usize,
    kept: Mutex<Kept>,
    instruments: Arc<Instruments>,
}

#[derive(Default)]
struct Kept {
    panels: HashMap<PanelKey, Track>,
    bytes: usize,
    /// Counts looks: what was used last has the highest number.
    looks: u64,
}

/// The pieces of a panel.
struct Track {
    mark: Mark,
    /// Ascending, without overlap, with the number of the look that used them last.
    pieces: Vec<(Piece, u64)>,
}

/// What is kept of the steps that somebody asks for.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    /// Ascending, without overlap.
    pub(crate) pieces: Vec<Piece>,
    /// The steps between them.
    pub(crate) gaps: Vec<Stretch>,
}

impl Results {
    pub(crate) fn new(max_bytes: usize, instruments: Arc<Instruments>) -> Self {
        Results {
            max_bytes,
            kept: Mutex::default(),
            instruments,
        }
    }

    /// Most bytes that one result may take: a single one must not push out all others.
    pub(crate) fn result_bytes_max(&self) -> usize {
        self.max_bytes / 4
    }

    /// What is kept of `panel` and good now.
    pub(crate) fn cover(&self, panel: &Panel, changes: &dyn Changes) -> Cover {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        kept.looks += 1;
        let mut cover = Cover::default();
        if let Some(track) = kept.panels.get_mut(&panel.key) {
            let before = track.bytes();
            track.freshen(panel, changes);
            // A piece that was cut in two counts twice: both keep its block.
            kept.bytes = kept.bytes + track.bytes() - before;
            for (piece, used) in &mut track.pieces {
                if let Some(inside) = piece.within(panel.steps) {
                    *used = kept.looks;
                    cover.pieces.push(inside);
                }
            }
        }
        self.instruments.kept_bytes.set(kept.bytes as f64);
        cover.find_gaps(panel.steps);
        cover
    }

    /// Keeps the pieces of an evaluation whose view was opened behind `mark`.
    pub(crate) fn keep(&self, panel: &Panel, pieces: Vec<Piece>, mark: Mark, changes: &dyn Changes) {
        let mut fresh = Track {
            mark,
            pieces: Vec::new(),
        };
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        fresh
            .pieces
            .extend(pieces.into_iter().map(|piece| (piece, kept.looks)));
        fresh.freshen(panel, changes);
        let track = kept.panels.entry(panel.key.clone()).or_insert_with(|| {
            kept.bytes += PANEL_BYTES + panel.key.bytes();
            Track {
                mark: fresh.mark,
                pieces: Vec::new(),
            }
        });
        let before = track.bytes();
        track.freshen(panel, changes);
        // Of two marks the earlier one is good for both.
        track.mark = track.mark.min(fresh.mark);
        for piece in fresh.pieces {
            track.insert(piece, panel.key.grid);
        }
        kept.bytes = kept.bytes + track.bytes() - before;
        if kept.bytes > self.max_bytes {
            let evicted = kept.make_room(self.max_bytes - self.max_bytes / FREED_PARTS);
            self.instruments.evicted.add_count(evicted as u64);
        }
        self.instruments.kept_bytes.set(kept.bytes as f64);
    }
}

impl Cover {
    fn find_gaps(&mut self, asked: Stretch) {
        let mut next = asked.first;
        for piece in &self.pieces {
            if piece.steps.first > next {
                self.gaps.push(Stretch {
                    first: next,
                    last: piece.steps.first - 1,
                });
            }
            next = piece.steps.last + 1;
        }
        if next <= asked.last {
            self.gaps.push(Stretch {
                first: next,
                last: asked.last,
            });
        }
    }
}

impl Kept {
    /// Drops what was not used for the longest time until no more than `max_bytes` are kept; how many pieces.
    fn make_room(&mut self, max_bytes: usize) -> usize {
        let mut all: Vec<(u64, usize)> = Vec::new();
        for track in self.panels.values() {
            all.extend(
                track
                    .pieces
                    .iter()
                    .map(|(piece, used)| (*used, piece.block.bytes)),
            );
        }
        all.sort_unstable();
        let mut left = self.bytes;
        let oldest = all.iter().take_while(|(_, bytes)| {
            let goes = left > max_bytes;
            left = left.saturating_sub(*bytes);
            goes
        });
        let Some(until) = oldest.last().map(|(used, _)| *used) else {
            return 0;
        };
        let mut evicted = 0;
        for track in self.panels.values_mut() {
            let before = track.pieces.len();
            track.pieces.retain(|(_, used)| *used > until);
            evicted += before - track.pieces.len();
        }
        self.panels.retain(|_, track| !track.pieces.is_empty());
        let of_panel = |(key, track): (&PanelKey, &Track)| PANEL_BYTES + key.bytes() + track.bytes();
        self.bytes = self.panels.iter().map(of_panel).sum();
        evicted
    }
}

impl Track {
    fn bytes(&self) -> usize {
        self.pieces.iter().map(|(piece, _)| piece.block.bytes).sum()
    }

    /// Drops what has changed, and moves the mark on.
    fn freshen(&mut self, panel: &Panel, changes: &dyn Changes) {
        // In this order: what changes in between is told again next time.
        let now = changes.mark();
        let changed = changes.changed_since(self.mark);
        self.mark = now;
        self.drop_changed(panel, &changed);
    }

    fn drop_changed(&mut self, panel: &Panel, changed: &ChangedTimes) {
        if panel.pinned().any(|range| changed.touch(range)) {
            self.pieces.clear();
            return;
        }
        for range in changed.iter() {
            self.cut_out(panel.key.grid.touched(range, &panel.reach));
        }
    }

    fn cut_out(&mut self, gone: Stretch) {
        if !self
            .pieces
            .iter()
            .any(|(piece, _)| !piece.steps.shared(gone).is_empty())
        {
            return;
        }
        let pieces = std::mem::take(&mut self.pieces);
        for (piece, used) in pieces {
            let left = piece.steps.without(gone).into_iter();
            self.pieces
                .extend(left.filter_map(|steps| Some((piece.within(steps)?, used))));
        }
    }

    /// Puts a piece in its place, instead of what was there; one that continues another becomes one block with it.
    fn insert(&mut self, (piece, used): (Piece, u64), grid: Grid) {
        self.cut_out(piece.steps);
        let at = self
            .pieces
            .partition_point(|(known, _)| known.steps.first < piece.steps.first);
        if let Some(before) = at.checked_sub(1)
            && let Some(joined) = joined(&self.pieces[before].0, &piece, grid)
        {
            self.pieces[before] = (joined, used);
            return;
        }
        self.pieces.insert(at, (piece, used));
    }
}

/// Two pieces as one, where they follow each other, belong into one block, and what is told beside them is known.
fn joined(a: &Piece, b: &Piece, grid: Grid) -> Option<Piece> {
    let one_block = a.steps.first.div_euclid(BLOCK_STEPS) == b.steps.last.div_euclid(BLOCK_STEPS);
    if !one_block || a.steps.last + 1 != b.steps.first {
        return None;
    }
    let text = &b.block.origin.text;
    let both = [a.clone(), b.clone()];
    let told = told(&both, text)?;
    let origin = Arc::new(Origin {
        steps: Stretch {
            first: a.steps.first,
            last: b.steps.last,
        },
        annotations: told.annotations,
        text: text.clone(),
        peaks: told.peaks,
    });
    cut(&assemble(&both, grid), grid, &origin)?.pop()
}

#[cfg(test)]
mod tests;
