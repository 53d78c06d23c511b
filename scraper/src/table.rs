//! What a target's last scrapes looked like, line by line: the reason why most lines need no parsing.
//!
//! Lines stand in the order in which the last complete scrape had them. Line *n* of a body is expected to be line *n*
//! of the table; when it is not, *n* + 1 is tried, then a map from the text's hash. A line that is recognised gives its
//! series reference at once.
//!
//! Scrapes are numbered. A *pass* reads a body; it ends with [`Table::complete`], or is abandoned, which leaves nothing
//! behind but a higher number. Whether a series has to be marked stale follows from comparing numbers, so that no
//! second set of series is built.
//!
//! A line takes 24 bytes, and the map is there only while bodies surprise.

use std::collections::HashMap;

use hashbrown::HashTable;
use model::storage::SeriesRef;

/// Bits of a line's `series` that hold the reference, or one of the next three; storage gives out less than 2^40.
const SERIES: u64 = (1 << 56) - 1;
/// Stands for the series of a line that relabelling drops.
const DROPPED: u64 = SERIES;
/// Stands for a series that storage has not been asked for yet, or has forgotten.
const UNRESOLVED: u64 = SERIES - 1;
/// Stands for the series of a line that there was no room for when it was read last. Counts as unresolved.
const REFUSED: u64 = SERIES - 2;
/// Samples are native histograms.
const HISTOGRAM: u64 = 1 << 56;
/// The pass `seen` had a sample that a staleness marker would have to follow.
const TRACKED: u64 = 1 << 57;
/// The last complete pass before `seen` had one.
const TRACKED_BEFORE: u64 = 1 << 58;
/// Passes without a surprise after which the map goes.
const QUIET_PASSES: u8 = 2;

/// 64 bits over a series text; texts of one length count as the same where these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextHash(u64);

impl TextHash {
    #[inline]
    pub(crate) fn of(text: &[u8]) -> Self {
        TextHash(xxhash_rust::xxh3::xxh3_64(text))
    }
}

/// What is known of one series text.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    hash: TextHash,
    /// [`SERIES`] and flags.
    series: u64,
    /// Length of the text in bytes.
    pub(crate) length: u32,
    /// Pass that saw it last.
    seen: u32,
}

impl Line {
    /// Whether relabelling drops the series.
    pub(crate) fn is_dropped(&self) -> bool {
        self.series & SERIES == DROPPED
    }

    /// Whether there was no room for the series.
    pub(crate) fn is_refused(&self) -> bool {
        self.series & SERIES == REFUSED
    }

    /// The series, if storage knows it.
    pub(crate) fn series(&self) -> Option<SeriesRef> {
        match self.series & SERIES {
            UNRESOLVED | DROPPED | REFUSED => None,
            series => Some(SeriesRef(series)),
        }
    }

    fn set_series(&mut self, series: u64) {
        self.series = self.series & !SERIES | series & SERIES;
    }

    fn has(&self, flag: u64) -> bool {
        self.series & flag != 0
    }
}

/// What became of a line that was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) line: u32,
    /// This pass has seen the text before.
    pub(crate) again: bool,
}

/// The lines of one target.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
    /// Lines by hash; built when a line is looked up.
    by_hash: Option<HashTable<u32>>,
    /// Complete passes in a row that looked nothing up.
    quiet: u8,
    /// Fingerprints of the exemplars that were sent last.
    exemplars: HashMap<u32, u32, foldhash::fast::RandomState>,
    /// The last complete pass.
    complete: u32,
    /// The pass at work, or the last abandoned one.
    pass: u32,
    /// Where the next line of the body is expected.
    cursor: u32,
    /// Lines in the order of the body; kept only from the first surprise on.
    order: Vec<u32>,
    /// Nothing has surprised yet: the body has been lines 0 to `touched`.
    in_order: bool,
    /// Lines of the table before this pass.
    known: u32,
    /// Lines that a pass touched and that were tracked by the last complete one.
    still_tracked: u32,
    /// Lines that the last complete pass tracked.
    tracked: u32,
    tracked_now: u32,
    touched: u32,
}

impl Table {
    /// Starts a pass.
    pub(crate) fn begin(&mut self) {
        self.pass += 1;
        self.cursor = 0;
        self.order.clear();
        self.in_order = true;
        self.known = self.lines.len() as u32;
        (self.still_tracked, self.tracked_now, self.touched) = (0, 0, 0);
    }

    /// The line expected `ahead` lines after the last one.
    #[inline]
    pub(crate) fn expected(&self, ahead: u32) -> Option<(u32, &Line)> {
        let index = self.cursor + ahead;
        // Lines that this pass has added are no expectation.
        if index >= self.known {
            return None;
        }
        self.lines.get(index as usize).map(|line| (index, line))
    }

