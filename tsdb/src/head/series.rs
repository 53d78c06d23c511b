//! One series of the head: what is known of its chunks, and what readers may see of it.
//!
//! How samples are added is in [`super::open`].

use std::collections::VecDeque;

use model::histogram::Histogram;
use model::sample::{Metadata, STALE_NAN_BITS, is_stale_nan};
use model::storage::TimeRange;

use super::arena::Arena;
use super::chunk_files::{ChunkFiles, MappedChunk};
use super::histograms::OpenHistogram;
use super::isolation::{Transaction, Visibility};
use super::mapped::{MappedList, mapped_bytes};
use super::ooo::{Late, OutOfOrder};
use crate::chunk::{StartTrack, Window};

/// What is in the open chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Open {
    /// There is none.
    Nothing,
    /// Floats, in the arena, encoded as `Xor`.
    Floats,
    /// Floats, in the arena, encoded as `Xor2`.
    Floats2,
    /// Histograms, in `rest`.
    Histograms,
}

/// What a page keeps of a series: 56 bytes. Its full chunks and the bytes of its open chunk of floats are in the page's
/// arena, what most series have none of is behind `rest`.
///
/// A chunk spans less than 2^32 ms, so times within the open chunk are distances from its first.
#[derive(Debug)]
pub(crate) struct State {
    /// First timestamp of the open chunk.
    pub(super) open_min_ms: i64,
    /// Encoder of floats: last value (in `Xor2` the last that was no staleness marker).
    pub(super) value_bits: u64,
    pub(super) rest: Option<Box<Rest>>,
    /// Encoder of floats: last timestamp.
    pub(super) last: u32,
    /// Encoder of floats: difference of the last two timestamps.
    pub(super) delta: u32,
    /// The open chunk ends before this.
    pub(super) next_at: u32,
    /// Low half of the number of the newest transaction that appended; 0 where there was none.
    transaction: u32,
    /// What the open chunk had before that transaction: 0 for nothing, else its last timestamp + 1.
    before: u32,
    /// Bytes of the open chunk in the arena.
    pub(super) len: u16,
    /// Encoder of floats.
    pub(super) window: Window,
    /// Encoder of floats: unused bits of the last byte.
    pub(super) free: u8,
    /// Encoder of `Xor2`: whether the last value is a staleness marker.
    pub(super) stale: bool,
    pub(super) open: Open,
    /// Low byte of the reference; the page knows the others.
    pub(super) low: u8,
}

/// What only some series have.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// During replay: chunks found on disk whose time has not come yet, the oldest last.
    awaited: Vec<MappedChunk>,
    /// Transactions before the newest that some reader may not see: number, and newest timestamp before it.
    recent: VecDeque<(u64, i64)>,
    pub(super) histograms: Option<Box<OpenHistogram>>,
    /// Encoder of an open chunk of floats with start timestamps.
    pub(super) start: StartTrack,
    pub(crate) ooo: Option<Box<OutOfOrder>>,
    pub(crate) metadata: Option<Box<Metadata>>,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.awaited.is_empty()
            && self.recent.is_empty()
            && self.histograms.is_none()
            && self.start == StartTrack::default()
            && self.ooo.is_none()
            && self.metadata.is_none()
    }
}

/// The newest in-order sample, for admission.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Last<'a> {
    /// No sample at all.
    Nothing,
    /// A sample in a full chunk, whose value is not at hand.
    Mapped(i64),
    /// A float.
    Float(i64, f64),
    /// A histogram.
    Histogram(i64, &'a Histogram),
}

/// A series under its page's lock.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    pub(super) state: &'a mut State,
    pub(super) arena: &'a mut Arena,
    /// Its place in the arena.
    pub(super) at: usize,
}

impl State {
    pub(crate) fn new(low: u8) -> Self {
        State {
            open_min_ms: 0,
            value_bits: 0,
            rest: None,
            last: 0,
            delta: 0,
            next_at: 0,
            transaction: 0,
            before: 0,
            len: 0,
            window: Window::NONE,
            free: 0,
            stale: false,
            open: Open::Nothing,
            low,
        }
    }

    /// Last timestamp of an open chunk of floats.
    #[inline]
    pub(super) fn last_float_ms(&self) -> i64 {
        self.open_min_ms.wrapping_add(i64::from(self.last))
    }
}

