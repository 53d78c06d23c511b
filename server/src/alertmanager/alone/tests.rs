//! The reference's answers, replayed: the real site in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use clap::Command;
use files::MemFiles;
use http::Request;
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use model::clock::Clock;
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::*;
use crate::cli::alertmanager::FLAGS;
use crate::cli::flags::{self, FlagValues};

/// When a sequence begins.
const BEGIN: &str = "2026-05-13T10:00:00Z";

/// How long after the time that a sequence names something may have begun, at most.
const LATE_MS_MAX: i128 = 100;

/// Time of the paused clock of the runtime.
struct SimClock(Instant);

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        begin().as_millisecond() + self.elapsed().as_millis() as i64
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn begin() -> Timestamp {
    BEGIN.parse().expect("a time")
}

/// A site under test.
struct Stage {
    router: Router,
    reloader: Reloader,
    reloads: mpsc::Receiver<ReloadRequest>,
    folder: tempfile::TempDir,
    registry: metrics::Registry,
    /// Ids of silences, in the order of their appearance.
    silences: Vec<String>,
}

impl Stage {
    async fn begin(case: &Value) -> Stage {
        let folder = tempfile::tempdir().expect("folder");
        let text = |key: &str| case[key].as_str();
        let external = text("external").unwrap_or("http://am.example.org/ops");
        let mut words = vec![
            "alertmanager".to_owned(),
            format!("--config.file={}", folder.path().join("am.yml").display()),
            format!("--web.external-url={external}"),
        ];
        let flags = case["flags"].as_array().into_iter().flatten();
        words.extend(flags.map(|flag| flag.as_str().expect("a flag").to_owned()));
        if !words.iter().any(|word| word.starts_with("--web.route-prefix")) {
            words.push("--web.route-prefix=/".to_owned());
        }
        let command = flags::add_to(FLAGS, Command::new("alertmanager"));
        let matches = command.try_get_matches_from(words).expect("flags");
        let options = AlertmanagerOptions::new(FlagValues::from_matches(FLAGS, &matches)).expect("flags");
        // Nobody listens there; what is counted is the same.
        let config = text("config")
            .expect("a configuration")
            .replace("${HTTP}", "127.0.0.1:1");
        std::fs::write(&options.config_file, config).expect("configuration");
        Stage::build(options, folder).await
    }

    async fn build(options: AlertmanagerOptions, folder: tempfile::TempDir) -> Stage {
        let registry = metrics::Registry::new();
        let supervisor = Supervisor::new(&registry);
        let external_url = external_url(&options, "localhost:9093");
        let slot = Slot::new(notify::Options {
            clock: Arc::new(SimClock(Instant::now())),
            files: Arc::new(MemFiles::new()),
            ..slot_options(&options, &external_url, &registry)
        });
        let (reload, reloads) = mpsc::channel(RELOADS_WAITING);
        let site = site(&options, &external_url, &registry, slot.clone(), reload);
        let reloader = Reloader {
            options,
            slot,
            guard: None,
            supervisor,
        };
        reloader.reload().await.expect("a good configuration");
        Stage {
            router: router(site, Trust::new(None, &external_url), None),
            reloader,
            reloads,
            folder,
            registry,
            silences: Vec::new(),
        }
    }

    /// Sends a request, and reloads where it asks for that.
    async fn ask(&mut self, request: Request<Body>) -> http::Response<Vec<u8>> {
        let answering = self.router.clone().oneshot(request);
        let reloading = async {
            let asked = self.reloads.recv().await.expect("the site lives");
            let _ = asked.send(self.reloader.reload().await);
            std::future::pending::<()>().await;
        };
        let response = tokio::select! {
            response = answering => response.unwrap_or_else(|never| match never {}),
            () = reloading => unreachable!("it never ends"),
        };
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes().to_vec();
        http::Response::from_parts(parts, bytes)
    }

    fn request(&self, step: &Value) -> Request<Body> {
        let text = |key: &str| step[key].as_str().expect("a text");
        let body = match &step["body"] {
            Value::Null => None,
            Value::String(text) => Some(self.filled(text)),
            value => Some(self.filled(&value.to_string())),
        };
        let mut request = Request::builder()
            .method(text("method"))
            .uri(self.filled(text("path")));
        let headers = step["headers"].as_object().into_iter().flatten();
        let mut has_type = step["no_type"] == true || body.is_none();
        for (name, value) in headers {
            has_type |= name.eq_ignore_ascii_case("content-type");
            request = request.header(name, value.as_str().expect("a text"));
        }
        if !has_type {
            request = request.header("Content-Type", "application/json");
        }
        let bytes = match body {
            Some(text) if step["latin1"] == true => text.chars().map(|c| c as u8).collect(),
            body => body.unwrap_or_default().into_bytes(),
        };
        request.body(Body::from(bytes)).expect("a request")
    }

