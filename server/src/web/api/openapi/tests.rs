//! The document as a document; that it is the router's is tested where a server runs (`tests/it/api/document.rs`).

use std::collections::BTreeSet;

use super::*;
use crate::web::Trust;
use crate::web::api::{answers, table};

fn example() -> Description {
    let route = Route::get("/label/{name}/values", || async {})
        .about("Values of a label.")
        .takes([
            Parameter::in_path("name", "The label."),
            Parameter::new("match[]", Kind::Texts, "Selectors: a, \"b\"\n#c"),
            Parameter::new("on", Kind::Word(&["yes", "no"]), "~").required(),
        ])
        .answers(answers::texts);
    route.into_parts().0
}

#[test]
fn what_is_written_reads_back_the_same() {
    for version in [Version::V3_1, Version::V3_2] {
        let document = document("/p/api/v1", &[example()], version);
        let text = yaml::to_string(&document).expect("YAML");
        let read: Value = serde_yaml::from_str(&text).expect("YAML");
        assert_eq!(read, document);
        let operation = &read["paths"]["/label/{name}/values"]["get"];
        assert_eq!(operation["operationId"], "getLabelNameValues");
        assert_eq!(operation["parameters"][0]["in"], "path");
        assert_eq!(operation["parameters"][2]["schema"]["enum"], json!(["yes", "no"]));
        assert_eq!(operation["security"][2]["token"], json!(["read"]));
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], json!(["status", "data"]));
    }
}

#[test]
fn parameters_stand_where_the_patterns_have_them() {
    let trust = Arc::new(Trust::new(None, &"http://x".parse().expect("URL")));
    for route in table::compressed(&trust).into_iter().chain(table::plain()) {
        let (route, _) = route.into_parts();
        let in_path: BTreeSet<&str> = route
            .parameters
            .iter()
            .filter(|parameter| parameter.place == Place::Path)
            .map(|parameter| parameter.name)
            .collect();
        let in_pattern: BTreeSet<&str> = route
            .pattern
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(in_path, in_pattern, "{}", route.pattern);
        let names: BTreeSet<&str> = route.parameters.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names.len(), route.parameters.len(), "{}", route.pattern);
        assert!(route.summary.ends_with('.'), "{}", route.pattern);
    }
}

#[test]
fn streams_tell_of_their_elements_where_the_format_can() {
    let media = "application/x-ndjson";
    let answer = Answer::Other {
        media,
        schema: answers::search_line,
    };
    let content = |version| responses(&answer, None, version)["200"]["content"][media].clone();
    assert_eq!(content(Version::V3_1), json!({ "schema": { "type": "string" } }));
    assert!(content(Version::V3_2)["itemSchema"]["oneOf"].is_array());
}
