//! Scenarios against the reference: what happens, and by the second what is told, shown and suppressed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use files::{Files, MemFiles};
use jiff::{SignedDuration, Timestamp};
use metrics::Registry;
use model::labels::Labels;
use narthex_notify::matcher::MatchOp;
use narthex_notify::{AlertFilter, Alertmanager, PostedAlert, PostedMatcher, PostedSilence};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sim::{BEGIN, Sim, Told, files, folder};

/// Alerts are posted a little after the full second, so that what follows from them is not at the very moment of an event.
const POSTED_AFTER: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
struct Scenario {
    name: String,
    config: String,
    #[serde(default)]
    flags: Vec<String>,
    events: Vec<Vec<Value>>,
    until: u64,
    sent: Vec<(u64, Value)>,
    #[serde(default)]
    either: Vec<Vec<u64>>,
    #[serde(default)]
    seen: Vec<(u64, String, Value)>,
    #[serde(default)]
    suppressed_total: BTreeMap<String, u64>,
}

fn scenarios() -> Vec<Scenario> {
    let Some(folder) = testkit::conformance("notify/timelines") else {
        return Vec::new();
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .collect();
    paths.sort();
    let read = |path: &Path| std::fs::read_to_string(path).expect("scenario");
    paths
        .iter()
        .map(|path| serde_json::from_str(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .collect()
}

/// Whether a killed server loses what is not in its snapshots, as the reference's does.
#[derive(Clone, Copy, PartialEq)]
enum Kill {
    LosesAllButSnapshots,
    LosesNothing,
}

/// A scenario that is being played.
struct Play {
    sim: Sim,
    files: MemFiles,
    registry: Registry,
    server: Alertmanager,
    config: String,
    start_delay: Duration,
    kill: Kill,
    silences: BTreeMap<String, String>,
    seen: Vec<(u64, String, Value)>,
}

#[test]
fn timelines_are_the_references() {
    let mut failed = Vec::new();
    for scenario in scenarios() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("runtime");
        let differences = runtime.block_on(play(&scenario, Kill::LosesAllButSnapshots));
        if !differences.is_empty() {
            failed.push(format!("{}:\n{}", scenario.name, differences.join("\n")));
        }
    }
    assert!(
        failed.is_empty(),
        "{} differ\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

/// Where the reference tells twice, or forgets a silence, because it was killed, we do not.
#[test]
fn a_killed_server_remembers() {
    for scenario in scenarios()
        .into_iter()
        .filter(|scenario| scenario.name.starts_with("restart-kill"))
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("runtime");
        let mut scenario = scenario;
        match scenario.name.as_str() {
            // Told once.
            "restart-kill" => drop(scenario.sent.pop()),
            // Silenced all the time.
            "restart-kill-silence" => scenario.sent.clear(),
            other => panic!("{other} is not known"),
        }
        scenario.seen.retain(|(_, what, _)| what == "killed");
        scenario.events.retain(|event| event[1] != "look");
        scenario.suppressed_total.clear();
        let differences = runtime.block_on(play(&scenario, Kill::LosesNothing));
        assert!(
            differences.is_empty(),
            "{}: {}",
            scenario.name,
            differences.join("\n")
        );
    }
}

async fn play(scenario: &Scenario, kill: Kill) -> Vec<String> {
    let (sim, files, registry) = (Sim::new(), files(), Registry::new());
    let delay = scenario
        .flags
        .iter()
        .find_map(|flag| flag.strip_prefix("--dispatch.start-delay="));
    let delay = delay.map_or(0, |text| {
        model::duration::parse_duration(text).expect("a duration")
    });
    let mut play = Play {
        server: sim.open(&files, &registry),
        config: fill(&scenario.config),
        start_delay: Duration::from_millis(delay as u64),
        kill,
        silences: BTreeMap::new(),
        seen: Vec::new(),
        sim,
        files,
        registry,
    };
    play.start();
    for event in &scenario.events {
        let after = Duration::from_secs_f64(event[0].as_f64().expect("seconds"));
        tokio::time::sleep_until(play.sim.clock.at(after)).await;
        play.event(
            after.as_secs(),
            event[1].as_str().expect("an action"),
            event.get(2),
        )
        .await;
    }
    let end = Duration::from_secs(scenario.until) + Duration::from_millis(999);
    tokio::time::sleep_until(play.sim.clock.at(end)).await;
    play.differences(scenario)
}

impl Play {
    fn start(&mut self) {
        self.registry = Registry::new();
        let mut options = self.sim.options(&self.files, &self.registry);
        options.start_delay = self.start_delay;
        self.server = Alertmanager::open(options).expect("opened");
        self.sim
            .configure(&self.server, &self.config)
            .expect("a good configuration");
    }

    async fn event(&mut self, second: u64, action: &str, argument: Option<&Value>) {
        match action {
            "post" => {
                tokio::time::sleep(POSTED_AFTER).await;
                let alerts = argument.and_then(Value::as_array).expect("alerts");
                self.server
                    .post(alerts.iter().map(alert).collect())
                    .expect("good alerts");
            }
            "silence" => self.silence(argument.expect("name and body")).await,
            "expire" => {
                let name = argument.and_then(Value::as_str).expect("a name");
                self.server
                    .expire_silence(&self.silences[name], None)
                    .await
                    .expect("it exists");
            }
            "stop" => {
                self.server.stop().await.expect("stopped");
                self.seen.push((second, "stopped".to_owned(), Value::Null));
            }
            "kill" => {
                let left = self.files.after_kill();
                self.server.stop().await.expect("stopped");
                self.files = left;
                if self.kill == Kill::LosesAllButSnapshots {
                    for name in ["silences.journal", "nflog.journal"] {
                        // One that was never written to is not there.
                        let _ = self.files.remove_file(&folder().join(name));
                    }
                }
                self.seen.push((second, "killed".to_owned(), Value::Null));
            }
            "start" => self.start(),
            "reload" => {
                let text = argument.and_then(Value::as_str).map(fill);
                let text = text.unwrap_or_else(|| self.config.clone());
                let status = match self.sim.configure(&self.server, &text) {
                    Ok(()) => 200,
                    Err(_) => 500,
                };
                if status == 200 {
                    self.config = text;
                }
                self.seen.push((second, "reload".to_owned(), json!(status)));
            }
            "look" => {
                let groups = self.look();
                self.seen.push((second, "groups".to_owned(), groups));
            }
            other => panic!("no action {other}"),
        }
    }

    async fn silence(&mut self, argument: &Value) {
        let (name, body) = (argument[0].as_str().expect("a name"), &argument[1]);
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let known = text("id");
        let matchers = body["matchers"]
            .as_array()
            .expect("matchers")
            .iter()
            .map(|matcher| {
                let is = |key: &str| matcher[key].as_bool().unwrap_or_default();
                PostedMatcher {
                    name: matcher["name"].as_str().expect("a name").to_owned(),
                    value: matcher["value"].as_str().expect("a value").to_owned(),
                    op: match (is("isRegex"), is("isEqual")) {
                        (false, true) => MatchOp::Equal,
                        (false, false) => MatchOp::NotEqual,
                        (true, true) => MatchOp::Regex,
                        (true, false) => MatchOp::NotRegex,
                    },
                }
            });
        let posted = PostedSilence {
            id: self.silences.get(&known).cloned().unwrap_or_default(),
            matchers: matchers.collect(),
            starts_at: Some(time(&body["startsAt"])),
            ends_at: Some(time(&body["endsAt"])),
            created_by: text("createdBy"),
            comment: text("comment"),
            annotations: BTreeMap::new(),
        };
        let id = self
            .server
            .put_silence(posted, None)
            .await
            .expect("a good silence")
            .id;
        let before = self.silences.iter().find(|(_, known)| **known == id);
        if let Some(before) = before.map(|(name, _)| name.clone()) {
            let shown = json!({ name: format!("same id as {before}") });
            self.seen.push((self.second(), "silence".to_owned(), shown));
            self.silences.remove(&before);
        }
        self.silences.insert(name.to_owned(), id);
    }

    fn second(&self) -> u64 {
        model::clock::Clock::elapsed(&*self.sim.clock).as_secs()
    }

    /// Groups as the scenarios show them.
    fn look(&self) -> Value {
        let all = self.server.alerts(&AlertFilter::default());
        let labels_of = |fingerprint: &String| {
            let alert = all
                .iter()
                .find(|view| format!("{:016x}", view.alert.fingerprint) == *fingerprint);
            pairs(&alert.expect("an alert inhibits").alert.labels)
        };
        let name_of = |id: &String| {
            let silence = self.silences.iter().find(|(_, known)| *known == id);
            silence.expect("a silence").0.clone()
        };
        let groups = self
            .server
            .groups(&AlertFilter::default())
            .into_iter()
            .map(|group| {
                let alerts = group.alerts.iter().map(|view| {
                    let state = if view.is_suppressed() {
                        "suppressed"
                    } else {
                        "active"
                    };
                    let mut shown = json!({ "labels": pairs(&view.alert.labels), "state": state });
                    let mut add = |key: &str, list: Vec<Value>| {
                        if !list.is_empty() {
                            shown[key] = Value::Array(list);
                        }
                    };
                    add(
                        "silencedBy",
                        view.silenced_by.iter().map(name_of).map(Value::from).collect(),
                    );
                    add("inhibitedBy", view.inhibited_by.iter().map(labels_of).collect());
                    add(
                        "mutedBy",
                        view.muted_by.iter().cloned().map(Value::from).collect(),
                    );
                    shown
                });
                json!({
                    "receiver": group.receiver,
                    "labels": pairs(&group.labels),
                    "alerts": alerts.collect::<Vec<_>>(),
                })
            });
        groups.collect()
    }

    fn differences(&self, scenario: &Scenario) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                differences.push(format!("{what}\n  ours   {ours}\n  theirs {theirs}"));
            }
        };
        let mut ours: Vec<(u64, String)> = self.sim.inbox.lock().iter().map(shown).collect();
        ours.sort();
        let expected = |seconds: Option<&Vec<u64>>| {
            let mut theirs: Vec<(u64, String)> = Vec::new();
            for (index, (second, what)) in scenario.sent.iter().enumerate() {
                let second = seconds.map_or(*second, |seconds| seconds[index]);
                theirs.push((second, what.to_string()));
            }
            theirs.sort();
            theirs
        };
        let alternatives = scenario.either.iter().map(|seconds| expected(Some(seconds)));
        let theirs = alternatives.into_iter().find(|theirs| *theirs == ours);
        let theirs = theirs.unwrap_or_else(|| expected(None));
        compare("sent", format!("{ours:#?}"), format!("{theirs:#?}"));
        compare("seen", format!("{:?}", self.seen), format!("{:?}", scenario.seen));
        let mut suppressed = BTreeMap::new();
        self.registry.visit(|name, _, _, samples| {
            if name == "alertmanager_notifications_suppressed_total" {
                for (labels, value) in samples {
                    if let metrics::Value::Single(count) = value {
                        suppressed.insert(labels[0].1.clone(), *count as u64);
                    }
                }
            }
        });
        if !scenario.suppressed_total.is_empty() {
            let theirs = &scenario.suppressed_total;
            compare("suppressed", format!("{suppressed:?}"), format!("{theirs:?}"));
        }
        differences
    }
}

