//! Ending threads of the background, and waking them.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Tells threads to stop, or to look for work.
#[derive(Default)]
pub(crate) struct Stop {
    state: Mutex<Signals>,
    changed: Condvar,
}

#[derive(Default)]
struct Signals {
    stop: bool,
    work: bool,
}

impl Stop {
    /// Waits for `interval`, or where `wakeable` until there is work; true when it is time to stop.
    pub(crate) fn wait(&self, interval: Duration, wakeable: bool) -> bool {
        let deadline = Instant::now() + interval;
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return true;
            }
            if wakeable && std::mem::take(&mut state.work) {
                return false;
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return state.stop;
            }
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().stop
    }

    pub(crate) fn wake(&self) {
        self.state.lock().work = true;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }
}
