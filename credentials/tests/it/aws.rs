//! The chain of AWS: where credentials are found, in which order, and how they are renewed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use httpclient::{HttpClient, HttpClientConfig};
use model::clock::Clock as _;
use narthex_credentials::Machine;
use narthex_credentials::aws::{Aws, AwsSettings};

use crate::server::{Asked, Server};

/// When credentials end that the token service gives here: a quarter of an hour after the clock's beginning.
const END: &str = "2026-01-01T00:15:00Z";
const MINUTE_MS: i64 = 60_000;

fn aws(machine: Machine, settings: AwsSettings) -> Aws {
    let client: HttpClient = machine.client(&HttpClientConfig::default()).expect("client");
    Aws::new(settings, client, machine).expect("client")
}

fn in_region() -> AwsSettings {
    AwsSettings {
        region: "eu-west-1".to_owned(),
        ..AwsSettings::default()
    }
}

fn assumed(result: &str, id: &str) -> (u16, String) {
    let body = format!(
        "<R><{result}Result><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s-{id}</SecretAccessKey>\
         <SessionToken>t-{id}</SessionToken><Expiration>{END}</Expiration></Credentials></{result}Result></R>"
    );
    (200, body)
}

fn check_signed(asked: &Asked, secret: &str) {
    let request = testkit::sigv4::Signed {
        method: &asked.method,
        target: &asked.target,
        headers: &asked.headers,
        body: asked.body.as_bytes(),
    };
    assert_eq!(testkit::sigv4::check(request, secret), Ok(()));
}

/// Config and credentials files in a folder of their own, and the environment that names them.
struct Files(tempfile::TempDir);

impl Files {
    fn new(config: &str, credentials: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("config"), config).expect("write");
        std::fs::write(folder.path().join("credentials"), credentials).expect("write");
        Files(folder)
    }

    fn machine(&self, server: &Server, more: &[(&str, &str)]) -> Machine {
        let path = |name: &str| self.0.path().join(name).to_string_lossy().into_owned();
        let (config, credentials) = (path("config"), path("credentials"));
        let own = [
            ("AWS_CONFIG_FILE", config.as_str()),
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str()),
        ];
        server.machine(&[&own[..], more].concat())
    }
}

#[tokio::test]
async fn what_is_nearer_goes_before() {
    let server = Server::start(|_| (404, String::new())).await;
    let files = Files::new(
        "[default]\nregion = eu-central-1\n[profile other]\nregion = ap-south-1\n",
        "[default]\naws_access_key_id = FILE\naws_secret_access_key = f\n\
         [other]\naws_access_key_id = OTHER\naws_secret_access_key = o\naws_session_token = t\n",
    );
    let env = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "e")];
    let profile = |name: &str| AwsSettings {
        profile: name.to_owned(),
        ..in_region()
    };
    let mut keys = in_region();
    keys.access_key = "GIVEN".to_owned();
    // One without the other counts as none.
    let half = keys.clone();
    let document = yaml::parse("f.yml", "secret_key: g").expect("YAML");
    let mut section = document.root().section("it").expect("mapping");
    keys.secret_key = AwsSettings::read(&mut section).expect("settings").secret_key;
    for (settings, env, wanted) in [
        (keys.clone(), &env[..], "GIVEN"),
        (half, &env[..], "ENV"),
        (profile("other"), &env[..], "OTHER"),
        (in_region(), &env[..], "ENV"),
        (in_region(), &[], "FILE"),
        (in_region(), &[("AWS_PROFILE", "other")], "OTHER"),
    ] {
        let found = aws(files.machine(&server, env), settings)
            .credentials()
            .await
            .expect("credentials");
        assert_eq!(found.access_key_id, wanted);
    }
    let unknown = aws(files.machine(&server, &[]), profile("nobody"));
    let error = unknown
        .credentials()
        .await
        .expect_err("no such profile")
        .to_string();
    assert!(
        error.contains(r#"AWS profile "nobody": not in the shared"#),
        "{error}"
    );
    for (settings, env, wanted) in [
        (in_region(), &[("AWS_REGION", "x")][..], "eu-west-1"),
        (
            AwsSettings::default(),
            &[("AWS_DEFAULT_REGION", "us-east-1")],
            "us-east-1",
        ),
        (AwsSettings::default(), &[], "eu-central-1"),
        (AwsSettings::default(), &[("AWS_PROFILE", "other")], "ap-south-1"),
    ] {
        let aws = aws(files.machine(&server, env), settings);
        assert_eq!(aws.region().await.expect("a region"), wanted);
    }
    assert!(server.asked().is_empty(), "nobody is asked for what is at hand");
}

