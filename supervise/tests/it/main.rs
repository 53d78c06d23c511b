//! Tasks that panic, on a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use metrics::{Format, Registry};
use narthex_supervise::{Ended, Supervisor, hold};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_begun_anew_later_each_time() {
    let registry = Registry::new();
    let supervisor = Supervisor::new(&registry);
    let (stop, rounds) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
    let begin = Instant::now();
    let counted = rounds.clone();
    let task = supervisor.spawn("loop", &stop, move || {
        let round = counted.fetch_add(1, Ordering::Relaxed);
        // Both making the future and running it.
        assert!(round != 0, "while it is made");
        async move {
            tokio::task::yield_now().await;
            assert!(round == 3, "while it runs");
        }
    });
    task.await.expect("the task itself lives");
    assert_eq!(rounds.load(Ordering::Relaxed), 4);
    assert_eq!(supervisor.panics("loop"), 3);
    assert_eq!(begin.elapsed(), Duration::from_secs(1 + 2 + 4));
    // Another of the same registry counts along.
    let other = Supervisor::new(&registry);
    assert_eq!(other.panics("loop"), 3);
    let text = registry.render(Format::Text);
    assert!(
        text.contains("narthex_task_panics_total{task=\"loop\"} 3\n"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn rests_are_bounded_and_end_with_the_stop() {
    let supervisor = Supervisor::new(&Registry::new());
    let stop = CancellationToken::new();
    let begin = Instant::now();
    let task = supervisor.spawn("hopeless", &stop, || async { panic!("again") });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let panics = supervisor.panics("hopeless");
    assert!((60..75).contains(&panics), "{panics} panics in an hour");
    stop.cancel();
    task.await.expect("an end");
    assert!(begin.elapsed() < Duration::from_secs(3601));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_goes_well_for_long_is_forgiven() {
    let supervisor = Supervisor::new(&Registry::new());
    let (stop, begun) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
    let (counted, begin) = (begun.clone(), Instant::now());
    let task = supervisor.spawn("rarely", &stop, move || {
        let round = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert!(round == 4, "after five minutes");
        }
    });
    task.await.expect("an end");
    assert_eq!(begin.elapsed(), Duration::from_secs(5 * 300 + 4));
}

#[tokio::test]
async fn rounds_that_panic_are_errors_with_words_and_place() {
    let supervisor = Supervisor::new(&Registry::new());
    let number = 7;
    let of_round = supervisor
        .round("round", async { assert!(number == 8, "number {number}") })
        .await
        .expect_err("a panic");
    assert_eq!((of_round.task(), of_round.message()), ("round", "number 7"));
    assert!(of_round.to_string().contains("tests/it/main.rs:"), "{of_round}");
    assert_eq!(supervisor.round("round", async { 3 }).await, Ok(3));

    let blocking = supervisor.blocking("thread", || panic!("off the network")).await;
    let Err(Ended::Panicked(panicked)) = blocking else {
        panic!("{blocking:?}")
    };
    assert_eq!(panicked.message(), "off the network");
    assert_eq!(supervisor.blocking("thread", || 3).await, Ok(3));

    let done: Result<(), _> = tokio::spawn(async { panic!("elsewhere") }).await;
    assert!(matches!(
        supervisor.joined("spawned", done),
        Err(Ended::Panicked(_))
    ));
    let spawned = tokio::spawn(std::future::pending::<()>());
    spawned.abort();
    let done = supervisor.joined("spawned", spawned.await);
    assert_eq!(done, Err(Ended::Cancelled { task: "spawned" }));
    for (task, panics) in [("round", 1), ("thread", 1), ("spawned", 1)] {
        assert_eq!(supervisor.panics(task), panics, "{task}");
    }
}

#[tokio::test]
async fn a_panic_elsewhere_counts_where_it_matters() {
    let supervisor = Supervisor::new(&Registry::new());
    let asked = supervisor.round("request", async {
        let done = tokio::task::spawn_blocking(|| hold(|| -> u32 { panic!("deep down") }));
        done.await.expect("held").unwrap_or_else(|held| held.resume())
    });
    let panicked = asked.await.expect_err("a panic");
    assert_eq!((panicked.task(), panicked.message()), ("request", "deep down"));
    assert!(panicked.to_string().contains("tests/it/main.rs:"), "{panicked}");
    assert_eq!(supervisor.panics("request"), 1);
}
