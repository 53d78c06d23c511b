//! What lies beside the lease: what was sent, and silences, so that every server knows of both.
//!
//! A book (the log of notifications, the silences) is cut into parts by the keys of its entries; each part is an object.
//! Whoever has something new writes its parts over the version that it knows; where somebody else has written meanwhile,
//! that is read and merged first. Merging takes of two entries with one key the newer, so that the order does not matter
//! and whoever is late does no harm.
//!
//! Where a part has no room for all, the oldest entries are left out of it; they stay in the server's own files.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, select_all, try_join_all};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::elect::pause;
use super::trouble::Asking;
use super::{Lease, Part, Room, StoreError, Version};

/// From one writing to the next at least: what comes meanwhile is written together.
const WRITES_APART: Duration = Duration::from_millis(250);
/// How often a part is merged and written again in a row; then it has to wait for the next round.
const TRIES_MAX: usize = 5;
/// Silences of others are looked for after so many pauses of the lease.
const SILENCES_PAUSES: u32 = 2;
/// Who does not hold the lease looks at the log after so many.
const LOG_PAUSES: u32 = 10;

/// Learning what was sent.
const LEARNING: Asking = Asking::Reading("nflog");

/// A book that can lie beside the lease.
pub(crate) trait Shared: Send + Sync {
    /// What its parts' names begin with.
    fn object(&self) -> &'static str;

    /// A part of it, as bytes; what is over at `now` is left out.
    fn excerpt(&self, part: usize, room: Room, now: Timestamp) -> Excerpt;

    /// Takes over what is newer in such bytes, and durably.
    fn merge<'a>(&'a self, bytes: &'a [u8], now: Timestamp) -> BoxFuture<'a, Merge>;

    /// Changes with the book.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// A part of a book.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excerpt {
    /// The part.
    pub(crate) bytes: Vec<u8>,
    /// Entries that it has no room for.
    pub(crate) left_out: usize,
}

/// What came of merging.
#[derive(Clone, Debug, Default)]
pub(crate) struct Merge {
    /// Entries that were news.
    pub(crate) news: usize,
    /// Whether some of it could not be understood.
    pub(crate) is_damaged: bool,
    /// Why it is in memory only.
    pub(crate) not_durable: Option<crate::ledger::CommitError>,
}

/// The books beside a lease.
pub(super) struct Beside {
    books: Vec<Book>,
    room: Room,
}

struct Book {
    book: Arc<dyn Shared>,
    changes: watch::Receiver<u64>,
    parts: Vec<PartBeside>,
    /// When others' changes are looked for again.
    look_at: Instant,
}

struct PartBeside {
    name: String,
    version: Option<Version>,
    /// What is known to be there.
    there: Option<Vec<u8>>,
    left_out: usize,
    /// There may be something that is not there.
    is_dirty: bool,
}

impl Beside {
    pub(super) fn new(books: Vec<Arc<dyn Shared>>, room: Room) -> Self {
        let now = Instant::now();
        let book = |book: Arc<dyn Shared>| Book {
            changes: book.changes(),
            parts: (0..room.parts.max(1))
                .map(|part| PartBeside {
                    name: format!("{}-{part}", book.object()),
                    version: None,
                    there: None,
                    left_out: 0,
                    is_dirty: true,
                })
                .collect(),
            book,
            look_at: now,
        };
        Beside {
            books: books.into_iter().map(book).collect(),
            room,
        }
    }

    /// Shares until the lease ends; then once more.
    pub(super) async fn run(&mut self, lease: &Lease) {
        let mut begun = lease.begun();
        let mut known_term = 0;
        while !lease.stopping().is_cancelled() {
            let term = *begun.borrow_and_update();
            if term != known_term {
                known_term = term;
                self.learn(lease, term).await;
            }
            self.look(lease).await;
            let not_before = Instant::now() + WRITES_APART;
            self.write(lease).await;
            tokio::select! {
                () = lease.stopping().cancelled() => {}
                _ = begun.changed() => {}
                () = self.changed(not_before) => {}
                () = sleep(pause(lease.duration())) => {}
            }
        }
        self.write(lease).await;
    }

