//! `/api/v1/openapi.yaml`: the table of routes as an OpenAPI document, in version 3.1 or 3.2.
//!
//! Format: <https://spec.openapis.org/oas/v3.1.1>. The second version is asked for by `openapi_version=3.2`; what it adds
//! and is used here is the form of a stream's elements.

use std::sync::{Arc, OnceLock};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::parameter::{Kind, Parameter, Place};
use super::schema::{list, may, must, object, text, word};
use super::{Answer, Description, Needs, Route, Schema};
use crate::web::params::Params;

const PATTERN: &str = "/openapi.yaml";
const VERSION: Parameter = Parameter::new("openapi_version", Kind::Text, "3.1, the default, or 3.2.");
/// Media types whose bodies are a row of elements.
const STREAMS: [&str; 2] = ["text/event-stream", "application/x-ndjson"];

/// The document in both versions, made when it is first asked for.
struct Documents {
    /// Where the API lies, as the outside knows it.
    place: String,
    routes: Vec<Description>,
    texts: [OnceLock<Bytes>; 2],
}

/// Versions of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V3_1,
    V3_2,
}

/// The route of the document of `routes`, and of itself. `place` is where the API lies, as the outside knows it.
pub(in crate::web) fn route(place: String, mut routes: Vec<Description>) -> Route {
    let about = |route: Route| {
        route
            .about("Describes the API: this document.")
            .takes([VERSION])
            .answers_as(Answer::Other {
                media: "application/yaml",
                schema: text,
            })
    };
    routes.push(about(Route::get(PATTERN, || async {})).about);
    let documents = Arc::new(Documents {
        place,
        routes,
        texts: Default::default(),
    });
    let handler = move |params: Params| {
        let documents = documents.clone();
        async move { documents.answer(&params) }
    };
    about(Route::get(PATTERN, handler))
}

impl Documents {
    fn answer(&self, params: &Params) -> Response {
        // Compat: whatever is no version gets the older one (api: `openapi.yaml?openapi_version=x`).
        let version = match params.get(VERSION.name) {
            asked if asked.starts_with("3.2") => Version::V3_2,
            _ => Version::V3_1,
        };
        let text = self.texts[version as usize].get_or_init(|| {
            let document = document(&self.place, &self.routes, version);
            yaml::to_string(&document).map_or_else(
                |error| {
                    // Only maps with keys that are no texts can fail, and there are none.
                    tracing::error!(%error, "The OpenAPI document cannot be written");
                    Bytes::new()
                },
                Bytes::from,
            )
        });
        let headers = [
            (CONTENT_TYPE, "application/yaml; charset=utf-8"),
            (CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        ];
        (headers, text.clone()).into_response()
    }
}

fn document(place: &str, routes: &[Description], version: Version) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let item = paths
            .entry(route.pattern)
            .or_insert_with(|| Value::Object(Map::new()));
        for method in route.methods {
            item[*method] = operation(route, method, version);
        }
    }
    json!({
        "openapi": match version { Version::V3_1 => "3.1.1", Version::V3_2 => "3.2.0" },
        "info": {
            "title": "Narthex",
            "description": "Time series: queries, targets, rules, alerts, and the state of the server.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{ "url": place }],
        "paths": paths,
        "components": {
            "schemas": { "Error": error() },
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic" },
                "token": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn operation(route: &Description, method: &str, version: Version) -> Value {
    let has_form = matches!(method, "post" | "put") && route.takes_body.is_none();
    let in_form = |parameter: &Parameter| has_form && parameter.place == Place::Query;
    let (fields, others): (Vec<Parameter>, Vec<Parameter>) =
        route.parameters.iter().copied().partition(in_form);
    let mut operation = json!({
        "operationId": operation_id(route.pattern, method),
        "summary": route.summary,
        "tags": [tag(route.pattern)],
        "parameters": others.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(&route.answer, route.fault, version),
    });
    if !fields.is_empty() {
        operation["requestBody"] = form(&fields);
    }
    if let Some(media) = route.takes_body {
        operation["requestBody"] = json!({ "required": true, "content": { media: { "schema": {} } } });
    }
    if let Needs::One(scope) = route.needs {
        // None, where nobody is asked; the scopes of a token stand in the place of roles.
        operation["security"] = json!([{}, { "basic": [] }, { "token": [scope.word()] }]);
    }
    operation
}

/// `/label/{name}/values` by GET is `getLabelNameValues`.
fn operation_id(pattern: &str, method: &str) -> String {
    let words = pattern.split(|c: char| !c.is_ascii_alphanumeric());
    words.fold(method.to_owned(), |mut id, word| {
        let mut chars = word.chars();
        id.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        id.push_str(chars.as_str());
        id
    })
}

/// The first part of a path.
fn tag(pattern: &str) -> &str {
    pattern.split('/').find(|part| !part.is_empty()).unwrap_or("")
}

fn parameter(parameter: &Parameter) -> Value {
    let mut json = json!({
        "name": parameter.name,
        "in": match parameter.place { Place::Query => "query", Place::Path => "path" },
        "required": parameter.required,
        "description": parameter.about,
        "schema": parameter.schema(),
    });
    if parameter.kind == Kind::Texts {
        json["explode"] = true.into();
    }
    json
}

fn form(fields: &[Parameter]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut schema = field.schema();
            schema["description"] = field.about.into();
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    json!({ "content": { "application/x-www-form-urlencoded": { "schema": schema } } })
}

fn responses(answer: &Answer, fault: Option<fn() -> Schema>, version: Version) -> Value {
    let fault = fault.map_or_else(
        || json!({ "$ref": "#/components/schemas/Error" }),
        |fault| fault(),
    );
    let fault = json!({
        "description": "What is wrong.",
        "content": {
            "application/json": { "schema": fault },
            // What no handler sees: methods, credentials, bodies that are pushed.
            "text/plain": { "schema": text() },
        },
    });
    let (status, found) = match answer {
        Answer::Empty(status) => (*status, json!({ "description": "Done." })),
        Answer::Data(schema) => {
            let content = json!({ "application/json": { "schema": envelope(schema()) } });
            (200, json!({ "description": "The answer.", "content": content }))
        }
        Answer::Bytes(media) => {
            let media = media
                .iter()
                .map(|media| ((*media).to_owned(), json!({ "schema": {} })));
            let content: Map<String, Value> = media.collect();
            (200, json!({ "description": "The answer.", "content": content }))
        }
        Answer::Other { media, schema } => {
            let of = match version == Version::V3_2 && STREAMS.contains(media) {
                true => "itemSchema",
                false => "schema",
            };
            // Before 3.2 there was no word for a stream's elements.
            let schema = match version == Version::V3_1 && STREAMS.contains(media) {
                true => text(),
                false => schema(),
            };
            let content = json!({ *media: { of: schema } });
            (200, json!({ "description": "The answer.", "content": content }))
        }
    };
    json!({ status.to_string(): found, "default": fault })
}

fn envelope(data: Value) -> Value {
    object([
        must("status", word(&["success"])),
        must("data", data),
        may("warnings", list(text())),
        may("infos", list(text())),
    ])
}

fn error() -> Value {
    object([
        must("status", word(&["error"])),
        must("errorType", text()),
        must("error", text()),
    ])
}

#[cfg(test)]
mod tests;