    /// Fills the placeholders of a request.
    fn filled(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((head, tail)) = rest.split_once("${") {
            let (name, tail) = tail.split_once('}').expect("an end");
            out.push_str(head);
            out.push_str(&self.value(name).unwrap_or_else(|| panic!("{name}")));
            rest = tail;
        }
        out + rest
    }

    /// What a placeholder stands for; `None` for one that is not known yet.
    fn value(&self, name: &str) -> Option<String> {
        if let Some(number) = name.strip_prefix("SIL") {
            let number: usize = number.parse().expect("a number");
            return self.silences.get(number - 1).cloned();
        }
        if let Some(seconds) = name.strip_prefix("NOW") {
            let seconds: i64 = seconds.parse().expect("seconds");
            let time = begin() + SignedDuration::from_secs(seconds);
            return Some(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
        }
        let (what, count) = name.strip_prefix("REPEAT:")?.split_once(':')?;
        Some(what.repeat(count.parse().expect("a number")))
    }

    /// Whether a value is what is expected; ids of silences that appear first here are remembered.
    fn is(&mut self, actual: &Value, expected: &Value) -> bool {
        match (actual, expected) {
            (Value::String(actual), Value::String(expected)) => self.is_text(actual, expected),
            (Value::Array(actual), Value::Array(expected)) => {
                actual.len() == expected.len()
                    && actual
                        .iter()
                        .zip(expected)
                        .all(|(actual, expected)| self.is(actual, expected))
            }
            (Value::Object(actual), Value::Object(expected)) => {
                actual.len() == expected.len()
                    && expected
                        .iter()
                        .all(|(key, value)| actual.get(key).is_some_and(|actual| self.is(actual, value)))
            }
            (actual, expected) => actual == expected,
        }
    }

    fn is_text(&mut self, actual: &str, expected: &str) -> bool {
        let Some((head, rest)) = expected.split_once("${") else {
            return actual == expected;
        };
        let (name, tail) = rest.split_once('}').expect("an end");
        let Some(actual) = actual.strip_prefix(head) else {
            return false;
        };
        match name {
            "REST" => true,
            "SIZE" => self.is_text(actual.trim_start_matches(|c: char| c.is_ascii_digit()), tail),
            // Some milliseconds went by until the request was there.
            now if now.starts_with("NOW") && tail.is_empty() => {
                let (Ok(actual), Some(value)) = (actual.parse::<Timestamp>(), self.value(now)) else {
                    return false;
                };
                let late = actual.duration_since(value.parse().expect("a time"));
                (0..LATE_MS_MAX).contains(&late.as_millis())
            }
            "TIME" => actual.parse::<Timestamp>().is_ok() && tail.is_empty(),
            name => {
                let value = self.value(name).unwrap_or_else(|| {
                    self.silences.push(actual.to_owned());
                    actual.to_owned()
                });
                actual == value + tail
            }
        }
    }

    async fn check(&mut self, step: &Value) -> Result<(), String> {
        let answer = &step["answer"];
        let request = self.request(step);
        let response = self.ask(request).await;
        // One thing happens after the other.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let status = response.status().as_u16();
        if !answer["closed"].is_null() {
            // The reference's handler crashes.
            return ((400..500).contains(&status))
                .then_some(())
                .ok_or_else(|| format!("{status}"));
        }
        let body = String::from_utf8_lossy(response.body()).into_owned();
        // The recorded server ran in its configuration's folder.
        let here = format!("- {}/", self.folder.path().display());
        let body = body
            .replace(&format!("{here}*.tmpl"), "- '*.tmpl'")
            .replace(&here, "- ");
        let told = format!("{status} {:?}\n{body}\nin place of {answer}", response.headers());
        let mut good = answer["status"] == status;
        for (name, value) in answer["headers"].as_object().into_iter().flatten() {
            let values: Vec<&str> = response
                .headers()
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .collect();
            good &= Some(&*values.join(", ")) == value.as_str();
        }
        let mut expected = answer.clone();
        // Who built it with what is another.
        if let Some(version) = expected.pointer_mut("/json/versionInfo") {
            let ours = serde_json::from_str::<Value>(&body).expect("JSON");
            for key in ["branch", "goVersion", "revision"] {
                version[key] = ours["versionInfo"][key].clone();
            }
        }
        good &= match (&expected["json"], &expected["text"]) {
            (Value::Null, Value::Null) => body.is_empty() || step["method"] == "HEAD",
            // What is no YAML at all is told in the words of another parser.
            (Value::Null, Value::String(text)) if text.contains("yaml: line ") => {
                body.starts_with("failed to reload config: ") && body.ends_with('\n')
            }
            (Value::Null, text) => self.is(&body.into(), text),
            (json, _) => serde_json::from_str(&body).is_ok_and(|body: Value| self.is(&body, json)),
        };
        good.then_some(()).ok_or(told)
    }

    /// Every sample of `/metrics`, by name and labels.
    fn samples(&self) -> BTreeMap<String, f64> {
        let text = self.registry.render(metrics::Format::Text);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        };
        lines.map(sample).collect()
    }

