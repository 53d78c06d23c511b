//! What a selection may take while storage makes it.

use std::sync::Arc;

use model::storage::{Interrupted, WatchSelect};
use parking_lot::Mutex;

use crate::engine::QueryError;

use super::limits::{Held, Limits};

/// Accounts for a list of series while it grows, and ends its making when the query must end.
#[derive(Debug)]
pub(crate) struct SelectWatch {
    limits: Arc<Limits>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Held,
    /// Why the selection was interrupted.
    error: Option<QueryError>,
}

impl SelectWatch {
    /// Nothing selected yet.
    pub(crate) fn new(limits: &Arc<Limits>) -> Self {
        SelectWatch {
            limits: limits.clone(),
            state: Mutex::new(State {
                held: Held::new(limits),
                error: None,
            }),
        }
    }

    /// What the selected series take.
    ///
    /// # Errors
    /// Why the selection was interrupted, if it was.
    pub(crate) fn finish(&self) -> Result<Held, QueryError> {
        let mut state = self.state.lock();
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::replace(&mut state.held, Held::new(&self.limits))),
        }
    }
}

impl WatchSelect for SelectWatch {
    fn took(&self, bytes: usize) -> Result<(), Interrupted> {
        let mut state = self.state.lock();
        let allowed = self.limits.check().and_then(|()| state.held.add_bytes(bytes));
        allowed.map_err(|error| {
            state.error.get_or_insert(error);
            Interrupted
        })
    }
}
