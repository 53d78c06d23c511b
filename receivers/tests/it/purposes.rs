//! What stands where a template fails: by what the field is for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use narthex_receivers::rehearsal::samples;
use narthex_receivers::{Global, Outgoing, Preview, ReceiverConfig, Templates, build, preview};
use serde_json::Value;

use crate::surroundings::setup;

const FAILING: &str = "{{ index .Alerts 7 }}";
const SERVER: &str = "http://localhost:1/";

/// What a receiver of this section sends, `FAIL` being a template that fails.
async fn shown(section: &str) -> Preview {
    let section = section.replace("FAIL", FAILING).replace("SERVER", SERVER);
    let text = format!("global: {{smtp_smarthost: 'localhost:25'}}\nreceiver: {{name: team, {section}}}\n");
    let document = yaml::parse("receivers.yml", &text).expect("YAML");
    let global = Global::read(document.root().entry("global")).expect("global");
    let config = document.root().entry("receiver").expect("a receiver");
    let config = ReceiverConfig::read(config, &global).expect(&section);
    let [(_, firing), ..] = samples("team", Timestamp::UNIX_EPOCH);
    let built = build(&config, &setup(Templates::new("http://am.example.org"))).expect("built");
    preview(&built[0], &firing).await
}

/// The last body that is sent, as JSON; of a form, an object.
fn body(shown: &Preview) -> Value {
    match shown.outgoing.last() {
        Some(Outgoing::Request { body, .. }) => serde_json::from_str(body).unwrap_or_else(|_| {
            let pairs = url::form_urlencoded::parse(body.as_bytes()).into_owned();
            serde_json::to_value(pairs.collect::<BTreeMap<_, _>>()).expect("a form")
        }),
        Some(Outgoing::Mail { content, .. }) => content.as_str().into(),
        None => Value::Null,
    }
}

#[tokio::test]
async fn what_is_no_text_for_people_is_what_it_is_by_default_or_nothing() {
    let pager = "pagerduty_configs: [{url: 'SERVER', routing_key: k, KEY}]";
    let old_pager = "pagerduty_configs: [{url: 'SERVER', service_key: k, KEY}]";
    let ops = "opsgenie_configs: [{api_url: 'SERVER', api_key: k, KEY}]";
    let victor = "victorops_configs: [{api_url: 'SERVER', api_key: k, routing_key: r, KEY}]";
    let jira =
        "jira_configs: [{api_url: 'SERVERrest/api/3', project: P, issue_type: Bug, description: '{}', KEY}]";
    let slack = "slack_configs: [{api_url: 'SERVER', channel: c, KEY}]";
    let rocket = "rocketchat_configs: [{api_url: 'SERVER', channel: c, token: t, token_id: i, KEY}]";
    let matter = "mattermost_configs: [{webhook_url: 'SERVER', KEY}]";
    let over = "pushover_configs: [{user_key: u, token: t, KEY}]";
    let sns = "sns_configs: [{topic_arn: t, sigv4: {region: r, access_key: x, secret_key: y}, KEY}]";
    let rows = [
        (pager, "severity: FAIL", "/payload/severity", "\"error\""),
        (pager, "source: FAIL", "/payload/source", "\"Alertmanager\""),
        (pager, "client: FAIL", "/client", "\"Alertmanager\""),
        (pager, "client: FAIL", "/payload/source", "\"Alertmanager\""),
        (pager, "class: FAIL", "/payload/class", "null"),
        (pager, "links: [{href: FAIL, text: a}]", "/links", "null"),
        (
            pager,
            "links: [{href: 'http://a', text: FAIL}]",
            "/links/0/text",
            "\"Alert\"",
        ),
        (old_pager, "client: FAIL", "/client", "\"Alertmanager\""),
        (
            ops,
            "responders: [{name: FAIL, type: team}, {name: a, type: user}]",
            "/responders",
            "[{\"name\":\"a\",\"type\":\"user\"}]",
        ),
        (
            ops,
            "responders: [{name: a, type: '{{ index .Alerts 7 }}'}]",
            "/responders",
            "null",
        ),
        (ops, "priority: FAIL", "/priority", "null"),
        (ops, "tags: FAIL", "/tags", "null"),
        (victor, "message_type: FAIL", "/message_type", "\"CRITICAL\""),
        (
            victor,
            "monitoring_tool: FAIL",
            "/monitoring_tool",
            "\"Alertmanager\"",
        ),
        (jira, "labels: [FAIL, z]", "/fields/labels/1", "\"z\""),
        (jira, "labels: [FAIL, z]", "/fields/labels/2", "null"),
        (jira, "priority: FAIL", "/fields/priority", "null"),
        (
            jira,
            "fields: {customfield_1: {value: FAIL}, customfield_2: a}",
            "/fields/customfield_1",
            "null",
        ),
        (
            jira,
            "fields: {customfield_1: {value: FAIL}, customfield_2: a}",
            "/fields/customfield_2",
            "\"a\"",
        ),
        (
            slack,
            "actions: [{type: button, text: FAIL, url: 'http://a'}]",
            "/attachments/0/actions/0/text",
            "\"Alert\"",
        ),
        (
            slack,
            "actions: [{type: FAIL, text: a, url: 'http://a'}]",
            "/attachments/0/actions/0/type",
            "\"button\"",
        ),
        (
            slack,
            "actions: [{type: button, text: a, url: FAIL}]",
            "/attachments/0/actions",
            "null",
        ),
        (slack, "username: FAIL", "/username", "\"Alertmanager\""),
        (slack, "color: FAIL", "/attachments/0/color", "null"),
        (
            slack,
            "fields: [{title: FAIL, value: b}]",
            "/attachments/0/fields/0/title",
            "\"Alert\"",
        ),
        (
            "slack_configs: [{api_url: 'SERVER', KEY}]",
            "channel: FAIL",
            "/channel",
            "null",
        ),
        (
            rocket,
            "actions: [{text: FAIL, url: 'http://a'}]",
            "/attachments/0/actions/0/text",
            "\"Alert\"",
        ),
        (
            rocket,
            "actions: [{text: a, url: FAIL}]",
            "/attachments/0/actions",
            "null",
        ),
        (
            matter,
            "priority: {priority: FAIL}",
            "/priority/priority",
            "\"standard\"",
        ),
        (matter, "username: FAIL", "/username", "\"Alertmanager\""),
        (matter, "channel: FAIL", "/channel", "null"),
        (over, "priority: FAIL", "/priority", "\"2\""),
        (over, "sound: FAIL", "/sound", "\"\""),
        (over, "url_title: FAIL", "/url_title", "\"Alert\""),
        (
            sns,
            "attributes: {a: FAIL}",
            "/MessageAttributes.entry.1.Name",
            "null",
        ),
    ];
    for (section, key, pointer, expected) in rows {
        let key = key.replace("FAIL", "'FAIL'").replace("''FAIL''", "'FAIL'");
        let shown = shown(&section.replace("KEY", &key)).await;
        assert_eq!(shown.failure, None, "{key}");
        let error = shown.template_error.as_deref().expect(&key);
        assert!(error.contains("index out of range: 7"), "{key}: {error}");
        let body = body(&shown);
        let found = body.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found.to_string(), expected, "{key}: {body:#}");
    }
}

