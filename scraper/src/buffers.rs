//! Buffers that go round: as many as are in use at one time, not one a target.

use parking_lot::Mutex;

/// Most buffers that wait to be used again.
const KEPT_MAX: usize = 64;

/// A stack of buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers<T>(Mutex<Vec<T>>);

impl<T: Default> Buffers<T> {
    /// A buffer, used before or new.
    pub(crate) fn take(&self) -> T {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub(crate) fn give(&self, buffer: T) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    }
}
