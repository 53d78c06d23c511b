//! Reloads, restarts and stops.

use std::time::Duration;

use model::sample::is_stale_nan;
use narthex_rules::Threads;
use narthex_rules::state::AlertState;

use crate::world::World;

fn alert(expr: &str, for_s: u64) -> String {
    format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: {expr}\n    for: {for_s}s\n")
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_state() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(&alert("up == 0", 60)).await.unwrap();
    world.wait(25).await;
    let before = world.manager.alerts().remove(0);
    // The same rules: nothing happens. A changed rule of the same name and labels: its alerts go on.
    for (text, for_ms) in [(alert("up == 0", 60), 60_000), (alert("up == 0", 30), 30_000)] {
        world.load(&text).await.unwrap();
        let after = world.manager.alerts().remove(0);
        assert_eq!(
            (after.active_at_ns, after.state),
            (before.active_at_ns, AlertState::Pending)
        );
        assert_eq!(world.group().rules[0].alerting.as_ref().unwrap().for_ms, for_ms);
    }
    world.wait(20).await;
    let firing = world.manager.alerts().remove(0);
    assert_eq!(
        (firing.active_at_ns, firing.state),
        (before.active_at_ns, AlertState::Firing)
    );
}

#[tokio::test(start_paused = true)]
async fn a_bad_reload_changes_nothing() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(&alert("up == 0", 0)).await.unwrap();
    let error = world.load(&alert("up ==", 0)).await.unwrap_err().to_string();
    assert!(error.contains("could not parse expression"), "{error}");
    world.wait(11).await;
    assert_eq!(world.manager.alerts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn removed_rules_leave_markers() {
    let world = World::new();
    let text = |names: &[&str]| {
        let rules = names
            .iter()
            .map(|name| format!("  - record: {name}\n    expr: up\n"));
        format!("groups:\n- name: g\n  rules:\n{}", rules.collect::<String>())
    };
    world.queries.set("up", &[(&[("job", "a")], 1.0)]);
    world.load(&text(&["one", "two"])).await.unwrap();
    world.wait(15).await;
    world.load(&text(&["one"])).await.unwrap();
    world.wait(15).await;
    let last = |name: &str| {
        world
            .store
            .samples(&format!("{{__name__=\"{name}\", job=\"a\"}}"))
            .pop()
            .unwrap()
            .1
    };
    assert_eq!(last("one"), 1.0);
    assert!(is_stale_nan(last("two")));
    // A whole group: its series are marked two intervals later.
    world.load("groups: []").await.unwrap();
    world.wait(15).await;
    assert_eq!(last("one"), 1.0);
    world.wait(15).await;
    assert!(is_stale_nan(last("one")));
    assert!(world.manager.snapshot().is_empty());
    assert!(world.metrics("rule_group=").is_empty());
}

#[tokio::test(start_paused = true)]
async fn state_is_restored_after_a_restart() {
    let mut world = World::new();
    world.load("groups: []").await.unwrap();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    let text = alert("up == 0", 3600);
    world.load(&text).await.unwrap();
    world.wait(1200).await;
    let before = world.manager.alerts().remove(0);
    let series = r#"{__name__="ALERTS_FOR_STATE", alertname="A", job="a"}"#;
    let seen_ms = world.store.samples(series).pop().unwrap().0;
    world.restart(Duration::from_secs(900)).await;
    world.load(&text).await.unwrap();
    world.wait(15).await;
    // Not before the second evaluation, and nothing is written until then.
    assert!(world.manager.alerts()[0].active_at_ns > before.active_at_ns);
    assert_eq!(world.store.samples(series).pop().unwrap().0, seen_ms);
    world.wait(20).await;
    let after = world.manager.alerts().remove(0);
    let shift_s = (after.active_at_ns - before.active_at_ns) / 1_000_000_000;
    // The outage does not count: the start has moved by about its length.
    assert!((900..=940).contains(&shift_s), "{shift_s}");
    assert!(!world.metrics("last_restore_duration_seconds").is_empty());
    assert!(world.store.samples(series).pop().unwrap().0 > seen_ms);
}

#[tokio::test(start_paused = true)]
async fn old_state_is_not_restored() {
    let mut world = World::new();
    world.load("groups: []").await.unwrap();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    let text = alert("up == 0", 3600);
    world.load(&text).await.unwrap();
    world.wait(60).await;
    let before = world.manager.alerts().remove(0);
    // Longer than the outage tolerance of an hour.
    world.restart(Duration::from_secs(3700)).await;
    world.load(&text).await.unwrap();
    world.wait(40).await;
    let after = world.manager.alerts().remove(0);
    assert!(after.active_at_ns - before.active_at_ns > 3_700_000_000_000);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evaluated_after_a_stop() {
    let world = World::new();
    world.queries.set("up == 0", &[]);
    world.load(&alert("up == 0", 0)).await.unwrap();
    world.wait(15).await;
    world.manager.stop().await;
    let asked = world.queries.asked("up == 0").len();
    world.wait(60).await;
    assert_eq!(world.queries.asked("up == 0").len(), asked);
    assert!(world.load(&alert("up == 0", 1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn groups_are_instrumented() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(&alert("up == 0", 0)).await.unwrap();
    world.wait(25).await;
    let group = "{rule_group=\"/rules.yml;g\"}";
    for line in [
        format!("prometheus_rule_group_interval_seconds{group} 10"),
        format!("prometheus_rule_group_rules{group} 1"),
        format!("prometheus_rule_group_iterations_missed_total{group} 0"),
    ] {
        assert!(world.metrics("prometheus_rule").contains(&line), "{line}");
    }
    let asked = world.queries.asked("up == 0").len();
    for name in [
        "prometheus_rule_evaluations_total",
        "prometheus_rule_group_iterations_total",
    ] {
        assert_eq!(world.metrics(name), [format!("{name}{group} {asked}")]);
    }
    assert!(
        !world
            .metrics("prometheus_rule_evaluation_duration_seconds")
            .is_empty()
    );
}

#[test]
fn patterns_match_as_in_go() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.yml", "a.yml", "c.yaml", "{d}.yml"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/e.yml"), "").unwrap();
    let names = |pattern: &str| -> Vec<String> {
        let settings = narthex_rules::Settings {
            patterns: vec![folder.path().join(pattern).display().to_string()],
            ..narthex_rules::Settings::default()
        };
        let paths = settings.paths().unwrap().into_iter();
        let relative = paths.map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string());
        relative.collect()
    };
    assert_eq!(names("*.yml"), ["a.yml", "b.yml", "{d}.yml"]);
    assert_eq!(names("[ab].yml"), ["a.yml", "b.yml"]);
    assert_eq!(names("{a,b}.yml"), Vec::<String>::new());
    assert_eq!(names("*/e.yml"), ["sub/e.yml"]);
    assert_eq!(names("c.yaml"), ["c.yaml"]);
    assert_eq!(names("nope.yml"), Vec::<String>::new());
}

/// Threads that others hold, as requests whose readers do not read do, hold no rule.
#[test]
fn rules_have_threads_of_their_own() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let holding = tokio::task::spawn_blocking(move || held.recv());
        let world = World::on(Threads::own(1).unwrap(), 0);
        let text = "groups:\n- name: g\n  interval: 20ms\n  rules: [{record: r, expr: up}]\n";
        world.load(text).await.unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while world.queries.asked("up").len() < 3 {
            assert!(std::time::Instant::now() < deadline, "rules are held");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.manager.stop().await;
        drop(let_go);
        assert!(holding.await.unwrap().is_err());
    });
}