#[tokio::test]
async fn an_address_that_fails_fails_the_notification() {
    let rows = [
        "webhook_configs: [{url: 'SERVERFAIL'}]",
        "pagerduty_configs: [{url: 'SERVER', routing_key: 'FAIL'}]",
        "pagerduty_configs: [{url: 'SERVER', service_key: 'FAIL'}]",
        "opsgenie_configs: [{api_url: 'SERVER', api_key: 'FAIL'}]",
        "victorops_configs: [{api_url: 'SERVER', api_key: k, routing_key: 'FAIL'}]",
        "jira_configs: [{api_url: 'SERVER', project: 'FAIL', issue_type: Bug}]",
        "jira_configs: [{api_url: 'SERVER', project: P, issue_type: 'FAIL'}]",
        "slack_configs: [{api_url: 'https://slack.com/api/chat.postMessage', channel: 'FAIL'}]",
        "slack_configs: [{app_token: t, channel: 'FAIL'}]",
        "rocketchat_configs: [{api_url: 'SERVER', channel: 'FAIL', token: t, token_id: i}]",
        "pushover_configs: [{user_key: 'FAIL', token: t}]",
        "pushover_configs: [{user_key: u, token: 'FAIL'}]",
        "sns_configs: [{topic_arn: 'FAIL', sigv4: {region: r, access_key: x, secret_key: y}}]",
        "webex_configs: [{room_id: 'FAIL', message: m, http_config: {authorization: {credentials: c}}}]",
        "wechat_configs: [{api_secret: 'FAIL', corp_id: c}]",
        "wechat_configs: [{api_secret: s, corp_id: c, agent_id: 'FAIL'}]",
        "email_configs: [{to: 'FAIL', from: a@x}]",
        "email_configs: [{to: b@x, from: 'FAIL'}]",
    ];
    for row in rows {
        let shown = shown(row).await;
        let failure = shown.failure.expect(row);
        assert!(!failure.retry, "{row}: {failure}");
        let said = failure.message;
        assert_eq!(said.matches("index out of range: 7").count(), 1, "{row}: {said}");
    }
}

#[tokio::test]
async fn default_texts_have_the_form_that_their_field_asks_for() {
    let row =
        "jira_configs: [{api_url: 'SERVERrest/api/3', project: P, issue_type: Bug, description: 'FAIL'}]";
    let sent = body(&shown(row).await);
    let text = sent.pointer("/fields/description/content/0/content/0/text");
    assert!(
        text.expect("a document").to_string().contains("[FIRING:1]"),
        "{sent}"
    );

    for (mode, part) in [
        ("MarkdownV2", "\\[FIRING:1\\]"),
        ("Markdown", "\\[FIRING:1]"),
        ("HTML", "<pre>[FIRING:1]"),
        ("''", "[FIRING:1]"),
    ] {
        let row =
            format!("telegram_configs: [{{bot_token: t, chat_id: 1, parse_mode: {mode}, message: 'FAIL'}}]");
        let sent = body(&shown(&row).await);
        let text = sent["text"].as_str().expect("a text");
        assert!(text.starts_with(part), "{mode}: {text}");
    }

    let row =
        "email_configs: [{to: b@x, from: a@x, headers: {Reply-To: 'FAIL', From: 'FAIL', Subject: 'FAIL'}}]";
    let sent = body(&shown(row).await);
    let mail = sent.as_str().expect("a mail");
    assert!(!mail.contains("Reply-To"), "{mail}");
    for part in ["From: a@x\r\n", "Subject: [FIRING:1]"] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
}
