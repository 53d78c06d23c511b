//! The web pages as they leave the server: one document at every address, what it loads, and the policy that it is under.

use reqwest::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use reqwest::{Response, StatusCode};

use crate::harness::{Server, http_client};

async fn get(url: &str) -> Response {
    http_client().get(url).send().await.expect("an answer")
}

fn header(answer: &Response, name: reqwest::header::HeaderName) -> String {
    let value = answer.headers().get(name).expect("the header is there");
    value.to_str().expect("text").to_owned()
}

/// Addresses that a document loads, as it names them.
fn loaded(document: &str) -> Vec<String> {
    document
        .split("=\"./assets/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next().map(|name| format!("assets/{name}")))
        .collect()
}

#[tokio::test]
async fn every_page_is_the_document_under_a_strict_policy() {
    let folder = tempfile::tempdir().expect("folder");
    let title = "--web.page-title=A <b>\"title\"</b>";
    let server = Server::start(folder.path(), "", &[title]).await;
    for path in [
        "/query?g0.expr=up",
        "/alerts",
        "/alerts/00ff00ff00ff00ff",
        "/targets",
        "/rules",
        "/config",
        "/flags",
        "/status",
        "/tsdb-status",
        "/storage",
        "/service-discovery",
        "/alertmanager-discovery",
        "/notifications/silences/new",
        "/metrics-explorer/node_load1",
    ] {
        let answer = get(&format!("{}{path}", server.url)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(header(&answer, CONTENT_TYPE).starts_with("text/html"), "{path}");
        let policy = header(&answer, CONTENT_SECURITY_POLICY);
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "),
            "{policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains("nonce"),
            "{policy}"
        );
        let document = answer.text().await.expect("a document");
        assert!(document.contains("<base href=\"/\""), "{path}");
        assert!(
            document.contains("<title>A &lt;b&gt;&#34;title&#34;&lt;/b&gt;</title>"),
            "{document}"
        );
        assert!(!document.contains("{{"), "{document}");
    }
    let answer = get(&format!("{}/nowhere", server.url)).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_pages_load_is_kept_for_ever_and_found_behind_a_prefix() {
    let folder = tempfile::tempdir().expect("folder");
    let flags = [
        "--web.external-url=http://ext.example/out",
        "--web.route-prefix=/in",
    ];
    let server = Server::start_behind(folder.path(), "", &flags, "/in").await;
    let document = get(&format!("{}/in/query", server.url))
        .await
        .text()
        .await
        .expect("a document");
    // What the outside knows the path as; something in front makes it ours.
    assert!(document.contains("<base href=\"/out/\""), "{document}");
    let names = loaded(&document);
    assert!(names.len() >= 2, "{document}");
    for name in names {
        let url = format!("{}/in/{name}", server.url);
        let answer = get(&url).await;
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        assert_eq!(
            header(&answer, CACHE_CONTROL),
            "public, max-age=31536000, immutable"
        );
        let tag = header(&answer, ETAG);
        let again = http_client().get(&url).header(IF_NONE_MATCH, &tag);
        let again = again.send().await.expect("an answer");
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{name}");
        let packed = http_client().get(&url).header("Accept-Encoding", "gzip");
        let packed = packed.send().await.expect("an answer");
        if name.ends_with(".js") {
            assert_eq!(header(&packed, CONTENT_ENCODING), "gzip", "{name}");
        }
    }
    let answer = get(&format!("{}/in/assets/nothing.js", server.url)).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = get(&format!("{}/in/assets/..%2Findex.html", server.url)).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
