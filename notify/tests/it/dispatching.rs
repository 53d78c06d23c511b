//! Groups that are looked at, receivers that misbehave, configurations that change meanwhile.

use std::sync::Arc;
use std::time::Duration;

use files::Fault;
use jiff::Timestamp;
use metrics::{Format, Registry};
use model::alert::AlertSink;
use model::labels::Labels;
use narthex_notify::matcher::MatchOp;
use narthex_notify::{
    AlertFilter, Alertmanager, Decision, Observer, Options, Outcome, PostedAlert, PostedMatcher,
    PostedSilence, Suppressor,
};
use parking_lot::Mutex;

use crate::sim::{Manner, Sim, Told, files};

/// Each alert by its `g`; two receivers, one of them with two webhooks.
const CONFIG: &str = "\
route:
  receiver: one
  group_by: [g]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 4h
  routes:
  - matchers: ['to=\"two\"']
    receiver: two
receivers:
- name: one
  webhook_configs: [{url: 'http://x/a'}, {url: 'http://x/b'}]
- name: two
  webhook_configs: [{url: 'http://x/c'}]
";

struct Bench {
    sim: Sim,
    registry: Registry,
    server: Alertmanager,
}

impl Bench {
    fn new() -> Self {
        Bench::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let (sim, registry) = (Sim::new(), Registry::new());
        let mut options = sim.options(&files(), &registry);
        change(&mut options);
        let server = Alertmanager::open(options).expect("opened");
        sim.configure(&server, CONFIG).expect("good");
        Bench {
            sim,
            registry,
            server,
        }
    }

    fn post(&self, alerts: &[PostedAlert]) {
        self.server.post(alerts.to_vec()).expect("good alerts");
    }

    /// What was told: second, last letter of the URL, number of alerts.
    fn told(&self) -> Vec<(u64, String, usize)> {
        let show = |told: &Told| {
            let url = told.url.rsplit('/').next().unwrap_or("").to_owned();
            (told.after.as_secs(), url, told.notification.alerts.len())
        };
        let mut told: Vec<_> = self.sim.inbox.lock().iter().map(show).collect();
        told.sort();
        told
    }

    fn metric(&self, line: &str) -> f64 {
        let text = self.registry.render(Format::Text);
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {line} in\n{text}"))
    }
}

fn alert(pairs: &[(&str, &str)]) -> PostedAlert {
    PostedAlert {
        labels: Labels::from_pairs(pairs.iter().copied()),
        ..PostedAlert::default()
    }
}