#[tokio::test]
async fn keys_in_files_are_looked_at_again() {
    let server = Server::start(|_| (404, String::new())).await;
    let files = Files::new(
        "",
        "[default]\naws_access_key_id = OLD\naws_secret_access_key = f\n",
    );
    let aws = aws(files.machine(&server, &[]), in_region());
    assert_eq!(aws.credentials().await.expect("old").access_key_id, "OLD");
    let new = "[default]\naws_access_key_id = NEW\naws_secret_access_key = f\n";
    std::fs::write(files.0.path().join("credentials"), new).expect("write");
    assert_eq!(aws.credentials().await.expect("kept").access_key_id, "OLD");
    server.clock.set(server.clock.now_ms() + MINUTE_MS);
    assert_eq!(aws.credentials().await.expect("new").access_key_id, "NEW");
    // A file that is gone for a moment takes nothing away.
    std::fs::remove_file(files.0.path().join("credentials")).expect("remove");
    server.clock.set(server.clock.now_ms() + MINUTE_MS);
    assert_eq!(aws.credentials().await.expect("bridged").access_key_id, "NEW");
}

#[tokio::test]
async fn roles_of_profiles_are_assumed_one_with_the_other() {
    let server = Server::start(|asked| match asked.form("RoleArn").as_str() {
        "arn:first" => assumed("AssumeRole", "FIRST"),
        _ => assumed("AssumeRole", "SECOND"),
    })
    .await;
    let files = Files::new(
        "[default]\nrole_arn = arn:second\nsource_profile = middle\nexternal_id = ext\nrole_session_name = me\n\
         duration_seconds = 3600\n\
         [profile middle]\nrole_arn = arn:first\nsource_profile = base\n\
         [profile base]\naws_access_key_id = BASE\naws_secret_access_key = b\n\
         [profile round]\nrole_arn = arn:x\nsource_profile = about\n\
         [profile about]\nrole_arn = arn:y\nsource_profile = round\n\
         [profile person]\nsso_session = s\n\
         [profile code]\nrole_arn = arn:z\nsource_profile = base\nmfa_serial = m\n",
        "",
    );
    let found = aws(files.machine(&server, &[]), in_region())
        .credentials()
        .await
        .expect("credentials");
    assert_eq!(
        (found.access_key_id.as_str(), found.session_token.as_deref()),
        ("SECOND", Some("t-SECOND"))
    );
    assert_eq!(
        found.to_string(),
        "credentials from role arn:second (assumed with those from role arn:first (assumed with those from profile \
         \"base\")) (key SECOND, until 2026-01-01T00:15:00Z)"
    );
    let asked = server.asked();
    check_signed(&asked[0], "b");
    check_signed(&asked[1], "s-FIRST");
    assert_eq!(asked[1].header("x-amz-security-token"), "t-FIRST");
    assert_eq!(asked[1].form("ExternalId"), "ext");
    assert_eq!(asked[1].form("RoleSessionName"), "me");
    assert_eq!(
        (asked[0].form("DurationSeconds"), asked[1].form("DurationSeconds")),
        ("900".to_owned(), "3600".to_owned())
    );
    for (profile, wanted) in [
        ("round", "leads round in a circle"),
        ("person", "single sign-on asks people"),
        ("code", "mfa_serial"),
    ] {
        let settings = AwsSettings {
            profile: profile.to_owned(),
            ..in_region()
        };
        let error = aws(files.machine(&server, &[]), settings)
            .credentials()
            .await
            .expect_err(profile)
            .to_string();
        assert!(error.contains(wanted) && error.contains("AWS profile"), "{error}");
    }
}

