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
        certificate::names(der).expect("whole"),
        ["a.example", "10.0.0.1", "::1", "spiffe://a/b", "me@a.example"]
    );
    for at in 0..der.len() {
        let _ = certificate::names(&der[..at]);
        let _ = certificate::validity(&der[..at]);
        let mut flipped = der.to_vec();
        flipped[at] ^= 0xff;
        let _ = certificate::names(&flipped);
        let _ = certificate::validity(&flipped);
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

#[test]
fn when_a_certificate_is_valid() {
    for (from, until, expected) in [
        ((1970, 1, 1), (2049, 12, 31), 0..=2_524_521_600),
        ((2024, 2, 29), (2050, 1, 1), 1_709_164_800..=2_524_608_000),
        ((1950, 1, 1), (9999, 12, 31), 0..=253_402_214_400),
    ] {
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().expect("key");
        let certificate = params.self_signed(&key).expect("certificate");
        assert_eq!(certificate::validity(certificate.der()), Some(expected));
    }
}

/// A client's certificate, alone or signed by an authority.
fn client(
    names: &[&str],
    is_ca: bool,
    years: (i32, i32),
    signed: Option<&rcgen::Issuer<'_, rcgen::KeyPair>>,
) -> (rcgen::Certificate, rcgen::KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("parameters");
    if is_ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = rcgen::KeyPair::generate().expect("key");
    let certificate = match signed {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    (certificate.expect("certificate"), key)
}

/// One who signs the certificates of others, and its own in PEM.
fn authority() -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("key");
    let own = params.self_signed(&key).expect("certificate");
    (own.pem(), rcgen::Issuer::new(params, key))
}

/// Does a handshake in memory; whether the server lets the client in.
fn is_let_in(lines: &str, shown: Option<&(rcgen::Certificate, rcgen::KeyPair)>) -> bool {
    let document = yaml::parse("web.yml", lines).expect("YAML");
    let config = WebConfig::read(document.root()).unwrap_or_else(|error| panic!("{error}"));
    let server = tls::server(config.tls.as_ref().expect("TLS")).unwrap_or_else(|error| panic!("{error}"));
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let pem = lines
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect::<String>();
    let own = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        pem.as_bytes(),
    )
    .expect("PEM");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own).expect("a root");
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let client = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("key");
            builder
                .with_client_auth_cert(vec![certificate.der().clone()], key)
                .expect("a pair")
        }
    };
    let name = "localhost".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(client.into(), name).expect("a client");
    let mut server = rustls::ServerConnection::new(server.into()).expect("a server");
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("written");
        }
        while !bytes.is_empty() {
            let read = server.read_tls(&mut bytes.as_slice()).expect("read");
            bytes.drain(..read);
            if server.process_new_packets().is_err() {
                return false;
            }
        }
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("written");
        }
        while !bytes.is_empty() {
            let read = client.read_tls(&mut bytes.as_slice()).expect("read");
            bytes.drain(..read);
            client.process_new_packets().expect("the server is who it is");
        }
    }
    !server.is_handshaking()
}

fn with_client_auth(auth: &str, ca: Option<&str>, more: &str) -> String {
    let (certificate, key) = pair(&["localhost"]);
    let indented = |pem: &str| {
        pem.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let mut lines = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}  client_auth_type: {auth}\n{more}",
        indented(&certificate),
        indented(&key)
    );
    if let Some(ca) = ca {
        lines.push_str(&format!("  client_ca: |\n{}", indented(ca)));
    }
    lines
}

#[test]
fn client_auth_types_let_in_whom_the_reference_lets_in() {
    let (ca, issuer) = authority();
    let good = client(&["client.example"], false, (2000, 2100), Some(&issuer));
    let old = client(&["client.example"], false, (2000, 2001), Some(&issuer));
    let stranger = client(&["client.example"], false, (2000, 2100), None);
    for (auth, none, good_one, old_one, strange_one) in [
        ("NoClientCert", true, true, true, true),
        ("RequestClientCert", true, true, true, true),
        ("RequireAnyClientCert", false, true, true, true),
        ("RequireClientCert", false, true, true, true),
        ("VerifyClientCertIfGiven", true, true, false, false),
        ("RequireAndVerifyClientCert", false, true, false, false),
    ] {
        let lines = with_client_auth(auth, (auth != "NoClientCert").then_some(&ca), "");
        let let_in = [None, Some(&good), Some(&old), Some(&stranger)].map(|shown| is_let_in(&lines, shown));
        assert_eq!(let_in, [none, good_one, old_one, strange_one], "{auth}");
    }
}

#[test]
fn names_that_clients_may_have() {
    let (ca, issuer) = authority();
    let good = client(&["x", "client.example"], false, (2000, 2100), Some(&issuer));
    let other = client(&["other.example"], false, (2000, 2100), Some(&issuer));
    let allowed = "  client_allowed_sans: [client.example, 10.0.0.1]\n";
    for auth in [
        "RequestClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ] {
        let lines = with_client_auth(auth, Some(&ca), allowed);
        let let_in = [None, Some(&good), Some(&other)].map(|shown| is_let_in(&lines, shown));
        assert_eq!(let_in, [false, true, false], "{auth}");
    }
    // A list that nobody is on; one that nobody asks about.
    let lines = with_client_auth(
        "RequireAndVerifyClientCert",
        Some(&ca),
        "  client_allowed_sans: []\n",
    );
    assert!(!is_let_in(&lines, Some(&good)));
    let lines = with_client_auth("NoClientCert", None, allowed);
    assert!(is_let_in(&lines, None));
}

#[test]
fn a_client_may_vouch_for_itself() {
    for is_ca in [true, false] {
        let own = client(&["client.example"], is_ca, (2000, 2100), None);
        let old = client(&["client.example"], is_ca, (2000, 2001), None);
        let early = client(&["client.example"], is_ca, (2099, 2100), None);
        let stranger = client(&["client.example"], true, (2000, 2100), None);
        for (known, shown, expected) in [
            (&own, &own, true),
            (&own, &stranger, false),
            (&old, &old, false),
            (&early, &early, false),
        ] {
            let lines = with_client_auth("RequireAndVerifyClientCert", Some(&known.0.pem()), "");
            assert_eq!(is_let_in(&lines, Some(shown)), expected, "authority: {is_ca}");
        }
    }
}
