//! `/user`: the files of `--web.user-assets`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Path as Captured, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use tokio_util::io::ReaderStream;

use super::auth::scope::guarded;
use super::listener::WholeQuery;
use super::paths::{not_found, redirect};
use super::{READ, get_only};

/// Names of one folder that a listing shows.
const LISTED_MAX: usize = 10_000;

/// Where they lie.
pub(super) const PATTERNS: [&str; 3] = ["/user", "/user/", "/user/{*rest}"];

/// Adds the routes, behind a path that is in front of everything.
pub(super) fn add_to<S: Clone + Send + Sync + 'static>(
    site: Router<S>,
    prefix: &str,
    folder: PathBuf,
) -> Router<S> {
    let [bare, own, below] = PATTERNS.map(|pattern| format!("{prefix}{pattern}"));
    let files: Router<S> = Router::new()
        .route(&bare, guarded(READ, any(bare_folder)))
        .route(&own, guarded(READ, get_only(root)))
        .route(&below, guarded(READ, get_only(file)))
        .with_state(Arc::new(folder));
    site.merge(files)
}

/// Compat: other methods than GET find nothing there, where below they are refused.
async fn bare_folder(method: Method, uri: OriginalUri, query: WholeQuery) -> Response {
    match method {
        Method::GET => to_folder(uri, query).await,
        _ => not_found(),
    }
}

/// A folder's address ends with a slash, so that links in its pages lead into it.
async fn to_folder(OriginalUri(uri): OriginalUri, WholeQuery(query): WholeQuery) -> Response {
    let folder = format!("{}/", uri.path());
    redirect(
        StatusCode::MOVED_PERMANENTLY,
        &Method::GET,
        &folder,
        query.as_deref(),
    )
}

async fn root(State(folder): State<Arc<PathBuf>>, uri: OriginalUri, query: WholeQuery) -> Response {
    serve(&folder, "", uri, query).await
}

async fn file(
    State(folder): State<Arc<PathBuf>>,
    Captured(path): Captured<String>,
    uri: OriginalUri,
    query: WholeQuery,
) -> Response {
    serve(&folder, &path, uri, query).await
}

async fn serve(folder: &Path, path: &str, uri: OriginalUri, query: WholeQuery) -> Response {
    // A name with `..` in it, or none that a file can have, leads out of the folder or nowhere.
    let is_plain = |part: &str| part != ".." && !part.contains(['\0', '\\']);
    if !path.split('/').all(is_plain) {
        return not_found();
    }
    let full = folder.join(path.trim_matches('/'));
    let found = match tokio::fs::metadata(&full).await {
        Ok(meta) if meta.is_dir() && !uri.0.path().ends_with('/') => return to_folder(uri, query).await,
        Ok(meta) if meta.is_dir() => {
            let index = full.join("index.html");
            match tokio::fs::metadata(&index).await {
                Ok(meta) if meta.is_file() => send(&index).await,
                _ => list(full).await,
            }
        }
        // What is neither (a pipe, a device) could hold whoever opens it for ever.
        Ok(meta) if meta.is_file() => send(&full).await,
        _ => None,
    };
    match found {
        Some(response) => response,
        None => not_found(),
    }
}

