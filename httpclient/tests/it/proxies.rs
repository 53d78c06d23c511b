//! Through proxies of every kind.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{Server, answer, client, get, read_request, say};
use crate::settings::read;

#[tokio::test]
async fn plain_requests_go_to_the_proxy_whole() {
    let proxy = Server::answering(|_| answer("200 OK", "", "")).await;
    let text = format!("proxy_url: 'http://us%20er:pw@{}'", proxy.address());
    let client = client(&read(&text).expect("valid"));
    client
        .send(&get("http://target.test/metrics?a=b"))
        .await
        .expect("answer");
    let head = &proxy.heads()[0];
    assert!(
        head.starts_with("GET http://target.test/metrics?a=b HTTP/1.1\r\n"),
        "{head}"
    );
    let head = head.to_ascii_lowercase();
    assert!(head.contains("host: target.test\r\n"), "{head}");
    assert!(
        head.contains("proxy-authorization: basic dxmgzxi6chc=\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn tunnels_are_asked_for_with_their_headers() {
    let proxy = Server::answering(|_| answer("403 Forbidden", "", "")).await;
    let text = format!(
        "proxy_url: 'http://u:p@{}'\nproxy_connect_header: {{X-Why: [because]}}",
        proxy.address()
    );
    let client = client(&read(&text).expect("valid"));
    let error = client
        .send(&get("https://target.test/"))
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("tunnel error: unsuccessful") && !error.contains(":p@"),
        "{error}"
    );
    let head = proxy.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("connect target.test:443 http/1.1\r\n"), "{head}");
    assert!(
        head.contains("x-why: because\r\n") && head.contains("proxy-authorization: basic dtpw\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn socks_proxies_find_the_name_themselves() {
    let proxy = Server::start(|mut stream, _, note| async move {
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.expect("greeting");
        assert_eq!(greeting, [5, 1, 0]);
        stream.write_all(&[5, 0]).await.expect("no password wanted");
        let mut request = [0; 4 + 1 + 11 + 2];
        stream.read_exact(&mut request).await.expect("request");
        assert_eq!(&request[..5], [5, 1, 0, 3, 11]);
        assert_eq!(&request[5..16], b"target.test");
        assert_eq!(&request[16..], 8080u16.to_be_bytes());
        stream
            .write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1])
            .await
            .expect("connected");
        note.request(read_request(&mut stream).await.expect("request"));
        say(stream, answer("200 OK", "", "through").as_bytes()).await;
    })
    .await;
    let client = client(&read(&format!("proxy_url: 'socks5://{}'", proxy.address())).expect("valid"));
    let response = client
        .send(&get("http://target.test:8080/x"))
        .await
        .expect("answer");
    assert_eq!(response.bytes(100).await.expect("body"), "through");
    assert!(
        proxy.heads()[0].starts_with("GET /x HTTP/1.1\r\n"),
        "{:?}",
        proxy.heads()
    );
}

#[tokio::test]
async fn exceptions_go_straight() {
    let target = Server::answering(|_| answer("200 OK", "", "")).await;
    let client = client(&read("proxy_url: 'http://127.0.0.1:1'\nno_proxy: 192.0.2.0/24").expect("valid"));
    // Go's rule: with a `no_proxy`, this machine's own addresses are exceptions too.
    client.send(&get(&target.url("/"))).await.expect("straight");
    client
        .send(&get("http://target.test/"))
        .await
        .expect_err("through the proxy, which is not there");
}
