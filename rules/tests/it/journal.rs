//! Alerts survive restarts, kills, power cuts and disks that fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use files::{Fault, Files, MemFiles};
use model::alert::Alert;
use narthex_rules::AlertSnapshot;
use narthex_rules::state::AlertState;

use crate::world::World;

const JOURNAL: &str = "data/alerts/journal";

/// Files with the folder of a store.
fn data() -> MemFiles {
    let files = MemFiles::new();
    files.create_dir_all(Path::new("data")).unwrap();
    files.sync_dir(Path::new("")).unwrap();
    files
}

fn rule(for_s: u64) -> String {
    format!(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up == 0\n    for: {for_s}s\n    annotations: {{value: '{{{{ $value }}}}'}}\n"
    )
}

impl World {
    fn down(&self, jobs: &[&str]) {
        let pairs: Vec<[(&str, &str); 1]> = jobs.iter().map(|job| [("job", *job)]).collect();
        let elements: Vec<(&[(&str, &str)], f64)> = pairs.iter().map(|pair| (pair.as_slice(), 0.0)).collect();
        self.queries.set("up == 0", &elements);
    }

    /// The only alert.
    fn alert(&self) -> AlertSnapshot {
        let mut alerts = self.manager.alerts();
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        alerts.remove(0)
    }
}

