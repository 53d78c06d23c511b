//! The web pages: the build of `ui/`, as the binary carries it.
//!
//! One document stands behind every address of a page; which page it shows it reads from the address. What it loads has
//! the hash of its content in its name and may be kept for ever. Nothing is loaded from anywhere else, and no script or
//! style that somebody else brings into the document is run: its policy takes both from files alone.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};

use super::paths::{escape_html, not_found};
use super::state::PageState;

/// Where pages are, behind the prefix: the reference's addresses, and those that only ours has.
pub(super) const PAGES: [&str; 15] = [
    "/query",
    "/alerts",
    "/targets",
    "/rules",
    "/config",
    "/flags",
    "/status",
    "/tsdb-status",
    "/service-discovery",
    "/alertmanager-discovery",
    "/alerts/{fingerprint}",
    "/metrics-explorer/{*name}",
    "/notifications",
    "/notifications/{*rest}",
    "/storage",
];
/// Where that lies which pages load.
pub(super) const ASSETS: &str = "/assets/{name}";

/// The document, with words in braces for what it is told by the server.
const DOCUMENT: &str = include_str!("../../../ui/dist/index.html");
/// What it may load and do. Pictures are made in the page, too.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; \
                      connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'";
/// Names and contents of what it loads, sorted by name.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/bundle.rs"));

/// Any page.
pub(crate) async fn page(State(state): State<Arc<PageState>>) -> Response {
    // Told apart from the path of the request: what stands in front of this server may change it.
    let base = format!("{}/", state.external_path);
    let document = DOCUMENT
        .replace("{{base}}", &escape_html(&base))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{title}}", &escape_html(&state.title));
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, document).into_response()
}

/// What pages load.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Ok(found) = FILES.binary_search_by(|(known, _)| (*known).cmp(&name)) else {
        return not_found();
    };
    let (name, content) = FILES[found];
    // The name has the content's hash in it.
    let tag = format!("\"{name}\"");
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|known| known.trim() == "*" || known.trim().trim_start_matches("W/") == tag);
    let headers = [
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (CONTENT_TYPE, media_type(name)),
        (ETAG, &tag),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match known {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => (headers, content).into_response(),
    }
}

/// Of the kinds of files that the build makes.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, kind)| kind) {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_place_for_all_that_it_is_told() {
        for word in ["{{base}}", "{{version}}", "{{title}}"] {
            assert!(DOCUMENT.contains(word), "{word}");
        }
    }

    #[test]
    fn what_the_document_loads_is_there_and_of_a_known_kind() {
        for (name, _) in FILES {
            assert_ne!(media_type(name), "application/octet-stream", "{name}");
        }
        assert!(FILES.is_sorted_by_key(|(name, _)| *name));
        let loaded: Vec<&str> = DOCUMENT
            .split("./assets/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(!loaded.is_empty());
        for name in loaded {
            assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