/// A file in pieces, as the client reads it.
async fn send(path: &Path) -> Option<Response> {
    let file = tokio::fs::File::open(path).await.ok()?;
    let length = file.metadata().await.ok()?.len();
    let headers = [
        (CONTENT_TYPE, content_type(path).to_owned()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    // Exactly the length that was promised, though the file may grow meanwhile.
    let body = Body::from_stream(ReaderStream::new(tokio::io::AsyncReadExt::take(file, length)));
    Some((headers, body).into_response())
}

/// The names in a folder, as links.
async fn list(folder: PathBuf) -> Option<Response> {
    let read = move || {
        let entries = std::fs::read_dir(folder).ok()?;
        let mut names: Vec<String> = entries
            .flatten()
            .take(LISTED_MAX)
            .map(|entry| {
                let is_folder = entry.path().is_dir();
                let name = entry.file_name().to_string_lossy().into_owned();
                if is_folder { format!("{name}/") } else { name }
            })
            .collect();
        names.sort();
        Some(names)
    };
    let names = tokio::task::spawn_blocking(read).await.ok()??;
    let links: String = names.iter().map(|name| link(name)).collect();
    // Compat: the page is the reference's (conformance api/requests, `/user/`).
    let page = format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{links}</pre>\n"
    );
    Some(([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
}

fn link(name: &str) -> String {
    let address = percent_encoding::utf8_percent_encode(name, IN_LINKS);
    // A colon in the first part would make it the scheme of another address.
    let here = if name.contains(':') { "./" } else { "" };
    let text = name
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;");
    format!("<a href=\"{here}{address}\">{text}</a>\n")
}

/// What stands for itself in the path of a link.
const IN_LINKS: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

fn content_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" | "yml" | "yaml" | "log" => "text/plain; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ALLOW, LOCATION};

    use super::*;

    async fn answer(folder: &Path, method: Method, path: &str) -> Response {
        let site = add_to(Router::new(), "", folder.to_owned()).fallback(async || not_found());
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).expect("request");
        tower::ServiceExt::oneshot(site, request).await.expect("answers")
    }

    async fn ask(folder: &Path, path: &str) -> (u16, String, String) {
        let response = answer(folder, Method::GET, path).await;
        let header = |name| {
            let value = response.headers().get(name);
            value
                .map(|value| value.to_str().expect("text").to_owned())
                .unwrap_or_default()
        };
        let (code, place) = (
            response.status().as_u16(),
            header(LOCATION) + &header(CONTENT_TYPE),
        );
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("body");
        (code, place, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn files_are_served_and_nothing_else() {
        let outer = tempfile::tempdir().expect("folder");
        let folder = outer.path().join("assets");
        for name in ["sub", "with"] {
            std::fs::create_dir_all(folder.join(name)).expect("folder");
        }
        for (name, text) in [
            ("assets/hello.txt", "hello\n"),
            ("assets/a & b:c.css", "a{}"),
            ("assets/with/index.html", "<p>index"),
            ("secret", "no"),
        ] {
            std::fs::write(outer.path().join(name), text).expect("file");
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("pipe");
        let moved = "<a href=\"/user/\">Moved Permanently</a>.\n\n";
        let moved_below = "<a href=\"/user/sub/\">Moved Permanently</a>.\n\n";
        for (path, code, place, body) in [
            ("/user", 301, "/user/text/html; charset=utf-8", moved),
            ("/user/hello.txt", 200, "text/plain; charset=utf-8", "hello\n"),
            ("/user/hello.txt?v=1", 200, "text/plain; charset=utf-8", "hello\n"),
            ("/user/a%20&%20b:c.css", 200, "text/css; charset=utf-8", "a{}"),
            (
                "/user/sub",
                301,
                "/user/sub/text/html; charset=utf-8",
                moved_below,
            ),
            ("/user/with/", 200, "text/html; charset=utf-8", "<p>index"),
            (
                "/user/nope.txt",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            (
                "/user/pipe",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            (
                "/user/..%2fsecret",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            (
                "/user/sub/..%2f..%2f..%2fsecret",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            (
                "/user/%2e%2e/secret",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            (
                "/user//secret",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
        ] {
            let asked = ask(&folder, path).await;
            assert_eq!(asked, (code, place.to_owned(), body.to_owned()), "{path}");
        }
        let (code, _, body) = ask(&folder, "/user/").await;
        let links = "<a href=\"./a%20%26%20b:c.css\">a &amp; b:c.css</a>\n<a href=\"hello.txt\">hello.txt</a>\n\
                     <a href=\"pipe\">pipe</a>\n<a href=\"sub/\">sub/</a>\n<a href=\"with/\">with/</a>\n";
        assert_eq!(code, 200);
        assert!(body.contains(links), "{body}");
    }

    /// As the reference answers them, which was asked.
    #[tokio::test]
    async fn other_methods_are_refused_with_the_headers_of_all_routes() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("hello.txt"), "hello\n").expect("file");
        let (refused, nothing) = ("Method Not Allowed\n", "404 page not found\n");
        for (method, path, code, allow, body) in [
            (Method::POST, "/user/hello.txt", 405, "GET, OPTIONS", refused),
            (Method::DELETE, "/user/", 405, "GET, OPTIONS", refused),
            (Method::HEAD, "/user/hello.txt", 405, "GET, OPTIONS", ""),
            (Method::OPTIONS, "/user/hello.txt", 200, "GET, OPTIONS", ""),
            (Method::OPTIONS, "/user/", 200, "GET, OPTIONS", ""),
            (Method::POST, "/user", 404, "", nothing),
            (Method::OPTIONS, "/user", 404, "", nothing),
            (Method::HEAD, "/user", 404, "", ""),
        ] {
            let answer = answer(folder.path(), method.clone(), path).await;
            assert_eq!(answer.status().as_u16(), code, "{method} {path}");
            let headers = answer.headers();
            let allowed = headers
                .get(ALLOW)
                .map_or("", |allow| allow.to_str().expect("text"));
            assert_eq!(allowed, allow, "{method} {path}");
            let guarded = headers.contains_key(http::header::X_CONTENT_TYPE_OPTIONS);
            assert_eq!(guarded, code != 200, "{method} {path}");
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 10)
                .await
                .expect("body");
            assert_eq!(bytes, body, "{method} {path}");
        }
    }
}
