//! The history of a whole Alertmanager: what happened, and why.

use std::time::Duration;

use metrics::Registry;
use model::labels::Labels;
use narthex_notify::history::{EventKind, SilenceFate, What};
use narthex_notify::matcher::MatchOp;
use narthex_notify::{Alertmanager, HistoryLimits, HistoryQuery, PostedAlert, PostedMatcher, PostedSilence};

use crate::sim::{Manner, Sim, files};

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
    mute_time_intervals: [always]
receivers:
- name: one
  webhook_configs: [{url: 'http://x/a'}, {url: 'http://x/b'}]
- name: two
  webhook_configs: [{url: 'http://x/c'}]
inhibit_rules: [{source_matchers: [s=c], target_matchers: [s=w]}]
time_intervals: [{name: always, time_intervals: [{}]}]
";

fn open(sim: &Sim, files: &files::MemFiles) -> Alertmanager {
    let mut options = sim.options(files, &Registry::new());
    options.history = HistoryLimits {
        age: Duration::from_secs(15 * 24 * 3600),
        bytes: 64 << 20,
    };
    let server = Alertmanager::open(options).expect("opened");
    sim.configure(&server, CONFIG).expect("good");
    server
}

fn alert(labels: &[(&str, &str)]) -> PostedAlert {
    PostedAlert {
        labels: Labels::from_pairs(labels.iter().copied()),
        ..PostedAlert::default()
    }
}

