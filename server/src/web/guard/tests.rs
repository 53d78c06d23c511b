//! Files that change while the server runs.

use std::io::Write as _;

use super::*;

/// bcrypt of `secret` at cost 4.
fn user(name: &str) -> String {
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    format!("  {name}: {hash}\n")
}

fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

struct Site {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Site {
    fn new() -> Self {
        let site = Site {
            folder: tempfile::tempdir().expect("folder"),
            registry: Registry::new(),
        };
        let (certificate, key) = pair();
        site.write("server.pem", &certificate);
        site.write("server.key", &key);
        site
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("write");
    }

    fn guard(&self, text: &str) -> Guard {
        self.write("web.yml", text);
        let path = self.folder.path().join("web.yml");
        let first = read(&path).unwrap_or_else(|error| panic!("{error}"));
        Guard::new(&path, first, &self.registry).expect("threads")
    }

    fn metric(&self, line: &str) -> bool {
        let text = self.registry.render(metrics::Format::negotiate(""));
        text.lines().any(|found| found == line)
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

#[tokio::test]
async fn each_change_is_in_force_with_the_next_request() {
    let site = Site::new();
    let users = |names: &[&str]| {
        let users: String = names.iter().map(|name| user(name)).collect();
        format!("basic_auth_users:\n{users}")
    };
    let guard = site.guard(&users(&["a"]));
    let before = guard.current().await;
    assert!(
        Arc::ptr_eq(&before, &guard.current().await),
        "nothing has changed"
    );
    // Within one tick of the file system's clock, and of the same length.
    for name in ["b", "c", "d", "e"] {
        site.write("web.yml", &users(&[name]));
        let current = guard.current().await;
        assert!(matches!(current.users.hash_of(name), Some((_, true))), "{name}");
        assert!(!matches!(current.users.hash_of("a"), Some((_, true))));
    }
    // As editors and Kubernetes do it: another file in its place.
    site.write("new.yml", &users(&["f"]));
    let folder = site.folder.path();
    std::fs::rename(folder.join("new.yml"), folder.join("web.yml")).expect("renamed");
    assert!(matches!(
        guard.current().await.users.hash_of("f"),
        Some((_, true))
    ));
    assert!(site.metric("narthex_web_config_reloads_total{result=\"success\"} 5"));
}

#[tokio::test]
async fn what_is_wrong_leaves_the_old_in_force() {
    let site = Site::new();
    let guard = site.guard(&format!("{TLS}basic_auth_users:\n{}", user("a")));
    let before = guard.current().await;
    let (certificate, key) = pair();
    let changes: [(&str, &str); 4] = [
        ("web.yml", "tls_server_config: [\n"),
        ("web.yml", "no_such_key: 1\n"),
        // A pair is seldom replaced in one step.
        ("server.pem", &certificate),
        ("server.pem", "not PEM"),
    ];
    let good = std::fs::read_to_string(site.folder.path().join("web.yml")).expect("read");
    for (failures, (file, text)) in (1..).zip(changes) {
        if file == "server.pem" {
            site.write("web.yml", &good);
        }
        let _ = guard.current().await;
        site.write(file, text);
        for _ in 0..3 {
            let current = guard.current().await;
            assert!(
                current.tls.is_some() && !current.users.is_empty(),
                "{file}: {text}"
            );
        }
        assert!(
            site.metric("narthex_web_config_last_reload_successful 0"),
            "{text}"
        );
        let failed = format!("narthex_web_config_reloads_total{{result=\"failure\"}} {failures}");
        assert!(site.metric(&failed), "{text}: counted once for each change");
        guard.prepare().await.expect_err("a reload fails, too");
    }
    site.write("server.pem", &certificate);
    site.write("server.key", &key);
    let current = guard.current().await;
    assert!(site.metric("narthex_web_config_last_reload_successful 1"));
    let config = |of: &InForce| Arc::as_ptr(of.tls.as_ref().expect("TLS"));
    assert_ne!(config(&before), config(&current));
    let prepared = guard.prepare().await.expect("nothing is wrong");
    assert!(prepared.new.is_none(), "and nothing has changed");
}

#[tokio::test]
async fn a_file_that_comes_later_heals() {
    let site = Site::new();
    let guard = site.guard(TLS);
    site.write("web.yml", &TLS.replace("server.", "other."));
    guard.current().await;
    assert!(site.metric("narthex_web_config_last_reload_successful 0"));
    let (certificate, key) = pair();
    site.write("other.pem", &certificate);
    site.write("other.key", &key);
    guard.current().await;
    assert!(site.metric("narthex_web_config_last_reload_successful 1"));
}

#[tokio::test]
async fn guards_do_not_go_while_the_server_runs() {
    let site = Site::new();
    let token = format!(
        "bearer_tokens:\n- name: a\n  scopes: [read]\n  token_hash: {}\n",
        "ab".repeat(32)
    );
    let users = format!("basic_auth_users:\n{}", user("a"));
    for (before, after, what) in [
        (format!("{TLS}{users}"), String::new(), "TLS would be turned off"),
        (format!("{TLS}{users}"), users.clone(), "TLS would be turned off"),
        (users.clone(), format!("{TLS}{users}"), "TLS would be turned on"),
        (
            users.clone(),
            "{}".to_owned(),
            "nobody would have to say who they are any more",
        ),
        (
            token.clone(),
            String::new(),
            "nobody would have to say who they are any more",
        ),
    ] {
        let guard = site.guard(&before);
        site.write("web.yml", &after);
        let current = guard.current().await;
        assert!(current.authenticates(), "{after}");
        let error = guard.prepare().await.expect_err("refused").to_string();
        assert!(error.contains(what) && error.contains("restart"), "{error}");
    }
    // From users to tokens is a change like any other.
    let guard = site.guard(&users);
    site.write("web.yml", &token);
    let current = guard.current().await;
    assert!(current.users.is_empty() && !current.tokens.is_empty());
}

#[tokio::test]
async fn the_count_of_requests_goes_on_over_a_change() {
    let site = Site::new();
    let rate = "rate_limit: {burst: 2, interval: 1h}\n";
    let guard = site.guard(rate);
    let taken = async |times: usize| {
        let current = guard.current().await;
        let limiter = current.limiter.as_ref().expect("a limit");
        (0..times).filter(|_| limiter.allows()).count()
    };
    assert_eq!(taken(1).await, 1);
    site.write(
        "web.yml",
        &format!("{rate}http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"),
    );
    assert_eq!(taken(5).await, 1);
    site.write("web.yml", "rate_limit: {burst: 3, interval: 1h}\n");
    assert_eq!(taken(5).await, 3);
}

#[tokio::test]
async fn tokens_are_read_from_files() {
    let site = Site::new();
    let token = |text: &str| {
        let current = text.to_owned();
        site.write("token", &current);
    };
    token("0123456789abcdefghij\n");
    let guard = site.guard("bearer_tokens: [{name: a, scopes: [read], token_file: token}]\n");
    let known = async |token: &str| {
        guard
            .current()
            .await
            .tokens
            .caller(token)
            .map(|caller| caller.name.to_string())
    };
    assert_eq!(known("0123456789abcdefghij").await.as_deref(), Some("a"));
    assert_eq!(known("0123456789abcdefghij\n").await, None);
    token("another-token-of-its-own");
    assert_eq!(known("0123456789abcdefghij").await, None);
    assert_eq!(known("another-token-of-its-own").await.as_deref(), Some("a"));
    for weak in ["", "short", "two words are no token at all"] {
        token(weak);
        assert_eq!(known(weak).await, None);
        assert_eq!(known("another-token-of-its-own").await.as_deref(), Some("a"));
    }
}

/// A pipe in the place of a file, which would keep whoever opens it waiting.
#[tokio::test]
async fn a_file_that_is_none_is_an_error() {
    let site = Site::new();
    let guard = site.guard(TLS);
    let path = site.folder.path().join("server.key");
    std::fs::remove_file(&path).expect("removed");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    let begin = std::time::Instant::now();
    assert!(guard.current().await.tls.is_some());
    assert!(begin.elapsed() < LOOK_PATIENCE);
    assert!(site.metric("narthex_web_config_last_reload_successful 0"));
    let error = guard.prepare().await.expect_err("no file").to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

/// A disk that does not answer delays a request by a second, and those behind it not at all.
#[tokio::test]
async fn files_that_do_not_answer_hold_nobody() {
    let site = Site::new();
    let guard = site.guard(TLS);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut held = Box::pin(guard.worker.run(move || receiver.recv().is_ok()));
    assert!(futures_util::FutureExt::now_or_never(&mut held).is_none());
    let begin = std::time::Instant::now();
    guard.current().await;
    assert!(begin.elapsed() >= LOOK_PATIENCE);
    let begin = std::time::Instant::now();
    for _ in 0..100 {
        guard.current().await;
    }
    assert!(begin.elapsed() < LOOK_PATIENCE, "{:?}", begin.elapsed());
    assert!(site.metric("narthex_web_config_looks_stalled_total 101"));
    drop(sender);
    assert!(!held.await.expect("no panic"));
    let begin = std::time::Instant::now();
    while guard.looking_since.lock().is_some() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    site.write(
        "web.yml",
        &format!("{TLS}http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"),
    );
    assert_eq!(guard.current().await.headers.len(), 1);
}

/// Whatever stands in the file, reading it ends well or with a place in it.
#[test]
fn random_files_end_no_server() {
    let seed = std::env::var("NARTHEX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(0x5eed);
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let good = format!(
        "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: RequestClientCert\n  client_allowed_sans: [a, b]\n  \
         min_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  curve_preferences: [X25519]\nhttp_server_config:\n  \
         http2: true\n  headers: {{X-Frame-Options: deny}}\nrate_limit: {{burst: 3, interval: 1.5s}}\nbasic_auth_users:\n{}\
         bearer_tokens:\n- {{name: a, scopes: [read, admin], token_hash: {}}}\n- {{name: b, scopes: [write], token_file: f}}\n",
        user("a"),
        "ab".repeat(32)
    );
    let words: Vec<&str> = good.split_inclusive([' ', '\n', ':', ',', '[', '{']).collect();
    let mut accepted = 0;
    for round in 0..3000 {
        let mut bytes = match round % 3 {
            0 => good.clone().into_bytes(),
            1 => {
                let mut words = words.clone();
                for _ in 0..=random(3) {
                    let (from, to) = (random(words.len()), random(words.len()));
                    words[to] = words[from];
                }
                words.concat().into_bytes()
            }
            _ => good.as_bytes()[..random(good.len())].to_vec(),
        };
        for _ in 0..random(4) {
            if bytes.is_empty() {
                break;
            }
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\n\t -:[]{}\"'#&*!|>%@`0aZ\0\xff"[random(25)]),
            }
        }
        let Ok(text) = yaml::text_of(bytes) else { continue };
        let read = yaml::parse("web.yml", &text).and_then(|document| WebConfig::read(document.root()));
        match read {
            Ok(config) => {
                accepted += 1;
                // What it names may be missing or nonsense; that, too, is an error.
                let _ = InForce::new(&config);
            }
            Err(error) => assert!(error.to_string().starts_with("web.yml:"), "seed {seed}: {error}"),
        }
    }
    assert!(accepted > 100, "{accepted} files were accepted");
    let mut log = std::io::stderr().lock();
    let _ = writeln!(log, "seed {seed}: {accepted} of 3000 files are accepted");
}
