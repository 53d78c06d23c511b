//! Web configurations as files: good ones, bad ones with the message they get, and certificates made for the test.

use std::path::Path;

use super::*;

/// A certificate of its own and its key, in PEM.
fn pair(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn files_are_judged_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/web-config");
    let folder = folder.canonicalize().expect("the cases' folder");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut cases = 0;
    for entry in std::fs::read_dir(&folder).expect("cases") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if let Some(of) = name.strip_suffix(".expect") {
            assert!(folder.join(of).exists(), "{name} belongs to no case");
            continue;
        }
        cases += 1;
        let text = std::fs::read_to_string(&path).expect("case");
        let read = yaml::parse(&name, &text).and_then(|document| WebConfig::read(document.root()));
        match read {
            Ok(_) => assert!(name.contains(".good."), "{name} was accepted"),
            Err(error) => {
                assert!(name.contains(".bad."), "{name}: {error}");
                let shown = error.render(false) + "\n";
                let expect = folder.join(format!("{name}.expect"));
                if update {
                    std::fs::write(&expect, &shown).expect("write");
                }
                let expected = std::fs::read_to_string(&expect).unwrap_or_default();
                assert_eq!(shown, expected, "{name}");
            }
        }
    }
    assert!(cases > 10, "{cases} cases");
}

#[test]
fn what_the_file_names_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let (certificate, key) = pair(&["localhost"]);
    let (_, other_key) = pair(&["localhost"]);
    for (name, text) in [
        ("server.pem", &certificate),
        ("server.key", &key),
        ("other.key", &other_key),
        ("empty.pem", &String::new()),
    ] {
        std::fs::write(folder.path().join(name), text).expect("write");
    }
    let judge = |lines: &str| {
        let path = folder.path().join("web.yml");
        std::fs::write(&path, lines).expect("write");
        WebConfig::load(&path).and_then(|config| {
            let served = config.tls.as_ref().map(tls::server).transpose()?;
            Ok(served.is_some())
        })
    };
    let said = |lines: &str| judge(lines).map_err(|error| error.to_string());
    let with =
        |more: &str| format!("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n{more}");
    assert_eq!(said(""), Ok(false));
    assert_eq!(said(&with("")), Ok(true));
    for auth in ["RequestClientCert", "RequireAnyClientCert", "RequireClientCert"] {
        assert_eq!(said(&with(&format!("  client_auth_type: {auth}\n"))), Ok(true));
    }
    for auth in ["VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] {
        let more =
            format!("  client_auth_type: {auth}\n  client_ca_file: server.pem\n  client_allowed_sans: [a]\n");
        assert_eq!(said(&with(&more)), Ok(true));
    }
    for (lines, expected) in [
        (
            with("").replace("server.pem", "none.pem"),
            "failed to read cert_file (",
        ),
        (
            with("").replace("server.key", "none.key"),
            "failed to read key_file (",
        ),
        (
            with("").replace("server.key", "other.key"),
            "certificate and key: ",
        ),
        (
            with("").replace("server.pem", "empty.pem"),
            "no certificate in it",
        ),
        (with("").replace("server.key", "server.pem"), "not PEM: "),
        (
            with("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty.pem\n"),
            "no certificate in it",
        ),
    ] {
        let error = said(&lines).expect_err(&lines);
        assert!(error.contains(expected), "{error}");
        assert!(error.matches("No such file").count() <= 1, "{error}");
    }
    let indented = |pem: &str| {
        pem.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let inline = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}",
        indented(&certificate),
        indented(&key)
    );
    assert_eq!(said(&inline), Ok(true));
    let path = folder.path().join("web.yml");
    let shown = format!("{:?}", WebConfig::load(&path).expect("valid"));
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn names_of_certificates_are_found_and_broken_ones_do_no_harm() {
    let mut params = rcgen::CertificateParams::new(vec![
        "a.example".to_owned(),
        "10.0.0.1".to_owned(),
        "::1".to_owned(),
    ])
    .expect("parameters");
    let text = |text: &str| text.try_into().expect("ASCII");
    params
        .subject_alt_names
        .push(rcgen::SanType::URI(text("spiffe://a/b")));
    params
        .subject_alt_names
        .push(rcgen::SanType::Rfc822Name(text("me@a.example")));
    let key = rcgen::KeyPair::generate().expect("key");
    let certificate = params.self_signed(&key).expect("certificate");
    let der = certificate.der();
    assert_eq!(
        san::names(der).expect("whole"),
        ["a.example", "10.0.0.1", "::1", "spiffe://a/b", "me@a.example"]
    );
    for at in 0..der.len() {
        let _ = san::names(&der[..at]);
        let mut flipped = der.to_vec();
        flipped[at] ^= 0xff;
        let _ = san::names(&flipped);
    }
}

#[test]
fn intervals_are_those_of_go() {
    for (text, millis) in [
        ("1s", Some(1000)),
        ("250ms", Some(250)),
        ("1m30s", Some(90_000)),
        ("1.5s", Some(1500)),
        ("0", Some(0)),
        ("", None),
        ("1", None),
        ("1d", None),
        ("s", None),
    ] {
        assert_eq!(go_duration(text).map(|d| d.as_millis()), millis, "{text}");
    }
}