    /// Whether line `index` has this text.
    #[inline]
    pub(crate) fn matches(line: &Line, text: &[u8]) -> bool {
        line.hash == TextHash::of(text)
    }

    /// The line with this text, by its hash.
    pub(crate) fn find(&mut self, hash: TextHash, length: usize) -> Option<u32> {
        self.quiet = 0;
        if self.by_hash.is_none() {
            self.index();
        }
        let same = |index: &u32| {
            let line = &self.lines[*index as usize];
            line.hash == hash && line.length as usize == length
        };
        self.by_hash.as_ref()?.find(hash.0, same).copied()
    }

    /// Notes that the body has line `index` next.
    #[inline]
    pub(crate) fn touch(&mut self, index: u32) -> Touched {
        if index < self.known {
            self.cursor = index + 1;
        }
        let (pass, complete) = (self.pass, self.complete);
        let line = &mut self.lines[index as usize];
        if line.seen == pass {
            return Touched {
                line: index,
                again: true,
            };
        }
        if was_tracked(line, complete) {
            line.series |= TRACKED_BEFORE;
        } else {
            line.series &= !TRACKED_BEFORE;
        }
        line.series &= !TRACKED;
        line.seen = pass;
        if self.in_order && index != self.touched {
            self.in_order = false;
            self.order.extend(0..self.touched);
        }
        if !self.in_order {
            self.order.push(index);
        }
        self.touched += 1;
        Touched {
            line: index,
            again: false,
        }
    }

    /// Adds a line with a text that is new; to be touched next.
    pub(crate) fn insert(&mut self, hash: TextHash, length: usize) -> u32 {
        let index = self.lines.len() as u32;
        self.lines.push(Line {
            hash,
            series: UNRESOLVED,
            length: length as u32,
            seen: 0,
        });
        let lines = &self.lines;
        if let Some(by_hash) = &mut self.by_hash {
            by_hash.insert_unique(hash.0, index, |index| lines[*index as usize].hash.0);
        }
        index
    }

    /// Line `index`.
    #[inline]
    pub(crate) fn line(&self, index: u32) -> &Line {
        &self.lines[index as usize]
    }

    /// Notes the fingerprint of an exemplar of line `index`; false where it is that of the last one.
    pub(crate) fn note_exemplar(&mut self, index: u32, fingerprint: u32) -> bool {
        self.exemplars.insert(index, fingerprint) != Some(fingerprint)
    }

    /// Whether this pass has added line `index`.
    pub(crate) fn is_new(&self, index: u32) -> bool {
        index >= self.known
    }

    /// Notes that relabelling drops the series of line `index`.
    pub(crate) fn drop_line(&mut self, index: u32) {
        self.lines[index as usize].set_series(DROPPED);
    }

    /// Notes that there is no room for the series of line `index`; it is asked about again by the next pass.
    pub(crate) fn refuse_line(&mut self, index: u32) {
        self.lines[index as usize].set_series(REFUSED);
    }

    /// Notes that there is room for the series of line `index`, which storage has yet to be asked for.
    pub(crate) fn admit_line(&mut self, index: u32) {
        self.lines[index as usize].set_series(UNRESOLVED);
    }

    /// How many lines have a series.
    pub(crate) fn resolved(&self) -> u64 {
        self.lines.iter().filter(|line| line.series().is_some()).count() as u64
    }

    /// Notes the series of line `index`.
    pub(crate) fn resolve(&mut self, index: u32, series: SeriesRef) {
        self.lines[index as usize].set_series(series.0);
    }

    /// Notes that line `index` had a sample that a staleness marker has to follow once it is gone.
    #[inline]
    pub(crate) fn track(&mut self, index: u32, histogram: bool) {
        let line = &mut self.lines[index as usize];
        if !line.has(TRACKED) {
            self.tracked_now += 1;
            self.still_tracked += u32::from(line.has(TRACKED_BEFORE));
        }
        line.series = line.series & !HISTOGRAM | TRACKED | if histogram { HISTOGRAM } else { 0 };
    }

    /// Takes back [`Table::track`]: storage refused the sample. Gives the line's series where the last pass tracked it:
    /// unless another line has it, it ends here.
    pub(crate) fn untrack(&mut self, index: u32) -> Option<(SeriesRef, bool)> {
        let line = &mut self.lines[index as usize];
        if !line.has(TRACKED) {
            return None;
        }
        self.tracked_now -= 1;
        line.series &= !TRACKED;
        if !line.has(TRACKED_BEFORE) {
            return None;
        }
        self.still_tracked -= 1;
        Some((line.series()?, line.has(HISTOGRAM)))
    }

