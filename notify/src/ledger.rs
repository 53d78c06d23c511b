//! State that survives: what was answered is on the disk.
//!
//! A [`Ledger`] keeps a book in memory and a journal of it on the disk ([`files::journal`]). An entry is in the journal,
//! synced, before [`Ledger::commit`] returns; entries that come together are written together, by one thread. Beside the
//! journal stands a snapshot, which is the reference's own file: written now and then and at the end, so that a reference
//! may take over, and read at the start together with the journal, so that one may be taken over from.
//!
//! Invariant: an entry is in the journal before it is in the book, and in the book before it is answered.
//! Invariant: of two entries with the same key the newer counts, wherever it was found.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::journal::{Format, Journal, Opened};
use files::{Files, replace_file};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::clock::Clock;
use model::protobuf::{put_delimited, take_delimited};
use model::storage::StorageError;
use parking_lot::{Mutex, RwLock};
use supervise::Supervisor;
use tokio::sync::{oneshot, watch};

use crate::lease::{Excerpt, Merge, Room, Shared};
use crate::wire::WireError;

/// What is kept: entries by some key, of which a later one replaces an earlier.
pub(crate) trait Book: Default + Send + Sync + 'static {
    /// One entry.
    type Entry: Clone + Send + Sync + 'static;

    /// The file of the snapshot, as the reference calls it.
    const NAME: &'static str;
    /// What the journal begins with.
    const FORMAT: Format;
    /// The task that commits, in metrics.
    const TASK: &'static str;

    /// The entry as a message of the snapshot.
    fn encode(entry: &Self::Entry) -> Vec<u8>;

    /// What [`Book::encode`] gave.
    ///
    /// # Errors
    /// When it is no such message.
    fn decode(message: &[u8]) -> Result<Self::Entry, WireError>;

    /// Enters it, in the place of what has its key.
    fn enter(&mut self, entry: Self::Entry);

    /// Enters it, unless what has its key is newer.
    fn enter_unless_older(&mut self, entry: Self::Entry);

    /// Whether [`Book::enter_unless_older`] would enter it in the place of an older one, or as a new one.
    fn is_news(&self, entry: &Self::Entry) -> bool;

    /// What entries are cut into parts by: the same for all with one key.
    fn part_key(entry: &Self::Entry) -> u64;

    /// When it was made; where there is no room for all, the oldest go.
    fn made_at(entry: &Self::Entry) -> Timestamp;

    /// When it may be forgotten.
    fn expires_at(entry: &Self::Entry) -> Timestamp;

    /// All entries.
    fn entries(&self) -> Box<dyn Iterator<Item = &Self::Entry> + '_>;
}

/// A book on the disk.
pub(crate) struct Ledger<B: Book> {
    book: RwLock<B>,
    journal: Journal,
    files: Arc<dyn Files>,
    snapshot: PathBuf,
    waiting: Mutex<Waiting<B::Entry>>,
    supervisor: Supervisor,
    /// How often the book has changed.
    changes: watch::Sender<u64>,
}

/// What was found at the start and could not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Of the journal.
    pub(crate) journal: Opened,
    /// Bytes at the end of the snapshot that were no entries.
    pub(crate) snapshot_lost_bytes: usize,
    /// Entries that were whole and meant nothing.
    pub(crate) unreadable_entries: usize,
}

/// What was not committed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The disk did not take it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A panic on the way; it was counted and logged.
    #[error("it could not be written: a panic, see the log")]
    Panicked,
}

/// Entries that wait for who writes, as many as there are callers.
struct Waiting<E> {
    groups: Vec<Group<E>>,
    /// Somebody writes, and looks here once more before going.
    busy: bool,
}

/// What one caller commits: all of it, or nothing.
struct Group<E> {
    entries: Vec<E>,
    /// They come from others, who may know less.
    is_merged: bool,
    done: oneshot::Sender<Result<(), CommitError>>,
}

