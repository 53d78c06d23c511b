//! What a section is taken for.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use super::setup::configured;

/// Reads the section as the server does.
fn verdict(text: &str) -> Result<(), String> {
    let document = yaml::parse("prometheus.yml", text).map_err(|error| error.message().to_owned())?;
    let section = document
        .root()
        .section("the configuration")
        .map_err(|error| error.message().to_owned())?;
    let (configs, _) = configured(text).map_err(|error| error.message().to_owned())?;
    let names: Vec<&str> = configs.iter().map(|config| config.name.as_str()).collect();
    narthex_remote::section::refuse_twins(&section, "remote_write", &names)
        .map_err(|error| error.message().to_owned())
}

#[test]
fn sections_are_judged_as_the_reference_judges_them() {
    let Some(path) = testkit::conformance("push/remote-write-out/config-verdicts.jsonl") else {
        return;
    };
    let mut judged = 0;
    for line in BufReader::new(std::fs::File::open(path).expect("verdicts")).lines() {
        let case: Value = serde_json::from_str(&line.expect("a line")).expect("a case");
        let (name, text) = (
            case["name"].as_str().expect("a name"),
            case["config"].as_str().expect("a text"),
        );
        if !text.contains("remote_write") {
            continue;
        }
        let verdict = verdict(text);
        assert_eq!(verdict.is_err(), case["exit"] != 0, "{name}: {verdict:?}");
        if let Err(message) = verdict {
            // A word that YAML's own reader chooses is another one here.
            let is_ours = case["stderr"]
                .as_str()
                .expect("a text")
                .contains("unmarshal errors");
            let same = case["stderr"].as_str().expect("a text").contains(&message);
            assert!(same || is_ours || name == "bad-url", "{name}: {message}");
        }
        judged += 1;
    }
    assert_eq!(judged, 19, "verdicts");
}

#[test]
fn credentials_of_clouds_are_read_and_never_shown() {
    let cases = [
        (
            "sigv4: {region: r, access_key: a, secret_key: s3cret}",
            Ok("sigv4"),
        ),
        (
            "sigv4: {region: r, access_key: a}",
            Err("must provide a AWS SigV4 Access key"),
        ),
        (
            "sigv4: {region: r, external_id: e}",
            Err("external_id can only be used with role_arn"),
        ),
        (
            "azuread: {oauth: {client_id: 00000000-0000-0000-0000-000000000000, client_secret: s3cret, tenant_id: t}}",
            Ok("azuread"),
        ),
        (
            "azuread: {cloud: AzurePublic}",
            Err("must provide an Azure Managed Identity"),
        ),
        ("azuread: {cloud: Mars, sdk: {}}", Err("must provide a cloud")),
        (
            "azuread: {sdk: {}, managed_identity: {}}",
            Err("cannot provide multiple"),
        ),
        (
            "azuread: {managed_identity: {client_id: me}}",
            Err("client_id is invalid"),
        ),
        (
            "azuread: {oauth: {client_id: x}}",
            Err("must provide an Azure OAuth client_secret"),
        ),
        (
            "azuread: {workload_identity: {}}",
            Err("must provide an Azure Workload Identity client_id"),
        ),
        (
            "azuread: {sdk: {}, scope: 'a;b'}",
            Err("the provided scope contains invalid characters"),
        ),
        (
            "azuread: {certificate: {}}",
            Err("must provide an Azure Certificate client_id"),
        ),
        (
            "azuread: {certificate: {client_id: x, tenant_id: t, certificate_path: c.pem}}",
            Err("the provided Azure Certificate client_id is invalid"),
        ),
        (
            "azuread: {certificate: {certificate_password: s3cret}}",
            Err("files with a password are not read"),
        ),
        (
            "azuread: {certificate: {client_id: 00000000-0000-0000-0000-000000000000, tenant_id: t, \
             certificate_path: c.pem, send_certificate_chain: true}}",
            Ok("azuread"),
        ),
        ("google_iam: {credentials_file: key.json}", Ok("google_iam")),
        ("queue_config: {capacity: 0}", Err("capacity must be positive")),
        (
            "queue_config: {min_backoff: 5s, max_backoff: 1s}",
            Err("max_backoff must not be less"),
        ),
    ];
    for (text, expected) in cases {
        let read = configured(&format!("remote_write: [{{url: 'http://u:s3cret@a/', {text}}}]"));
        match (read, expected) {
            (Ok((mut configs, _)), Ok(key)) => {
                configs[0].resolve_paths("/etc/narthex".as_ref());
                let shown = yaml::to_string(&configs[0]).expect("shown");
                assert!(shown.contains(key) && !shown.contains("s3cret"), "{shown}");
                assert!(
                    key != "google_iam" || shown.contains("/etc/narthex/key.json"),
                    "{shown}"
                );
            }
            (Err(error), Err(part)) => assert!(error.message().contains(part), "{text}: {}", error.message()),
            (read, _) => panic!("{text}: {read:?}"),
        }
    }
}
