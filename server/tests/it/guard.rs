//! `--web.config.file` and the ways in: TLS, users, tokens, headers and rates as curl and other clients see them, changes
//! while the server runs, several addresses, Unix sockets and systemd's.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use testkit::Need;

use crate::harness::{PATIENCE, POLL, Server, free_port, http_client, narthex, own_program};
use crate::transport::ROUTES;

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
/// bcrypt of `secret`, made by Go's library at cost 10.
const HASH: &str = "$2a$10$c6WODvZN5IT7Uq9XU3TSMepGPK9eiov8XhXwKW1D90wzI84HBSdf2";

fn users(names: &[&str]) -> String {
    let lines: String = names.iter().map(|name| format!("  {name}: {HASH}\n")).collect();
    format!("basic_auth_users:\n{lines}")
}

/// Whoever signs certificates in this test.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Test authority");
        let key = rcgen::KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("certificate").pem();
        Authority {
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    /// Writes `name.pem` and `name.key` for somebody.
    fn write(&self, folder: &Path, name: &str, host: &str) {
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        let key = rcgen::KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("key");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("certificate");
    }

    /// Writes what a server has, and what its clients trust.
    fn set_up(&self, folder: &Path) {
        self.write(folder, "server", "localhost");
        std::fs::write(folder.join("ca.pem"), &self.pem).expect("certificate");
    }

    /// A client that trusts it and says `authorization` of itself.
    fn client(&self, authorization: &str) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.pem.as_bytes()).expect("certificate");
        client(authorization, |builder| builder.tls_certs_only([root]))
    }
}

