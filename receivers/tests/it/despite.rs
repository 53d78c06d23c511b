//! Templates that fail: what goes out all the same.

use std::time::Duration;

use jiff::Timestamp;
use narthex_receivers::rehearsal::{rehearse, render, samples};
use narthex_receivers::{
    Global, Integration, KINDS, Memory, Outgoing, ReceiverConfig, Templates, build, deliver,
    deliver_despite_templates, preview,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::surroundings::setup;

/// The kind that sends what webhooks send.
const WITHOUT_TEMPLATES: &str = "incidentio";

/// A receiver of each kind, with `TEXT` where its main text stands.
const RECEIVERS: &str = include_str!("despite.yml");

fn config(text: &str) -> ReceiverConfig {
    let document = yaml::parse("receivers.yml", text).expect("YAML");
    let global = Global::read(document.root().entry("global")).expect("global");
    ReceiverConfig::read(document.root().entry("receiver").expect("a receiver"), &global).expect("a receiver")
}

fn integrations(config: &ReceiverConfig) -> Vec<Integration> {
    build(config, &setup(Templates::new("http://am.example.org"))).expect("built")
}

#[tokio::test]
async fn every_kind_sends_the_default_text_where_its_own_fails() {
    let config = config(&RECEIVERS.replace("TEXT", "{{ index .Alerts 7 }}"));
    let [_, _, (_, several), _] = samples("team", Timestamp::UNIX_EPOCH);
    let integrations = integrations(&config);
    let kinds: Vec<&str> = integrations.iter().map(Integration::kind).collect();
    for kind in KINDS {
        assert!(kinds.contains(&kind.name), "{} is not tried", kind.name);
    }
    for integration in &integrations {
        let shown = preview(integration, &several).await;
        let name = integration.name();
        assert_eq!(shown.failure, None, "{name}");
        if integration.kind() == WITHOUT_TEMPLATES {
            continue;
        }
        let error = shown.template_error.expect(&name);
        assert!(error.contains("index out of range: 7"), "{name}: {error}");
        let sent: String = shown
            .outgoing
            .iter()
            .map(|outgoing| match outgoing {
                Outgoing::Request { body, .. } => body.clone(),
                Outgoing::Mail { content, .. } => content.clone(),
            })
            .collect();
        let sent = sent.replace(['+', '=', '\r', '\n'], " ").replace("%3A", ":");
        for part in ["FIRING:2", "NarthexSample"] {
            assert!(
                sent.contains(part) || sent.contains(&part.replace(':', "_3A")),
                "{name}: {sent}"
            );
        }
    }
}

#[tokio::test]
async fn without_a_stand_in_nothing_is_sent_as_by_the_reference() {
    let config = config(&RECEIVERS.replace("TEXT", "{{ index .Alerts 7 }}"));
    let [(_, firing), ..] = samples("team", Timestamp::UNIX_EPOCH);
    let integrations = integrations(&config);
    let webhook = integrations
        .iter()
        .find(|one| one.kind() == "discord")
        .expect("discord");
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut memory, stop) = (Memory::new(), CancellationToken::new());
    let failed = deliver(webhook, &firing, &mut memory, deadline, &stop, &mut |_| {}).await;
    let failed = failed.expect_err("a template fails");
    assert!(
        failed.failure.message.contains("index out of range: 7"),
        "{failed}"
    );
    assert_eq!(failed.attempts, 1);
}

#[tokio::test]
async fn a_default_text_that_cannot_be_sent_says_both() {
    // Nobody listens there.
    let text = "receiver:\n  name: team\n  discord_configs: [{webhook_url: 'http://127.0.0.1:1/', message: '{{ index .Alerts 7 }}'}]\n";
    let integration = integrations(&config(text)).remove(0);
    let [_, _, (_, several), _] = samples("team", Timestamp::UNIX_EPOCH);
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut memory, stop) = (Memory::new(), CancellationToken::new());
    let once = stop.clone();
    let mut seen = |_: narthex_receivers::Attempt<'_>| once.cancel();
    let outcome =
        deliver_despite_templates(&integration, &several, &mut memory, deadline, &stop, &mut seen).await;
    let failed = outcome.expect_err("nobody listens");
    for part in ["index out of range: 7", "Post \"<redacted>\""] {
        assert!(failed.failure.message.contains(part), "{failed}");
    }
}

