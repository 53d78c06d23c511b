//! Cases in files: `testdata/template/language.txt` has templates with what they give in both dialects.

use std::sync::Arc;

use narthex_template::{Dialect, FunctionSet, NoHost, TemplateSet, Time, Type, Value, alert, notification};

use crate::Server;

const BUILTINS: FunctionSet = FunctionSet::new(&[]);

/// The data of every case in the file.
fn data() -> Value {
    let entry = |name: &str, value: Value| (Arc::from(name), value);
    Value::map(vec![
        entry("s", "text <b> & 'q' \"d\"".into()),
        entry("n", Value::Int(3)),
        entry("f", 2.5.into()),
        entry("big", 1_234_567.0.into()),
        entry("t", true.into()),
        entry("empty", "".into()),
        entry("list", Value::strings(["a", "b", "c"])),
        entry("m", Value::string_map([("k", "v"), ("a", "1")])),
        entry("u", "http://x/y?a=b c&d=\"e\"".into()),
        entry("bad", "javascript:alert(1)".into()),
        entry("css", "10px".into()),
        entry(
            "any",
            Value::list(
                Type::Anys,
                vec![Value::Int(1), "x".into(), Value::Nil, 2.5.into()],
            ),
        ),
    ])
}

fn run(template: &str, dialect: Dialect) -> Result<String, String> {
    let mut set = TemplateSet::new(dialect, BUILTINS);
    set.add("x", template).map_err(|e| e.to_string())?;
    set.execute("x", data(), &NoHost).map_err(|e| e.to_string())
}

/// Lines of two spaces are expectations of the template above them: `text = output`, `html ! message`.
#[test]
fn language() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/template/language.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut template, mut failed, mut checked) = (String::new(), 0, 0);
    for (number, line) in text.lines().enumerate() {
        let Some(expectation) = line.strip_prefix("  ") else {
            template = line.replace('⏎', "\n");
            continue;
        };
        let (dialect, rest) = match expectation.split_at(4) {
            ("text", rest) => (Dialect::Text, rest),
            (_, rest) => (Dialect::Html, rest),
        };
        let got = run(&template, dialect);
        let shown = match &got {
            Ok(output) => format!(" = {output}"),
            Err(message) => format!(" ! {message}"),
        };
        checked += 1;
        let shown = shown.replace('\n', "⏎");
        if shown != rest {
            failed += 1;
            println!("{}: {template}\n  want{rest}\n  got {shown}", number + 1);
        }
    }
    assert_eq!(failed, 0);
    assert!(checked > 300);
}

/// Each template of `functions.txt` is followed by what it gives.
#[test]
fn functions() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/template/functions.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut template, mut failed, mut checked) = ("", 0, 0);
    for (number, line) in text.lines().enumerate() {
        let Some(want) = line.strip_prefix("  ") else {
            template = line;
            continue;
        };
        let mut set = TemplateSet::new(Dialect::Text, alert::FUNCTIONS);
        set.add("x", template).unwrap();
        let got = match set.execute("x", Value::Nil, &Server::default()) {
            Ok(output) => format!("= {output}"),
            Err(error) => format!("! error executing template x: {error}"),
        };
        checked += 1;
        if got != want {
            failed += 1;
            println!("{}: {template}\n  want {want}\n  got  {got}", number + 1);
        }
    }
    assert_eq!(failed, 0);
    assert!(checked > 50);
}

/// A notification about two alerts, one of them resolved.
fn notification_data() -> Value {
    use notification::{Alert, Data, Pairs};
    let alert = |firing, instance: &str, severity: &str, ends_at| Alert {
        firing,
        labels: Pairs::new([
            ("alertname", "HighLatency"),
            ("instance", instance),
            ("severity", severity),
        ]),
        annotations: Pairs::new([
            ("runbook", "https://runbooks.example/x?a=1&b=2".to_owned()),
            ("summary", format!("Slow <{instance}> & \"b\"")),
        ]),
        starts_at: Time::parse_rfc3339("2026-03-29T00:30:00Z").unwrap(),
        ends_at,
        generator_url: "http://narthex.example/graph?g0.expr=up".to_owned(),
        fingerprint: "abc123".to_owned(),
    };
    let ended = Time::parse_rfc3339("2026-03-29T01:30:00Z").unwrap();
    Value::object(Data {
        receiver: "team".to_owned(),
        alerts: Arc::new(vec![
            alert(true, "a", "warning", Time::zero()),
            alert(false, "b", "critical", ended),
        ]),
        reason: String::new(),
        group_labels: Pairs::new([("alertname", "HighLatency")]),
        common_labels: Pairs::new([("alertname", "HighLatency")]),
        common_annotations: Pairs::new([("runbook", "https://runbooks.example/x?a=1&b=2")]),
        route_labels: Pairs::default(),
        external_url: "http://am.example:9093".to_owned(),
    })
}

/// As `language.txt`, for notifications and their default templates.
#[test]
fn notifications() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/template/notification.txt"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let set = |dialect| {
        let mut set = TemplateSet::new(dialect, notification::FUNCTIONS);
        set.add("", notification::DEFAULT_TEMPLATES).unwrap();
        set
    };
    let (plain, html) = (set(Dialect::Text), set(Dialect::Html));
    let (mut template, mut failed, mut checked) = ("", 0, 0);
    for (number, line) in text.lines().enumerate() {
        let Some(want) = line.strip_prefix("  ") else {
            template = line;
            continue;
        };
        let (set, want) = match want.split_at(4) {
            ("text", want) => (&plain, want),
            (_, want) => (&html, want),
        };
        let got = match set.expand("", template, notification_data(), &Server::default()) {
            Ok(output) => format!(" = {output}"),
            Err(error) => format!(" ! {error}"),
        };
        checked += 1;
        if got.replace('\n', "⏎") != want {
            failed += 1;
            println!("{}: {template}\n  want{want}\n  got {got}", number + 1);
        }
    }
    assert_eq!(failed, 0);
    assert!(checked > 70);
}

#[test]
fn the_default_mail_is_escaped() {
    let mut set = TemplateSet::new(Dialect::Html, notification::FUNCTIONS);
    set.add("", notification::DEFAULT_TEMPLATES).unwrap();
    let template = "{{ template \"email.default.html\" . }}";
    let mail = set
        .expand("", template, notification_data(), &Server::default())
        .unwrap();
    for part in [
        "<title>[FIRING:1] HighLatency </title>",
        "summary = Slow &lt;a&gt; &amp; &#34;b&#34;<br ",
        "<a href=\"http://narthex.example/graph?g0.expr=up\" style=",
        "<a href=\"http://am.example:9093/#/alerts?receiver=team\" class=",
        "[1] Resolved",
    ] {
        assert!(mail.contains(part), "{part} in {mail}");
    }
    assert!(!mail.contains("ZgotmplZ") && !mail.contains("<no value>"));
}
