//! A reader sees all of a transaction or none of it.
//!
//! Every transaction has a sequence number while it is applied. A reader notes which numbers it may see: those begun
//! before it and not in progress. A series remembers, for its newest transactions, up to what time it held samples
//! before each of them; since in-order samples only ever arrive at the end, what a reader must not see is cut off by
//! time alone, inside the decoding of the chunk.
//!
//! A series needs to remember only transactions that some reader (or a future one) might not see, usually the newest
//! alone: 16 bytes a series. Out-of-order samples are not isolated, as in the reference.
//!
//! What has changed is noted here, too, because here is the moment in which readers begin to see it.

use std::collections::BTreeMap;

use model::changes::{ChangedTimes, Mark};
use model::storage::TimeRange;
use parking_lot::{Condvar, Mutex};

use super::change_log::{Added, ChangeLog};

/// Transactions and readers that are under way.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    state: Mutex<State>,
    reader_left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// Numbers of transactions in progress, ascending.
    open: Vec<u64>,
    /// Readers: their lowest number that may be invisible, and the first millisecond they read in the head.
    readers: BTreeMap<u64, (u64, i64)>,
    next_reader: u64,
    changes: ChangeLog,
}

impl State {
    fn lowest_open(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.last + 1)
    }
}

/// A transaction being applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transaction {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Transactions below this number are visible to every reader, now and later.
    pub(crate) settled: u64,
}

/// What a reader may see.
#[derive(Clone, Debug)]
pub(crate) struct Visibility {
    id: u64,
    last: u64,
    open: Vec<u64>,
}

impl Visibility {
    /// The newest transaction when the reader came.
    pub(crate) fn newest(&self) -> u64 {
        self.last
    }

    /// Whether the transaction's samples may be seen.
    pub(crate) fn sees(&self, number: u64) -> bool {
        number <= self.last && self.open.binary_search(&number).is_err()
    }
}

impl Isolation {
    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Transaction {
        let mut state = self.state.lock();
        state.last += 1;
        if state.last as u32 == 0 {
            // Series keep the low half of a number, and 0 is for none.
            state.last += 1;
        }
        let number = state.last;
        state.open.push(number);
        let lowest_read = state.readers.values().map(|(low, _)| *low).min();
        Transaction {
            number,
            settled: lowest_read.map_or(state.open[0], |low| low.min(state.open[0])),
        }
    }

    /// Ends a transaction, which has `added` so much: readers that come now see it.
    pub(crate) fn end(&self, transaction: Transaction, added: Added) {
        let mut state = self.state.lock();
        state.changes.add(added);
        if let Ok(at) = state.open.binary_search(&transaction.number) {
            state.open.remove(at);
        }
    }

    /// Notes that something in `range` has changed for readers that come now.
    pub(crate) fn change(&self, range: TimeRange) {
        self.state.lock().changes.change(range);
    }

    /// The present moment, for [`Isolation::changed_since`].
    pub(crate) fn mark(&self) -> Mark {
        self.state.lock().changes.mark()
    }

    /// What readers that come now may see otherwise than those that came when `mark` was taken.
    pub(crate) fn changed_since(&self, mark: Mark) -> ChangedTimes {
        self.state.lock().changes.since(mark)
    }

    /// Registers a reader of the head from `min_ms` on.
    pub(crate) fn read(&self, min_ms: i64) -> Visibility {
        let mut state = self.state.lock();
        let id = state.next_reader;
        state.next_reader += 1;
        let low = state.lowest_open();
        state.readers.insert(id, (low, min_ms));
        Visibility {
            id,
            last: state.last,
            open: state.open.clone(),
        }
    }

    /// Forgets a reader.
    pub(crate) fn leave(&self, visibility: &Visibility) {
        self.state.lock().readers.remove(&visibility.id);
        self.reader_left.notify_all();
    }

    /// Number that the next reader gets: readers below it were there before.
    pub(crate) fn next_reader(&self) -> u64 {
        self.state.lock().next_reader
    }

    /// Waits until no reader with a number below `before` reads anything older than `max_ms`; false when `patience` is
    /// over first.
    pub(crate) fn wait_for_readers(&self, before: u64, max_ms: i64, patience: std::time::Duration) -> bool {
        let deadline = std::time::Instant::now() + patience;
        let mut state = self.state.lock();
        loop {
            let busy = state
                .readers
                .range(..before)
                .any(|(_, (_, min_ms))| *min_ms < max_ms);
            if !busy {
                return true;
            }
            if self.reader_left.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
    }

    /// Transactions in progress, and readers.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.open.len(), state.readers.len())
    }

    /// Number of the newest transaction, and the lowest that some reader may not see.
    pub(crate) fn watermarks(&self) -> (u64, u64) {
        let state = self.state.lock();
        let lowest_read = state.readers.values().map(|(low, _)| *low).min();
        let open = state.lowest_open();
        (state.last, lowest_read.map_or(open, |low| low.min(open)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_had_ended_when_they_came() {
        let isolation = Isolation::default();
        let a = isolation.begin();
        let b = isolation.begin();
        assert_eq!((a.settled, b.settled), (1, 1));
        isolation.end(b, Added::ANYTHING);
        let reader = isolation.read(0);
        isolation.end(a, Added::ANYTHING);
        let c = isolation.begin();
        isolation.end(c, Added::ANYTHING);
        assert!(!reader.sees(a.number) && reader.sees(b.number) && !reader.sees(c.number));
        assert_eq!(isolation.begin().settled, 1, "the reader holds it down");
        isolation.leave(&reader);
        assert_eq!(isolation.begin().settled, 4, "transaction 4 is still open");
    }
}
