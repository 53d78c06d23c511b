//! Every line of the recorded templates gives what it gave in the reference.

use std::io::Read;
use std::sync::Arc;

use narthex_template::{Dialect, TemplateSet, Time, Value, alert, notification};
use serde_json::Value as Json;

use crate::Server;

#[test]
fn recorded_templates_agree() {
    let Some(path) = testkit::conformance("templates/golden.jsonl.gz") else {
        return;
    };
    let file = std::fs::File::open(path).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    let mut about: Vec<Json> = Vec::new();
    let (mut failed, mut lines, mut same_message, mut errors) = (0, 0, 0, 0);
    for (number, line) in text.lines().enumerate() {
        let case: Json = serde_json::from_str(line).unwrap();
        if case.get("about").is_some() {
            about.push(case);
            continue;
        }
        lines += 1;
        let got = run(&case, about.last().unwrap());
        match (got, case["output"].as_str(), case["error"].as_str()) {
            (Ok(got), Some(want), _) if got == want => {}
            (Err(got), None, Some(want)) => {
                errors += 1;
                if got == want {
                    same_message += 1;
                } else {
                    println!("message of line {}:\n  want {want}\n  got  {got}", number + 1);
                }
            }
            (got, ..) => {
                failed += 1;
                println!(
                    "line {}: {}\n  got {got:?}\n  want {} {}",
                    number + 1,
                    case["template"],
                    case["output"],
                    case["error"]
                );
            }
        }
    }
    println!("{lines} lines; {same_message} of {errors} messages are the same");
    assert_eq!(failed, 0);
    assert!(lines > 1900);
    // What differs is how Go prints the types and memory of its own structures.
    assert!(same_message * 100 >= errors * 95, "{same_message} of {errors}");
}

fn run(case: &Json, about: &Json) -> Result<String, String> {
    let template = case["template"].as_str().unwrap();
    match case["dialect"].as_str().unwrap() {
        "prometheus-text" => alert_template(case, about, template, Dialect::Text),
        "prometheus-html" => alert_template(case, about, template, Dialect::Html),
        "alertmanager-text" => notification_template(about, template, Dialect::Text),
        "alertmanager-html" => notification_template(about, template, Dialect::Html),
        other => panic!("dialect {other}"),
    }
}

fn string_map(json: &Json) -> Value {
    Value::string_map(
        json.as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str().unwrap())),
    )
}

fn alert_template(case: &Json, about: &Json, template: &str, dialect: Dialect) -> Result<String, String> {
    let functions = match dialect {
        Dialect::Text => alert::FUNCTIONS,
        Dialect::Html => alert::CONSOLE_FUNCTIONS,
    };
    let value = match case["value"].as_str().unwrap() {
        "+Inf" => f64::INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().unwrap(),
    };
    let data = alert::AlertData {
        labels: string_map(&about["labels"]),
        external_labels: string_map(&about["external_labels"]),
        external_url: about["external_url"].as_str().unwrap().into(),
        value: value.into(),
    };
    let server = Server {
        now_ms: about["time_ms"].as_i64().unwrap(),
        external_url: about["external_url"].as_str().unwrap().to_owned(),
    };
    let name = "__alert_x";
    let mut set = TemplateSet::new(dialect, functions);
    set.add(name, &format!("{}{template}", alert::PREFIX))
        .map_err(|e| format!("error parsing template {name}: {e}"))?;
    set.execute(name, Value::object(data), &server)
        .map_err(|e| format!("error executing template {name}: {e}"))
}

fn notification_template(about: &Json, template: &str, dialect: Dialect) -> Result<String, String> {
    let data = &about["data"];
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let pairs = |json: &Json| {
        let entries = json.as_object().unwrap().iter();
        notification::Pairs::new(entries.map(|(k, v)| (k.clone(), text(v))))
    };
    let alerts = data["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| notification::Alert {
            firing: alert["status"] == "firing",
            labels: pairs(&alert["labels"]),
            annotations: pairs(&alert["annotations"]),
            starts_at: Time::parse_rfc3339(alert["startsAt"].as_str().unwrap()).unwrap(),
            ends_at: Time::parse_rfc3339(alert["endsAt"].as_str().unwrap()).unwrap(),
            generator_url: text(&alert["generatorURL"]),
            fingerprint: text(&alert["fingerprint"]),
        });
    let data = notification::Data {
        receiver: text(&data["receiver"]),
        alerts: Arc::new(alerts.collect()),
        reason: text(&data["notification_reason"]),
        group_labels: pairs(&data["groupLabels"]),
        common_labels: pairs(&data["commonLabels"]),
        common_annotations: pairs(&data["commonAnnotations"]),
        route_labels: notification::Pairs::default(),
        external_url: text(&data["externalURL"]),
    };
    let mut set = TemplateSet::new(dialect, notification::FUNCTIONS);
    set.add("", notification::DEFAULT_TEMPLATES).unwrap();
    set.expand("", template, Value::object(data), &Server::default())
        .map_err(|e| e.to_string())
}
