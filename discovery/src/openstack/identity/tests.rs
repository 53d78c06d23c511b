//! Unit tests of `identity`.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::Metrics;

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn every_way_to_log_in_has_its_body() {
    let by_name = Login {
        user_name: text("u"),
        password: text("p"),
        domain_name: text("d"),
        project_name: text("proj"),
        ..Login::default()
    };
    let domain = json!({"name": "d"});
    assert_eq!(
        by_name.body().expect("body"),
        json!({"auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": "u", "domain": domain, "password": "p"}},
            },
            "scope": {"project": {"name": "proj", "domain": domain}},
        }})
    );
    let application = Login {
        user_name: text("u"),
        domain_id: text("1"),
        application_name: text("app"),
        application_secret: text("s"),
        ..Login::default()
    };
    assert_eq!(
        application.body().expect("body")["auth"]["identity"]["application_credential"],
        json!({"name": "app", "secret": "s", "user": {"name": "u", "domain": {"id": "1"}}})
    );
    let both = Login {
        user_id: text("7"),
        password: text("p"),
        passcode: text("123"),
        system: true,
        ..Login::default()
    };
    let body = both.body().expect("body");
    assert_eq!(body["auth"]["identity"]["methods"], json!(["password", "totp"]));
    assert_eq!(
        body["auth"]["identity"]["totp"]["user"],
        json!({"id": "7", "passcode": "123"})
    );
    assert_eq!(body["auth"]["scope"], json!({"system": {"all": true}}));
}

#[test]
fn settings_that_do_not_suffice_are_named() {
    let name_only = Login {
        user_name: text("u"),
        password: text("p"),
        ..Login::default()
    };
    let twice = Login {
        user_id: text("7"),
        ..name_only.clone()
    };
    let nothing = Login::default();
    let no_secret = Login {
        application_id: text("a"),
        ..Login::default()
    };
    for (login, wanted) in [
        (name_only, "domain_id and domain_name"),
        (twice, "username and userid"),
        (nothing, "neither password nor application credential"),
        (no_secret, "application_credential_secret"),
    ] {
        let error = login.body().expect_err("incomplete").to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn the_environment_gives_what_the_section_does_not() {
    let mut context = Context::new("test", Metrics::new(&metrics::Registry::new()));
    let mut ask = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| (text(name), text(value)));
        context.env = Some(Arc::new(pairs.collect::<HashMap<_, _>>()));
        Login::from_env(&context).map_err(|error| error.to_string())
    };
    let good = ask(&[
        ("OS_AUTH_URL", "http://k/v3"),
        ("OS_USERNAME", "u"),
        ("OS_PASSWORD", "p"),
        ("OS_TENANT_NAME", "old"),
        ("OS_PROJECT_NAME", "new"),
        ("OS_DOMAIN_ID", "d"),
    ]);
    let good = good.expect("enough");
    assert_eq!((&*good.project_name, &*good.endpoint), ("new", "http://k/v3"));
    for (pairs, wanted) in [
        (&[][..], "OS_AUTH_URL"),
        (&[("OS_AUTH_URL", "x")], "OS_USERNAME"),
        (&[("OS_AUTH_URL", "x"), ("OS_USERID", "u")], "OS_PASSWORD"),
        (
            &[
                ("OS_AUTH_URL", "x"),
                ("OS_USERID", "u"),
                ("OS_APPLICATION_CREDENTIAL_NAME", "n"),
            ],
            "OS_APPLICATION_CREDENTIAL_SECRET",
        ),
    ] {
        let error = ask(pairs).err().expect("not enough");
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn versions_are_found_in_addresses_and_answers() {
    assert_eq!(
        split_at_version("http://nova.v3.example/compute/v2.1/abc/"),
        ("http://nova.v3.example/compute/", "v2.1/abc/")
    );
    assert_eq!(split_at_version("http://h/net/"), ("http://h/net/", ""));
    for (version, wanted) in [
        ("v2.1", Some(2)),
        ("v3", Some(3)),
        ("2", Some(2)),
        ("v2.x", None),
        ("", None),
    ] {
        assert_eq!(major(version), wanted, "{version}");
    }
    for document in [
        json!({"versions": [{"id": "v2.0", "status": "CURRENT"}]}),
        json!({"versions": {"values": [{"id": "v2.0"}]}}),
        json!({"version": {"id": "v2.0"}}),
        json!({"id": "v2.0"}),
    ] {
        let found = versions(&document);
        assert_eq!(
            found.first().map(|version| &*version.id),
            Some("v2.0"),
            "{document}"
        );
    }
}
