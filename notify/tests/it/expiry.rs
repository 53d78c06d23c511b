//! A word before silences end.

use std::collections::BTreeMap;
use std::time::Duration;

use files::MemFiles;
use metrics::Registry;
use model::labels::Labels;
use narthex_notify::config::Config;
use narthex_notify::matcher::{MatchOp, Syntax};
use narthex_notify::{Alertmanager, PostedAlert, PostedMatcher, PostedSilence};

use crate::sim::{Manner, Sim, files};

const CONFIG: &str = "\
route: {receiver: team, group_wait: 10s}
receivers:
- name: team
  webhook_configs: [{url: 'http://x/a'}]
- name: words
  webhook_configs: [{url: 'http://x/w'}]
silence_expiry: {before: 10m, receiver: words}
";

fn open(sim: &Sim, files: &MemFiles) -> Alertmanager {
    let server = sim.open(files, &Registry::new());
    sim.configure(&server, CONFIG).expect("good");
    server
}

/// A silence that ends so many minutes after now.
async fn silence(server: &Alertmanager, id: &str, minutes: i64) -> String {
    let posted = posted(server, id, minutes);
    server.put_silence(posted, None).await.expect("good").id
}

fn posted(server: &Alertmanager, id: &str, minutes: i64) -> PostedSilence {
    PostedSilence {
        id: id.to_owned(),
        matchers: vec![PostedMatcher {
            name: "g".to_owned(),
            op: MatchOp::Equal,
            value: "1".to_owned(),
        }],
        starts_at: server.silence(id).map(|known| known.starts_at),
        ends_at: Some(server.now() + jiff::SignedDuration::from_mins(minutes)),
        created_by: "me".to_owned(),
        comment: "new disks".to_owned(),
        annotations: BTreeMap::new(),
    }
}

fn alert(n: u64) -> PostedAlert {
    PostedAlert {
        labels: Labels::from_pairs([("g", "1"), ("n", &n.to_string())]),
        ends_at: Some(jiff::Timestamp::MAX),
        ..PostedAlert::default()
    }
}

