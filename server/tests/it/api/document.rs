//! The OpenAPI document of a server, and whether its answers are what that says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::wire::{Answer, ask};
use crate::harness::Server;

/// A server's document.
pub(super) struct Document {
    /// Operations by path and method.
    operations: Vec<(String, String, Value)>,
    whole: Value,
}

impl Document {
    pub(super) async fn ask(port: u16, prefix: &str) -> Document {
        let request = serde_json::json!({ "path": format!("{prefix}/api/v1/openapi.yaml") });
        let answer = ask(port, &request, "").await.expect("an answer");
        Document::parse(&answer.text())
    }

    fn parse(text: &str) -> Document {
        let whole: Value = serde_yaml::from_str(text).expect("YAML");
        let mut operations = Vec::new();
        for (path, item) in whole["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                operations.push((path.clone(), method.clone(), operation.clone()));
            }
        }
        Document { operations, whole }
    }

    /// What of an answer is not as the document says.
    pub(super) fn contradiction(&self, line: &Value, answer: &Answer) -> Option<String> {
        // Unclean paths are led elsewhere before any route is looked for.
        if (300..400).contains(&answer.code) {
            return None;
        }
        let path = line["path"].as_str()?.split('?').next()?;
        let (_, path) = path.split_once("/api/v1")?;
        let method = line["method"].as_str().unwrap_or("GET").to_ascii_lowercase();
        let operation = self
            .operations
            .iter()
            .find(|(pattern, known, _)| *known == method && fits(pattern, path));
        let responses = &operation?.2["responses"];
        let response = match responses.get(answer.code.to_string()) {
            Some(response) => response,
            None if answer.code < 300 && answer.code != 204 => {
                return Some(format!("the document knows no {}", answer.code));
            }
            None => &responses["default"],
        };
        let media = answer.headers.get("content-type")?.first()?.split(';').next()?;
        if answer.body.is_empty() {
            return None;
        }
        let Some(content) = response["content"].get(media) else {
            return Some(format!("the document knows no {} of {media}", answer.code));
        };
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
            return None;
        };
        let fault = self.fault(&content["schema"], &body, "");
        (media == "application/json").then_some(fault)?
    }

    /// The first thing in `value` that is not as `schema` says: as much of JSON Schema as the document uses.
    fn fault(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let found = self
                .whole
                .pointer(name.trim_start_matches('#'))
                .expect("a schema of this name");
            return self.fault(found, value, at);
        }
        if let Some(list) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let faults: Vec<_> = list.iter().map(|one| self.fault(one, value, at)).collect();
            let fitting = faults.iter().filter(|fault| fault.is_none()).count();
            let several = schema.get("oneOf").is_some() && fitting > 1;
            return (fitting == 0 || several).then(|| format!("{at}: fits {fitting} of {faults:?}"));
        }
        let is_of_type = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("number") => value.is_number(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("null") => value.is_null(),
            _ => true,
        };
        if !is_of_type {
            return Some(format!("{at}: {value} is no {}", schema["type"]));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Some(format!("{at}: {value} is none of {words:?}"));
        }
        self.fault_of_object(schema, value, at).or_else(|| {
            let items = value.as_array()?;
            if let Some(schemas) = schema["prefixItems"].as_array() {
                let mut pairs = schemas.iter().zip(items);
                let faults = pairs.find_map(|(schema, item)| self.fault(schema, item, &format!("{at}[]")));
                return faults.or_else(|| {
                    (schemas.len() != items.len()).then(|| format!("{at}: {} items", items.len()))
                });
            }
            items
                .iter()
                .find_map(|item| self.fault(&schema["items"], item, &format!("{at}[]")))
        })
    }

    fn fault_of_object(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let object = value.as_object()?;
        let required = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let missing = required.into_iter().find(|name| !object.contains_key(*name));
        if let Some(missing) = missing {
            return Some(format!("{at}: {missing} is missing"));
        }
        object.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) => self.fault(schema, value, &at),
                (None, Value::Bool(false)) => Some(format!("{at} is too much")),
                (None, schema) => self.fault(schema, value, &at),
            }
        })
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(path)
            .all(|(piece, part)| piece.starts_with('{') || *piece == part)
}

/// The document has every route of the API that the server counts the requests of, and no other; and every parameter that the
/// reference's document has.
#[tokio::test]
async fn the_document_is_the_router() {
    let folder = tempfile::tempdir().expect("folder");
    let flags = ["--web.enable-admin-api", "--web.enable-push-gateway"];
    let server = Server::start(folder.path(), "{}", &flags).await;
    let text = server.get("/api/v1/openapi.yaml").await.1;
    let document = Document::parse(&text);
    let described: BTreeSet<String> = document
        .operations
        .iter()
        .map(|(path, ..)| path.replace('{', ":").replace('}', ""))
        .collect();
    let metrics = server.get("/metrics").await.1;
    let counted: BTreeSet<String> = metrics
        .lines()
        .filter(|line| line.starts_with("prometheus_http_requests_total"))
        .filter_map(|line| line.split("handler=\"/api/v1").nth(1)?.split('"').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(described, counted);
    let mut ids = BTreeSet::new();
    for (path, method, operation) in &document.operations {
        assert!(
            ids.insert(operation["operationId"].to_string()),
            "{method} {path}"
        );
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|text| text.ends_with('.')),
            "{method} {path}"
        );
    }
    let newer = server.get("/api/v1/openapi.yaml?openapi_version=3.2").await.1;
    let newer = Document::parse(&newer);
    assert_eq!(
        (&document.whole["openapi"], &newer.whole["openapi"]),
        (&"3.1.1".into(), &"3.2.0".into())
    );
    assert!(newer.whole["paths"]["/notifications/live"]["get"]["responses"]["200"]["content"]["text/event-stream"]["itemSchema"].is_object());
    let Some(conformance) = testkit::conformance("api") else {
        return;
    };
    let known = std::fs::read_to_string(conformance.join("openapi.jsonl")).expect("conformance data");
    for line in known.lines() {
        let theirs: Value = serde_json::from_str(line).expect("JSON");
        let (path, method) = (
            theirs["path"].as_str().expect("a path"),
            theirs["method"].as_str().expect("a method"),
        );
        // Not in this version.
        if path == "/read" {
            continue;
        }
        let ours = &document.whole["paths"][path][method.to_ascii_lowercase()];
        assert!(ours.is_object(), "{method} {path}");
        let names = parameters(ours);
        for (name, required) in parameters(&theirs) {
            assert_eq!(names.get(&name), Some(&required), "{method} {path} {name}");
        }
    }
}

/// Names of parameters and fields of forms, and whether they must be given.
fn parameters(operation: &Value) -> BTreeMap<String, bool> {
    let listed = operation["parameters"].as_array().into_iter().flatten();
    let mut names: BTreeMap<String, bool> = listed
        .map(|parameter| {
            (
                parameter["name"].as_str().expect("a name").to_owned(),
                parameter["required"] == true,
            )
        })
        .collect();
    const FORM: &str = "application/x-www-form-urlencoded";
    // The recorded fields are shorter.
    for (name, field) in operation["body"][FORM].as_object().into_iter().flatten() {
        names.insert(name.clone(), field["required"] == true);
    }
    let schema = &operation["requestBody"]["content"][FORM]["schema"];
    for name in schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
    {
        let required = schema["required"]
            .as_array()
            .is_some_and(|list| list.contains(&name.as_str().into()));
        names.insert(name.clone(), required);
    }
    names
}