impl<E> Waiting<E> {
    /// Whoever wrote is gone: those who wait are told, and the next one may write.
    fn give_up(&mut self) {
        self.busy = false;
        self.groups.clear();
    }
}

impl<B: Book> Ledger<B> {
    /// Opens the files in `folder`. What can be read of damaged ones is used, and the damage told.
    ///
    /// # Errors
    /// When files cannot be read or the folder not made.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        folder: &Path,
        supervisor: Supervisor,
    ) -> Result<(Self, Recovery), StorageError> {
        let (mut book, mut recovery) = (B::default(), Recovery::default());
        let journal = folder.join(format!("{}.journal", B::NAME));
        let mut unreadable = 0;
        let (journal, opened) = Journal::open(files.clone(), clock, &journal, B::FORMAT, |record| {
            unreadable += enter_all(&mut book, record).unreadable_entries;
        })?;
        let snapshot = folder.join(B::NAME);
        if files.exists(&snapshot) {
            let bytes = files.read(&snapshot)?;
            recovery = enter_all(&mut book, &bytes);
            if recovery != Recovery::default() {
                // What cannot be read today may be looked at by somebody tomorrow.
                replace_file(&*files, &snapshot.with_extension("damaged"), &bytes)?;
            }
        }
        recovery.journal = opened;
        recovery.unreadable_entries += unreadable;
        supervisor.announce(B::TASK);
        let ledger = Ledger {
            book: RwLock::new(book),
            journal,
            files,
            snapshot,
            waiting: Mutex::new(Waiting {
                groups: Vec::new(),
                busy: false,
            }),
            supervisor,
            changes: watch::Sender::new(0),
        };
        Ok((ledger, recovery))
    }

    /// Looks into the book.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&B) -> T) -> T {
        look(&self.book.read())
    }

    /// Changes the book in memory only: for forgetting what is over, which any reader of the files would do as well, and
    /// for what has happened whether the disk takes it or not.
    pub(crate) fn edit<T>(&self, change: impl FnOnce(&mut B) -> T) -> T {
        let changed = change(&mut self.book.write());
        self.changed();
        changed
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Makes entries durable and enters them, all or none.
    ///
    /// # Errors
    /// When the disk does not take them; then the book is as it was.
    pub(crate) async fn commit(self: &Arc<Self>, entries: Vec<B::Entry>) -> Result<(), CommitError> {
        self.commit_as(entries, false).await
    }

    /// [`Ledger::commit`]; where `is_merged`, entries do not take the place of newer ones.
    async fn commit_as(self: &Arc<Self>, entries: Vec<B::Entry>, is_merged: bool) -> Result<(), CommitError> {
        let (done, outcome) = oneshot::channel();
        let leads = {
            let mut waiting = self.waiting.lock();
            waiting.groups.push(Group {
                entries,
                is_merged,
                done,
            });
            !std::mem::replace(&mut waiting.busy, true)
        };
        if leads {
            let ledger = self.clone();
            // A panic drops what it had taken, so that those who wait hear of it below.
            if self
                .supervisor
                .blocking(B::TASK, move || ledger.write_all())
                .await
                .is_err()
            {
                self.waiting.lock().give_up();
            }
        }
        outcome.await.unwrap_or(Err(CommitError::Panicked))
    }

    /// Writes what waits, until nothing does.
    fn write_all(&self) {
        let _free = Free(&self.waiting);
        loop {
            let groups = {
                let mut waiting = self.waiting.lock();
                if waiting.groups.is_empty() {
                    waiting.busy = false;
                    return;
                }
                std::mem::take(&mut waiting.groups)
            };
            let outcome = self.write(&groups).map_err(CommitError::Storage);
            for group in groups {
                // Who does not wait any more need not be told.
                let _ = group.done.send(outcome.clone());
            }
        }
    }

    /// Writes groups of entries as one record, and enters them.
    fn write(&self, groups: &[Group<B::Entry>]) -> Result<(), StorageError> {
        let mut record = Vec::new();
        for entry in groups.iter().flat_map(|group| &group.entries) {
            put_delimited(&mut record, &B::encode(entry));
        }
        self.journal.write(&record, |whole| {
            for entry in self.book.read().entries() {
                let mut one = Vec::new();
                put_delimited(&mut one, &B::encode(entry));
                whole.push(&one);
            }
            whole.push(&record);
        })?;
        let mut book = self.book.write();
        for group in groups {
            for entry in &group.entries {
                if group.is_merged {
                    book.enter_unless_older(entry.clone());
                } else {
                    book.enter(entry.clone());
                }
            }
        }
        drop(book);
        self.changed();
        Ok(())
    }

    /// Writes the reference's file; gives its length in bytes. Not for the network's threads.
    ///
    /// # Errors
    /// When the disk does not take it; the old file stays good.
    pub(crate) fn snapshot(&self) -> Result<u64, StorageError> {
        let mut bytes = Vec::new();
        for entry in self.book.read().entries() {
            put_delimited(&mut bytes, &B::encode(entry));
        }
        replace_file(&*self.files, &self.snapshot, &bytes)?;
        Ok(bytes.len() as u64)
    }
}

