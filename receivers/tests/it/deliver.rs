//! Waiting and repeating, on a clock that stands still until everybody waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::labels::Labels;
use narthex_receivers::{
    Alert, Failure, FailureReason, Integration, Memory, MemoryValue, Notification, NotifyReason, Receiver,
    deliver,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a receiver does in one attempt.
#[derive(Clone)]
enum Does {
    Succeed,
    Fail(Failure),
    Hang,
    /// Takes this long and fails then.
    Dawdle(Duration, Failure),
}

struct Fake {
    does: Vec<Does>,
    attempts: AtomicU32,
    begun: Mutex<Vec<Instant>>,
    told: Mutex<Vec<usize>>,
}

impl Receiver for Fake {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        memory: &'a mut Memory,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) as usize;
            self.begun.lock().expect("begun").push(Instant::now());
            self.told.lock().expect("told").push(notification.alerts.len());
            match self
                .does
                .get(attempt)
                .or(self.does.last())
                .expect("something to do")
            {
                Does::Succeed => {
                    memory.insert("n".to_owned(), MemoryValue::Int(7));
                    Ok(())
                }
                Does::Fail(failure) => Err(failure.clone()),
                Does::Hang => std::future::pending().await,
                Does::Dawdle(time, failure) => {
                    tokio::time::sleep(*time).await;
                    Err(failure.clone())
                }
            }
        })
    }
}

fn failure(retry: bool, message: &str) -> Failure {
    Failure {
        retry,
        reason: FailureReason::ServerError,
        message: message.to_owned(),
    }
}

fn fake(does: &[Does], send_resolved: bool) -> (Arc<Fake>, Integration) {
    let fake = Arc::new(Fake {
        does: does.to_vec(),
        attempts: AtomicU32::new(0),
        begun: Mutex::default(),
        told: Mutex::default(),
    });
    let integration = Integration::new("team", "webhook", 2, send_resolved, fake.clone());
    (fake, integration)
}

/// Alerts by whether they fire.
fn notification(firing: &[bool]) -> Notification {
    let alert = |(number, firing): (usize, &bool)| Alert {
        labels: Labels::from_pairs([("alertname", format!("a{number}"))]),
        annotations: BTreeMap::new(),
        starts_at: Timestamp::UNIX_EPOCH,
        ends_at: (!firing).then_some(Timestamp::UNIX_EPOCH),
        generator_url: String::new(),
    };
    Notification {
        receiver: "team".to_owned(),
        group_key: "{}:{}".to_owned(),
        group_labels: Labels::empty(),
        route_labels: BTreeMap::new(),
        alerts: Arc::new(firing.iter().enumerate().map(alert).collect()),
        reason: NotifyReason::First,
        now: Timestamp::UNIX_EPOCH,
        repeat_interval: Duration::from_secs(3600),
    }
}

async fn outcome(
    integration: &Integration,
    firing: &[bool],
    seconds: u64,
) -> (Result<u32, String>, Memory, u32) {
    let mut memory = Memory::new();
    let mut seen = 0;
    let outcome = deliver(
        integration,
        &notification(firing),
        &mut memory,
        Instant::now() + Duration::from_secs(seconds),
        &CancellationToken::new(),
        &mut |attempt| seen += 1 + u32::from(attempt.took > Duration::from_secs(3600)),
    )
    .await;
    let outcome = outcome.map_err(|undelivered| format!("{} {undelivered}", undelivered.failure.reason));
    (outcome, memory, seen)
}

#[tokio::test(start_paused = true)]
async fn what_may_heal_is_tried_again_with_growing_pauses() {
    let failing = Does::Fail(failure(true, "down"));
    let (fake, integration) = fake(&[failing.clone(), failing.clone(), failing, Does::Succeed], true);
    let (outcome, memory, seen) = outcome(&integration, &[true], 30).await;
    assert_eq!((outcome, seen), (Ok(4), 4));
    assert_eq!(memory["n"], MemoryValue::Int(7));
    let begun = fake.begun.lock().expect("begun").clone();
    let pauses: Vec<f64> = begun
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    for (pause, middle) in pauses.iter().zip([0.5, 0.75, 1.125]) {
        assert!((middle * 0.49..=middle * 1.51).contains(pause), "{pauses:?}");
    }
}

/// As many attempts in 28 s as the reference was seen to make, or one beside: 7 to 11.
#[tokio::test(start_paused = true)]
async fn attempts_are_as_many_as_the_references() {
    for _ in 0..50 {
        let (_, integration) = fake(&[Does::Fail(failure(true, "down"))], true);
        let (outcome, _, seen) = outcome(&integration, &[true], 28).await;
        assert!((7..=11).contains(&seen), "{seen}");
        let expected =
            format!("serverError team/webhook[2]: notify retry canceled after {seen} attempts: down");
        assert_eq!(outcome, Err(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_heal_ends_at_once() {
    let (_, integration) = fake(&[Does::Fail(failure(false, "no"))], true);
    let begun = Instant::now();
    let (outcome, _, seen) = outcome(&integration, &[true], 30).await;
    let expected =
        "serverError team/webhook[2]: notify retry canceled due to unrecoverable error after 1 attempts: no";
    assert_eq!((outcome, seen), (Err(expected.to_owned()), 1));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_ends_with_the_deadline() {
    let (_, integration) = fake(&[Does::Hang], true);
    let begun = Instant::now();
    let (outcome, _, seen) = outcome(&integration, &[true], 30).await;
    let expected = "contextDeadlineExceeded team/webhook[2]: notify retry canceled after 1 attempts: context deadline exceeded";
    assert_eq!((outcome, seen), (Err(expected.to_owned()), 0));
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    // What was said before says more.
    let (_, integration) = fake(&[Does::Fail(failure(true, "down")), Does::Hang], true);
    let (outcome, _, _) = self::outcome(&integration, &[true], 30).await;
    let expected = "serverError team/webhook[2]: notify retry canceled after 2 attempts: down";
    assert_eq!(outcome, Err(expected.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_attempt_is_followed_by_the_next_at_once() {
    let slow = Does::Dawdle(Duration::from_secs(5), failure(true, "slow"));
    let (fake, integration) = fake(&[slow.clone(), slow, Does::Succeed], true);
    let begun = Instant::now();
    let (outcome, _, _) = outcome(&integration, &[true], 30).await;
    assert_eq!(outcome, Ok(3));
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    assert_eq!(fake.attempts.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_is_heard_at_once() {
    for does in [Does::Hang, Does::Fail(failure(true, "down"))] {
        let (_, integration) = fake(&[does], true);
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let begun = Instant::now();
        let delivering = async {
            let deadline = Instant::now() + Duration::from_secs(30);
            let (told, mut memory) = (notification(&[true]), Memory::new());
            deliver(&integration, &told, &mut memory, deadline, &stop, &mut |_| {}).await
        };
        let (outcome, ()) = tokio::join!(delivering, async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stopping.cancel();
        });
        assert!(outcome.is_err());
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_told_of_resolved_alerts_is_told_of_firing_ones() {
    for (send_resolved, firing, told) in [
        (true, &[true, false][..], &[2][..]),
        (true, &[false, false], &[2]),
        (false, &[true, false, true], &[2]),
        (false, &[true], &[1]),
        (false, &[false, false], &[]),
    ] {
        let (fake, integration) = fake(&[Does::Succeed], send_resolved);
        let (outcome, _, _) = outcome(&integration, firing, 30).await;
        assert_eq!(outcome, Ok(told.len() as u32));
        assert_eq!(*fake.told.lock().expect("told"), told);
    }
}
