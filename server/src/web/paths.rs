//! Paths as Go's multiplexer and the reference's router read them: unclean ones are led to the clean one, and a path
//! that is nearly one of ours (a slash too many or too few, other letters) to the right one.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode, Uri};

use super::listener::query_of;

/// The paths that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// In front of everything, without a slash at its end; empty for none.
    pub(super) prefix: String,
    /// Patterns of all routes.
    pub(super) patterns: Vec<String>,
    /// Where the API lies behind the prefix.
    pub(super) tree: &'static str,
}

impl Paths {
    /// The path that was probably meant by an unknown one, if it is close to one of ours.
    fn meant(&self, path: &str) -> Option<String> {
        let decoded = percent_decoded(path);
        let other_slash = match decoded.strip_suffix('/') {
            Some(less) => less.to_owned(),
            None => format!("{decoded}/"),
        };
        let candidates = [
            Cow::Borrowed(other_slash.as_str()),
            clean(&decoded),
            Cow::Owned(decoded.to_ascii_lowercase()),
            Cow::Owned(other_slash.to_ascii_lowercase()),
        ];
        let mut others = candidates.into_iter().filter(|candidate| **candidate != *path);
        others
            .find(|candidate| self.is_route(candidate))
            .map(Cow::into_owned)
    }

    fn is_route(&self, path: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, path))
    }
}

/// Whether `path` is one of a pattern's: `{name}` stands for one part that is not empty, `{*rest}` for all that follows.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    for piece in pattern.split('/') {
        if piece.starts_with("{*") {
            return parts.next().is_some();
        }
        let Some(part) = parts.next() else { return false };
        let fits = match piece.starts_with('{') {
            true => !part.is_empty(),
            false => part == piece,
        };
        if !fits {
            return false;
        }
    }
    parts.next().is_none()
}

/// A path without empty parts, `.` and `..`; a slash at its end stays.
fn clean(path: &str) -> Cow<'_, str> {
    let odd = path.contains("//") || path.split('/').any(|part| matches!(part, "." | ".."));
    if !odd && path.starts_with('/') {
        return Cow::Borrowed(path);
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut out = String::with_capacity(path.len());
    for part in &parts {
        out.push('/');
        out.push_str(part);
    }
    if out.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    Cow::Owned(out)
}

fn percent_decoded(path: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Leads somewhere else, as Go's server does it: a page with a link for GET, the query kept.
pub(super) fn redirect(status: StatusCode, method: &Method, to: &str, query: Option<&[u8]>) -> Response {
    let target = match query {
        Some(query) => format!("{to}?{}", String::from_utf8_lossy(query)),
        None => to.to_owned(),
    };
    let Ok(location) = HeaderValue::from_bytes(target.as_bytes()) else {
        return not_found();
    };
    let html = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    let body = match *method {
        Method::GET => {
            let reason = status.canonical_reason().unwrap_or("Redirect");
            let page = format!("<a href=\"{}\">{reason}</a>.\n\n", escape_html(&target));
            (status, html, page).into_response()
        }
        Method::HEAD => (status, html).into_response(),
        _ => status.into_response(),
    };
    ([(LOCATION, location)], body).into_response()
}

/// Text that can stand in HTML, in quotes too.
pub(super) fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Compat: text and headers are the reference's (api: `/nope`).
pub(super) fn not_found() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (StatusCode::NOT_FOUND, headers, "404 page not found\n").into_response()
}

/// Before any route is looked for: unclean paths are led to the clean ones.
pub(super) async fn layer(State(paths): State<Arc<Paths>>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let path = uri.path();
    let query = query_of(uri, request.extensions());
    let cleaned = clean(path);
    if *cleaned != *path && request.method() != Method::CONNECT {
        // Compat: 307, so that the body of a POST goes along (reports/double-slash).
        return redirect(StatusCode::TEMPORARY_REDIRECT, request.method(), &cleaned, query);
    }
    // Compat: the API is a tree of its own there, and a tree ends with a slash.
    if path.strip_prefix(&paths.prefix) == Some(paths.tree) {
        let tree = format!("{path}/");
        return redirect(StatusCode::TEMPORARY_REDIRECT, request.method(), &tree, query);
    }
    next.run(request).await
}

/// Where no route is.
pub(super) fn nowhere(paths: &Paths, method: &Method, uri: &Uri, query: Option<&[u8]>) -> Response {
    let status = match *method {
        Method::GET => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::TEMPORARY_REDIRECT,
    };
    if !paths.prefix.is_empty() && uri.path() == "/" && *method == Method::GET {
        return redirect(StatusCode::FOUND, method, &paths.prefix, None);
    }
    match paths.meant(uri.path()) {
        Some(path) => redirect(status, method, &path, query),
        None => not_found(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (path, cleaned) in [
            ("/", "/"),
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/a/..", "/"),
            ("/a/b//", "/a/b/"),
            ("/a.b/...", "/a.b/..."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn what_is_nearly_a_route_is_led_to_it() {
        let paths = Paths {
            prefix: "/p".to_owned(),
            patterns: ["/p/", "/p/metrics", "/p/label/{name}/values", "/p/user/{*rest}"]
                .map(str::to_owned)
                .to_vec(),
            tree: "/api/v1",
        };
        for (path, meant) in [
            ("/p", Some("/p/")),
            ("/p/metrics/", Some("/p/metrics")),
            ("/p/METRICS", Some("/p/metrics")),
            ("/p/label/a/values/", Some("/p/label/a/values")),
            ("/p/label//values/", None),
            ("/p/user", Some("/p/user/")),
            ("/p/x/%2e%2e/", Some("/p/")),
            ("/p/%2e%2e/", None),
            ("/p/nope/", None),
            ("/metrics/", None),
        ] {
            assert_eq!(paths.meant(path).as_deref(), meant, "{path}");
        }
    }
}