#[tokio::test]
async fn a_role_is_renewed_before_its_end_once_for_all_who_wait() {
    let calls = Arc::new(AtomicUsize::new(0));
    let refuses = Arc::new(AtomicBool::new(false));
    let (count, refuse) = (calls.clone(), refuses.clone());
    let server = Server::start(move |_| {
        if refuse.load(Ordering::SeqCst) {
            let fault = "<E><Error><Code>ExpiredToken</Code><Message>The security token included in the request is expired</Message></Error></E>";
            return (403, fault.to_owned());
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        assumed("AssumeRole", &format!("KEY{number}"))
    })
    .await;
    let env = [("AWS_ACCESS_KEY_ID", "OWN"), ("AWS_SECRET_ACCESS_KEY", "own")];
    let settings = AwsSettings {
        role_arn: "arn:aws:iam::1:role/r".to_owned(),
        external_id: "ext".to_owned(),
        ..in_region()
    };
    let aws = aws(server.machine(&env), settings);
    let all = async |wanted: &str| {
        let waiting: Vec<_> = (0..40)
            .map(|_| {
                let aws = aws.clone();
                tokio::spawn(async move { aws.credentials().await })
            })
            .collect();
        for task in waiting {
            assert_eq!(
                task.await.expect("no panic").expect("credentials").access_key_id,
                wanted
            );
        }
    };
    all("KEY0").await;
    all("KEY0").await;
    assert_eq!(server.count("AssumeRole"), 1);
    check_signed(&server.asked()[0], "own");
    assert_eq!(server.asked()[0].form("ExternalId"), "ext");
    // Five minutes before the end.
    server.clock.set(server.clock.now_ms() + 10 * MINUTE_MS);
    all("KEY1").await;
    assert_eq!(server.count("AssumeRole"), 2);
    // What cannot be renewed is used to its end, and then the error names all of it.
    refuses.store(true, Ordering::SeqCst);
    all("KEY1").await;
    server.clock.set(server.clock.now_ms() + 5 * MINUTE_MS);
    let error = aws.credentials().await.expect_err("expired").to_string();
    assert_eq!(
        error,
        "AWS role arn:aws:iam::1:role/r with credentials from the environment (key OWN): 403 Forbidden: ExpiredToken: \
         The security token included in the request is expired"
    );
}

#[tokio::test]
async fn a_web_identity_is_read_anew_each_time() {
    let server = Server::start(|_| assumed("AssumeRoleWithWebIdentity", "WEB")).await;
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").expect("write");
    let path = file.to_string_lossy();
    let env = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &*path),
        ("AWS_ROLE_ARN", "arn:web"),
        ("AWS_REGION", "us-east-1"),
    ];
    let aws = aws(server.machine(&env), AwsSettings::default());
    assert_eq!(aws.credentials().await.expect("credentials").access_key_id, "WEB");
    std::fs::write(&file, "second").expect("write");
    server.clock.set(server.clock.now_ms() + 11 * MINUTE_MS);
    aws.credentials().await.expect("credentials");
    let tokens: Vec<String> = server
        .asked()
        .iter()
        .map(|asked| asked.form("WebIdentityToken"))
        .collect();
    assert_eq!(tokens, ["first", "second"]);
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_empty())
    );
}

