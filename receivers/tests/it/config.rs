//! Sections of receivers: the reference's verdicts on them, and how they are printed.

use narthex_receivers::{Global, ReceiverConfig};
use serde_json::Value;
use yaml::YamlError;

/// Reads what is ours of a configuration.
fn read(path: &str, text: &str) -> Result<(Global, Vec<ReceiverConfig>), YamlError> {
    let document = yaml::parse(path, text)?;
    let global = Global::read(document.root().entry("global"))?;
    let receivers = document.root().entry("receivers");
    let mut read = Vec::new();
    for receiver in receivers
        .map(|list| list.sequence())
        .transpose()?
        .unwrap_or_default()
    {
        read.push(ReceiverConfig::read(receiver, &global)?);
    }
    Ok((global, read))
}

/// Words of verdicts that are about other sections.
const OF_OTHERS: [&str; 1] = ["invalid regexp value"];

#[test]
fn configurations_are_taken_and_refused_as_by_the_reference() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let verdicts = std::fs::read_to_string(folder.join("verdicts.jsonl")).expect("verdicts");
    let mut seen = 0;
    for line in verdicts.lines() {
        let verdict: Value = serde_json::from_str(line).expect("a verdict");
        let file = verdict["file"].as_str().expect("a file");
        let said = verdict["stdout"].as_str().expect("words");
        if verdict["check"] != "amtool check-config" || OF_OTHERS.iter().any(|words| said.contains(words)) {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(folder.join(file)).expect("a configuration");
        match read(file, &text) {
            Ok(_) => assert_eq!(verdict["exit"], 0, "{file}: {said}"),
            Err(error) => assert!(said.contains(error.message()), "{file}: {error}\n{said}"),
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn configurations_are_printed_as_by_the_reference() {
    let Some(file) = testkit::conformance("notify/api/status-full.json") else {
        return;
    };
    let sequence: Value = serde_json::from_slice(&std::fs::read(file).expect("file")).expect("JSON");
    let given = find(&sequence, "config")
        .expect("the configuration")
        .replace("${DIR}", ".");
    let printed = find(&sequence, "original").expect("what is printed");
    let (global, receivers) = read("alertmanager.yml", &given).expect("a configuration");
    let expected = yaml::parse("", &printed).expect("YAML");
    let ours = serde_json::json!({"global": global, "receivers": receivers});
    let ours = yaml::to_string(&ours).expect("YAML");
    let ours = yaml::parse("", &ours).expect("YAML");
    for key in ["global", "receivers"] {
        let of = |document: &yaml::Document| {
            let value = document.root().entry(key).expect("a section");
            format!("{:#?}", plain(value))
        };
        pretty(&of(&expected), &of(&ours));
    }
    // The order of keys is that of the text, which the values above do not know.
    for (section, text) in [
        ("global", yaml::to_string(&global)),
        ("receivers", yaml::to_string(&receivers)),
    ] {
        let text = text.expect("YAML");
        let keys = |text: &str| -> Vec<String> {
            text.lines()
                .filter_map(|line| line.trim_start_matches([' ', '-']).split_once(':'))
                .map(|(key, _)| key.to_owned())
                .collect()
        };
        let begin = printed.find(&format!("\n{section}:")).map_or(0, |at| at + 1);
        let rest = &printed[begin..];
        let rest = &rest[rest.find('\n').expect("lines") + 1..];
        let end = rest
            .match_indices('\n')
            .find(|(at, _)| rest[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic()))
            .map_or(rest.len(), |(at, _)| at);
        pretty(&keys(&rest[..end]).join("\n"), &keys(&text).join("\n"));
    }
}

fn pretty(expected: &str, came: &str) {
    for (number, (expected, came)) in expected.lines().zip(came.lines()).enumerate() {
        assert_eq!(expected, came, "line {}", number + 1);
    }
    assert_eq!(expected.lines().count(), came.lines().count());
}

/// A value without places.
#[derive(Debug)]
#[expect(dead_code, reason = "its text is what is compared")]
enum Plain {
    Scalar(String),
    List(Vec<Plain>),
    Map(std::collections::BTreeMap<String, Plain>),
}

fn plain(value: yaml::Value<'_>) -> Plain {
    use yaml::NodeKind;
    let at = |node| yaml::Value {
        document: value.document,
        node,
    };
    match &value.node.kind {
        NodeKind::Scalar(scalar) => Plain::Scalar(scalar.text.clone()),
        NodeKind::Sequence(items) => Plain::List(items.iter().map(|item| plain(at(item))).collect()),
        NodeKind::Mapping(pairs) => Plain::Map(
            pairs
                .iter()
                .map(|(key, item)| (at(key).scalar().expect("a text").text.clone(), plain(at(item))))
                .collect(),
        ),
    }
}

/// The first text under `key`, wherever it stands.
fn find(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(map) => match map.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => map.values().find_map(|value| find(value, key)),
        },
        Value::Array(items) => items.iter().find_map(|item| find(item, key)),
        _ => None,
    }
}

#[test]
fn an_error_points_at_its_place_and_shows_no_secret() {
    for (entry, message, line) in [
        (
            "webhook_configs: [{url: 'http://h/', urls: x}]",
            "field urls not found in type webhook.plain",
            2,
        ),
        (
            "webhook_configs: [{}]",
            "one of url or url_file must be configured",
            2,
        ),
        (
            "webhook_configs: [{url: 'https://s3cret/{{ .Status '}]",
            "invalid template syntax: template: :1: unclosed action",
            2,
        ),
        ("webhook_configs: [~]", "missing webhook config", 2),
        (
            "slack_configs: [{api_url: 'ftp://s3cret/'}]",
            "unsupported scheme \"ftp\" for URL",
            2,
        ),
        (
            "email_configs: [{to: a@example.org}]",
            "no global SMTP smarthost set",
            2,
        ),
        (
            "email_configs: [{to: a@example.org, headers: {to: x, TO: y}}]",
            "duplicate header \"To\" in email config",
            2,
        ),
        (
            "opsgenie_configs: [{api_key: s3cret, responders: [{name: n, type: Nobody}]}]",
            "opsGenieConfig responder { n  nobody} type does not match valid options \
             ^(team|teams|user|escalation|schedule)$",
            2,
        ),
        (
            "pushover_configs: [{token: s3cret}]",
            "one of user_key or user_key_file must be configured",
            2,
        ),
    ] {
        let text =
            format!("receivers:\n- name: x\n  {entry}\n").replacen("\n- name: x\n  ", "\n- {name: x, ", 1);
        let text = text.trim_end().to_owned() + "}\n";
        let error = read("alertmanager.yml", &text).expect_err(entry);
        assert_eq!(error.message(), message, "{entry}");
        assert_eq!(error.position().line, line, "{entry}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let text = "\
global: {slack_api_url: 'https://s3cret/', opsgenie_api_key: s3cret, smtp_auth_password: s3cret}
receivers:
- name: x
  webhook_configs: [{url: 'https://s3cret/'}]
  slack_configs: [{channel: c}]
  discord_configs: [{webhook_url: 'https://s3cret/'}]
  pagerduty_configs: [{routing_key: s3cret}]
  opsgenie_configs: [{}]
  telegram_configs: [{bot_token: s3cret, chat_id: 1}]
  wechat_configs: [{api_secret: s3cret, corp_id: c}]
  rocketchat_configs: [{token: s3cret, token_id: s3cret}]
  sns_configs: [{topic_arn: t, sigv4: {access_key: a, secret_key: s3cret}}]
";
    let (global, receivers) = read("alertmanager.yml", text).expect("a configuration");
    for printed in [
        yaml::to_string(&global).expect("YAML"),
        yaml::to_string(&receivers).expect("YAML"),
        format!("{global:?} {receivers:?}"),
    ] {
        assert!(!printed.contains("s3cret"), "{printed}");
        assert!(printed.contains("<secret>"));
    }
    // What was printed can be read again.
    let again = format!(
        "global:\n{}receivers:\n{}",
        indented(&yaml::to_string(&global).expect("YAML")),
        yaml::to_string(&receivers).expect("YAML")
    );
    let (_, read_again) = read("printed.yml", &again).expect("what was printed");
    let print = |receivers: &Vec<ReceiverConfig>| yaml::to_string(receivers).expect("YAML");
    assert_eq!(print(&read_again), print(&receivers));
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