fn client(
    authorization: &str,
    change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> reqwest::Client {
    // Installs the provider.
    drop(http_client());
    let mut headers = HeaderMap::new();
    if !authorization.is_empty() {
        let value = HeaderValue::from_str(authorization).expect("a header");
        headers.insert(AUTHORIZATION, value);
    }
    change(reqwest::Client::builder().default_headers(headers))
        .build()
        .expect("a client")
}

/// `me:secret`
const ME: &str = "Basic bWU6c2VjcmV0";

/// What curl has to say.
struct Curl {
    program: PathBuf,
    folder: PathBuf,
}

struct Said {
    code: i32,
    head: String,
    body: String,
}

impl Curl {
    /// None where there is no curl, which is said.
    fn new(folder: &Path) -> Option<Self> {
        Some(Curl {
            program: testkit::program(Need::Curl)?,
            folder: folder.to_owned(),
        })
    }

    fn ask(&self, url: &str, args: &[&str]) -> Said {
        let output = Command::new(&self.program)
            .args(["-sS", "-i", "--max-time", "30", "--cacert", "ca.pem"])
            .args(args)
            .arg(url)
            .current_dir(&self.folder)
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Said {
            code: output.status.code().unwrap_or(-1),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }
}

#[tokio::test]
async fn curl_speaks_tls_with_us() {
    let folder = tempfile::tempdir().expect("folder");
    let Some(curl) = Curl::new(folder.path()) else {
        return;
    };
    let authority = Authority::new();
    authority.set_up(folder.path());
    let web = format!(
        "{TLS}http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=31536000\n    X-Frame-Options: deny\n{}",
        users(&["me"])
    );
    let server = Server::start_guarded(folder.path(), &web, &[], authority.client(ME)).await;
    let url = format!("{}/-/healthy", server.url);
    for (args, version) in [
        (&["--http1.1"][..], "http/1.1 "),
        (&["--http2"], "http/2 "),
        (&["--http2", "--tls-max", "1.2"], "http/2 "),
    ] {
        let said = curl.ask(&url, &[args, &["-u", "me:secret"]].concat());
        assert_eq!(said.code, 0, "{args:?}");
        assert!(said.head.starts_with(&format!("{version}200")), "{}", said.head);
        assert!(
            said.head.contains("strict-transport-security: max-age=31536000"),
            "{}",
            said.head
        );
        assert_eq!(said.body, "Prometheus Server is Healthy.\n");
    }
    for (args, what) in [
        (&[][..], "nobody"),
        (&["-u", "me:wrong"], "a wrong password"),
        (&["-u", "you:secret"], "a stranger"),
        (&["-u", "me"], "no password"),
    ] {
        let said = curl.ask(&url, args);
        assert!(said.head.contains(" 401"), "{what}: {}", said.head);
        assert!(said.head.contains("www-authenticate: basic"), "{}", said.head);
        assert!(said.head.contains("x-frame-options: deny"), "{}", said.head);
        assert!(
            said.head.contains("content-type: text/plain; charset=utf-8"),
            "{}",
            said.head
        );
        assert_eq!(said.body, "Unauthorized\n", "{what}");
    }
    let plain = curl.ask(&url.replace("https://", "http://"), &[]);
    assert!(plain.head.starts_with("http/1.0 400"), "{}", plain.head);
    assert_eq!(plain.body, "Client sent an HTTP request to an HTTPS server.\n");
    // 35: no TLS; 60: not who we think it is.
    assert_eq!(curl.ask(&url, &["--tls-max", "1.1"]).code, 35);
    assert_eq!(
        curl.ask(&url.replace("localhost", "127.0.0.1"), &["-u", "me:secret"])
            .code,
        60
    );
    // Large answers over both.
    let big = format!(
        "{}/api/v1/query?query=vector(time())[300000s:10s]&time=1700000000",
        server.url
    );
    let one = curl.ask(&big, &["-g", "-u", "me:secret", "--http1.1"]);
    let two = curl.ask(&big, &["-g", "-u", "me:secret", "--http2", "--compressed"]);
    assert!(one.body.len() > 500_000 && one.body == two.body);
    let log = server.log();
    assert!(log.contains("url=https://"), "{log}");
}

#[tokio::test]
async fn http2_can_be_turned_off() {
    let folder = tempfile::tempdir().expect("folder");
    let Some(curl) = Curl::new(folder.path()) else {
        return;
    };
    let authority = Authority::new();
    authority.set_up(folder.path());
    let web = format!("{TLS}http_server_config: {{http2: false}}\n");
    let server = Server::start_guarded(folder.path(), &web, &[], authority.client("")).await;
    let url = format!("{}/-/ready", server.url);
    let said = curl.ask(&url, &["--http2"]);
    assert!(said.head.starts_with("http/1.1 200"), "{}", said.head);
    let said = curl.ask(&url, &["--http2-prior-knowledge"]);
    assert!(!said.head.starts_with("http/2"), "{}", said.head);
}

#[tokio::test]
async fn clients_show_certificates() {
    let folder = tempfile::tempdir().expect("folder");
    let Some(curl) = Curl::new(folder.path()) else {
        return;
    };
    let authority = Authority::new();
    authority.set_up(folder.path());
    authority.write(folder.path(), "client", "client.example");
    authority.write(folder.path(), "other", "other.example");
    Authority::new().write(folder.path(), "stranger", "client.example");
    let web = format!(
        "{TLS}  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [client.example]\n"
    );
    let identity = [
        std::fs::read(folder.path().join("client.pem")).expect("certificate"),
        std::fs::read(folder.path().join("client.key")).expect("key"),
    ]
    .concat();
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).expect("certificate");
    let identity = reqwest::Identity::from_pem(&identity).expect("an identity");
    let own = client("", |builder| builder.tls_certs_only([root]).identity(identity));
    let server = Server::start_guarded(folder.path(), &web, &[], own).await;
    let url = format!("{}/-/ready", server.url);
    for version in ["1.2", "1.3"] {
        for (who, let_in) in [
            (Some("client"), true),
            (Some("other"), false),
            (Some("stranger"), false),
            (None, false),
        ] {
            let files = who.map(|who| [format!("{who}.pem"), format!("{who}.key")]);
            let mut args = vec!["--tls-max", version];
            if let Some([certificate, key]) = &files {
                args.extend(["--cert", certificate, "--key", key]);
            }
            let said = curl.ask(&url, &args);
            assert_eq!(said.code == 0, let_in, "{who:?} by TLS {version}: {}", said.head);
        }
    }
    let (_, metrics) = server.get("/metrics").await;
    assert!(
        metrics.contains("narthex_http_tls_handshakes_total{result=\"failure\"} 6"),
        "{metrics}"
    );
    // 1,000 scrapers whose certificate has expired are one line in half a minute.
    assert_eq!(server.log().matches("No TLS with a client").count(), 1);
}

/// Certificates, users and what is wrong with them, each in force with the next connection or request.
#[tokio::test]
async fn what_changes_is_in_force_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new();
    authority.set_up(folder.path());
    let web = |names: &[&str]| format!("{TLS}{}", users(names));
    let server = Server::start_guarded(folder.path(), &web(&["me", "you"]), &[], authority.client(ME)).await;
    let status = async |client: &reqwest::Client, path: &str| {
        let answer = client.get(format!("{}{path}", server.url)).send().await;
        answer
            .map(|answer| answer.status().as_u16())
            .map_err(|error| format!("{error:?}"))
    };
    let you = authority.client("Basic eW91OnNlY3JldA==");
    assert_eq!(status(&you, "/-/ready").await, Ok(200));
    std::fs::write(folder.path().join("web.yml"), web(&["me"])).expect("written");
    assert_eq!(
        status(&you, "/-/ready").await,
        Ok(401),
        "at once, on the same connection"
    );
    // A new authority signs the next certificate.
    let next = Authority::new();
    next.write(folder.path(), "server", "localhost");
    assert_eq!(status(&next.client(ME), "/-/ready").await, Ok(200));
    let error = status(&authority.client(ME), "/-/ready")
        .await
        .expect_err("unknown");
    assert!(error.contains("InvalidCertificate"), "{error}");
    // Half of a pair; then a file that is none.
    authority.write(folder.path(), "other", "localhost");
    for (from, to) in [("other.pem", "server.pem"), ("web.yml", "server.key")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).expect("copied");
        assert_eq!(status(&next.client(ME), "/-/ready").await, Ok(200), "{from}");
    }
    let client = next.client(ME);
    let reload = client
        .post(format!("{}/-/reload", server.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reload.status(), 500);
    let text = reload.text().await.expect("a body");
    assert!(
        text.contains("--web.config.file: ") && text.contains("key_file"),
        "{text}"
    );
    let metrics = client
        .get(format!("{}/metrics", server.url))
        .send()
        .await
        .expect("an answer");
    let metrics = metrics.text().await.expect("a body");
    assert!(
        metrics.contains("narthex_web_config_last_reload_successful 0"),
        "{metrics}"
    );
    let log = server.log();
    let said = log
        .matches("The web configuration has changed and cannot be used")
        .count();
    assert_eq!(said, 2, "{log}");
    next.write(folder.path(), "server", "localhost");
    let reload = client
        .post(format!("{}/-/reload", server.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reload.status(), 200);
}

#[tokio::test]
async fn a_wrong_web_configuration_keeps_the_server_from_starting() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("web.yml");
    for (text, expected) in [
        ("basic_auth_user: {}\n", "basic_auth_user"),
        (TLS, "failed to read cert_file"),
        ("basic_auth_users: {me: secret}\n", "too short for a bcrypt hash"),
        (
            "bearer_tokens: [{name: a, scopes: [read], token_file: none}]\n",
            "token \"a\": failed to read token_file",
        ),
    ] {
        std::fs::write(&path, text).expect("written");
        let output = narthex(
            &[
                "serve",
                "--web.config.file=web.yml",
                "--web.listen-address=127.0.0.1:0",
            ],
            folder.path(),
            b"",
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{said}");
        let checked = narthex(&["check", "web-config", "web.yml"], folder.path(), b"");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(
            checked.status.code() == Some(1) && said.contains(expected),
            "{said}"
        );
    }
}

/// Every route, asked by bearers of each scope and by nobody.
#[tokio::test]
async fn tokens_open_what_their_scopes_name() {
    let folder = tempfile::tempdir().expect("folder");
    let mut web = "bearer_tokens:\n".to_owned();
    let mut bearers = Vec::new();
    for scope in ["read", "write", "admin"] {
        let made = narthex(&["token", "--name", scope, "--scope", scope], folder.path(), b"");
        let token = String::from_utf8(made.stdout).expect("text").trim().to_owned();
        assert!(token.len() > 40, "{token}");
        let lines = String::from_utf8(made.stderr).expect("text");
        assert!(!lines.contains(&token), "the file has the hash alone");
        web.push_str(lines.trim_start_matches("bearer_tokens:\n"));
        bearers.push((scope, client(&format!("Bearer {token}"), |builder| builder)));
    }
    std::fs::write(folder.path().join("web.yml"), &web).expect("written");
    let checked = narthex(&["check", "web-config", "web.yml"], folder.path(), b"");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("bearer token \"read\" may read"), "{said}");
    let flags = ["--web.enable-admin-api", "--web.user-assets=."];
    let reader = bearers[0].1.clone();
    let server = Server::start_guarded(folder.path(), &web, &flags, reader).await;
    let mut asked: Vec<(&str, &str, &str)> = ROUTES
        .iter()
        .map(|path| match *path {
            "/-/healthy" | "/-/ready" | "/nowhere" | "/api/v1/nowhere" => ("GET", *path, ""),
            _ => ("GET", *path, "read"),
        })
        .collect();
    asked.extend([
        ("GET", "/federate?match[]=up", "read"),
        ("GET", "/user/web.yml", "read"),
        ("GET", "/", "read"),
        ("GET", "/version", "read"),
        ("POST", "/api/v1/query?query=1", "read"),
        (
            "POST",
            "/api/v1/admin/tsdb/delete_series?match[]=nothing",
            "admin",
        ),
        ("POST", "/api/v1/admin/tsdb/clean_tombstones", "admin"),
        ("PUT", "/api/v1/admin/tsdb/snapshot?skip_head=true", "admin"),
        ("POST", "/-/reload", "admin"),
    ]);
    let nobody = client("", |builder| builder);
    let stranger = client("Bearer ntx_0000000000000000000000000000000000000000", |builder| {
        builder
    });
    let mut refused = 0;
    for (method, path, scope) in asked {
        let ask = async |client: &reqwest::Client| {
            let method = method.parse::<reqwest::Method>().expect("a method");
            let request = client.request(method, format!("{}{path}", server.url));
            request.send().await.expect("an answer")
        };
        for who in [&nobody, &stranger] {
            let answer = ask(who).await;
            assert_eq!(answer.status(), 401, "{method} {path}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        }
        for (bearer, client) in &bearers {
            let answer = ask(client).await;
            let lets_in = scope.is_empty() || scope == *bearer;
            assert_eq!(
                answer.status() != 403,
                lets_in,
                "{method} {path} by {bearer}: {}",
                answer.status()
            );
            if !lets_in {
                refused += 1;
                let challenge = answer.headers()["www-authenticate"]
                    .to_str()
                    .expect("text")
                    .to_owned();
                assert_eq!(
                    challenge,
                    format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")
                );
                let text = answer.text().await.expect("a body");
                assert!(
                    text.contains(&format!("token \"{bearer}\" lacks the scope \"{scope}\"")),
                    "{text}"
                );
            }
        }
    }
    let (_, metrics) = server.get("/metrics").await;
    let line = format!("narthex_http_requests_refused_total{{reason=\"missing_scope\"}} {refused}");
    assert!(metrics.contains(&line), "{metrics}");
}

#[tokio::test]
async fn a_rate_is_kept() {
    let folder = tempfile::tempdir().expect("folder");
    // One for the test that the server is there.
    let web = format!(
        "rate_limit: {{burst: 4, interval: 1h}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n{}",
        users(&["me"])
    );
    let server = Server::start_guarded(folder.path(), &web, &[], client(ME, |builder| builder)).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        let answer = http_client()
            .get(format!("{}/-/healthy", server.url))
            .send()
            .await
            .expect("an answer");
        let headers = answer.headers().contains_key("x-frame-options");
        answers.push((
            answer.status().as_u16(),
            headers,
            answer.text().await.expect("a body"),
        ));
    }
    let limited = (429, false, "Too Many Requests\n".to_owned());
    assert_eq!(answers.last(), Some(&limited));
    assert_eq!(answers.first(), Some(&(401, true, "Unauthorized\n".to_owned())));
}

/// As many clients as there are places begin a handshake and say no more, or nothing at all, or nonsense.
#[tokio::test]
async fn slow_handshakes_keep_nobody_out() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new();
    authority.set_up(folder.path());
    let flags = ["--web.max-connections=64"];
    let server = Server::start_guarded(folder.path(), TLS, &flags, authority.client("")).await;
    let address = server.url.trim_start_matches("https://").to_owned();
    let mut held = Vec::new();
    for number in 0..128 {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let begin: &[u8] = match number % 3 {
            0 => b"",
            1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            _ => b"\x16\x03\x01\x40",
        };
        stream.write_all(begin).expect("sent");
        held.push(stream);
    }
    let begin = Instant::now();
    let fresh = authority.client("");
    let answer = fresh.get(format!("{}/-/healthy", server.url)).send().await;
    assert_eq!(answer.expect("an answer").status(), 200, "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

/// Hundreds of wrong passwords a second, from everywhere: whoever has been let in notices nothing.
#[tokio::test]
async fn wrong_passwords_cost_nobody_else() {
    let folder = tempfile::tempdir().expect("folder");
    let me = client(ME, |builder| builder);
    let server = Server::start_guarded(folder.path(), &users(&["me"]), &[], me.clone()).await;
    let url = Arc::new(format!("{}/-/healthy", server.url));
    let mut attack = tokio::task::JoinSet::new();
    for attacker in 0..16 {
        let url = url.clone();
        attack.spawn(async move {
            let client = http_client();
            for guess in 0..1000 {
                let user = if guess % 2 == 0 { "me" } else { "you" };
                let request = client
                    .get(&*url)
                    .basic_auth(user, Some(format!("{attacker}-{guess}")));
                let Ok(answer) = request.send().await else { return };
                assert!(
                    matches!(answer.status().as_u16(), 401 | 503),
                    "{}",
                    answer.status()
                );
            }
        });
    }
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        let answer = me.get(&*url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        slowest = slowest.max(asked.elapsed());
    }
    attack.abort_all();
    // Eight comparisons wait at any time, each of which takes a second and more in a build without optimisation.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let (_, metrics) = server.get("/metrics").await;
    assert!(
        metrics.contains("narthex_http_requests_refused_total{reason=\"busy\"}"),
        "{metrics}"
    );
}

/// Our own commands, and another server of ours that scrapes this one.
#[tokio::test]
async fn our_own_clients_come_in() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new();
    authority.set_up(folder.path());
    let made = narthex(&["token", "--name", "reader"], folder.path(), b"");
    let token = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    let web = format!(
        "{TLS}{}{}",
        users(&["me"]),
        String::from_utf8(made.stderr).expect("text")
    );
    let server = Server::start_guarded(folder.path(), &web, &[], authority.client(ME)).await;
    std::fs::write(
        folder.path().join("password.yml"),
        "basic_auth: {username: me, password: secret}\ntls_config: {ca_file: ca.pem}\n",
    )
    .expect("written");
    std::fs::write(
        folder.path().join("token.yml"),
        format!("authorization: {{credentials: {token}}}\ntls_config: {{ca_file: ca.pem}}\n"),
    )
    .expect("written");
    for settings in ["password.yml", "token.yml"] {
        let flag = format!("--http.config.file={settings}");
        let output = narthex(
            &["query", "instant", &flag, &server.url, "1 + 1"],
            folder.path(),
            b"",
        );
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("scalar: 2"), "{said}");
        let url = format!("--url={}", server.url);
        let output = narthex(&["check", "ready", &url, &flag], folder.path(), b"");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = narthex(&["query", "instant", &server.url, "1"], folder.path(), b"");
    assert!(!output.status.success());
    let other = tempfile::tempdir().expect("folder");
    let target = server.url.trim_start_matches("https://");
    let path = folder.path().display();
    let config = format!(
        "scrape_configs:\n- job_name: guarded\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  scheme: https\n  \
         authorization: {{credentials: {token}}}\n  tls_config: {{ca_file: {path}/ca.pem}}\n  static_configs:\n  \
         - targets: ['{target}']\n"
    );
    let scraping = Server::start(other.path(), &config, &[]).await;
    scraping
        .wait_for("up{job=\"guarded\"}", |found| {
            found.iter().any(|series| series["value"][1] == "1")
        })
        .await;
}

fn ask_over(stream: &mut UnixStream) -> String {
    stream
        .write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test]
async fn several_addresses_and_sockets_are_one_server() {
    let folder = tempfile::tempdir().expect("folder");
    let second = free_port();
    let socket = folder.path().join("narthex.sock");
    let flags = [
        format!("--web.listen-address=127.0.0.1:{second}"),
        format!("--web.listen-address=unix:{}?mode=0600", socket.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::start(folder.path(), "{}", &flags).await;
    let answer = http_client()
        .get(format!("http://127.0.0.1:{second}/-/healthy"))
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let mut stream = UnixStream::connect(&socket).expect("a connection");
    assert!(ask_over(&mut stream).starts_with("HTTP/1.1 200 OK"));
    if let Some(curl) = Curl::new(folder.path()) {
        std::fs::write(folder.path().join("ca.pem"), "").expect("written");
        let said = curl.ask("http://x/-/ready", &["--unix-socket", "narthex.sock"]);
        assert!(said.head.starts_with("http/1.1 200"), "{}", said.head);
    }
    // One that is killed leaves its socket behind, and the next takes it.
    server.kill();
    assert!(socket.exists());
    server.restart().await;
    let mut stream = UnixStream::connect(&socket).expect("a connection");
    assert!(ask_over(&mut stream).starts_with("HTTP/1.1 200 OK"));
    // Whatever way a request came, it is answered before the end: this one is on its way when that begins.
    let large =
        "GET /api/v1/query?query=vector(time())[300000s:1s]&time=1700000000 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = UnixStream::connect(&socket).expect("a connection");
    stream.write_all(large.as_bytes()).expect("sent");
    let mut begin = [0; 15];
    stream.read_exact(&mut begin).expect("the beginning of an answer");
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    server.ask_to_end().await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.len() > 5_000_000 && answer.trim_end().ends_with("}}\r\n0"),
        "{} bytes",
        answer.len()
    );
    server.wait_for_end().await;
    assert!(!socket.exists(), "a clean end takes it away");
}

/// As systemd does it: the sockets are there before the program, from descriptor 3 on.
#[tokio::test]
async fn systemd_hands_sockets_over() {
    let folder = tempfile::tempdir().expect("folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let socket = folder.path().join("handed.sock");
    let unix = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    // The shell moves standard input and output to where they are expected.
    let script = "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let run = |script: &str, flags: &[&str]| {
        let log = std::fs::File::create(folder.path().join("log.txt")).expect("a log");
        Command::new("sh")
            .args(["-c", script])
            .arg(own_program())
            .args(flags)
            .current_dir(folder.path())
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().expect("a copy"))))
            .stdout(Stdio::from(OwnedFd::from(unix.try_clone().expect("a copy"))))
            .stderr(log)
            .spawn()
            .expect("it starts")
    };
    let flags = [
        "--web.systemd-socket",
        "--storage.tsdb.path=data",
        "--web.listen-address=1.2.3.4:5",
    ];
    let mut child = run(script, &flags);
    let answered = wait_for_status(&format!("http://{address}/-/ready")).await;
    let mut stream = UnixStream::connect(&socket).expect("a connection");
    let over_unix = answered.then(|| ask_over(&mut stream));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let log = std::fs::read_to_string(folder.path().join("log.txt")).expect("a log");
    assert!(answered, "{log}");
    assert!(
        over_unix.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 OK")),
        "{log}"
    );
    assert!(socket.exists(), "it is systemd's");
    // Nothing is there; what is there is meant for another one.
    for script in [
        "exec 0</dev/null 1>&2; exec \"$0\" \"$@\"",
        "exec 3<&0 0</dev/null 1>&2; LISTEN_FDS=1 LISTEN_PID=1 exec \"$0\" \"$@\"",
    ] {
        let mut child = run(script, &flags);
        assert!(!child.wait().expect("ended").success());
        let log = std::fs::read_to_string(folder.path().join("log.txt")).expect("a log");
        assert!(
            log.contains("--web.systemd-socket: no socket was handed over"),
            "{log}"
        );
    }
}

async fn wait_for_status(url: &str) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let answer = http_client().get(url).send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            return true;
        }
        tokio::time::sleep(POLL).await;
    }
    false
}
