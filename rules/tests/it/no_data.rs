//! Alerts that nobody can tell about. What is missing because its target is, `testdata/rules/unit/no_data.yml` has.

use std::time::Duration;

use files::{Files, MemFiles};
use model::alert::Alert;
use narthex_rules::state::AlertState;

use crate::world::World;

fn rule(no_data: &str) -> String {
    format!("groups:\n- name: g\n  no_data: {no_data}\n  rules:\n  - alert: A\n    expr: up == 0\n")
}

/// A world in which an alert fires, and whose rule cannot be evaluated from then on.
async fn broken(no_data: &str) -> World {
    let files = MemFiles::new();
    files.create_dir_all(std::path::Path::new("data")).unwrap();
    let world = World::kept(files);
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(&rule(no_data)).await.unwrap();
    world.wait(25).await;
    assert_eq!(world.sent.take().len(), 1);
    world.queries.fail("up == 0");
    world
}

/// Those that say that another one is unknown, and those others.
fn split(sent: Vec<Alert>) -> (Vec<Alert>, Vec<Alert>) {
    sent.into_iter()
        .partition(|alert| alert.labels.value("alertstate") == "unknown")
}

#[tokio::test(start_paused = true)]
async fn by_default_failures_are_as_in_the_reference() {
    let world = broken("resolve").await;
    world.wait(300).await;
    // Nothing is said any more, and whoever was told takes it for resolved in the end.
    assert!(world.sent.take().is_empty());
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
    assert!(world.metrics("missing_alerts").is_empty());
}

#[tokio::test(start_paused = true)]
async fn kept_alerts_go_on_while_their_rule_fails() {
    let world = broken("keep").await;
    world.wait(300).await;
    let (unknown, sent) = split(world.sent.take());
    assert!(unknown.is_empty() && (4..=6).contains(&sent.len()), "{sent:?}");
    assert!(
        sent.iter()
            .all(|alert| alert.starts_at_ms == sent[0].starts_at_ms)
    );
    assert!(sent.last().unwrap().ends_at_ms > world.now_ms());
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
    let rule = world.group().rules.remove(0);
    assert_eq!(
        rule.last_error.unwrap().to_string(),
        "rule result is not a vector or scalar"
    );
    let labels = r#"{__name__="ALERTS", alertname="A", alertstate="firing", job="a"}"#;
    assert!(world.now_ms() - world.store.samples(labels).last().unwrap().0 < 10_000);
    assert!(world.metrics("missing_alerts")[0].ends_with(" 1"));
    // The condition is gone once it can be told.
    world.queries.set("up == 0", &[]);
    world.wait(10).await;
    assert!(world.manager.alerts().is_empty());
    assert!(world.metrics("missing_alerts")[0].ends_with(" 0"));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_panics_is_a_failed_evaluation() {
    let world = broken("keep").await;
    world.queries.panic_on("up == 0");
    world.wait(300).await;
    let (unknown, sent) = split(world.sent.take());
    assert!(unknown.is_empty() && (4..=6).contains(&sent.len()), "{sent:?}");
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
}

#[tokio::test(start_paused = true)]
async fn unknown_alerts_are_told_over_a_restart_and_until_they_are_known() {
    let mut world = broken("unknown").await;
    world.wait(20).await;
    let (unknown, _) = split(world.sent.take());
    let [told] = &unknown[..] else {
        panic!("{unknown:?}")
    };
    let text = told.annotations.value("no_data");
    assert!(
        text.starts_with(
            "the rule cannot be evaluated: rule result is not a vector or scalar, since 2024-01-01T00:00:"
        ),
        "{text}"
    );
    let alert = world.manager.alerts().remove(0);
    assert_eq!(alert.state, AlertState::Unknown);
    assert_eq!(
        world.group().rules[0].alerting.as_ref().unwrap().state,
        AlertState::Unknown
    );
    world.restart(Duration::from_secs(20)).await;
    world.load(&rule("unknown")).await.unwrap();
    assert_eq!(world.manager.alerts(), [alert]);
    world.wait(120).await;
    let (unknown, sent) = split(world.sent.take());
    for alert in &unknown {
        assert_eq!(
            (alert.starts_at_ms, &alert.annotations),
            (told.starts_at_ms, &told.annotations)
        );
    }
    let times = 1..=3;
    assert!(
        times.contains(&unknown.len()) && times.contains(&sent.len()),
        "{unknown:?} {sent:?}"
    );
    assert!(
        sent.iter()
            .chain(&unknown)
            .all(|alert| alert.ends_at_ms > world.now_ms())
    );
    // It goes on firing; that nobody can tell has ended.
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.wait(70).await;
    let (unknown, sent) = split(world.sent.take());
    assert!(unknown.iter().all(|alert| alert.is_resolved(world.now_ms())) && !unknown.is_empty());
    assert!(sent.iter().all(|alert| !alert.is_resolved(world.now_ms())));
    assert_eq!(world.manager.alerts()[0].state, AlertState::Firing);
    // After a quarter of an hour nothing more is said of that.
    world.wait(900).await;
    world.sent.take();
    world.wait(120).await;
    assert!(split(world.sent.take()).0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_no_data_may_be_is_told() {
    let world = World::new();
    let error = world.load(&rule("kep")).await.unwrap_err().to_string();
    assert!(
        error.contains("unknown value \"kep\" for no_data: resolve, keep or unknown are known"),
        "{error}"
    );
}