    /// Forgets the references of series that storage no longer knows.
    pub(crate) fn forget(&mut self, gone: &[SeriesRef]) {
        let gone: std::collections::HashSet<SeriesRef, foldhash::fast::RandomState> =
            gone.iter().copied().collect();
        for line in &mut self.lines {
            if line.series().is_some_and(|series| gone.contains(&series)) {
                line.set_series(UNRESOLVED);
            }
        }
    }

    /// Series that the last complete pass tracked and this one does not, and whether they hold histograms.
    /// After an abandoned pass this is asked of a new one that has touched nothing.
    pub(crate) fn stale(&self, out: &mut Vec<(SeriesRef, bool)>) {
        out.clear();
        if self.still_tracked == self.tracked {
            return;
        }
        for line in &self.lines {
            // A line that is there need not be tracked any more: with a timestamp of its own it is not.
            let ended = match line.seen == self.pass {
                true => line.has(TRACKED_BEFORE) && !line.has(TRACKED),
                false => was_tracked(line, self.complete),
            };
            if ended && let Some(series) = line.series() {
                out.push((series, line.has(HISTOGRAM)));
            }
        }
        self.retain_ended(out);
    }

    /// Takes out the series that this pass has tracked. Another text may stand for the same series now: labels in another
    /// order, or a bound written differently.
    pub(crate) fn retain_ended(&self, out: &mut Vec<(SeriesRef, bool)>) {
        let gone: std::collections::HashSet<SeriesRef, foldhash::fast::RandomState> =
            out.iter().map(|(series, _)| *series).collect();
        let mut alive = std::collections::HashSet::with_hasher(foldhash::fast::RandomState::default());
        for line in &self.lines {
            if line.seen == self.pass
                && line.has(TRACKED)
                && let Some(series) = line.series()
                && gone.contains(&series)
            {
                alive.insert(series);
            }
        }
        if !alive.is_empty() {
            out.retain(|(series, _)| !alive.contains(series));
        }
    }

    /// Ends the pass. With `flush`, lines that it did not see are forgotten, and the rest stand in the body's order.
    pub(crate) fn complete(&mut self, flush: bool) {
        self.complete = self.pass;
        self.tracked = self.tracked_now;
        let unchanged = self.in_order && self.touched as usize == self.lines.len();
        if flush && !unchanged {
            self.rebuild();
        }
        self.quiet = (self.quiet + 1).min(QUIET_PASSES);
        if self.quiet == QUIET_PASSES && self.by_hash.take().is_some() {
            self.lines.shrink_to_fit();
            self.order = Vec::new();
        }
    }

    /// Forgets the lines that this pass added, and abandons it.
    pub(crate) fn abandon(&mut self) {
        let known = self.known as usize;
        if self.lines.len() > known {
            self.lines.truncate(known);
            self.exemplars.retain(|line, _| (*line as usize) < known);
            self.by_hash = None;
        }
    }

    /// Forgets all texts, and keeps the series that a staleness marker has to follow unless the next pass has them. Makes
    /// no assumption about where a pass was left.
    pub(crate) fn restart(&mut self) {
        let complete = self.complete;
        let tracked = self.lines.iter().filter(|line| was_tracked(line, complete));
        let series = tracked.filter_map(|line| {
            let series = line.series()?;
            Some(Line {
                // No text has this length.
                hash: TextHash(0),
                length: u32::MAX,
                series: series.0 | TRACKED | line.series & HISTOGRAM,
                seen: 1,
            })
        });
        let lines: Vec<Line> = series.collect();
        *self = Table {
            tracked: lines.len() as u32,
            lines,
            complete: 1,
            pass: 1,
            ..Table::default()
        };
    }

    fn rebuild(&mut self) {
        if self.in_order {
            self.order.extend(0..self.touched);
        }
        let lines = self.order.iter().map(|index| self.lines[*index as usize].clone());
        self.lines = lines.collect();
        if !self.exemplars.is_empty() {
            let old = std::mem::take(&mut self.exemplars);
            let kept = self.order.iter().zip(0..);
            let kept = kept.filter_map(|(before, now)| Some((now, *old.get(before)?)));
            self.exemplars = kept.collect();
        }
        self.order = Vec::new();
        self.by_hash = None;
    }

    fn index(&mut self) {
        let lines = &self.lines;
        let hash_of = |index: &u32| lines[*index as usize].hash.0;
        let mut by_hash = HashTable::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            by_hash.insert_unique(line.hash.0, index as u32, hash_of);
        }
        self.by_hash = Some(by_hash);
    }
}

/// Whether the pass `complete` had a sample of `line` that a staleness marker has to follow.
#[inline]
fn was_tracked(line: &Line, complete: u32) -> bool {
    if line.seen == complete {
        line.has(TRACKED)
    } else {
        // An abandoned pass has touched it since.
        line.seen > complete && line.has(TRACKED_BEFORE)
    }
}
