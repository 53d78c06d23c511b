//! What Grafana asks a Prometheus and an Alertmanager data source: `testdata/http/grafana.yaml`, with gzip as it does.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Server, http_client};

/// A request, and what must be in its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    path: String,
    #[serde(default)]
    method: Option<String>,
    /// Fields of a form, sent by POST.
    #[serde(default)]
    form: Option<BTreeMap<String, String>>,
    /// A body, sent by POST.
    #[serde(default)]
    json: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    is: BTreeMap<String, Value>,
    #[serde(default)]
    id: Option<String>,
}

const CONFIG: &str = "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n\
    rule_files: [rules.yml]\n\
    alertmanager: {route: {receiver: nobody, group_wait: 1h}, receivers: [{name: nobody}]}\n\
    scrape_configs:\n- job_name: self\n  static_configs: [{targets: ['SELF']}]\n";
const RULES: &str = "groups: [{name: g, rules: [{alert: Always, expr: vector(1)}]}]\n";

/// Words in braces and what stands for them.
struct Words(Vec<(&'static str, String)>);

impl Words {
    fn new() -> Self {
        let now = jiff::Timestamp::now();
        let later = now + jiff::SignedDuration::from_hours(1);
        Words(vec![
            // To the end of the second in which the scrape was.
            ("{start}", (now.as_second() - 299).to_string()),
            ("{end}", (now.as_second() + 1).to_string()),
            ("{start_text}", now.to_string()),
            ("{later_text}", later.to_string()),
        ])
    }

    fn put_into(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (word, meant)| text.replace(word, meant))
    }

    fn set_id(&mut self, id: &str) {
        self.0.retain(|(word, _)| *word != "{id}");
        self.0.push(("{id}", id.to_owned()));
    }
}

#[tokio::test]
async fn grafanas_requests_are_answered() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("rules.yml"), RULES).expect("rules");
    let server = Server::start(folder.path(), "", &["--enable-feature=exemplar-storage"]).await;
    let own = server.url.trim_start_matches("http://").to_owned();
    std::fs::write(folder.path().join("narthex.yml"), CONFIG.replace("SELF", &own)).expect("configuration");
    let reload = http_client()
        .post(format!("{}/-/reload", server.url))
        .send()
        .await;
    assert_eq!(reload.expect("an answer").status(), 200, "{}", server.log());
    server
        .wait_for("up == 1 and on() ALERTS{alertstate=\"firing\"} == 1", |found| {
            !found.is_empty()
        })
        .await;
    let groups = async || server.get("/api/v2/alerts").await.1.contains("Always");
    crate::harness::wait_until("the alert has come to the Alertmanager", groups).await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/http/grafana.yaml");
    let cases = std::fs::read_to_string(path).expect("cases");
    let cases: Vec<Case> = serde_yaml::from_str(&cases).expect("YAML");
    let mut words = Words::new();
    for case in &cases {
        ask(&http_client(), &server, case, &mut words).await;
    }
}

async fn ask(client: &reqwest::Client, server: &Server, case: &Case, words: &mut Words) {
    let url = format!("{}{}", server.url, words.put_into(&case.path));
    let request = match (&case.form, &case.json, &case.method) {
        (Some(form), ..) => {
            let mut body = url::form_urlencoded::Serializer::new(String::new());
            form.iter().for_each(|(name, value)| {
                body.append_pair(name, &words.put_into(value));
            });
            let content_type = ("Content-Type", "application/x-www-form-urlencoded");
            client
                .post(url)
                .header(content_type.0, content_type.1)
                .body(body.finish())
        }
        (_, Some(json), _) => {
            let body = words.put_into(json);
            client
                .post(url)
                .header("Content-Type", "application/json")
                .body(body)
        }
        (.., Some(method)) => client.request(method.parse().expect("a method"), url),
        _ => client.get(url),
    };
    let answer = request
        .header("User-Agent", "Grafana/12.2.0")
        .header("Accept-Encoding", "gzip")
        .header("X-Grafana-From-Expr", "false")
        .send()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", case.about));
    let status = answer.status().as_u16();
    let packed = answer
        .headers()
        .get("content-encoding")
        .is_some_and(|coding| coding == "gzip");
    let bytes = answer.bytes().await.expect("a body");
    let mut text = String::new();
    match packed {
        true => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text),
        false => (&*bytes).read_to_string(&mut text),
    }
    .expect("text");
    assert_eq!(status, case.status.unwrap_or(200), "{}: {text}", case.about);
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    for pointer in &case.has {
        let found = body.pointer(pointer).unwrap_or(&Value::Null);
        let is_empty = matches!(found, Value::Null) || found == "" || found == &Value::Array(vec![]);
        assert!(!is_empty, "{}: {pointer}: {text}", case.about);
    }
    for (pointer, wanted) in &case.is {
        let wanted: Value = serde_json::from_str(&words.put_into(&wanted.to_string())).expect("JSON");
        assert_eq!(
            body.pointer(pointer),
            Some(&wanted),
            "{}: {pointer}: {text}",
            case.about
        );
    }
    if let Some(pointer) = &case.id {
        words.set_id(body.pointer(pointer).and_then(Value::as_str).expect("an id"));
    }
}
