//! The JSON schema of `alertmanager.yml`: made of what its reader asks for, and compared with what it accepts.

use std::path::PathBuf;

use model::regex::Regex;
use narthex_notify::config::Config;
use narthex_notify::matcher::Syntax;
use serde_json::Value as Json;
use testkit::schema::{expect_file, titled, violations};
use yaml::Shape;

/// What stands in several places, or holds itself.
const SHARED: [&str; 7] = [
    "authorization",
    "basic_auth",
    "http_config",
    "http_headers",
    "oauth2",
    "routes",
    "tls_config",
];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the reader asks for over our own files, which have every section.
fn schema() -> Json {
    let mut shape = Shape::Any;
    for name in ["alertmanager.yml", "lease-in-a-bucket.yml"] {
        let text =
            std::fs::read_to_string(repository().join("testdata/schema").join(name)).expect("the file");
        let (config, seen) = yaml::record(|| Config::parse(name, &text, Syntax::default()));
        if let Err(error) = config {
            panic!("{error}");
        }
        shape = shape.merged(seen);
    }
    titled(
        "alertmanager.yml of Alertmanager 0.34, as Narthex reads it",
        serde_json::to_value(shape.sharing(&SHARED)).expect("JSON"),
    )
}

fn violations_of(schema: &Json, text: &str) -> Vec<String> {
    let document: Json = serde_yaml::from_str(text).expect("YAML");
    violations(schema, &document, &|pattern, text| {
        Regex::unanchored(pattern).expect("a pattern").is_match(text)
    })
}

/// Every key that the reader knows is in the schema, and no other.
#[test]
fn the_schema_is_what_the_reader_asks_for() {
    expect_file(&repository().join("schemas/alertmanager.json"), &schema());
}

/// Files are valid by the schema where the reader takes them; of those that it refuses, some are not.
#[test]
fn good_files_are_valid() {
    let schema = schema();
    let Some(folder) = testkit::conformance("alertmanager") else {
        return;
    };
    let mut good = 0;
    for entry in std::fs::read_dir(folder).expect("files") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        if Config::parse("alertmanager.yml", &text, Syntax::Fallback).is_ok() {
            assert_eq!(
                violations_of(&schema, &text),
                [] as [&str; 0],
                "{}",
                path.display()
            );
            good += 1;
        }
    }
    assert!(good > 15, "{good}");
}

#[test]
fn wrong_keys_and_values_are_not_valid() {
    let schema = schema();
    for (text, want) in [
        ("routes: {}\n", "/routes: no such key"),
        (
            "route: {routes: [{routes: [{routes: [{reciever: a}]}]}]}\n",
            "/route/routes/0/routes/0/routes/0/reciever: no such key",
        ),
        (
            "route: {group_wait: 1 minute}\n",
            "/route/group_wait: \"1 minute\" does not match",
        ),
        (
            "receivers: [{slack_config: []}]\n",
            "/receivers/0/slack_config: no such key",
        ),
        (
            "receivers: [{slack_configs: [{http_config: {basic_auth: {user: a}}}]}]\n",
            "/receivers/0/slack_configs/0/http_config/basic_auth/user: no such key",
        ),
        (
            "receivers: [{email_configs: [{require_tls: maybe}]}]\n",
            "/receivers/0/email_configs/0/require_tls: is not of [\"boolean\",\"null\"]",
        ),
        (
            "high_availability: {lease: {duration: 15}}\n",
            "/high_availability/lease/duration: is above 0",
        ),
    ] {
        assert_eq!(violations_of(&schema, text), [want], "{text}");
    }
}
