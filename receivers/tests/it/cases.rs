//! The reference's requests and mails, kind by kind.

use std::path::Path;

use narthex_receivers::{Global, Integration, ReceiverConfig, Templates, build, deliver};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::capture::{Answer, Capture};
use crate::certificates::Certificates;
use crate::compare::{difference, expand, expanded};
use crate::groups::Groups;
use crate::mailbox::Mailbox;
use crate::surroundings::setup;

/// What the reference does and we do not: the process ends (`webex`), where we cut the message.
const OTHERWISE: [(&str, &str); 1] = [("webex", "truncated-crash")];

/// One case and all that it runs on.
struct Case {
    name: String,
    kind: String,
    text: String,
    capture: Capture,
    mailbox: Mailbox,
    folder: tempfile::TempDir,
}

#[tokio::test]
async fn every_request_and_mail_is_the_references() {
    let Some(folder) = testkit::conformance("notify/receivers") else {
        return;
    };
    let certificates = Certificates::new();
    let (mut cases, mut sent) = (0, 0);
    let mut differences = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|file| file.expect("file").path())
        .collect();
    files.sort();
    for file in files.iter().filter(|file| !file.ends_with("retry.json")) {
        let read: Value = serde_json::from_slice(&std::fs::read(file).expect("file")).expect("JSON");
        for given in read["cases"].as_array().expect("cases") {
            cases += 1;
            let case = Case::new(&read["receiver"], given, &certificates).await;
            sent += case.replay(given, &read["external_url"], &mut differences).await;
        }
    }
    println!("{cases} cases, {sent} requests and mails");
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

impl Case {
    async fn new(kind: &Value, given: &Value, certificates: &Certificates) -> Self {
        let capture = Capture::start(Answer::rules(&given["answers"]), certificates.acceptor.clone()).await;
        let mailbox = Mailbox::start(given["smtp"].clone(), certificates.acceptor.clone()).await;
        let folder = tempfile::tempdir().expect("folder");
        let authority = folder.path().join("ca.pem");
        std::fs::write(&authority, &certificates.authority).expect("authority");
        let fill = |text: &str| {
            expanded(text)
                .replace("${HTTP}", &capture.address)
                .replace("${SMTP_PORT}", &mailbox.port.to_string())
                .replace("${DIR}", &folder.path().to_string_lossy())
                .replace("${CA}", &authority.to_string_lossy())
        };
        for (name, content) in given["files"].as_object().into_iter().flatten() {
            let content = fill(content.as_str().expect("content"));
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
            std::fs::write(file, content).expect("file");
        }
        Case {
            name: given["name"].as_str().expect("name").to_owned(),
            kind: kind.as_str().expect("kind").to_owned(),
            text: fill(given["config"].as_str().expect("configuration")),
            capture,
            mailbox,
            folder,
        }
    }

    /// Posts what is posted, and compares what is sent; gives how much that was.
    async fn replay(&self, given: &Value, external_url: &Value, differences: &mut Vec<String>) -> usize {
        let document = yaml::parse("alertmanager.yml", &self.text).expect("YAML");
        let external_url = external_url.as_str().expect("URL");
        let templates = templates(&document, self.folder.path(), external_url);
        let integrations = self.integrations(&document, &templates);
        let route = document.root().entry("route").expect("route");
        let mut groups = Groups::new(route, templates);
        let mut sent = 0;
        for step in given["steps"].as_array().expect("steps") {
            let at = format!("{}/{}: {}", self.kind, self.name, step["about"]);
            groups.post(&expand(&step["post"]));
            let expected = expected(step);
            for integration in &integrations {
                tell(integration, &mut groups, &expected).await;
            }
            // What failed for good is due again at the next flush, which some cases see.
            if expected.iter().filter(|sent| sent["smtp"].is_null()).count() > self.capture.count() {
                for integration in &integrations {
                    tell(integration, &mut groups, &expected).await;
                }
            }
            groups.sweep();
            let mails = expected.iter().filter(|sent| !sent["smtp"].is_null()).count();
            let mut came = self.capture.take();
            came.extend(self.mailbox.take(mails).await);
            sent += came.len();
            if OTHERWISE.contains(&(self.kind.as_str(), self.name.as_str())) {
                assert!(expected.is_empty() && came.len() == 1, "{at}");
                continue;
            }
            self.compare(&at, given["order"] == "any", expected, came, differences);
        }
        if let Some(bodies) = given["raw_bodies"].as_array() {
            let came: Vec<Value> = self.capture.bodies().into_iter().map(Value::from).collect();
            let at = format!("{}/{}: raw_bodies", self.kind, self.name);
            differences.extend(difference(&expand(&bodies.as_slice().into()), &came.into(), &at));
        }
        sent
    }

