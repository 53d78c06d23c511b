//! The seam through which rooms see time, so that tests can hold it still.
//!
//! There are two kinds of time. The time of day ([`Clock::now_ms`]) is what samples and alerts carry; it can be set, and
//! then jumps. How long something takes, and how long to wait, is told by [`Clock::elapsed`], which only goes forward.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The least difference between the two kinds of time that counts as a jump, in milliseconds: a clock that is slewed to
/// the right time stays below it.
pub const JUMP_MIN_MS: i64 = 1_000;

/// Tells the time of day, and how time goes by.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. May jump either way.
    fn now_ms(&self) -> i64;

    /// Time since some moment that never changes. Never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64)
    }

    fn elapsed(&self) -> Duration {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        BEGIN.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock standing at `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        ManualClock {
            now_ms: AtomicI64::new(now_ms),
            elapsed_ms: AtomicU64::new(0),
        }
    }

    /// Lets time go by until `now_ms`; a time before that of now only sets the clock back.
    pub fn set(&self, now_ms: i64) {
        let before_ms = self.now_ms.swap(now_ms, Ordering::SeqCst);
        let passed_ms = now_ms.saturating_sub(before_ms).max(0);
        self.elapsed_ms
            .fetch_add(passed_ms.unsigned_abs(), Ordering::SeqCst);
    }

    /// Sets the clock forward or, with a negative `by_ms`, back, while no time goes by.
    pub fn jump(&self, by_ms: i64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

/// Notices when a clock was set.
#[derive(Clone, Copy, Debug)]
pub struct JumpWatch {
    now_ms: i64,
    elapsed_ms: i64,
}

impl JumpWatch {
    /// Looks at `clock` for the first time.
    pub fn new(clock: &dyn Clock) -> Self {
        JumpWatch::read(clock).0
    }

    /// How far the clock was set, in milliseconds, since it was last looked at: negative where it was set back, 0 where
    /// it goes as time does, give or take [`JUMP_MIN_MS`].
    pub fn jump_ms(&mut self, clock: &dyn Clock) -> i64 {
        let (now, unsure_ms) = JumpWatch::read(clock);
        let before = std::mem::replace(self, now);
        let jump_ms = (now.now_ms.saturating_sub(before.now_ms))
            .saturating_sub(now.elapsed_ms.saturating_sub(before.elapsed_ms));
        if jump_ms.saturating_abs() < JUMP_MIN_MS.saturating_add(unsure_ms) {
            return 0;
        }
        jump_ms
    }

    /// Both kinds of time, and how far apart they may have been read: a busy machine can stop a thread in between.
    fn read(clock: &dyn Clock) -> (Self, i64) {
        let before_ms = clock.elapsed().as_millis() as i64;
        let now_ms = clock.now_ms();
        let elapsed_ms = clock.elapsed().as_millis() as i64;
        (
            JumpWatch { now_ms, elapsed_ms },
            elapsed_ms.saturating_sub(before_ms),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_jumps() {
        let clock = ManualClock::new(5_000);
        let mut watch = JumpWatch::new(&clock);
        clock.set(3_600_000);
        assert_eq!(watch.jump_ms(&clock), 0);
        clock.jump(-7_200_000);
        clock.set(clock.now_ms() + 1_000);
        assert_eq!(watch.jump_ms(&clock), -7_200_000);
        assert_eq!(watch.jump_ms(&clock), 0);
        clock.jump(JUMP_MIN_MS);
        assert_eq!(watch.jump_ms(&clock), JUMP_MIN_MS);
        clock.jump(JUMP_MIN_MS - 1);
        assert_eq!(watch.jump_ms(&clock), 0);
    }

    #[test]
    fn elapsed_time_of_the_machine_goes_forward() {
        let first = SystemClock.elapsed();
        assert!(SystemClock.elapsed() >= first);
    }
}