/// What was said of silences: the second, and the description.
fn words(sim: &Sim) -> Vec<(u64, String)> {
    let inbox = sim.inbox.lock();
    let words = inbox.iter().filter(|told| told.url == "http://x/w");
    words
        .map(|told| {
            let alert = &told.notification.alerts[0];
            assert_eq!(alert.annotations["author"], "me");
            assert!(alert.annotations["summary"].ends_with(": new disks"));
            (told.after.as_secs(), alert.annotations["description"].clone())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn it_is_said_once_who_silences_what_and_until_when() {
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    server.post((0..3).map(alert).collect()).expect("good");
    let id = silence(&server, "", 30).await;
    let other = silence(&server, "", 20).await;
    sim.until(15).await;
    server.expire_silence(&other, None).await.expect("ended");
    sim.until(20 * 60 - 20).await;
    assert_eq!(words(&sim), []);
    sim.until(25 * 60).await;
    let said = format!("The silence {id} of {{g=\"1\"}} mutes 3 alerts now.");
    let told = words(&sim);
    assert!(told.len() == 1 && told[0].1 == said, "{told:?}");
    assert!((20 * 60..20 * 60 + 30).contains(&told[0].0), "{told:?}");
    // Neither a restart nor a kill says it again.
    drop(server);
    let server = open(&sim, &files.after_kill());
    sim.until(27 * 60).await;
    assert_eq!(words(&sim).len(), 1);
    // With another end it is another word.
    assert_eq!(silence(&server, &id, 30).await, id);
    sim.until(60 * 60).await;
    let told = words(&sim);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!((47 * 60..47 * 60 + 30).contains(&told[1].0), "{told:?}");
    server.stop().await.expect("stopped");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_short_is_told_of_when_it_is_made_and_not_before_it_begins() {
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    sim.until(61).await;
    let short = silence(&server, "", 5).await;
    sim.until(62).await;
    assert_eq!(words(&sim).len(), 1, "at once");
    let posted = PostedSilence {
        starts_at: Some(server.now() + jiff::SignedDuration::from_mins(3)),
        ..posted(&server, "", 5)
    };
    server.put_silence(posted, None).await.expect("good");
    sim.until(62 + 3 * 60 - 1).await;
    assert_eq!(words(&sim).len(), 1, "it has not begun");
    sim.until(62 + 3 * 60 + 16).await;
    assert_eq!(words(&sim).len(), 2);
    // A change is looked at at once, too.
    let long = silence(&server, "", 60).await;
    sim.until(300).await;
    assert_eq!(silence(&server, &long, 9).await, long);
    sim.until(301).await;
    assert_eq!(words(&sim).len(), 3);
    assert_ne!(short, long);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_said_later() {
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    sim.behaves("http://x/w", Some(Manner::Refuses(2, false)));
    silence(&server, "", 5).await;
    sim.until(120).await;
    let told = words(&sim);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 >= 30, "{told:?}");
    sim.until(600).await;
    assert_eq!(words(&sim).len(), 1);
    // One that hangs ends with its time, and a stop does not wait for it.
    sim.behaves("http://x/w", Some(Manner::Hangs));
    silence(&server, "", 5).await;
    sim.until(620).await;
    tokio::time::timeout(Duration::from_secs(10), server.stop())
        .await
        .expect("in time")
        .expect("stopped");
}

#[test]
fn the_section_is_checked() {
    let read = |section: &str| {
        let text = format!("route: {{receiver: a}}\nreceivers: [{{name: a}}]\nsilence_expiry: {section}\n");
        let config = Config::parse("alertmanager.yml", &text, Syntax::Fallback);
        config.map_err(|error| error.message().to_owned())
    };
    let good = read("{before: 1h, receiver: a}").expect("good");
    assert!(
        good.to_yaml()
            .ends_with("silence_expiry:\n  before: 1h\n  receiver: a\n"),
        "{}",
        good.to_yaml()
    );
    for (section, wrong) in [
        (
            "{before: 1h, receiver: b}",
            "undefined receiver \"b\" used in silence_expiry",
        ),
        ("{before: 0s, receiver: a}", "before must be longer than 0s"),
        ("{receiver: a}", "missing before in silence_expiry"),
        ("{before: 1h}", "missing receiver in silence_expiry"),
        (
            "{before: 1h, receiver: a, x: 1}",
            "field x not found in silence_expiry",
        ),
    ] {
        assert_eq!(read(section).map(|_| ()), Err(wrong.to_owned()), "{section}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silence_of_everything_is_worth_a_warning() {
    let (sim, files) = (Sim::new(), files());
    let server = open(&sim, &files);
    let posted = |value: &str, op| PostedSilence {
        matchers: vec![PostedMatcher {
            name: "n".to_owned(),
            op,
            value: value.to_owned(),
        }],
        ends_at: Some(jiff::Timestamp::MAX),
        ..PostedSilence::default()
    };
    let warning = async |value: &str, op| {
        let put = server.put_silence(posted(value, op), None).await.expect("good");
        put.breadth.map(|breadth| breadth.to_string())
    };
    server.post((0..9).map(alert).collect()).expect("good");
    assert_eq!(warning(".+", MatchOp::Regex).await, None);
    server.post((9..12).map(alert).collect()).expect("good");
    assert_eq!(
        warning(".+", MatchOp::Regex).await.as_deref(),
        Some("the silence is about all 12 alerts that there are")
    );
    assert_eq!(warning("1", MatchOp::NotEqual).await, None);
    server.post((12..1100).map(alert).collect()).expect("good");
    assert_eq!(
        warning("1", MatchOp::NotEqual).await.as_deref(),
        Some("the silence is about 1099 of 1100 alerts")
    );
}