    fn integrations(&self, document: &yaml::Document, templates: &Templates) -> Vec<Integration> {
        let global = Global::read(document.root().entry("global")).expect("global");
        let setup = setup(templates.clone());
        let receivers = document.root().entry("receivers").expect("receivers");
        let mut integrations = Vec::new();
        for receiver in receivers.sequence().expect("a list") {
            let mut config = ReceiverConfig::read(receiver, &global).expect("a receiver");
            config.resolve_paths(self.folder.path());
            integrations.extend(build(&config, &setup).expect("integrations"));
        }
        integrations
    }

    fn compare(
        &self,
        at: &str,
        in_any_order: bool,
        expected: Vec<Value>,
        mut came: Vec<Value>,
        differences: &mut Vec<String>,
    ) {
        if came.len() != expected.len() {
            differences.push(format!(
                "{at}: {} came, not {}: {came:?}",
                came.len(),
                expected.len()
            ));
            return;
        }
        for (index, expected) in expected.into_iter().enumerate() {
            let here = format!("{at} [{index}]");
            let of = |came: &Value| {
                let mut came = came.clone();
                if expected["message"]["raw_body"].is_null() && !came["message"].is_null() {
                    came["message"]
                        .as_object_mut()
                        .expect("a message")
                        .remove("raw_body");
                }
                if self.kind == "sns" {
                    came["headers"] = expected["headers"].clone();
                }
                difference(&expected, &came, &here)
            };
            let found = if in_any_order {
                came.iter().position(|came| of(came).is_none()).unwrap_or(0)
            } else {
                0
            };
            differences.extend(of(&came.remove(found)));
        }
    }
}

fn expected(step: &Value) -> Vec<Value> {
    let mut expected = Vec::new();
    for sent in step["sent"].as_array().expect("sent") {
        let mut sent = expand(sent);
        let again = sent.as_object_mut().expect("a request").remove("tried_again");
        expected.push(sent.clone());
        // What is tried again comes again, and we let it come but once more.
        if again == Some(Value::Bool(true)) {
            expected.push(sent);
        }
    }
    expected
}

fn templates(document: &yaml::Document, folder: &Path, external_url: &str) -> Templates {
    let patterns = document
        .root()
        .entry("templates")
        .map(|list| list.sequence().expect("a list"));
    let pattern = |pattern: &yaml::Value<'_>| folder.join(&pattern.scalar().expect("a pattern").text);
    let patterns: Vec<_> = patterns.unwrap_or_default().iter().map(pattern).collect();
    Templates::load(&patterns, external_url).expect("templates")
}

/// Tells an integration of what is due: once, and once more where the reference tries again.
async fn tell(integration: &Integration, groups: &mut Groups, expected: &[Value]) {
    for mut due in groups.due(integration) {
        for _ in 0..2 {
            let stop = CancellationToken::new();
            let deadline = Instant::now() + std::time::Duration::from_secs(20);
            let after_the_first = stop.clone();
            let outcome = deliver(
                integration,
                &due.notification,
                &mut due.memory,
                deadline,
                &stop,
                &mut |_| after_the_first.cancel(),
            )
            .await;
            match outcome {
                Ok(_) => {
                    groups.told(integration, due);
                    break;
                }
                Err(undelivered) if !undelivered.failure.retry || expected.len() < 2 => break,
                Err(_) => {}
            }
        }
    }
}
