//! When appending is closed, and why.

use model::storage::StorageError;

use super::Head;
use crate::wal::Wal;
use files::Result;

impl Head {
    /// Closes appending should the thread panic while the guard lives: what it was about may be half done.
    pub(crate) fn poison_on_panic(&self, what: &'static str) -> PoisonOnPanic<'_> {
        PoisonOnPanic { head: self, what }
    }

    /// Why appending is closed, if it is.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }

    /// Why nothing can be written at present: closed for good ([`Head::poisoned`]), or a disk that refuses and may take
    /// what comes next.
    pub fn write_failure(&self) -> Option<String> {
        if let Some(why) = self.poisoned() {
            return Some(why.to_owned());
        }
        let of_logs = self
            .wal
            .failure()
            .or_else(|| self.wbl.get().and_then(Wal::failure));
        let failure = of_logs.or_else(|| self.chunk_files.failure());
        failure.map(|error| error.to_string())
    }

    /// Closes appending where a log has closed itself.
    pub(super) fn note_failure(&self) {
        let closed = [Some(&*self.wal), self.wbl.get()].into_iter().flatten();
        let Some(error) = closed.filter(|log| log.is_closed()).find_map(Wal::failure) else {
            return;
        };
        if self.poisoned.set(error.to_string()).is_ok() {
            tracing::error!(%error, "the write path failed; appending is closed until a restart");
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if let Some(why) = self.poisoned.get() {
            return Err(StorageError::Poisoned(why.clone()));
        }
        // What is in memory alone is in the log too, but there must be an end to it.
        if self.chunk_files.is_stuck()
            && let Some(error) = self.chunk_files.failure()
        {
            return Err(error);
        }
        Ok(())
    }
}

/// See [`Head::poison_on_panic`].
pub(crate) struct PoisonOnPanic<'a> {
    head: &'a Head,
    what: &'static str,
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let why = format!("{} of the store has panicked", self.what);
        if self.head.poisoned.set(why).is_ok() {
            tracing::error!(
                what = self.what,
                "the store has panicked; appending is closed until a restart"
            );
        }
    }
}