/// What was told, as the scenarios show it.
fn shown(told: &Told) -> (u64, String) {
    let notification = &told.notification;
    let word = |is_resolved: bool| if is_resolved { "resolved" } else { "firing" };
    let alerts: Vec<Value> = notification
        .alerts
        .iter()
        .map(|alert| {
            let mut shown = json!({
                "labels": pairs(&alert.labels),
                "status": word(alert.ends_at.is_some()),
                "startsAt": after_begin(alert.starts_at),
                "endsAt": alert.ends_at.map_or("zero".to_owned(), after_begin),
            });
            if !alert.annotations.is_empty() {
                shown["annotations"] = json!(alert.annotations);
            }
            shown
        })
        .collect();
    let all_resolved = notification.alerts.iter().all(|alert| alert.ends_at.is_some());
    let what = json!({
        "path": told.url.rsplit_once('/').map(|(_, path)| format!("/{path}")),
        "status": word(all_resolved),
        "reason": notification.reason.as_str(),
        "groupLabels": pairs(&notification.group_labels),
        "alerts": alerts,
    });
    (told.after.as_secs(), what.to_string())
}

fn pairs(labels: &Labels) -> Value {
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn alert(body: &Value) -> PostedAlert {
    let pairs = |key: &str| {
        let pairs = body[key].as_object().into_iter().flatten();
        pairs.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
    };
    PostedAlert {
        labels: Labels::from_pairs(pairs("labels")),
        annotations: pairs("annotations").collect(),
        starts_at: body.get("startsAt").map(time),
        ends_at: body.get("endsAt").map(time),
        ..PostedAlert::default()
    }
}

/// `T+n` and `T-n`, in seconds after the beginning.
fn time(text: &Value) -> Timestamp {
    let begin: Timestamp = BEGIN.parse().expect("a time");
    let seconds = text
        .as_str()
        .and_then(|text| text.strip_prefix('T'))
        .expect("a time");
    let seconds: f64 = seconds.parse().expect("seconds");
    begin + SignedDuration::from_millis((seconds * 1000.0) as i64)
}

fn after_begin(time: Timestamp) -> String {
    let begin: Timestamp = BEGIN.parse().expect("a time");
    let ms = time.as_millisecond() - begin.as_millisecond();
    format!("T{:+}", ms.div_euclid(1000))
}

/// Fills placeholders: the server's address, and times of day in places.
fn fill(text: &str) -> String {
    let mut text = text.replace("${HTTP}", "127.0.0.1:1");
    while let Some((before, rest)) = text.split_once("${") {
        let (inside, behind) = rest.split_once('}').expect("a closing brace");
        let (when, zone) = inside.split_once(" in ").expect("a place");
        let zone = jiff::tz::TimeZone::get(zone).expect("a time zone");
        let civil = zone.to_datetime(time(&Value::from(when)));
        text = format!("{before}{:02}:{:02}{behind}", civil.hour(), civil.minute());
    }
    text
}