    fn check_metrics(&self, expected: &Value) -> Result<(), String> {
        let samples = self.samples();
        // The reference's empty groups stay for half a minute.
        const GROUPS: &str = "alertmanager_dispatcher_aggregation_groups";
        for (name, value) in expected.as_object().expect("metrics") {
            let wanted = value
                .as_f64()
                .map(|number| if name == GROUPS { number - 1.0 } else { number });
            if samples.get(name).copied() != wanted {
                return Err(format!("{name} is {:?}, not {value}", samples.get(name)));
            }
        }
        Ok(())
    }

    fn check_metric_names(&self, expected: &Value) -> Result<(), String> {
        let mut found: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        self.registry.visit(|name, kind, _, samples| {
            if !name.starts_with("alertmanager_") {
                return;
            }
            kinds.insert(name.to_owned(), format!("{kind:?}").to_lowercase());
            let labels = found.entry(name.to_owned()).or_default();
            for (name, value) in samples.iter().flat_map(|(labels, _)| labels) {
                labels.entry(name.clone()).or_default().insert(value.clone());
            }
        });
        for (name, family) in expected.as_object().expect("families") {
            let Some(labels) = found.remove(name) else {
                return Err(format!("{name} is missing"));
            };
            if family["type"] != *kinds[name] {
                return Err(format!("{name} is a {}", kinds[name]));
            }
            for (label, values) in &labels {
                let wanted = &family["labels"][label];
                let unescaped = |value: &Value| value.as_str().map(|text| text.replace("\\\"", "\""));
                let mut wanted_values: BTreeSet<String> = wanted
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(unescaped)
                    .collect();
                // An empty group, which the reference keeps for a while.
                wanted_values.remove("{}:{alertname=\"Gone\"}");
                if wanted != "(any)" && *values != wanted_values {
                    return Err(format!("{name}: {label} is {values:?}, not {wanted}"));
                }
            }
            let count = family["labels"].as_object().map_or(0, serde_json::Map::len);
            if labels.len() != count {
                return Err(format!(
                    "{name} has the labels {:?}, not {}",
                    labels.keys(),
                    family["labels"]
                ));
            }
        }
        match found.keys().next() {
            None => Ok(()),
            Some(more) => Err(format!("{more} is too many")),
        }
    }

    async fn step(&mut self, step: &Value) -> Result<(), String> {
        if let Some(seconds) = step["wait"].as_f64() {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            return Ok(());
        }
        if let Some(text) = step["write"].as_str() {
            std::fs::write(self.folder.path().join("am.yml"), text).expect("configuration");
            return Ok(());
        }
        if !step["metrics"].is_null() {
            return self.check_metrics(&step["metrics"]);
        }
        if !step["metric_names"].is_null() {
            return self.check_metric_names(&step["metric_names"]);
        }
        self.check(step).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_api_answers_as_the_reference() {
    let Some(folder) = testkit::conformance("notify/api") else {
        return;
    };
    assert_eq!(replay(folder).await, 357, "answers that were compared");
}

/// What the reference's API does not have.
#[tokio::test(start_paused = true)]
async fn our_own_additions_answer_as_their_cases_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/alertmanager");
    assert!(replay(folder).await > 0);
}

/// Replays the sequences of a folder; how many answers were compared.
async fn replay(folder: PathBuf) -> usize {
    let (mut answers, mut wrong) = (0, Vec::new());
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("case");
        let case: Value = serde_json::from_str(&text).expect("JSON");
        let name = case["name"].as_str().expect("a name");
        let mut stage = Stage::begin(&case).await;
        // Whoever recorded it waited until the server was ready.
        let ready = Request::get("/-/ready").body(Body::empty()).expect("a request");
        stage.ask(ready).await;
        for (index, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
            answers += usize::from(!step["answer"].is_null());
            if let Err(why) = stage.step(step).await {
                wrong.push(format!(
                    "{name}, step {index} ({} {}): {why}",
                    step["method"], step["path"]
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {answers} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    answers
}
