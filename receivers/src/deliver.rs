//! Trying until it has worked: the one place that waits and repeats.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::integration::Integration;
use crate::notification::Notification;
use crate::receiver::{Failure, FailureReason, Memory};

/// The first pause, from the beginning of one attempt to that of the next.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// What each further one is longer by.
const PAUSE_GROWTH: f64 = 1.5;
/// The longest, before it is varied.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What each is varied by, up or down.
const PAUSE_SPREAD: f64 = 0.5;

/// One attempt, for who counts.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// How long it took.
    pub took: Duration,
    /// Why it failed, if it did.
    pub failure: Option<&'a Failure>,
}

/// Why a notification was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The receiver and its integration: `team/webhook[0]`.
    pub integration: String,
    /// Attempts, the one that was broken off among them.
    pub attempts: u32,
    /// The last failure; where no attempt has finished, why there is none.
    pub failure: Failure,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finally = if self.failure.retry {
            ""
        } else {
            " due to unrecoverable error"
        };
        write!(
            f,
            "{}: notify retry canceled{finally} after {} attempts: {}",
            self.integration, self.attempts, self.failure
        )
    }
}

impl std::error::Error for Undelivered {}

/// Sends a notification by one integration: again and again while it may help, until `deadline` or until `stop` is
/// cancelled. Gives the number of attempts.
///
/// Resolved alerts are left out where the integration is not told of them; when nothing is left, nothing is sent, which
/// is a success of no attempts. `memory` is what [`crate::Receiver::notify`] says. `seen` is called after each finished
/// attempt.
///
/// # Errors
/// When it was given up. What failed and may be tried again carries `retry` in its failure.
pub async fn deliver(
    integration: &Integration,
    notification: &Notification,
    memory: &mut Memory,
    deadline: Instant,
    stop: &CancellationToken,
    seen: &mut (dyn FnMut(Attempt<'_>) + Send),
) -> Result<u32, Undelivered> {
    let Some(notification) = integration.what_is_told(notification) else {
        return Ok(0);
    };
    let notification = &*notification;
    let undelivered = |attempts, failure| Undelivered {
        integration: format!("{}/{}", integration.receiver(), integration.name()),
        attempts,
        failure,
    };
    let mut pause = PAUSE_FIRST;
    let mut last: Option<Failure> = None;
    for attempt in 1.. {
        let begun = Instant::now();
        let sending = integration.sender().notify(notification, memory, deadline);
        // A receiver that ends at the deadline says more than the deadline itself, so it is asked first.
        let outcome = tokio::select! {
            biased;
            outcome = sending => outcome,
            () = stop.cancelled() => return Err(undelivered(attempt, last.unwrap_or_else(canceled))),
            () = sleep_until(deadline) => return Err(undelivered(attempt, last.unwrap_or_else(too_late))),
        };
        seen(Attempt {
            took: begun.elapsed(),
            failure: outcome.as_ref().err(),
        });
        let failure = match outcome {
            Ok(()) => return Ok(attempt),
            Err(failure) if !failure.retry => {
                return Err(undelivered(attempt, failure));
            }
            Err(failure) => failure,
        };
        // What breaks off because the time is over says nothing of the receiver.
        if Instant::now() >= deadline {
            return Err(undelivered(attempt, last.unwrap_or_else(too_late)));
        }
        if last.as_ref() != Some(&failure) {
            tracing::warn!(
                receiver = integration.receiver(),
                integration = %integration.name(),
                aggrGroup = %notification.group_key,
                attempts = attempt,
                err = %failure,
                "Notify attempt failed, will retry later"
            );
        }
        last = Some(failure);
        let next = begun + vary(pause);
        pause = pause.mul_f64(PAUSE_GROWTH).min(PAUSE_MAX);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(undelivered(attempt, last.unwrap_or_else(canceled))),
            () = sleep_until(deadline) => return Err(undelivered(attempt, last.unwrap_or_else(too_late))),
            () = sleep_until(next) => {}
        }
    }
    Err(undelivered(u32::MAX, last.unwrap_or_else(too_late)))
}

fn too_late() -> Failure {
    Failure::again("context deadline exceeded").counted_as(FailureReason::ContextDeadlineExceeded)
}

fn canceled() -> Failure {
    Failure::again("context canceled").counted_as(FailureReason::ContextCanceled)
}

/// The pause, more or less: who failed together shall not come again together.
fn vary(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - PAUSE_SPREAD + 2.0 * PAUSE_SPREAD * chance())
}

/// A number from 0 to 1.
pub(crate) fn chance() -> f64 {
    // Hashers are seeded at random; that is random enough here.
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}
