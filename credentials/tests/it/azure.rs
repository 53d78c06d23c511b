//! Azure's tokens, by each of its methods.

use narthex_credentials::azure::{Azure, Cloud, Method};
use serde_json::json;

use crate::server::{Asked, Server};

fn public() -> Cloud {
    Cloud::named("AzurePublicCloud").expect("a cloud")
}

fn answer(asked: &Asked) -> (u16, String) {
    let token = match asked.method.as_str() {
        "POST" => asked.form("client_secret") + &asked.form("client_assertion"),
        _ => asked.header("metadata").to_owned() + asked.header("x-identity-header"),
    };
    (
        200,
        json!({"access_token": token, "expires_in": "3600"}).to_string(),
    )
}

#[tokio::test]
async fn each_method_asks_where_it_has_to() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "federated\n").expect("write");
    let path = file.to_string_lossy();
    let app = [
        ("IDENTITY_ENDPOINT", "http://127.0.0.1/msi"),
        ("IDENTITY_HEADER", "header"),
    ];
    let workload = [
        ("AZURE_TENANT_ID", "env-tenant"),
        ("AZURE_CLIENT_ID", "env-client"),
        ("AZURE_FEDERATED_TOKEN_FILE", &*path),
    ];
    let secret = [
        ("AZURE_TENANT_ID", "env-tenant"),
        ("AZURE_CLIENT_ID", "env-client"),
        ("AZURE_CLIENT_SECRET", "env-secret"),
    ];
    let of_cluster = Method::WorkloadIdentity {
        tenant: String::new(),
        client: String::new(),
        token_file: String::new(),
    };
    let managed = |client: &str| Method::ManagedIdentity {
        client: client.to_owned(),
    };
    let sdk = || Method::Sdk {
        tenant: String::new(),
    };
    let of_secret = Method::ClientSecret {
        tenant: "t".to_owned(),
        client: "c".to_owned(),
        secret: "s".to_owned(),
    };
    let imds = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.core.windows.net%2F";
    let with_client = format!("{imds}&client_id=m");
    let of_app = "/msi?api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.core.windows.net%2F";
    let of_env = "/env-tenant/oauth2/v2.0/token";
    for (method, env, target, token) in [
        (of_secret, &[][..], "/t/oauth2/v2.0/token", "s"),
        (managed(""), &[], imds, "true"),
        (managed("m"), &[], &with_client, "true"),
        (managed(""), &app, of_app, "header"),
        (of_cluster, &workload, of_env, "federated"),
        (sdk(), &secret, of_env, "env-secret"),
        (sdk(), &workload, of_env, "federated"),
        (sdk(), &[], imds, "true"),
    ] {
        let server = Server::start(answer).await;
        let azure = Azure::new(server.machine(env), public(), method.clone()).expect("client");
        let found = azure.token().await.expect("a token");
        assert_eq!(found.token, token, "{method:?}");
        azure.token().await.expect("the same");
        let asked = server.asked();
        assert_eq!(asked.len(), 1, "{method:?}: kept");
        assert_eq!(asked[0].target, target, "{method:?}");
        if asked[0].method == "POST" {
            assert_eq!(asked[0].form("grant_type"), "client_credentials");
            let scope = "https://management.core.windows.net//.default openid offline_access profile";
            assert_eq!(asked[0].form("scope"), scope);
        }
    }
}

#[tokio::test]
async fn what_is_missing_or_refused_is_named() {
    let server = Server::start(|_| {
        let said = json!({"error": "invalid_client", "error_description": "AADSTS7000222: The provided client secret keys are expired."});
        (401, said.to_string())
    })
    .await;
    let method = Method::ClientSecret {
        tenant: "t".to_owned(),
        client: "c".to_owned(),
        secret: "very secret".to_owned(),
    };
    let azure = Azure::new(server.machine(&[]), public(), method).expect("client");
    let error = azure.token().await.expect_err("expired").to_string();
    assert_eq!(
        error,
        "Azure client c of tenant t: 401 Unauthorized: invalid_client: AADSTS7000222: The provided client secret keys \
         are expired."
    );
    let of_cluster = Method::WorkloadIdentity {
        tenant: String::new(),
        client: String::new(),
        token_file: String::new(),
    };
    let azure = Azure::new(server.machine(&[]), public(), of_cluster).expect("client");
    let error = azure.token().await.expect_err("nothing set").to_string();
    assert_eq!(error, "Azure workload identity: AZURE_CLIENT_ID is not set");
    for (name, known) in [
        ("azureuSGovernment", true),
        ("AZURECHINACLOUD", true),
        ("AzureMoonCloud", false),
    ] {
        assert_eq!(Cloud::named(name).is_some(), known, "{name}");
    }
}