fn tell(expected: &[(u64, &str, usize)]) -> Vec<(u64, String, usize)> {
    expected
        .iter()
        .map(|(second, url, alerts)| (*second, (*url).to_owned(), *alerts))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_delays_nobody() {
    let bench = Bench::new();
    bench.sim.behaves("http://x/a", Some(Manner::Hangs));
    bench.post(&[
        alert(&[("g", "1")]),
        alert(&[("g", "2")]),
        alert(&[("g", "1"), ("to", "two")]),
    ]);
    bench.sim.until(30).await;
    assert_eq!(bench.told(), tell(&[(10, "b", 1), (10, "b", 1), (10, "c", 1)]));
    // Its time is over when the next look is due; the others have been told and are not told again.
    bench.sim.until(75).await;
    let failed =
        "alertmanager_notifications_failed_total{integration=\"webhook\",reason=\"contextDeadlineExceeded\"}";
    assert_eq!(bench.metric(failed), 2.0);
    bench.sim.behaves("http://x/a", None);
    bench.sim.until(200).await;
    assert_eq!(bench.told().len(), 5);
    bench.server.stop().await.expect("stopped");
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_or_told_of_at_the_next_look() {
    let bench = Bench::new();
    bench.sim.behaves("http://x/a", Some(Manner::Refuses(3, true)));
    bench.sim.behaves("http://x/b", Some(Manner::Refuses(1, false)));
    bench.post(&[alert(&[("g", "1")])]);
    bench.sim.until(60).await;
    let told = bench.told();
    assert!(told.len() == 1 && told[0].1 == "a" && told[0].0 < 20, "{told:?}");
    bench.sim.until(71).await;
    assert_eq!(bench.told()[1..], tell(&[(70, "b", 1)]));
    let text = "alertmanager_notification_requests_failed_total{integration=\"webhook\"}";
    assert_eq!(bench.metric(text), 4.0);
    assert_eq!(
        bench.metric("alertmanager_notifications_total{integration=\"webhook\"}"),
        3.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_panics_fails_alone() {
    let bench = Bench::new();
    bench.sim.behaves("http://x/a", Some(Manner::Panics));
    bench.post(&[alert(&[("g", "1")])]);
    bench.sim.until(20).await;
    assert_eq!(bench.told(), tell(&[(10, "b", 1)]));
    assert_eq!(
        bench.metric("narthex_task_panics_total{task=\"notification\"}"),
        1.0
    );
    bench.sim.behaves("http://x/a", None);
    bench.sim.until(80).await;
    assert_eq!(bench.told(), tell(&[(10, "b", 1), (70, "a", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_reload_lets_what_is_on_its_way_arrive_once() {
    let bench = Bench::new();
    bench
        .sim
        .behaves("http://x/a", Some(Manner::Takes(Duration::from_secs(4))));
    bench.post(&[alert(&[("g", "1")])]);
    bench.sim.until(12).await;
    bench.sim.configure(&bench.server, CONFIG).expect("good");
    bench.sim.until(60).await;
    // The new group is old enough to be looked at at once, waits for the one who tells already, and finds it told.
    assert_eq!(bench.told(), tell(&[(10, "b", 1), (14, "a", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_reload_breaks_off_what_hangs() {
    let bench = Bench::new();
    bench.sim.behaves("http://x/a", Some(Manner::Hangs));
    bench.post(&[alert(&[("g", "1")])]);
    bench.sim.until(20).await;
    bench.sim.behaves("http://x/a", None);
    bench.sim.configure(&bench.server, CONFIG).expect("good");
    bench.sim.until(60).await;
    assert_eq!(bench.told(), tell(&[(10, "b", 1), (25, "a", 1)]));
    let failed =
        "alertmanager_notifications_failed_total{integration=\"webhook\",reason=\"contextCanceled\"}";
    assert_eq!(bench.metric(failed), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_bad_configuration_leaves_everything_as_it_was() {
    let bench = Bench::with(|options| {
        let good = options.build.clone();
        options.build = Arc::new(move |config, templates| {
            if config.name == "bad" {
                let source = receivers::Unbuilt::Secret("no such file".to_owned());
                let integration = "bad/webhook[0]".to_owned();
                return Err(receivers::BuildError { integration, source });
            }
            good(config, templates)
        });
    });
    bench.post(&[alert(&[("g", "1")])]);
    bench.sim.until(5).await;
    let bad = CONFIG
        .replace("name: two", "name: bad")
        .replace("receiver: two", "receiver: bad");
    assert_eq!(
        bench.sim.configure(&bench.server, &bad),
        Err("bad/webhook[0]: no such file".to_owned())
    );
    assert_eq!(bench.metric("alertmanager_config_last_reload_successful"), 0.0);
    bench.sim.until(11).await;
    assert_eq!(bench.server.receivers()[1].name, "two");
    assert_eq!(bench.metric("alertmanager_dispatcher_aggregation_groups"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_what_is_on_its_way() {
    let bench = Bench::new();
    bench
        .sim
        .behaves("http://x/c", Some(Manner::Takes(Duration::from_secs(3))));
    bench.post(&[alert(&[("g", "1"), ("to", "two")]), alert(&[("g", "2")])]);
    bench.sim.until(11).await;
    bench.server.stop().await.expect("stopped");
    assert_eq!(bench.told(), tell(&[(10, "a", 1), (10, "b", 1), (13, "c", 1)]));
    assert!(!bench.server.is_ready());
    bench.sim.until(200).await;
    assert_eq!(bench.told().len(), 3);
}

/// The reference may miss those that come behind the first old one of a post.
#[tokio::test(start_paused = true)]
async fn alerts_of_one_post_are_told_of_together() {
    let bench = Bench::new();
    let long_ago: Timestamp = "2026-05-13T09:00:00Z".parse().expect("a time");
    let old = |n: &str| PostedAlert {
        starts_at: Some(long_ago),
        ..alert(&[("g", "1"), ("n", n), ("to", "two")])
    };
    bench.post(&[old("1"), old("2"), old("3")]);
    bench.sim.until(1).await;
    assert_eq!(bench.told(), tell(&[(0, "c", 3)]));
}

#[tokio::test(start_paused = true)]
async fn two_nodes_with_the_same_key_tell_once() {
    let bench = Bench::new();
    let node = "- {matchers: ['to=\"two\"'], receiver: two, continue: true}\n  ";
    let config = CONFIG.replace("- matchers: ['to", &format!("{node}- matchers: ['to"));
    bench.sim.configure(&bench.server, &config).expect("good");
    bench
        .sim
        .behaves("http://x/c", Some(Manner::Takes(Duration::from_secs(1))));
    bench.post(&[alert(&[("g", "1"), ("to", "two")])]);
    bench.sim.until(50).await;
    assert_eq!(bench.server.groups(&AlertFilter::default()).len(), 2);
    assert_eq!(bench.told(), tell(&[(11, "c", 1)]));
}

#[tokio::test(start_paused = true)]
async fn rules_hand_over_their_alerts_without_a_network() {
    let bench = Bench::new();
    let now_ms = bench.server.now().as_millisecond();
    let of = |g: &str, ends_at_ms| model::alert::Alert {
        labels: Labels::from_pairs([("g", g), ("to", "two")]),
        annotations: Labels::from_pairs([("summary", "s")]),
        starts_at_ms: now_ms,
        ends_at_ms,
        generator_url: String::new(),
    };
    bench
        .server
        .send(vec![of("1", now_ms + 240_000), of("2", now_ms + 240_000)]);
    bench.sim.until(20).await;
    bench.server.send(vec![of("1", now_ms + 15_000)]);
    bench.sim.until(80).await;
    assert_eq!(bench.told(), tell(&[(10, "c", 1), (10, "c", 1), (70, "c", 1)]));
    // What is not told of again ends by itself.
    bench.sim.until(260).await;
    assert_eq!(bench.told().len(), 4);
}

/// A crash between sending and the log is the one case in which somebody is told twice, and it is once.
#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_costs_a_repetition_after_a_crash() {
    let (sim, files) = (Sim::new(), files());
    let server = sim.open(&files, &Registry::new());
    sim.configure(&server, CONFIG).expect("good");
    let one = [alert(&[("g", "1"), ("to", "two")])];
    server.post(one.to_vec()).expect("good");
    sim.until(5).await;
    files.inject(Fault::CallsFrom(0));
    sim.until(200).await;
    assert_eq!(sim.inbox.lock().len(), 1, "this process knows what it has sent");
    let left = files.after_kill();
    left.heal();
    drop(server.stop().await);
    let server = sim.open(&left, &Registry::new());
    sim.configure(&server, CONFIG).expect("good");
    server.post(one.to_vec()).expect("good");
    sim.until(400).await;
    let told: Vec<_> = sim
        .inbox
        .lock()
        .iter()
        .map(|told| (told.after, told.notification.reason))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
}

/// Writes down decisions.
#[derive(Default)]
struct Minutes(Mutex<Vec<String>>);

impl Observer for Minutes {
    fn decided(&self, decision: &Decision<'_>) {
        let what = match &decision.outcome {
            Outcome::Sent {
                integration,
                reason,
                is_durable,
                ..
            } => {
                format!("sent {integration} {} {is_durable}", reason.as_str())
            }
            Outcome::Failed {
                integration, failure, ..
            } => format!("failed {integration} {failure}"),
            Outcome::Known { integration, .. } => format!("known {integration}"),
            Outcome::LeftToHolder {
                integration, reason, ..
            } => {
                format!("left {integration} {}", reason.as_str())
            }
            Outcome::Suppressed { alert, by } => match by {
                Suppressor::Inhibition { source } => format!("{alert} inhibited by {source}"),
                Suppressor::Silences { ids } => format!("{alert} silenced by {} silences", ids.len()),
                Suppressor::Muted { intervals } | Suppressor::Inactive { intervals } => {
                    format!("{alert} {} {intervals:?}", by.as_str())
                }
            },
        };
        self.0
            .lock()
            .push(format!("{} {} {what}", decision.route_id, decision.receiver));
    }
}

#[tokio::test(start_paused = true)]
async fn every_decision_is_told_with_its_reason() {
    let minutes = Arc::new(Minutes::default());
    let observer = minutes.clone();
    let bench = Bench::with(|options| options.observer = Some(observer));
    let config = format!(
        "{CONFIG}inhibit_rules: [{{source_matchers: [s=c], target_matchers: [s=w]}}]\n\
         time_intervals: [{{name: always, time_intervals: [{{}}]}}]\n"
    );
    let config = config.replace(
        "    receiver: two\n",
        "    receiver: two\n    mute_time_intervals: [always]\n",
    );
    bench.sim.configure(&bench.server, &config).expect("good");
    bench.sim.behaves("http://x/b", Some(Manner::Refuses(1, false)));
    bench.post(&[
        alert(&[("g", "1"), ("s", "c")]),
        alert(&[("g", "1"), ("s", "w")]),
        alert(&[("g", "1"), ("to", "two")]),
    ]);
    bench.sim.until(71).await;
    let expected = [
        "{} one failed webhook[1] refused",
        "{} one known webhook[0]",
        "{} one sent webhook[0] first notification true",
        "{} one sent webhook[1] first notification true",
        "{} one {g=\"1\", s=\"w\"} inhibited by {g=\"1\", s=\"c\"}",
        "{} one {g=\"1\", s=\"w\"} inhibited by {g=\"1\", s=\"c\"}",
        "{}/{to=\"two\"}/0 two {g=\"1\", to=\"two\"} mute_time_interval [\"always\"]",
        "{}/{to=\"two\"}/0 two {g=\"1\", to=\"two\"} mute_time_interval [\"always\"]",
    ];
    let mut said = minutes.0.lock().clone();
    said.sort();
    assert_eq!(said, expected);
}

#[tokio::test(start_paused = true)]
async fn days_of_grouping_pass_in_milliseconds() {
    let begin = std::time::Instant::now();
    let bench = Bench::new();
    bench
        .sim
        .configure(&bench.server, &CONFIG.replace("60s", "5m"))
        .expect("good");
    let in_a_year: Timestamp = "2027-05-13T09:00:00Z".parse().expect("a time");
    let alerts: Vec<PostedAlert> = (0..15)
        .map(|n: u32| PostedAlert {
            ends_at: Some(in_a_year),
            ..alert(&[("g", &(n % 3).to_string()), ("n", &n.to_string()), ("to", "two")])
        })
        .collect();
    bench.post(&alerts);
    bench.sim.until(3 * 24 * 3600).await;
    // Each group at first, and then at the first look that is more than four hours after what the log has.
    let told = bench.told();
    assert!(told.iter().all(|(_, _, alerts)| *alerts == 5));
    let of_first: Vec<u64> = told.iter().step_by(3).map(|(second, _, _)| *second).collect();
    let expected: Vec<u64> = (0..18)
        .map(|n| 10 + n * (4 * 3600 + 300))
        .take_while(|s| *s < 3 * 24 * 3600)
        .collect();
    assert_eq!(of_first, expected);
    eprintln!("three days of three groups in {:?}", begin.elapsed());
}

/// Figures: `cargo test --release -p narthex-notify --test it many_alerts -- --ignored --nocapture`. One thread does
/// everything; what waits is skipped.
#[tokio::test(start_paused = true)]
#[ignore = "measures; takes some seconds without optimisation"]
async fn many_alerts_in_many_groups_are_told_of() {
    const ALERTS: usize = 100_000;
    const GROUPS: usize = 1_000;
    let bench = Bench::new();
    let rules = "inhibit_rules: [{source_matchers: [s=c], target_matchers: [s=w], equal: [cluster]}]\n";
    bench
        .sim
        .configure(&bench.server, &format!("{CONFIG}{rules}"))
        .expect("good");
    let alerts: Vec<PostedAlert> = (0..ALERTS)
        .map(|n| {
            let severity = if n % 10 == 0 { "c" } else { "w" };
            alert(&[
                ("alertname", "Slow"),
                ("g", &(n % GROUPS).to_string()),
                ("instance", &format!("host-{n}.example.org:9100")),
                ("job", "node"),
                ("s", severity),
                ("cluster", &(n % 20_001).to_string()),
                ("to", "two"),
            ])
        })
        .collect();
    let begin = std::time::Instant::now();
    let lap = |what: &str, since: std::time::Duration| {
        let now = begin.elapsed();
        eprintln!("{what}: {:?}", now - since);
        now
    };
    for batch in alerts.chunks(1_000) {
        bench.post(batch);
    }
    let lapped = lap("100,000 alerts posted", Duration::ZERO);
    bench.sim.until(20).await;
    let lapped = lap("1,000 groups looked at and told of", lapped);
    let told: usize = bench.told().iter().map(|(_, _, alerts)| alerts).sum();
    let inhibited = bench.metric("alertmanager_notifications_suppressed_total{reason=\"inhibition\"}");
    assert_eq!(told + inhibited as usize, ALERTS);
    for n in 0..1_000 {
        let silence = PostedSilence {
            matchers: vec![PostedMatcher {
                name: "cluster".to_owned(),
                op: MatchOp::Equal,
                value: n.to_string(),
            }],
            ends_at: Some(Timestamp::MAX),
            ..PostedSilence::default()
        };
        bench.server.put_silence(silence, None).await.expect("good");
    }
    let lapped = lap("1,000 silences made, each on the disk", lapped);
    bench.sim.until(80).await;
    let lapped = lap("looked at again with them", lapped);
    bench.sim.until(140).await;
    let lapped = lap("and again", lapped);
    let shown = bench.server.groups(&AlertFilter::default());
    lap("all shown", lapped);
    assert_eq!(
        shown.iter().map(|group| group.alerts.len()).sum::<usize>(),
        ALERTS
    );
}
