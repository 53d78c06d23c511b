//! Unit tests of `manager`, under a clock that tests move.

use super::*;
use model::labels::Labels;

fn group(source: usize, generation: usize) -> TargetGroup {
    TargetGroup {
        source: format!("node{source}"),
        targets: vec![Labels::from_pairs([(
            "__address__",
            &*format!("h{source}:{generation}"),
        )])],
        ..TargetGroup::default()
    }
}

/// A manager whose job `j` has what is told to provider 0.
fn manager() -> Manager {
    let registry = ::metrics::Registry::new();
    let manager = Manager::new(SCRAPE, Context::new("test", Metrics::new(&registry)));
    let mut state = manager.shared.state.lock();
    let sources = Sources {
        statics: Vec::new(),
        providers: vec![0],
    };
    state.jobs.insert("j".to_owned(), sources);
    state.found.entry(0).or_default().jobs = vec!["j".to_owned()];
    drop(state);
    manager
}

fn addresses(snapshot: &Snapshot) -> BTreeSet<String> {
    let groups = snapshot.get("j").cloned().unwrap_or_default();
    let targets = groups.iter().flat_map(|group| &group.targets);
    targets
        .map(|target| target.value("__address__").to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_quiet_time_is_published_at_once() {
    let manager = manager();
    let mut found = manager.subscribe();
    let stop = CancellationToken::new();
    let publisher = tokio::spawn(publish_changes(manager.shared.clone(), stop.clone()));
    for generation in 1..4 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = tokio::time::Instant::now();
        manager.shared.update(0, vec![group(0, generation)], false);
        found.changed().await.expect("published");
        assert!(
            start.elapsed() <= COLLECT + Duration::from_millis(5),
            "{:?}",
            start.elapsed()
        );
        assert!(addresses(&found.borrow_and_update()).contains(&format!("h0:{generation}")));
    }
    stop.cancel();
    publisher.await.expect("ended");
}

/// A thousand targets that come, change and go for ten minutes: what is published stays bounded in number and size, each
/// change is seen within a second, and the last picture is the right one.
#[tokio::test(start_paused = true)]
async fn a_thousand_flapping_targets_are_followed_within_bounds() {
    const TARGETS: usize = 1_000;
    const ROUNDS: usize = 3_000;
    const PAUSE: Duration = Duration::from_millis(200);
    let manager = manager();
    let found = manager.subscribe();
    let stop = CancellationToken::new();
    let publisher = tokio::spawn(publish_changes(manager.shared.clone(), stop.clone()));
    let sent = manager.shared.metrics.sent_updates.with(&[SCRAPE]);
    for round in 0..ROUNDS {
        // Every target comes, changes in the next round, and goes in the one after.
        let groups = (0..TARGETS).map(|source| match (source + round) % 3 {
            0 => TargetGroup {
                source: format!("node{source}"),
                ..TargetGroup::default()
            },
            phase => group(source, phase),
        });
        manager.shared.update(0, groups.collect(), false);
        tokio::time::sleep(PAUSE).await;
        let state = manager.shared.state.lock();
        let mine = &state.found[&0];
        assert!(mine.groups.len() <= 2 * mine.places.len().max(1), "round {round}");
    }
    tokio::time::sleep(COLLECT + REST_MAX).await;
    let last = ROUNDS - 1;
    let wanted: BTreeSet<String> = (0..TARGETS)
        .filter(|source| !(source + last).is_multiple_of(3))
        .map(|source| format!("h{source}:{}", (source + last) % 3))
        .collect();
    assert_eq!(addresses(&found.borrow()), wanted);
    let most = (PAUSE * ROUNDS as u32).as_millis() / (2 * COLLECT).as_millis();
    assert!(
        sent.get() <= most as f64 + 2.0,
        "{} publications, at most {most}",
        sent.get()
    );
    stop.cancel();
    publisher.await.expect("ended");
}