/// A book beside a lease.
impl<B: Book> Shared for Arc<Ledger<B>> {
    fn object(&self) -> &'static str {
        B::NAME
    }

    fn excerpt(&self, part: usize, room: Room, now: Timestamp) -> Excerpt {
        let is_wanted = |entry: &&B::Entry| {
            let number = B::part_key(entry) % room.parts.max(1) as u64;
            number == part as u64 && B::expires_at(entry) > now
        };
        let mut entries: Vec<(Timestamp, Vec<u8>)> = self.read(|book| {
            let wanted = book.entries().filter(is_wanted);
            wanted
                .map(|entry| (B::made_at(entry), B::encode(entry)))
                .collect()
        });
        entries.sort_by(|a, b| b.cmp(a));
        let (mut bytes, mut left_out) = (Vec::new(), 0);
        for (_, entry) in &entries {
            let before = bytes.len();
            put_delimited(&mut bytes, entry);
            if bytes.len() > room.part_bytes_max {
                bytes.truncate(before);
                left_out += 1;
            }
        }
        Excerpt { bytes, left_out }
    }

    fn merge<'a>(&'a self, bytes: &'a [u8], now: Timestamp) -> BoxFuture<'a, Merge> {
        async move {
            let mut merge = Merge::default();
            let (mut news, mut rest) = (Vec::new(), bytes);
            while !rest.is_empty() {
                let Ok(message) = take_delimited(&mut rest) else {
                    merge.is_damaged = true;
                    break;
                };
                match B::decode(message) {
                    Ok(entry) if B::expires_at(&entry) > now => news.push(entry),
                    Ok(_) => {}
                    Err(_) => merge.is_damaged = true,
                }
            }
            self.read(|book| news.retain(|entry| book.is_news(entry)));
            merge.news = news.len();
            if !news.is_empty() {
                // It is so, whatever the disk says.
                self.edit(|book| {
                    for entry in &news {
                        book.enter_unless_older(entry.clone());
                    }
                });
                merge.not_durable = self.commit_as(news, true).await.err();
            }
            merge
        }
        .boxed()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Enters messages, each behind its length, into the book; tells what was none.
fn enter_all<B: Book>(book: &mut B, mut bytes: &[u8]) -> Recovery {
    let mut recovery = Recovery::default();
    while !bytes.is_empty() {
        let Ok(message) = take_delimited(&mut bytes) else {
            recovery.snapshot_lost_bytes = bytes.len();
            break;
        };
        match B::decode(message) {
            Ok(entry) => book.enter_unless_older(entry),
            Err(_) => recovery.unreadable_entries += 1,
        }
    }
    recovery
}

/// Lets somebody else write, when a panic ends who did.
struct Free<'a, E>(&'a Mutex<Waiting<E>>);

impl<E> Drop for Free<'_, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().give_up();
        }
    }
}