/// The instance's metadata service, with sessions or without.
fn instance(asked: &Asked, sessions: bool) -> (u16, String) {
    let role = "/latest/meta-data/iam/security-credentials/";
    match asked.target.as_str() {
        "/latest/api/token" if sessions && asked.method == "PUT" => (200, "session".to_owned()),
        "/latest/api/token" => (404, String::new()),
        _ if sessions && asked.header("x-aws-ec2-metadata-token") != "session" => (401, String::new()),
        "/latest/dynamic/instance-identity/document" => (200, r#"{"region": "fen-south-1"}"#.to_owned()),
        path if path == role => (200, "reader\n".to_owned()),
        path if path.starts_with(role) => (
            200,
            format!(
                r#"{{"Code":"Success","AccessKeyId":"IMDS","SecretAccessKey":"i","Token":"t","Expiration":"{END}"}}"#
            ),
        ),
        _ => (404, String::new()),
    }
}

#[tokio::test]
async fn an_instance_is_asked_in_a_session_and_without_where_it_knows_none() {
    for sessions in [true, false] {
        let server = Server::start(move |asked| instance(asked, sessions)).await;
        let aws = aws(server.machine(&[]), AwsSettings::default());
        assert_eq!(aws.region().await.expect("a region"), "fen-south-1");
        let found = aws.credentials().await.expect("credentials");
        assert_eq!(
            found.to_string(),
            "credentials from instance metadata (role reader) (key IMDS, until 2026-01-01T00:15:00Z)"
        );
    }
    let server = Server::start(|asked| instance(asked, false)).await;
    for (name, wanted) in [
        (
            "AWS_EC2_METADATA_V1_DISABLED",
            "AWS instance metadata: 404 Not Found",
        ),
        (
            "AWS_EC2_METADATA_DISABLED",
            "switched off by AWS_EC2_METADATA_DISABLED",
        ),
    ] {
        let aws = aws(server.machine(&[(name, "true")]), in_region());
        let error = aws.credentials().await.expect_err(name).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn a_container_gives_its_own_to_who_shows_the_token() {
    let server = Server::start(|asked| match asked.header("authorization") {
        "pod-token" => (
            200,
            r#"{"AccessKeyId":"POD","SecretAccessKey":"p","Token":"t","Expiration":"2026-01-01T06:00:00Z"}"#
                .to_owned(),
        ),
        _ => (403, r#"{"message":"who are you"}"#.to_owned()),
    })
    .await;
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "pod-token\n").expect("write");
    let path = file.to_string_lossy();
    let full = (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "http://169.254.170.23/v1/credentials",
    );
    let relative = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials");
    for env in [
        [full, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &*path)],
        [relative, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token")],
    ] {
        let found = aws(server.machine(&env), in_region())
            .credentials()
            .await
            .expect("credentials");
        assert_eq!(
            (found.access_key_id.as_str(), &*found.source),
            ("POD", "container credentials")
        );
    }
    let error = aws(server.machine(&[full]), in_region())
        .credentials()
        .await
        .expect_err("no token");
    assert_eq!(
        error.to_string(),
        "AWS container credentials: 403 Forbidden: who are you"
    );
    let elsewhere = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://elsewhere.example/");
    let error = aws(server.machine(&[elsewhere]), in_region())
        .credentials()
        .await
        .expect_err("elsewhere");
    assert!(error.to_string().contains("without TLS only"), "{error}");
}

#[tokio::test]
async fn a_program_prints_credentials() {
    let server = Server::start(|_| (404, String::new())).await;
    let printed = r#"{"Version": 1, "AccessKeyId": "PROCESS", "SecretAccessKey": "p", "Expiration": "2026-01-01T06:00:00Z"}"#;
    let config = format!(
        "[default]\ncredential_process = printf '%s' '{printed}'\n\
         [profile fails]\ncredential_process = echo no card in the reader >&2; exit 3\n\
         [profile odd]\ncredential_process = echo '{{\"Version\": 2, \"AccessKeyId\": \"a\", \"SecretAccessKey\": \"b\"}}'\n"
    );
    let files = Files::new(&config, "");
    let path = std::env::var("PATH").unwrap_or_default();
    let machine = || files.machine(&server, &[("PATH", &path)]);
    let found = aws(machine(), in_region())
        .credentials()
        .await
        .expect("credentials");
    assert_eq!(found.access_key_id, "PROCESS");
    for (profile, wanted) in [
        ("fails", "exit status: 3: no card in the reader"),
        ("odd", "printed version 2, not 1"),
    ] {
        let settings = AwsSettings {
            profile: profile.to_owned(),
            ..in_region()
        };
        let error = aws(machine(), settings)
            .credentials()
            .await
            .expect_err(profile)
            .to_string();
        assert!(error.contains(wanted) && error.contains(profile), "{error}");
    }
}

#[tokio::test]
async fn foreign_answers_that_are_no_credentials_are_errors() {
    for (body, wanted) in [
        ("", "holds no XML element"),
        ("<html>", "unexpected end within <html>"),
        ("<R/>", "the answer holds no credentials"),
        (
            "<R><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId></Credentials></AssumeRoleResult></R>",
            "holds no",
        ),
    ] {
        let server = Server::start(move |_| (200, body.to_owned())).await;
        let env = [("AWS_ACCESS_KEY_ID", "OWN"), ("AWS_SECRET_ACCESS_KEY", "own")];
        let settings = AwsSettings {
            role_arn: "arn:r".to_owned(),
            ..in_region()
        };
        let error = aws(server.machine(&env), settings)
            .credentials()
            .await
            .expect_err(body)
            .to_string();
        assert!(
            error.contains(wanted) && error.starts_with("AWS role arn:r"),
            "{error}"
        );
    }
}