impl Series<'_> {
    /// Low byte of the reference.
    pub(crate) fn low(&self) -> u8 {
        self.state.low
    }

    /// What is in the open chunk.
    pub(crate) fn open(&self) -> Open {
        self.state.open
    }

    pub(crate) fn rest(&self) -> Option<&Rest> {
        self.state.rest.as_deref()
    }

    pub(crate) fn rest_mut(&mut self) -> &mut Rest {
        self.state.rest.get_or_insert_default()
    }

    /// Gives back what is behind `rest` if it is nothing.
    pub(super) fn drop_empty_rest(&mut self) {
        if self.rest().is_some_and(Rest::is_empty) {
            self.state.rest = None;
        }
    }

    /// Late samples, if there are any.
    pub(crate) fn late(&self) -> Option<&OutOfOrder> {
        self.rest()?.ooo.as_deref()
    }

    /// Late samples, if there are any.
    pub(crate) fn late_mut(&mut self) -> Option<&mut OutOfOrder> {
        self.state.rest.as_mut()?.ooo.as_deref_mut()
    }

    /// Forgets late chunks up to reference `chunk`.
    pub(crate) fn forget_late(&mut self, chunk: u64) {
        if let Some(rest) = &mut self.state.rest
            && let Some(ooo) = &mut rest.ooo
        {
            ooo.forget(chunk);
            if ooo.is_empty() {
                rest.ooo = None;
            }
        }
        self.drop_empty_rest();
    }

    /// Bytes of the list of full chunks, which the open chunk follows.
    #[inline]
    pub(super) fn mapped_len(&self) -> usize {
        self.arena.len(self.at) - usize::from(self.state.len)
    }

    /// Full chunks, oldest first.
    pub(crate) fn mapped(&self) -> MappedList<'_> {
        MappedList::new(&self.arena.get(self.at)[..self.mapped_len()])
    }

    /// Makes room for so many bytes of chunks, where there can be so many.
    pub(crate) fn expect_bytes(&mut self, bytes: usize) {
        // What finds no room there makes room when it comes.
        let _ = self.arena.reserve(self.at, bytes);
    }

    /// Adds a full chunk that is newer than those known; the open chunk must be none or just this one.
    pub(crate) fn push_mapped(&mut self, chunk: &MappedChunk) {
        self.extend_mapped(std::slice::from_ref(chunk));
    }

    /// Adds full chunks, each newer than those before: see [`Series::push_mapped`].
    pub(crate) fn extend_mapped(&mut self, chunks: &[MappedChunk]) {
        let mut old = self.mapped_len();
        let mut before = self.mapped().last();
        for chunk in chunks {
            let (bytes, len) = mapped_bytes(before.replace(*chunk), chunk);
            self.state.len = 0;
            if !self.arena.reserve(self.at, old + len) {
                // A hundred thousand chunks of one series: the samples stay in the log and in the file.
                self.arena.set_len(self.at, old);
                return;
            }
            self.arena.whole_mut(self.at)[old..old + len].copy_from_slice(&bytes[..len]);
            old += len;
            self.arena.set_len(self.at, old);
        }
    }

    /// The newest in-order sample.
    pub(crate) fn last(&self) -> Last<'_> {
        let last_ms = self.state.last_float_ms();
        match self.state.open {
            Open::Floats => Last::Float(last_ms, f64::from_bits(self.state.value_bits)),
            Open::Floats2 if self.state.stale => Last::Float(last_ms, f64::from_bits(STALE_NAN_BITS)),
            Open::Floats2 => Last::Float(last_ms, f64::from_bits(self.state.value_bits)),
            Open::Nothing | Open::Histograms => match self.rest().and_then(|r| r.histograms.as_ref()) {
                Some(open) => Last::Histogram(open.last_timestamp_ms(), open.last()),
                None => match self.mapped().last() {
                    Some(chunk) => Last::Mapped(chunk.max_ms),
                    None => Last::Nothing,
                },
            },
        }
    }

    /// Newest in-order timestamp; `i64::MIN` where there is none.
    #[inline]
    pub(crate) fn last_ms(&self) -> i64 {
        if matches!(self.state.open, Open::Floats | Open::Floats2) {
            return self.state.last_float_ms();
        }
        match self.last() {
            Last::Nothing => i64::MIN,
            Last::Mapped(t) | Last::Float(t, _) | Last::Histogram(t, _) => t,
        }
    }

    /// Whether the newest in-order sample is a staleness marker, as far as it is at hand.
    pub(crate) fn is_stale(&self) -> bool {
        match self.last() {
            Last::Float(_, value) => is_stale_nan(value),
            Last::Histogram(_, Histogram::Int(h)) => is_stale_nan(h.sum),
            Last::Histogram(_, Histogram::Float(h)) => is_stale_nan(h.sum),
            Last::Nothing | Last::Mapped(_) => false,
        }
    }

    /// First timestamp of the open chunk.
    pub(crate) fn open_min_ms(&self) -> i64 {
        self.state.open_min_ms
    }

    /// First and last timestamp of the in-order samples.
    pub(crate) fn in_order_range(&self) -> Option<(i64, i64)> {
        let first = match self.mapped().next() {
            Some(chunk) => chunk.min_ms,
            None if self.state.open == Open::Nothing => return None,
            None => self.state.open_min_ms,
        };
        Some((first, self.last_ms()))
    }

    /// Whether there may be in-order samples from `in_order_min_ms` on, or late ones, in the range.
    pub(crate) fn overlaps(&self, in_order_min_ms: i64, range: TimeRange) -> bool {
        let in_order = self
            .in_order_range()
            .is_some_and(|(first, last)| first <= range.max_ms && last >= in_order_min_ms.max(range.min_ms));
        in_order
            || self
                .late()
                .is_some_and(|o| o.overlaps(range.min_ms, range.max_ms))
    }

    /// Whether nothing is stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.open == Open::Nothing
            && self.mapped_len() == 0
            && self.late().is_none_or(OutOfOrder::is_empty)
    }

    /// Number of chunks, open ones included.
    pub(crate) fn chunks(&self) -> usize {
        self.mapped().count()
            + usize::from(self.state.open != Open::Nothing)
            + self.late().map_or(0, OutOfOrder::chunks)
    }

    /// Reads a byte of either end of the string in the arena. Doing so while many series are checked lets the processor
    /// fetch the strings side by side, instead of one after the other when the samples are added.
    #[inline]
    pub(crate) fn touch(&self) -> u8 {
        let string = self.arena.get(self.at);
        string.first().map_or(0, |first| first ^ string[string.len() - 1])
    }

    /// Number of the newest transaction that appended, seen from another one: only the low half is kept.
    #[inline]
    fn transaction(&self, near: u64) -> Option<u64> {
        /// How far ahead of `near` a transaction can be; all others lie behind it.
        const AHEAD: u32 = 1 << 28;
        let ahead = self.state.transaction.wrapping_sub(near as u32);
        let number = near.wrapping_add(u64::from(ahead));
        match self.state.transaction {
            0 => None,
            _ if ahead < AHEAD => Some(number),
            _ => Some(number.wrapping_sub(1 << 32)),
        }
    }

    /// Newest in-order timestamp before the newest transaction, or a later one that no sample has.
    fn before_ms(&self) -> i64 {
        self.state
            .open_min_ms
            .saturating_add(i64::from(self.state.before) - 1)
    }

    /// Notes that `transaction` appends from now on.
    #[inline]
    pub(super) fn mark(&mut self, transaction: Transaction) {
        let newest = self.transaction(transaction.number);
        if newest == Some(transaction.number) {
            return;
        }
        match newest {
            Some(newest) if newest >= transaction.settled => self.keep_recent(newest, transaction.settled),
            _ if self.state.rest.is_some() => self.forget_recent(),
            _ => {}
        }
        self.state.transaction = transaction.number as u32;
        self.state.before = match self.state.open {
            Open::Nothing => 0,
            _ => distance(self.state.open_min_ms, self.last_ms()) + 1,
        };
    }

    #[cold]
    fn keep_recent(&mut self, newest: u64, settled: u64) {
        let entry = (newest, self.before_ms());
        let recent = &mut self.rest_mut().recent;
        while recent.front().is_some_and(|(n, _)| *n < settled) {
            recent.pop_front();
        }
        recent.push_back(entry);
    }

    #[cold]
    fn forget_recent(&mut self) {
        let rest = self.rest_mut();
        if !rest.recent.is_empty() {
            rest.recent = VecDeque::new();
            self.drop_empty_rest();
        }
    }

    /// Notes that a chunk begins at `timestamp_ms` and ends before `next_at_ms`, and up to when the chunk before it had
    /// samples if it was open until now.
    pub(super) fn begin(
        &mut self,
        transaction: Option<Transaction>,
        open: Open,
        (timestamp_ms, next_at_ms): (i64, i64),
        closed: Option<i64>,
    ) {
        let before_ms = self.before_ms();
        if let (Some(transaction), Some(closed_ms)) = (transaction, closed)
            && before_ms < closed_ms
        {
            // The transaction has samples on both sides of the cut.
            let entry = (transaction.number, before_ms);
            self.rest_mut().recent.push_back(entry);
        }
        self.state.before = 0;
        self.state.open = open;
        self.state.open_min_ms = timestamp_ms;
        self.state.next_at = distance(timestamp_ms, next_at_ms);
    }

    /// Newest in-order timestamp that the reader may see.
    pub(crate) fn visible_max_ms(&self, visibility: &Visibility) -> i64 {
        let recent = self.rest().map(|r| r.recent.iter().copied());
        let newest = self
            .transaction(visibility.newest())
            .map(|n| (n, self.before_ms()));
        recent
            .into_iter()
            .flatten()
            .chain(newest)
            .find(|(number, _)| !visibility.sees(*number))
            .map_or(i64::MAX, |(_, before_ms)| before_ms)
    }

    /// Forgets chunks that end before `min_ms`; returns how many in-order ones.
    pub(crate) fn truncate(&mut self, min_ms: i64) -> usize {
        let mut removed = 0;
        if self.state.open != Open::Nothing && self.last_ms() < min_ms {
            removed += self.mapped().count() + 1;
            self.drop_open();
            self.arena.set_len(self.at, 0);
        } else {
            let old = self.mapped().take_while(|c| c.max_ms < min_ms).count();
            if old > 0 {
                self.drop_mapped(old);
                removed += old;
            }
        }
        self.drop_empty_rest();
        self.arena.shrink();
        removed
    }

    /// Forgets the oldest `old` full chunks.
    fn drop_mapped(&mut self, old: usize) {
        let mut string = Vec::with_capacity(self.arena.len(self.at));
        let mut before = None;
        for chunk in self.mapped().skip(old) {
            let (bytes, len) = mapped_bytes(before, &chunk);
            string.extend_from_slice(&bytes[..len]);
            before = Some(chunk);
        }
        string.extend_from_slice(&self.arena.get(self.at)[self.mapped_len()..]);
        // The first one left can be longer than before, but not by what the forgotten one took.
        self.arena.replace(self.at, &string);
    }

    /// Exchanges full chunks for others of the same time.
    pub(crate) fn exchange_mapped(&mut self, exchange: impl FnMut(MappedChunk) -> Vec<MappedChunk>) {
        let (mut string, mut before) = (Vec::with_capacity(self.arena.len(self.at)), None);
        for chunk in self.mapped().flat_map(exchange) {
            let (bytes, len) = mapped_bytes(before, &chunk);
            string.extend_from_slice(&bytes[..len]);
            before = Some(chunk);
        }
        string.extend_from_slice(&self.arena.get(self.at)[self.mapped_len()..]);
        // Where there is no room for so many, the old ones stay, and with them the damage.
        self.arena.replace(self.at, &string);
    }

    /// Takes chunks found on disk for this series. They come in when replay reaches them, because a series that was
    /// removed and created anew can have older samples that are only in the log.
    pub(crate) fn await_chunks(&mut self, found: Vec<MappedChunk>) {
        let awaited = &mut self.rest_mut().awaited;
        awaited.extend(found);
        awaited.sort_by_key(|c| std::cmp::Reverse(c.min_ms));
    }

    /// Takes chunks found on disk for a series that comes from a snapshot. Some it may have. One that begins where the open
    /// chunk does was made of it, and has what is in it and more; others are awaited.
    pub(crate) fn rejoin(&mut self, mut found: Vec<MappedChunk>) {
        found.retain(|chunk| !self.mapped().any(|c| c.chunk == chunk.chunk));
        found.sort_by_key(|c| c.chunk);
        let grown = |chunk: &MappedChunk| {
            self.state.open != Open::Nothing
                && chunk.min_ms == self.state.open_min_ms
                && chunk.max_ms >= self.last_ms()
        };
        if let Some(at) = found.iter().position(grown) {
            let chunk = found.remove(at);
            self.drop_open();
            self.push_mapped(&chunk);
        }
        if !found.is_empty() {
            self.await_chunks(found);
        }
    }

    /// Takes in awaited chunks that begin at `timestamp_ms` or before: the samples that they hold stand in the log from
    /// here on, and are found to be there already.
    #[inline]
    pub(crate) fn catch_up(&mut self, files: &ChunkFiles, reference: u64, timestamp_ms: i64) {
        if self.rest().is_some_and(|r| !r.awaited.is_empty()) {
            self.catch_up_slow(files, reference, timestamp_ms);
        }
    }

    fn catch_up_slow(&mut self, files: &ChunkFiles, reference: u64, timestamp_ms: i64) {
        while let Some(chunk) = self.rest_mut().awaited.pop_if(|c| c.min_ms <= timestamp_ms) {
            // A chunk that overlaps what is there already adds nothing that the log does not have.
            if chunk.min_ms > self.last_ms() || self.last_ms() == i64::MIN {
                self.close(files, reference);
                self.push_mapped(&chunk);
            }
        }
        if self.rest_mut().awaited.is_empty() {
            self.rest_mut().awaited = Vec::new();
            self.drop_empty_rest();
        }
    }

    /// Bytes of memory besides what the page has for every series.
    pub(crate) fn rest_bytes(&self) -> usize {
        let late = self.late().map_or(0, |late| {
            std::mem::size_of_val(late)
                + late.open.capacity() * std::mem::size_of::<Late>()
                + late.mapped.capacity() * std::mem::size_of::<MappedChunk>()
        });
        self.rest().map_or(0, |rest| {
            let recent = rest.recent.capacity() * std::mem::size_of::<(u64, i64)>();
            std::mem::size_of_val(rest) + recent + late
        })
    }
}

