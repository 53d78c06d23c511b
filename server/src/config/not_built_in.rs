//! What a configuration asks for that this version does not have, all at once.

use std::path::Path;

use discovery::Mechanisms;
use yaml::{Document, NodeKind, Value, YamlError};

use super::watch::named_files;

/// Every such place in a configuration file and in the scrape configuration files that it names, if `error` is about the
/// first of them; otherwise `error`. What is wrong with the files otherwise is left to the next run.
pub(super) fn all(error: YamlError, path: &Path, document: &Document) -> Vec<YamlError> {
    let mut found = in_document(document);
    if !found.iter().any(|place| is_same(place, &error)) {
        return vec![error];
    }
    for file in named_files(path, document, "scrape_config_files") {
        let document = std::fs::read(&file)
            .and_then(yaml::text_of)
            .ok()
            .and_then(|text| yaml::parse(&file.to_string_lossy(), &text).ok());
        found.extend(document.iter().flat_map(in_document));
    }
    found
}

/// Whether two errors are about the same place.
fn is_same(a: &YamlError, b: &YamlError) -> bool {
    a.path() == b.path() && a.position() == b.position() && a.message() == b.message()
}

/// Every such place in one file.
pub(super) fn in_document(document: &Document) -> Vec<YamlError> {
    let root = document.root();
    let jobs = items(below(root, "scrape_configs"));
    let alertmanagers = items(below(root, "alerting").and_then(|value| below(value, "alertmanagers")));
    jobs.into_iter()
        .chain(alertmanagers)
        .flat_map(Mechanisms::not_built_in)
        .collect()
}

/// The value of a key, where there is one.
fn below<'d>(value: Value<'d>, key: &str) -> Option<Value<'d>> {
    let NodeKind::Mapping(pairs) = &value.node.kind else {
        return None;
    };
    let is_key = |node: &yaml::Node| matches!(&node.kind, NodeKind::Scalar(scalar) if scalar.text == key);
    let (_, node) = pairs.iter().find(|(name, _)| is_key(name))?;
    Some(Value {
        document: value.document,
        node,
    })
}

fn items(list: Option<Value<'_>>) -> Vec<Value<'_>> {
    list.and_then(|list| list.sequence().ok()).unwrap_or_default()
}
