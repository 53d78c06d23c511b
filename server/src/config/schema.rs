//! The JSON schema of the configuration file: made of what its reader asks for, and compared with what it accepts.

use std::path::PathBuf;

use model::regex::Regex;
use serde_json::Value as Json;
use testkit::schema::{expect_file, titled, violations};
use yaml::Shape;

use super::parse;

/// What stands in several places, or holds itself, besides the kinds of discovery.
const SHARED: [&str; 14] = [
    "alert_relabel_configs",
    "authorization",
    "basic_auth",
    "http_config",
    "http_headers",
    "input_relabel_configs",
    "metric_relabel_configs",
    "oauth2",
    "output_relabel_configs",
    "relabel_configs",
    "routes",
    "static_configs",
    "tls_config",
    "write_relabel_configs",
];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn testdata(name: &str) -> String {
    std::fs::read_to_string(repository().join("testdata/schema").join(name)).expect("the file")
}

/// What the reader asks for over our own files, which have every section.
fn schema() -> Json {
    let inside = |name: &str| {
        let lines: Vec<String> = testdata(name).lines().map(|line| format!("  {line}\n")).collect();
        format!("alertmanager:\n{}", lines.concat())
    };
    let mut shape = Shape::Any;
    for text in [
        testdata("prometheus.yml"),
        inside("alertmanager.yml"),
        inside("lease-in-a-bucket.yml"),
    ] {
        let (config, seen) = yaml::record(|| parse("prometheus.yml", &text));
        if let Err(error) = config {
            panic!("{error}");
        }
        shape = shape.merged(seen);
    }
    let kinds = discovery::KINDS.iter().map(|kind| kind.key);
    let shared: Vec<&str> = kinds.chain(SHARED).collect();
    titled(
        "The configuration of Prometheus 3.14, as Narthex reads it",
        serde_json::to_value(shape.sharing(&shared)).expect("JSON"),
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
    expect_file(&repository().join("schemas/prometheus.json"), &schema());
}

/// No kind of discovery is passed over: of each there is an entry, whose keys are known.
#[test]
fn every_kind_of_discovery_is_told_of() {
    let schema = schema();
    for kind in discovery::KINDS {
        let keys = &schema["$defs"][kind.key]["items"]["properties"];
        assert!(
            keys.as_object().is_some_and(|keys| keys.len() > 1),
            "{}",
            kind.key
        );
    }
}

/// Files are valid by the schema where the reader takes them.
#[test]
fn good_files_are_valid() {
    let schema = schema();
    let Some(folder) = testkit::conformance("config") else {
        return;
    };
    let mut good = 0;
    for folder in [folder, repository().join("testdata/config")] {
        for entry in std::fs::read_dir(folder).expect("files") {
            let path = entry.expect("entry").path();
            let is_yaml = path.extension().is_some_and(|extension| extension == "yml");
            let Some(text) = std::fs::read_to_string(&path).ok().filter(|_| is_yaml) else {
                continue;
            };
            if parse("prometheus.yml", &text).is_ok() {
                assert_eq!(
                    violations_of(&schema, &text),
                    [] as [&str; 0],
                    "{}",
                    path.display()
                );
                good += 1;
            }
        }
    }
    assert!(good > 60, "{good}");
}

#[test]
fn wrong_keys_and_values_are_not_valid() {
    let schema = schema();
    for (text, want) in [
        ("scrape_config: []\n", "/scrape_config: no such key"),
        (
            "global: {scrape_interval: 15 s}\n",
            "/global/scrape_interval: \"15 s\" does not match",
        ),
        (
            "scrape_configs: [{kubernetes_sd_configs: [{roles: pod}]}]\n",
            "/scrape_configs/0/kubernetes_sd_configs/0/roles: no such key",
        ),
        (
            "alerting: {alertmanagers: [{http_sd_configs: [{basic_auth: {user: a}}]}]}\n",
            "/alerting/alertmanagers/0/http_sd_configs/0/basic_auth/user: no such key",
        ),
        (
            "alertmanager: {route: {routes: [{routes: [{group: a}]}]}}\n",
            "/alertmanager/route/routes/0/routes/0/group: no such key",
        ),
        (
            "scrape_configs: [{relabel_configs: {action: drop}}]\n",
            "/scrape_configs/0/relabel_configs: is not of [\"array\",\"null\"]",
        ),
    ] {
        assert_eq!(violations_of(&schema, text), [want], "{text}");
        assert!(parse("f", text).is_err(), "{text}");
    }
}
