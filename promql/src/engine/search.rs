//! Searches of the index, for series, names and values: no queries, but what they find takes the same memory.

use std::sync::Arc;

use model::storage::WatchSelect;

use super::{CancelHandle, Engine, QueryError, Reservation};
use crate::exec::{Limits, SelectWatch};

/// What a search may take: as much as a query, of the memory that queries share.
#[derive(Clone, Debug)]
pub struct Search(Arc<SelectWatch>);

impl Engine {
    /// Limits for a search that begins now.
    pub fn search(&self, cancel: CancelHandle) -> Search {
        let limits = Limits::new(
            None,
            cancel,
            self.options.max_samples,
            self.options.query_bytes_max,
            self.memory.clone(),
        );
        Search(Arc::new(SelectWatch::new(&Arc::new(limits))))
    }
}

impl Search {
    /// What storage is to tell of the lists that it makes.
    pub fn watch(&self) -> Arc<dyn WatchSelect> {
        self.0.clone()
    }

    /// Ends the search; what it found is accounted for until the reservation is dropped.
    ///
    /// # Errors
    /// Why it was interrupted, if it was.
    pub fn finish(&self) -> Result<Reservation, QueryError> {
        self.0.finish().map(Reservation::new)
    }
}