#[tokio::test]
async fn templates_that_do_not_fail_are_sent_as_ever() {
    let config = config(&RECEIVERS.replace("TEXT", "all is {{ .Status }}"));
    for integration in &integrations(&config) {
        let [(_, firing), ..] = samples("team", Timestamp::UNIX_EPOCH);
        let shown = preview(integration, &firing).await;
        assert_eq!(
            (shown.template_error, shown.failure),
            (None, None),
            "{}",
            integration.name()
        );
        assert!(!shown.outgoing.is_empty(), "{}", integration.name());
    }
}

#[test]
fn templates_are_tried_before_an_alert_does() {
    let text = "receiver:\n  name: team\n  slack_configs:\n  - {api_url: 'http://x/', channel: a, title: '{{ .Nope }}', \
                text: '{{ (index .Alerts 1).Status }}', fallback: '{{ template \"nosuch\" . }}', pretext: '{{ .Status }}'}\n  \
                email_configs: [{to: a@x, from: b@x, smarthost: 'x:25', html: '{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}'}]\n";
    let failing = rehearse(&[config(text)], &Templates::new(""), Timestamp::UNIX_EPOCH);
    let said: Vec<String> = failing.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    for (said, part) in said.iter().zip([
        "receiver \"team\": slack_configs[0].fallback fails with a firing alert: ",
        "receiver \"team\": slack_configs[0].text fails with a firing alert: ",
        "receiver \"team\": slack_configs[0].title fails with a firing alert: ",
    ]) {
        assert!(said.starts_with(part), "{said}");
    }
}

#[test]
fn secrets_that_are_templates_are_tried_too() {
    let text = "receiver:\n  name: team\n  webhook_configs:\n  - {url: 'http://x/{{ .Nope }}'}\n  - {url: '{{ .CommonLabels.hook }}'}\n  \
                - {url: 'http://x/{{ .Status }}', payload: {html: '<a {{ .Status }}', '{{ .No }}': a}}\n  \
                pagerduty_configs: [{routing_key: '{{ index .Alerts 7 }}', url: 'http://x/'}]\n  \
                opsgenie_configs: [{api_key: '{{ .Key }}', api_url: 'http://x/'}]\n  \
                pushover_configs: [{user_key: '{{ .User }}', token: '{{ .Token }}'}]\n  \
                wechat_configs: [{api_secret: '{{ .Secret }}', corp_id: c}]\n  \
                telegram_configs: [{bot_token: t, chat_id: 1, message: '<a {{ .Status }}'}]\n";
    let config = config(text);
    let templates = Templates::new("");
    let failing = rehearse(std::slice::from_ref(&config), &templates, Timestamp::UNIX_EPOCH);
    let said: Vec<String> = failing.iter().map(ToString::to_string).collect();
    let parts = [
        "pagerduty_configs[0].routing_key fails with a firing alert: ",
        "webhook_configs[0].url fails with a firing alert: ",
        "webhook_configs[1].url fails with a firing alert: it is empty, and nothing could be sent",
        "webhook_configs[2].payload, the name \"{{ .No }}\" fails with a firing alert: ",
        "opsgenie_configs[0].api_key fails with a firing alert: ",
        "wechat_configs[0].api_secret fails with a firing alert: ",
        "pushover_configs[0].user_key fails with a firing alert: ",
        "pushover_configs[0].token fails with a firing alert: ",
        "telegram_configs[0].message fails with a firing alert: ",
    ];
    for part in parts {
        let found = said
            .iter()
            .any(|said| said.starts_with(&format!("receiver \"team\": {part}")));
        assert!(found, "{part}\n{said:#?}");
    }
    assert_eq!(said.len(), parts.len(), "{said:#?}");

    let [(_, firing), ..] = samples("team", Timestamp::UNIX_EPOCH);
    let shown = render(&config, &templates, &firing);
    let url = shown
        .iter()
        .find(|shown| shown.place == "webhook_configs[2].url")
        .expect("the address");
    assert_eq!(url.outcome.as_ref().expect("it does not fail"), "<secret>");
}
