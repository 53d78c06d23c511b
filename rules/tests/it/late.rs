//! Evaluations that come too late, and those that were missed before them.

use narthex_rules::state::AlertState;

use crate::world::World;

const RULES: &str = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n  - alert: A\n    expr: up == 0\n    for: 30s\n";

/// A world that has been held up for `seconds` after some evaluations, and has gone on since.
async fn held_up(seconds: i64) -> World {
    let world = World::new();
    world.queries.set("up", &[(&[("job", "a")], 1.0)]);
    world.load(RULES).await.unwrap();
    world.wait(40).await;
    world.hold(seconds);
    world.wait(21).await;
    world
}

fn counted(world: &World, metric: &str) -> String {
    let line = world.metrics(metric).remove(0);
    line.rsplit_once(' ').unwrap().1.to_owned()
}

#[tokio::test(start_paused = true)]
async fn missed_evaluations_are_caught_up_at_their_own_times() {
    let world = held_up(45).await;
    let samples = world.store.samples(r#"{__name__="r", job="a"}"#);
    let times: Vec<i64> = samples.iter().map(|(at, _)| *at).collect();
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{times:?}"
    );
    assert!(world.now_ms() - times.last().unwrap() < 10_000);
    let missed = counted(&world, "prometheus_rule_group_iterations_missed_total");
    assert!(missed == "4" || missed == "3", "{missed}");
    assert_eq!(
        counted(&world, "narthex_rule_group_iterations_caught_up_total"),
        missed
    );
    // Each time of the schedule counts once.
    let all = counted(&world, "prometheus_rule_group_iterations_total");
    assert_eq!(all, times.len().to_string());
}

#[tokio::test(start_paused = true)]
async fn the_last_ten_are_caught_up() {
    let world = held_up(600).await;
    let samples = world.store.samples(r#"{__name__="r", job="a"}"#);
    let steps: Vec<i64> = samples.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let gaps: Vec<&i64> = steps.iter().filter(|step| **step != 10_000).collect();
    assert_eq!(gaps.len(), 1, "{steps:?}");
    assert!((480_000..=510_000).contains(gaps[0]), "{gaps:?}");
    assert_eq!(
        counted(&world, "narthex_rule_group_iterations_caught_up_total"),
        "10"
    );
}

#[tokio::test(start_paused = true)]
async fn what_alerts_would_have_seen_counts_and_is_told_as_it_is_now() {
    let world = World::new();
    world.load(RULES).await.unwrap();
    world.wait(40).await;
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.hold(45);
    world.wait(11).await;
    // Pending since the first of the evaluations that were missed, and so for longer than 30 seconds.
    let alert = world.manager.alerts().remove(0);
    assert_eq!(alert.state, AlertState::Firing);
    let pending_s = world.now_ms() / 1000 - alert.active_at_ns / 1_000_000_000;
    assert!((30..=60).contains(&pending_s), "{pending_s}");
    let sent = world.sent.take();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(!sent[0].is_resolved(world.now_ms()));
    let states = world
        .store
        .samples(r#"{__name__="ALERTS", alertname="A", alertstate="pending", job="a"}"#);
    assert!(states.len() >= 3, "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_has_missed_nothing() {
    let world = held_up(0).await;
    world.set_clock(45);
    world.wait(21).await;
    assert_eq!(
        counted(&world, "narthex_rule_group_iterations_caught_up_total"),
        "0"
    );
    assert_ne!(
        counted(&world, "prometheus_rule_group_iterations_missed_total"),
        "0"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_too_slow_is_not_made_slower() {
    let world = World::new();
    world.queries.set("up", &[(&[("job", "a")], 1.0)]);
    world.queries.take_seconds(&world, 25, 20);
    world.load(RULES).await.unwrap();
    world.wait(15).await;
    let caught_up = counted(&world, "narthex_rule_group_iterations_caught_up_total");
    // Not before it is known to be slow.
    assert!(
        caught_up == "0" || caught_up == "1" || caught_up == "2",
        "{caught_up}"
    );
    let missed = counted(&world, "prometheus_rule_group_iterations_missed_total");
    assert!(missed.parse::<u32>().unwrap() > 10, "{missed}");
}
