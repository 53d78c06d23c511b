//! Service accounts of STACKIT: a token is asked for with a signed text, used, and asked for anew once it is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use metrics::Registry;
use narthex_discovery::{Context, Manager, Mechanisms, Metrics, SCRAPE};
use serde_json::{Value, json};

use crate::replay_server::{Asked, ReplayServer};

const KEY: &str = include_str!("rsa_key.pem");

#[tokio::test]
async fn a_service_account_asks_for_a_token_and_uses_it() {
    let servers = |token: &str, phases: Value, response: Value| {
        json!({
            "request": {"path": "/v1/projects/p/servers", "headers": {"Authorization": format!("Bearer {token}")}},
            "phases": phases,
            "response": response,
        })
    };
    let token = |token: &str, phases: Value| {
        json!({
            "request": {"method": "POST", "path": "/token",
                "form": {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "*"}},
            "phases": phases,
            "response": {"json": {"access_token": token, "expires_in": 3600}},
        })
    };
    let found =
        |ip: &str| json!({"json": {"items": [{"id": "s", "nics": [{"networkName": "n", "ipv4": ip}]}]}});
    let exchanges = vec![
        token("t1", json!([0, 0])),
        token("t2", json!([1, null])),
        servers("t1", json!([0, 0]), found("192.0.2.1")),
        servers("t1", json!([1, null]), json!({"status": 401})),
        servers("t2", json!([1, null]), found("192.0.2.2")),
    ];
    let server = ReplayServer::start(exchanges, &[]).await;
    let account = json!({"credentials": {
        "aud": "https://stackit.example", "iss": "sa@example", "kid": "kid-1", "sub": "sub-1",
        "privateKey": KEY, "tokenEndpoint": format!("http://{}/token", server.http),
    }});
    let section = json!({"stackit_sd_configs": [{
        "project": "p", "endpoint": format!("http://{}", server.http), "refresh_interval": "200ms",
        "service_account_key": account.to_string(),
    }]});
    let text = section.to_string();
    let document = yaml::parse("f.yml", &text).expect("YAML");
    let mut job = document.root().section("a job").expect("mapping");
    let mechanisms = Mechanisms::read(&mut job).expect("valid");
    let mut manager = Manager::new(SCRAPE, Context::new("test", Metrics::new(&Registry::new())));
    let mut seen = manager.subscribe();
    let jobs = BTreeMap::from([("job".to_owned(), mechanisms)]);
    manager.apply(manager.prepare(jobs).expect("prepared"));
    for (phase, wanted) in [(0, "192.0.2.1:80"), (1, "192.0.2.2:80")] {
        server.advance(phase);
        let waiting = seen.wait_for(|snapshot| {
            let groups = snapshot.get("job").into_iter().flat_map(|groups| groups.iter());
            groups
                .flat_map(|group| &group.targets)
                .any(|target| target.value("__address__") == wanted)
        });
        let came = tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .is_ok();
        assert!(came, "{wanted} never came: {:?}", server.asked());
    }
    let asked = server.asked();
    let tokens: Vec<&Asked> = asked.iter().filter(|asked| asked.path == "/token").collect();
    assert_eq!(tokens.len(), 2, "one token as long as it is taken");
    let form: BTreeMap<_, _> = url::form_urlencoded::parse(tokens[0].body.as_bytes())
        .into_owned()
        .collect();
    let parts: Vec<Value> = form["assertion"]
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&BASE64URL.decode(part).expect("base64")).expect("JSON"))
        .collect();
    assert_eq!(parts[0], json!({"alg": "RS512", "kid": "kid-1", "typ": "JWT"}));
    assert_eq!(
        (&parts[1]["iss"], &parts[1]["sub"], &parts[1]["aud"]),
        (
            &json!("sa@example"),
            &json!("sub-1"),
            &json!("https://stackit.example")
        )
    );
    assert!(parts[1]["exp"].as_u64() > parts[1]["iat"].as_u64());
}