/// Events, oldest first, without times and ids.
fn told(server: &Alertmanager, kinds: &[EventKind]) -> Vec<String> {
    let query = HistoryQuery {
        kinds: kinds.to_vec(),
        ..HistoryQuery::default()
    };
    let page = server.history(&query).expect("a history");
    assert_eq!(page.next, None);
    let show = |what: &What| match what {
        What::Alert(change) => format!("{:?} {:?}", change.state, change.labels),
        What::Notification(told) => format!(
            "{:?} {} {} {} {:?} {:?}",
            told.result, told.receiver, told.integration, told.alert_count, told.reason, told.error
        ),
        What::Suppressed(told) => format!(
            "{} {:?} {:?} {:?} {:?}",
            told.by, told.labels, told.source, told.intervals, told.silences
        ),
        What::Silence(change) => format!("{:?} {:?} {:?}", change.change, change.matchers, change.by),
    };
    page.events.iter().rev().map(|event| show(&event.what)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_alerts_is_told_once_with_its_reason() {
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    sim.behaves("http://x/b", Some(Manner::Refuses(1, false)));
    let alerts = [
        alert(&[("g", "1"), ("s", "c")]),
        alert(&[("g", "1"), ("s", "w")]),
        alert(&[("g", "1"), ("to", "two")]),
    ];
    server.post(alerts.to_vec()).expect("good");
    // Told again, it is the same alert.
    sim.until(5).await;
    server.post(alerts.to_vec()).expect("good");
    sim.until(200).await;
    assert_eq!(
        told(&server, &[EventKind::Alert]),
        [
            r#"Firing {"g": "1", "s": "c"}"#,
            r#"Firing {"g": "1", "s": "w"}"#,
            r#"Firing {"g": "1", "to": "two"}"#,
        ]
    );
    let mut notified = told(&server, &[EventKind::Notification]);
    notified.sort();
    assert_eq!(
        notified,
        [
            r#"Failed one webhook[1] 1 Some("first notification") Some("refused")"#,
            r#"Sent one webhook[0] 1 Some("first notification") None"#,
            r#"Sent one webhook[1] 1 Some("first notification") None"#,
            r#"Unchanged one webhook[0] 1 None None"#,
            r#"Unchanged one webhook[1] 1 None None"#,
        ]
    );
    let mut suppressed = told(&server, &[EventKind::Suppressed]);
    suppressed.sort();
    assert_eq!(
        suppressed,
        [
            r#"inhibition {"g": "1", "s": "w"} Some({"g": "1", "s": "c"}) [] []"#,
            r#"mute_time_interval {"g": "1", "to": "two"} None ["always"] []"#,
        ]
    );
    // Without an end they are resolved five minutes after they were told of, and the groups notice.
    sim.until(500).await;
    let resolved = told(&server, &[EventKind::Alert]);
    assert_eq!(resolved.len(), 6, "{resolved:?}");
    assert_eq!(
        resolved[3..]
            .iter()
            .filter(|line| line.starts_with("Resolved"))
            .count(),
        3
    );
    // A restart knows it all, also after a kill.
    drop(server);
    let after = open(&sim, &files.after_kill());
    assert_eq!(told(&after, &[EventKind::Alert]), resolved);
}

#[tokio::test(start_paused = true)]
async fn silences_are_told_from_their_beginning_to_their_end() {
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    let posted = |id: &str, seconds: i64| PostedSilence {
        id: id.to_owned(),
        matchers: vec![PostedMatcher {
            name: "g".to_owned(),
            op: MatchOp::Equal,
            value: "1".to_owned(),
        }],
        ends_at: Some(server.now() + jiff::SignedDuration::from_secs(seconds)),
        starts_at: server.silence(id).map(|known| known.starts_at),
        created_by: "me".to_owned(),
        ..PostedSilence::default()
    };
    let id = server.put_silence(posted("", 100), None).await.expect("good").id;
    server.post(vec![alert(&[("g", "1")])]).expect("good");
    sim.until(15).await;
    server
        .put_silence(posted(&id, 30), Some("ops"))
        .await
        .expect("good");
    let other = server.put_silence(posted("", 1000), None).await.expect("good").id;
    server.expire_silence(&other, Some("token")).await.expect("good");
    server.expire_silence(&other, Some("token")).await.expect("good");
    sim.until(300).await;
    let expected = [
        (SilenceFate::Created, "None"),
        (SilenceFate::Updated, r#"Some("ops")"#),
        (SilenceFate::Created, "None"),
        (SilenceFate::Expired, r#"Some("token")"#),
        (SilenceFate::Ended, "None"),
    ]
    .map(|(fate, by)| format!(r#"{fate:?} ["g=\"1\""] {by}"#));
    assert_eq!(told(&server, &[EventKind::Silence]), expected);
    let suppressed = told(&server, &[EventKind::Suppressed]);
    assert_eq!(suppressed, [format!(r#"silence {{"g": "1"}} None [] ["{id}"]"#)]);
    assert_eq!(
        told(&server, &[EventKind::Notification]).len(),
        4,
        "two integrations, told and known"
    );
}

#[tokio::test(start_paused = true)]
async fn a_notification_of_many_alerts_is_several_events() {
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    let alerts = (0..250).map(|n| alert(&[("g", "1"), ("n", &n.to_string())]));
    server.post(alerts.collect()).expect("good");
    sim.until(30).await;
    let query = HistoryQuery {
        kinds: vec![EventKind::Notification],
        ..HistoryQuery::default()
    };
    let page = server.history(&query).expect("a history");
    let counts: Vec<usize> = page
        .events
        .iter()
        .map(|event| match &event.what {
            What::Notification(told) => {
                assert_eq!(told.alert_count, 250);
                told.alerts.len()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts.len(), 6, "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 500);
}

#[tokio::test(start_paused = true)]
async fn who_would_have_been_told_is_named_each_also_where_groups_have_one_key() {
    const CONFIG: &str = "\
route:
  receiver: one
  routes:
  - {matchers: ['g = 1'], receiver: one, continue: true}
  - {matchers: ['g = 1'], receiver: two}
receivers:
- {name: one, webhook_configs: [{url: 'http://x/a'}]}
- {name: two, webhook_configs: [{url: 'http://x/b'}]}
";
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    sim.configure(&server, CONFIG).expect("good");
    let silence = PostedSilence {
        matchers: vec![PostedMatcher {
            name: "g".to_owned(),
            op: MatchOp::Equal,
            value: "1".to_owned(),
        }],
        ends_at: Some(jiff::Timestamp::MAX),
        ..PostedSilence::default()
    };
    server.put_silence(silence, None).await.expect("good");
    server.post(vec![alert(&[("g", "1")])]).expect("good");
    // Several looks are told once.
    sim.until(1000).await;
    let query = HistoryQuery {
        kinds: vec![EventKind::Suppressed],
        ..HistoryQuery::default()
    };
    let page = server.history(&query).expect("a history");
    let receiver = |event: &narthex_notify::history::Event| match &event.what {
        What::Suppressed(told) => told.receiver.clone(),
        other => panic!("{other:?}"),
    };
    let mut receivers: Vec<String> = page.events.iter().map(receiver).collect();
    receivers.sort();
    assert_eq!(receivers, ["one", "two"]);
}