    /// Waits for a change of a book, and until `not_before`.
    async fn changed(&mut self, not_before: Instant) {
        let changes = self.books.iter_mut().map(|book| {
            Box::pin(async {
                if book.changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                book.dirty();
            })
        });
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            std::future::pending::<()>().await;
        }
        select_all(changes).await;
        sleep_until(not_before).await;
    }

    /// A holding has begun: sending begins when it is known what others have sent, or cannot be known.
    async fn learn(&mut self, lease: &Lease, term: u64) {
        let give_up = Instant::now() + lease.duration();
        while let Err(error) = self.read_all(lease).await {
            lease.failed(LEARNING, &error);
            if Instant::now() >= give_up {
                tracing::error!(
                    "What was sent before cannot be read beside the lease: some may be told twice"
                );
                return lease.ready(term);
            }
            tokio::select! {
                () = lease.stopping().cancelled() => return,
                () = sleep(pause(lease.duration())) => {}
            }
            if !lease.is_held(term) {
                return;
            }
        }
        lease.heard(LEARNING, Ok(()));
        lease.ready(term);
    }

    async fn read_all(&mut self, lease: &Lease) -> Result<(), StoreError> {
        let parts = self.books.iter_mut().flat_map(|book| {
            let of = &*book.book;
            book.parts.iter_mut().map(move |part| part.read(lease, of))
        });
        try_join_all(parts).await?;
        Ok(())
    }

    /// Looks for what others have written.
    async fn look(&mut self, lease: &Lease) {
        for book in &mut self.books {
            let (object, now) = (book.book.object(), Instant::now());
            let is_log = object == "nflog";
            // Nobody writes the log but who holds the lease, or has held it: then that is heard of in writing.
            if now < book.look_at || is_log && lease.holds() {
                continue;
            }
            let pauses = if is_log { LOG_PAUSES } else { SILENCES_PAUSES };
            book.look_at = now + pause(lease.duration()) * pauses;
            let mut outcome = Ok(());
            for part in &mut book.parts {
                outcome = part.read(lease, &*book.book).await;
                if outcome.is_err() {
                    break;
                }
            }
            lease.heard(Asking::Reading(object), outcome);
        }
    }

    /// Writes what is not there.
    async fn write(&mut self, lease: &Lease) {
        let room = self.room;
        for book in &mut self.books {
            if book.changes.has_changed().unwrap_or(false) {
                book.changes.mark_unchanged();
                book.dirty();
            }
            let object = book.book.object();
            let mut outcome = None;
            for (number, part) in book.parts.iter_mut().enumerate() {
                if !part.is_dirty {
                    continue;
                }
                let written = part.write(lease, &book.book, number, room).await;
                let goes_on = written.is_ok();
                outcome = Some(written);
                if !goes_on {
                    break;
                }
            }
            if let Some(outcome) = outcome {
                lease.heard(Asking::Writing(object), outcome);
            }
            book.tell(lease);
        }
    }
}

impl Book {
    fn dirty(&mut self) {
        for part in &mut self.parts {
            part.is_dirty = true;
        }
    }

    fn tell(&self, lease: &Lease) {
        let object = self.book.object();
        let bytes: usize = self.parts.iter().flat_map(|part| &part.there).map(Vec::len).sum();
        let left_out: usize = self.parts.iter().map(|part| part.left_out).sum();
        lease.stats.shared_bytes.with(&[object]).set(bytes as f64);
        let gauge = lease.stats.left_out.with(&[object]);
        if left_out > 0 && gauge.get() == 0.0 {
            tracing::warn!(
                object,
                entries = left_out,
                "There is no room for all of it beside the lease: the oldest is left out"
            );
        }
        gauge.set(left_out as f64);
    }
}

impl PartBeside {
    /// Reads it, if it is another than known, and merges it.
    async fn read(&mut self, lease: &Lease, book: &dyn Shared) -> Result<(), StoreError> {
        let reading = lease.store().read_part(&self.name, self.version.as_ref());
        match lease.in_time(reading).await? {
            Part::Unchanged => {}
            Part::Absent => {
                self.is_dirty |= self.version.is_some();
                (self.version, self.there) = (None, None);
            }
            Part::Present { bytes, version } => {
                let object = book.object();
                let merge = book.merge(&bytes, lease.now()).await;
                lease.stats.merged.with(&[object]).add(merge.news as f64);
                if merge.is_damaged {
                    lease.stats.unreadable.with(&[object]).inc();
                    tracing::error!(part = self.name, "What lies beside the lease is damaged");
                    // What is known here takes its place.
                    self.is_dirty = true;
                }
                if let Some(error) = merge.not_durable {
                    tracing::error!(part = self.name, err = %error, "What lies beside the lease is known in memory only");
                }
                (self.version, self.there) = (Some(version), Some(bytes));
            }
        }
        Ok(())
    }

    /// Writes it, merging what others have written meanwhile.
    async fn write(
        &mut self,
        lease: &Lease,
        book: &Arc<dyn Shared>,
        number: usize,
        room: Room,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for _ in 0..TRIES_MAX {
            let (cutting, now) = (book.clone(), lease.now());
            let supervisor = &lease.around.supervisor;
            let cut = supervisor.blocking("alertmanager-lease-share", move || {
                cutting.excerpt(number, room, now)
            });
            // A panic is counted and logged; the next change tries again.
            let Ok(Excerpt { bytes, left_out }) = cut.await else {
                return Ok(());
            };
            self.left_out = left_out;
            if bytes == self.there.as_deref().unwrap_or_default() {
                self.is_dirty = false;
                return Ok(());
            }
            let writing = lease
                .store()
                .write_part(&self.name, bytes.clone(), self.version.as_ref());
            match lease.in_time(writing).await {
                Ok(version) => {
                    (self.version, self.there) = (Some(version), Some(bytes));
                    self.is_dirty = false;
                    return Ok(());
                }
                Err(conflict @ StoreError::Conflict { .. }) => {
                    outcome = Err(conflict);
                    self.read(lease, &**book).await?;
                }
                Err(error) => return Err(error),
            }
        }
        outcome
    }
}