#[tokio::test(start_paused = true)]
async fn what_fires_goes_on_firing_whatever_for_is_and_however_long_the_outage() {
    for (for_s, down_s) in [(0, 5), (60, 30), (300, 7_200), (3_600, 86_400)] {
        let mut world = World::kept(data());
        world.down(&["a"]);
        world.load(&rule(for_s)).await.unwrap();
        world.wait(for_s + 25).await;
        let before = world.alert();
        assert_eq!(before.state, AlertState::Firing);
        let sent = world.sent.take().remove(0);
        world.restart(Duration::from_secs(down_s)).await;
        world.load(&rule(for_s)).await.unwrap();
        // At once, before anything was evaluated.
        assert_eq!(world.alert(), before);
        world.wait(15).await;
        let after = world.alert();
        assert_eq!(
            (after.state, after.active_at_ns),
            (AlertState::Firing, before.active_at_ns)
        );
        world.wait(90).await;
        let again = world.sent.take();
        assert!(
            again.iter().all(|alert| alert.starts_at_ms == sent.starts_at_ms
                && !alert.is_resolved(world.now_ms() - 60_000))
        );
        assert!((1..=3).contains(&again.len()), "{again:?}");
        assert_eq!(
            world.metrics("restored_alerts_total"),
            ["narthex_rules_restored_alerts_total 1"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_count_as_pending_and_a_quick_restart_costs_nothing() {
    // An interval more where an evaluation would have been due meanwhile: when that is depends on the folder's name.
    for (down_s, lost_s) in [(3, 0..=10), (600, 590..=610), (7_200, 7_190..=7_210)] {
        let mut world = World::kept(data());
        world.down(&["a"]);
        world.load(&rule(3_600)).await.unwrap();
        world.wait(1_800).await;
        let before = world.alert();
        world.restart(Duration::from_secs(down_s)).await;
        world.load(&rule(3_600)).await.unwrap();
        world.wait(12).await;
        let after = world.alert();
        assert_eq!(after.state, AlertState::Pending);
        let shift_s = (after.active_at_ns - before.active_at_ns) / 1_000_000_000;
        assert!(lost_s.contains(&shift_s), "{shift_s} after {down_s}");
        // The shift is kept as well: the next restart does not count it again.
        world.restart(Duration::from_secs(1)).await;
        world.load(&rule(3_600)).await.unwrap();
        world.wait(12).await;
        let again_s = (world.alert().active_at_ns - after.active_at_ns) / 1_000_000_000;
        assert!((0..=10).contains(&again_s), "{again_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_firing_and_what_was_resolved_goes_on_being_so() {
    let text = rule(0).replace("for: 0s", "keep_firing_for: 5m");
    let mut world = World::kept(data());
    world.down(&["a"]);
    world.load(&text).await.unwrap();
    world.wait(25).await;
    world.down(&[]);
    world.wait(60).await;
    let before = world.alert();
    assert!(before.keep_firing_since_ns.is_some() && before.annotations.value("value") == "0");
    world.restart(Duration::from_secs(30)).await;
    world.load(&text).await.unwrap();
    world.wait(15).await;
    assert_eq!(world.alert(), before);
    world.wait(240).await;
    let resolved = world.sent.take().pop().unwrap();
    assert!(resolved.is_resolved(world.now_ms()));
    // For a quarter of an hour it is told again that it is resolved, and then it is forgotten.
    world.restart(Duration::from_secs(300)).await;
    world.load(&text).await.unwrap();
    world.wait(120).await;
    let again = world.sent.take();
    assert!((1..=3).contains(&again.len()), "{again:?}");
    assert!(
        again
            .iter()
            .all(|alert| (alert.ends_at_ms, &alert.annotations)
                == (resolved.ends_at_ms, &resolved.annotations))
    );
    world.wait(600).await;
    world.sent.take();
    world.restart(Duration::from_secs(300)).await;
    world.load(&text).await.unwrap();
    world.wait(120).await;
    assert!(world.sent.take().is_empty());
}

/// Nothing was scraped yet when rules are evaluated first.
#[tokio::test(start_paused = true)]
async fn a_restart_resolves_nothing() {
    let mut world = World::kept(data());
    world.first_scrapes = Duration::from_secs(60);
    world.down(&["fires", "ends"]);
    world.load(&rule(10)).await.unwrap();
    world.wait(30).await;
    world.sent.take();
    world.down(&[]);
    world.restart(Duration::from_secs(1_800)).await;
    world.load(&rule(10)).await.unwrap();
    world.wait(45).await;
    let alerts = world.manager.alerts();
    assert!(alerts.len() == 2 && alerts.iter().all(|alert| alert.state == AlertState::Firing));
    // One is seen again, the other has ended meanwhile.
    world.down(&["fires"]);
    world.wait(45).await;
    assert_eq!(world.alert().labels.value("job"), "fires");
    let resolved = |alert: &Alert| alert.is_resolved(world.now_ms());
    let sent = world.sent.take();
    assert!(
        sent.iter()
            .any(|alert| resolved(alert) && alert.labels.value("job") == "ends")
    );
    assert!(
        !sent
            .iter()
            .any(|alert| resolved(alert) && alert.labels.value("job") == "fires")
    );
    // What comes and goes after the start was no part of it.
    world.restart(Duration::from_secs(1_800)).await;
    world.load(&rule(10)).await.unwrap();
    world.down(&["fires", "new"]);
    world.wait(25).await;
    world.down(&["fires"]);
    world.wait(10).await;
    assert_eq!(world.alert().labels.value("job"), "fires");
}

/// Samples from before the restart answer for it.
#[tokio::test(start_paused = true)]
async fn a_quick_restart_delays_nothing() {
    let mut world = World::kept(data());
    world.first_scrapes = Duration::from_secs(3_600);
    world.down(&["a"]);
    world.load(&rule(0)).await.unwrap();
    world.wait(30).await;
    world.down(&[]);
    world.restart(Duration::from_secs(30)).await;
    world.load(&rule(0)).await.unwrap();
    world.wait(11).await;
    assert!(world.manager.alerts().is_empty());
}

/// A pending alert whose data is not there yet is neither dropped nor does it ripen.
#[tokio::test(start_paused = true)]
async fn pending_alerts_wait_for_the_first_scrapes() {
    let mut world = World::kept(data());
    world.first_scrapes = Duration::from_secs(100);
    world.down(&["a"]);
    world.load(&rule(60)).await.unwrap();
    world.wait(45).await;
    assert_eq!(world.alert().state, AlertState::Pending);
    world.down(&[]);
    world.restart(Duration::from_secs(900)).await;
    world.load(&rule(60)).await.unwrap();
    world.wait(80).await;
    assert_eq!(world.alert().state, AlertState::Pending);
    world.down(&["a"]);
    world.wait(11).await;
    assert_eq!(world.alert().state, AlertState::Pending);
    world.wait(30).await;
    assert_eq!(world.alert().state, AlertState::Firing);
}

#[tokio::test(start_paused = true)]
async fn removed_rules_are_forgotten_and_equal_ones_told_apart() {
    let twins = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: one}\n  - {alert: A, expr: two}\n";
    let mut world = World::kept(data());
    world.queries.set("one", &[(&[("job", "one")], 1.0)]);
    world.queries.set("two", &[(&[("job", "two")], 1.0)]);
    world.load(twins).await.unwrap();
    world.wait(25).await;
    world.restart(Duration::from_secs(5)).await;
    world.load(twins).await.unwrap();
    let jobs: Vec<Vec<String>> = world
        .group()
        .rules
        .iter()
        .map(|rule| {
            let alerts = &rule.alerting.as_ref().unwrap().alerts;
            alerts
                .iter()
                .map(|alert| alert.labels.value("job").to_owned())
                .collect()
        })
        .collect();
    assert_eq!(jobs, [["one"], ["two"]]);
    // Without rules, and with them again: nothing comes back.
    world.load("groups: []").await.unwrap();
    world.restart(Duration::from_secs(5)).await;
    world.load(twins).await.unwrap();
    assert!(world.manager.alerts().is_empty());
}

/// Even a stop that is the first thing to be written.
#[tokio::test(start_paused = true)]
async fn after_a_clean_stop_nothing_is_sent_twice_and_after_a_kill_everything() {
    let mut world = World::kept(data());
    world.down(&["a"]);
    world.load(&rule(0)).await.unwrap();
    world.wait(11).await;
    assert_eq!(world.sent.take().len(), 1);
    for _ in 0..2 {
        world.restart(Duration::from_secs(1)).await;
        world.load(&rule(0)).await.unwrap();
        world.wait(11).await;
        assert!(world.sent.take().is_empty());
    }
    // Something is sent, of which nobody says that it has left the process.
    world.wait(60).await;
    assert_eq!(world.sent.take().len(), 1);
    let left = world.files.as_ref().unwrap().after_kill();
    world.kill(left, Duration::from_secs(1)).await;
    world.load(&rule(0)).await.unwrap();
    world.wait(11).await;
    assert_eq!(world.sent.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_change_is_not_written() {
    let files = data();
    let mut world = World::kept(files.clone());
    world.load(&rule(0)).await.unwrap();
    let calls = files.calls();
    world.wait(600).await;
    assert_eq!(files.calls(), calls, "no alert, no call");
    world.down(&["a", "b", "c"]);
    world.wait(20).await;
    let records = || world.metrics("journal_records_total").remove(0);
    assert_eq!(records(), "narthex_rules_journal_records_total 1");
    let len = files.len(Path::new(JOURNAL)).unwrap();
    world.wait(600).await;
    // Once a minute it is told that they were sent again, in a few bytes.
    let grown = files.len(Path::new(JOURNAL)).unwrap() - len;
    assert!((9 * 30..11 * 120).contains(&grown), "{grown}");
    world.first_scrapes = Duration::ZERO;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_costs_durability_and_no_alert() {
    let files = data();
    let mut world = World::kept(files.clone());
    world.load(&rule(0)).await.unwrap();
    files.inject(Fault::NoSpaceAfter(20));
    world.down(&["a"]);
    world.wait(20).await;
    assert_eq!(world.sent.take().len(), 1);
    assert_ne!(
        world.metrics("journal_failures_total"),
        ["narthex_rules_journal_failures_total 0"]
    );
    files.heal();
    // With the next thing to tell, all is told.
    world.wait(60).await;
    let before = world.alert();
    world.restart(Duration::from_secs(5)).await;
    world.load(&rule(0)).await.unwrap();
    assert_eq!(world.alert(), before);
}

/// The story of the alerts that [`every_kill`] tries: two come, one is kept firing, one is resolved.
async fn story(world: &World) {
    let text = rule(20).replace("for: 20s", "for: 20s\n    keep_firing_for: 30s");
    world.load(&text).await.unwrap();
    for (jobs, seconds) in [
        (&["a"][..], 20),
        (&["a", "b"], 40),
        (&["a"], 70),
        (&["a", "c"], 10),
    ] {
        if world.files.as_ref().is_some_and(MemFiles::is_frozen) {
            return;
        }
        world.down(jobs);
        world.wait(seconds).await;
    }
}

/// What an Alertmanager knows: when each job's alert began, and whether it is resolved.
fn heard(alerts: &[Alert], now_ms: i64) -> BTreeMap<String, (i64, bool)> {
    alerts
        .iter()
        .map(|alert| {
            let job = alert.labels.value("job").to_owned();
            (job, (alert.starts_at_ms, alert.is_resolved(now_ms)))
        })
        .collect()
}

/// Ends the process at each of its calls, in three ways: no alert that was heard of is told otherwise than by its end,
/// none falls back to pending, none is forgotten.
#[tokio::test(start_paused = true)]
async fn every_kill_and_every_power_cut() {
    let whole = data();
    let world = World::kept(whole.clone());
    story(&world).await;
    let calls = whole.calls();
    assert!(calls > 20, "{calls}");
    let mut random = 11_u64;
    for call in data().calls() + 1..=calls {
        for (fault, ending) in [
            (Fault::FreezeAtCall(call), 0),
            (Fault::FreezeAtSync(call), 1),
            (Fault::TornAtCall(call), 2),
        ] {
            let files = data();
            files.inject(fault);
            let mut world = World::kept(files.clone());
            story(&world).await;
            let heard_before = heard(&world.sent.peek(), world.now_ms());
            let left = match ending {
                0 => files.after_kill(),
                1 => files.after_power_loss(),
                _ => files.after_torn_power_loss(|below| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) % below
                }),
            };
            world.kill(left, Duration::from_secs(7)).await;
            world.sent.take();
            let text = rule(20).replace("for: 20s", "for: 20s\n    keep_firing_for: 30s");
            world.load(&text).await.unwrap();
            for alert in world.manager.alerts() {
                let job = alert.labels.value("job");
                let known = heard_before.contains_key(job);
                assert!(
                    !known || alert.state == AlertState::Firing,
                    "{fault:?}: {alert:?}"
                );
            }
            world.wait(12).await;
            let heard_after = heard(&world.sent.take(), world.now_ms());
            for (job, (since_ms, resolved)) in &heard_before {
                let (again_ms, again_resolved) = heard_after[job];
                assert_eq!(again_ms, *since_ms, "{fault:?}: {job}");
                assert!(again_resolved || !resolved, "{fault:?}: {job} came back");
                assert!(job != "a" || !again_resolved, "{fault:?}: {job} is told resolved");
            }
        }
    }
}

/// Each call fails once while the server goes on: what was told to anybody is known after the next restart.
#[tokio::test(start_paused = true)]
async fn every_call_fails_once() {
    let whole = data();
    story(&World::kept(whole.clone())).await;
    for call in data().calls() + 4..=whole.calls() {
        for fault in [Fault::Call(call), Fault::ShortWrite(call), Fault::Sync(call)] {
            let files = data();
            files.inject(fault);
            let mut world = World::kept(files.clone());
            story(&world).await;
            // Something to tell after the failure, whenever that was.
            world.wait(70).await;
            let before = world.manager.alerts();
            world.kill(files.after_power_loss(), Duration::from_secs(7)).await;
            world
                .load(&rule(20).replace("for: 20s", "for: 20s\n    keep_firing_for: 30s"))
                .await
                .unwrap();
            assert_eq!(world.manager.alerts(), before, "{fault:?}");
        }
    }
}

/// What the journal costs where 5,000 alerts of 50 rules are active: figures, not bounds. They grow with the alerts and rules.
/// `cargo test -p narthex-rules -- --ignored --nocapture what_it_costs`
#[tokio::test(start_paused = true)]
#[ignore = "a measurement"]
async fn what_it_costs() {
    let files = data();
    let mut world = World::kept(files.clone());
    let (rules, each) = (50, 100);
    let mut text = "groups:\n- name: g\n  rules:\n".to_owned();
    for rule in 0..rules {
        text += &format!(
            "  - {{alert: Alert{rule}, expr: up{rule}, for: 30s, labels: {{severity: page, team: storage}}, annotations: {{summary: 'the disk of {{{{ $labels.instance }}}} is nearly full'}}}}\n"
        );
        let names: Vec<String> = (0..each)
            .map(|n| format!("host-{rule}-{n}.example.org:9100"))
            .collect();
        let pairs: Vec<[(&str, &str); 2]> = names
            .iter()
            .map(|name| [("instance", name.as_str()), ("job", "node")])
            .collect();
        let elements: Vec<(&[(&str, &str)], f64)> =
            pairs.iter().map(|pair| (pair.as_slice(), 0.95)).collect();
        world.queries.set(&format!("up{rule}"), &elements);
    }
    let count = |world: &World, name: &str| -> f64 {
        world.metrics(name)[0]
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    world.load(&text).await.unwrap();
    let mut before = [0.0, 0.0];
    for (phase, seconds) in [
        ("first seen", 11),
        ("firing", 40),
        ("a minute", 60),
        ("another minute", 60),
    ] {
        let begun = std::time::Instant::now();
        world.wait(seconds).await;
        let now = ["journal_records_total", "journal_written_bytes_total"].map(|name| count(&world, name));
        println!(
            "{phase}: {} records, {} bytes, {:?} in all, file {}",
            now[0] - before[0],
            now[1] - before[1],
            begun.elapsed(),
            count(&world, "journal_bytes")
        );
        before = now;
    }
    let begun = std::time::Instant::now();
    world.restart(Duration::from_secs(1)).await;
    println!("restart {:?}", begun.elapsed());
    world.load(&text).await.unwrap();
    assert_eq!(world.manager.alerts().len(), rules * each);
}