/// The distance to a later time, as far as a chunk can reach.
pub(super) fn distance(from_ms: i64, to_ms: i64) -> u32 {
    to_ms.saturating_sub(from_ms).clamp(0, i64::from(u32::MAX - 1)) as u32
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::chunk::Encoding;
    use crate::head::isolation::Isolation;
    use crate::head::open::ChunkRules;
    use crate::head::pages::Pages;
    use files::MemFiles;

    #[test]
    fn a_series_is_small() {
        assert_eq!(std::mem::size_of::<State>(), 56);
    }

    #[test]
    fn a_transaction_across_chunks_is_seen_whole_or_not_at_all() {
        let dir = std::path::Path::new("chunks_head");
        let files = ChunkFiles::open(Arc::new(MemFiles::new()), dir, &Default::default(), |_| {});
        let files = files.expect("opens").0;
        let rules = ChunkRules {
            files: &files,
            range_ms: 10_000,
            samples: 120,
            floats: Encoding::Xor,
            start_timestamps: false,
        };
        let pages = Pages::default();
        let page = pages.get_or_create(0);
        let mut page = page.lock();
        page.insert(7);
        let mut series = page.get(7).expect("inserted");
        let isolation = Isolation::default();
        let nothing = isolation.read(0);
        let mut append = |times: &[i64]| {
            let transaction = isolation.begin();
            for t in times {
                assert!(series.append_float(rules, Some(transaction), 7, (0, *t, 1.0)));
            }
            isolation.end(transaction, crate::head::change_log::Added::ANYTHING);
            series.visible_max_ms(&nothing)
        };
        assert!(append(&[1000, 2000]) < 1000);
        let early = isolation.read(0);
        assert!(append(&[3000, 11_000, 12_000, 21_000, 31_000]) < 1000);
        assert_eq!(series.visible_max_ms(&early), 2000);
        assert_eq!(series.visible_max_ms(&isolation.read(0)), i64::MAX);
        let late = isolation.read(0);
        let transaction = isolation.begin();
        assert!(series.append_float(rules, Some(transaction), 7, (0, 32_000, 1.0)));
        assert_eq!(series.visible_max_ms(&early), 2000);
        assert_eq!(series.visible_max_ms(&late), 31_000);
        assert!(series.visible_max_ms(&nothing) < 1000);
    }

    #[test]
    fn transactions_are_told_by_half_their_number() {
        let pages = Pages::default();
        let page = pages.get_or_create(0);
        let mut page = page.lock();
        page.insert(7);
        let series = page.get(7).expect("inserted");
        let whole = 5 << 32;
        assert_eq!(series.transaction(whole), None);
        series.state.transaction = 9;
        assert_eq!(series.transaction(whole + 7), Some(whole + 9));
        assert_eq!(series.transaction(whole + (3 << 30)), Some(whole + 9));
        assert_eq!(series.transaction(whole - 7), Some(whole + 9));
        series.state.transaction = u32::MAX;
        assert_eq!(series.transaction(whole + 7), Some(whole - 1));
    }
}
