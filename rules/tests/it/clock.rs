//! A clock that is set while rules run: they go on, at the times of day that it tells.

use std::time::Duration;

use narthex_rules::state::AlertState;

use crate::world::World;

const ALERT: &str = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up == 0\n    for: 60s\n  - record: r\n    expr: up\n";

/// Seconds of day at which `up == 0` was asked for since the first `skip` times.
fn asked(world: &World, skip: usize) -> Vec<i64> {
    world.queries.asked("up == 0").split_off(skip)
}

fn steps(times: &[i64]) -> Vec<i64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn set_back_rules_go_on_and_alerts_keep_their_age() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.queries.set("up", &[(&[("job", "a")], 1.0)]);
    world.load(ALERT).await.unwrap();
    world.wait(40).await;
    let before = asked(&world, 0);
    world.set_clock(-7_200);
    world.wait(15).await;
    let after = asked(&world, before.len());
    // At once, and then every interval, at the group's times of day.
    assert!(
        !after.is_empty() && after[0] - before[0] < 0,
        "{before:?} {after:?}"
    );
    assert!(
        after.iter().all(|at| (at - before[0]) % 10_000 == 0),
        "{before:?} {after:?}"
    );
    assert!(steps(&after).iter().all(|step| *step == 10_000), "{after:?}");
    assert!(world.now_ms() - after.last().unwrap() < 10_000);
    // Pending for 60 seconds of time that went by, whatever the clock says.
    let pending = world.manager.alerts().remove(0);
    assert_eq!(pending.state, AlertState::Pending);
    assert!((30..=70).contains(&(world.now_ms() / 1000 - pending.active_at_ns / 1_000_000_000)));
    world.wait(45).await;
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
    // It goes on firing, and is sent again every minute.
    world.sent.take();
    world.set_clock(-3_600);
    world.wait(200).await;
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
    let sent = world.sent.take();
    assert!((2..=4).contains(&sent.len()), "{sent:?}");
    assert!(sent.iter().all(|alert| !alert.is_resolved(alert.starts_at_ms)));
    // What storage has is not written again; the rule says why.
    let samples = world.store.samples(r#"{__name__="r", job="a"}"#);
    assert!(samples.is_sorted_by_key(|(at, _)| *at));
    let rule = world.group().rules.pop().unwrap();
    assert_eq!(rule.last_error.unwrap().to_string(), "out of order sample");
}

#[tokio::test(start_paused = true)]
async fn set_forward_nothing_fires_for_time_that_did_not_go_by() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(ALERT).await.unwrap();
    world.wait(25).await;
    let before = asked(&world, 0);
    world.set_clock(7_200);
    world.wait(15).await;
    let after = asked(&world, before.len());
    assert!(!after.is_empty() && after[0] - before[0] > 7_100_000);
    assert!(world.now_ms() - after.last().unwrap() < 10_000);
    assert_eq!(world.manager.alerts()[0].state, AlertState::Pending);
    world.wait(60).await;
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
    let missed = world.metrics("iterations_missed_total").remove(0);
    assert!(missed.ends_with(" 719") || missed.ends_with(" 720"), "{missed}");
}

#[tokio::test(start_paused = true)]
async fn set_back_by_less_than_an_interval_no_time_comes_twice() {
    let world = World::new();
    world.load(ALERT).await.unwrap();
    for _ in 0..20 {
        world.wait(15).await;
        world.set_clock(-4);
    }
    let asked = asked(&world, 0);
    assert!(steps(&asked).iter().all(|step| *step == 10_000), "{asked:?}");
    assert!(asked.len() >= 20);
}

/// The loop that a reload starts knows what the one before saw of the clock.
#[tokio::test(start_paused = true)]
async fn a_reload_between_the_jump_and_the_next_look_loses_no_age() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(ALERT).await.unwrap();
    world.wait(40).await;
    world.set_clock(-7_200);
    world.load(&ALERT.replace("60s", "90s")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
}
