//! The JSON schema of rule files: made of what their reader asks for, and compared with what it accepts.

use std::path::{Path, PathBuf};

use model::regex::Regex;
use narthex_rules::format::{FormatOptions, read};
use serde_json::Value as Json;
use testkit::schema::{expect_file, titled, violations};
use yaml::Shape;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the reader asks for over our own good files, which have every key.
fn shape() -> Shape {
    let mut shape = Shape::Any;
    for entry in std::fs::read_dir(crate::testdata().join("files")).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_str().unwrap().ends_with(".good.yml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (file, seen) = yaml::record(|| read("rules.yml", &text, &FormatOptions::default()));
        file.unwrap();
        shape = shape.merged(seen);
    }
    shape
}

fn schema_of(shape: &Shape) -> Json {
    titled(
        "Rule files of Prometheus 3.14, as Narthex reads them",
        serde_json::to_value(shape).unwrap(),
    )
}

fn violations_of(schema: &Json, text: &str) -> Vec<String> {
    let document: Json = serde_yaml::from_str(text).unwrap();
    violations(schema, &document, &|pattern, text| {
        Regex::unanchored(pattern).unwrap().is_match(text)
    })
}

/// Every key that the reader knows is in the schema, and no other.
#[test]
fn the_schema_is_what_the_reader_asks_for() {
    expect_file(&repository().join("schemas/rules.json"), &schema_of(&shape()));
}

/// Files are valid by the schema where the reader takes them, as far as a schema can tell.
#[test]
fn good_files_are_valid() {
    let schema = schema_of(&shape());
    let Some(folder) = testkit::conformance("rules") else {
        return;
    };
    let (mut good, mut waiting) = (0, vec![folder, repository().join("testdata/lint")]);
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let Some(text) = good_text(&path) else { continue };
            let found = violations_of(&schema, &text);
            assert_eq!(found, [] as [&str; 0], "{}", path.display());
            good += 1;
        }
    }
    assert!(good > 80, "{good}");
}

/// The text of a rule file of one document that the reader takes.
fn good_text(path: &Path) -> Option<String> {
    let is_yaml = path
        .extension()
        .is_some_and(|extension| extension == "yml" || extension == "yaml");
    let text = std::fs::read_to_string(path).ok().filter(|_| is_yaml)?;
    let file = read("rules.yml", &text, &FormatOptions::default()).ok()?;
    (!file.more_documents && !file.groups.is_empty()).then_some(text)
}

#[test]
fn wrong_keys_and_values_are_not_valid() {
    let schema = schema_of(&shape());
    for (text, want) in [
        ("group: []\n", "/group: no such key"),
        ("groups: [{name: a, rule: []}]\n", "/groups/0/rule: no such key"),
        (
            "groups: [{name: a, rules: [{exprs: a}]}]\n",
            "/groups/0/rules/0/exprs: no such key",
        ),
        (
            "groups: [{name: a, interval: 5 minutes}]\n",
            "/groups/0/interval: \"5 minutes\" does not match",
        ),
        (
            "groups: [{name: a, interval: 5}]\n",
            "/groups/0/interval: is above 0",
        ),
        (
            "groups: [{name: a, rules: [{labels: [a]}]}]\n",
            "/groups/0/rules/0/labels: is not of [\"object\",\"null\"]",
        ),
    ] {
        assert_eq!(violations_of(&schema, text), [want], "{text}");
        assert!(read("f", text, &FormatOptions::default()).is_err(), "{text}");
    }
    assert_eq!(
        violations_of(&schema, "groups: [{name: a, interval: 0}]\n"),
        [] as [&str; 0]
    );
}
