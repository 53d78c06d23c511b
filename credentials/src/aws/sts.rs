//! The token service: roles that are assumed.

use httpclient::Request;
use url::form_urlencoded;

use super::{AwsCredentials, Shared, endpoint};
use crate::ask::ask;
use crate::error::CredentialsError;
use crate::sigv4::{self, Scope};
use crate::xml::Element;

const VERSION: &str = "2011-06-15";
/// How long an assumed role lasts where nothing else is said, as in the SDK.
const ROLE_SECONDS: u32 = 900;

/// A role to assume.
#[derive(Debug, Default)]
pub(super) struct Role<'r> {
    pub(super) arn: &'r str,
    pub(super) external_id: &'r str,
    /// What the session is called; empty: made up.
    pub(super) session: &'r str,
    pub(super) seconds: Option<u32>,
}

/// A token of somebody else's that stands for us.
#[derive(Debug)]
pub(super) struct WebIdentity<'r> {
    pub(super) arn: &'r str,
    pub(super) session: &'r str,
    pub(super) token: &'r str,
}

/// Assumes a role with credentials of our own.
pub(super) async fn assume_role(
    shared: &Shared,
    region: &str,
    own: &AwsCredentials,
    role: &Role<'_>,
) -> Result<AwsCredentials, CredentialsError> {
    let of = format!("AWS role {} with {own}", role.arn);
    let session = session_name(shared, role.session);
    let seconds = role.seconds.unwrap_or(ROLE_SECONDS).to_string();
    let mut form = vec![("Action", "AssumeRole"), ("DurationSeconds", &*seconds)];
    if !role.external_id.is_empty() {
        form.push(("ExternalId", role.external_id));
    }
    form.extend([
        ("RoleArn", role.arn),
        ("RoleSessionName", &*session),
        ("Version", VERSION),
    ]);
    let request = post(shared, region, &form)?;
    let at = shared.machine.now();
    let scope = Scope {
        region,
        service: "sts",
        at,
    };
    let signed = sigv4::sign(request, own, scope)?;
    let answer = ask(&shared.client, signed, &of).await?;
    let source = format!("role {} (assumed with those from {})", role.arn, own.source);
    read(&answer, "AssumeRoleResult", &of, source)
}

/// Assumes a role with a token that another identity provider has signed; the request is not.
pub(super) async fn assume_with_web_identity(
    shared: &Shared,
    region: &str,
    of: &str,
    identity: &WebIdentity<'_>,
) -> Result<AwsCredentials, CredentialsError> {
    let session = session_name(shared, identity.session);
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", identity.arn),
        ("RoleSessionName", &*session),
        ("Version", VERSION),
        ("WebIdentityToken", identity.token.trim()),
    ];
    let answer = ask(&shared.client, post(shared, region, &form)?, of).await?;
    let source = format!("role {} (assumed with a web identity)", identity.arn);
    read(&answer, "AssumeRoleWithWebIdentityResult", of, source)
}

fn session_name(shared: &Shared, given: &str) -> String {
    if given.is_empty() {
        shared.machine.now().as_nanosecond().to_string()
    } else {
        given.to_owned()
    }
}

fn post(shared: &Shared, region: &str, form: &[(&str, &str)]) -> Result<Request, CredentialsError> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let url = endpoint::of(&shared.machine, "sts", region)?;
    Ok(Request::post(url, "application/x-www-form-urlencoded", "")
        .secret_body(body)
        .repeatable())
}

fn read(answer: &[u8], result: &str, of: &str, source: String) -> Result<AwsCredentials, CredentialsError> {
    let unusable = |detail: &dyn std::fmt::Display| CredentialsError::unusable(of, detail);
    let root = Element::parse(answer).map_err(|error| unusable(&error))?;
    let found = root.at(&[result, "Credentials"]);
    let found = found.ok_or_else(|| unusable(&"the answer holds no credentials"))?;
    let text = |name: &str| {
        let text = found.text_of(name).filter(|text| !text.is_empty());
        text.map(str::to_owned)
            .ok_or_else(|| unusable(&format_args!("the answer holds no {name}")))
    };
    let expires = text("Expiration")?;
    let expires = expires
        .parse()
        .map_err(|error| unusable(&format_args!("Expiration {expires:?}: {error}")))?;
    Ok(AwsCredentials {
        access_key_id: text("AccessKeyId")?,
        secret_access_key: text("SecretAccessKey")?,
        session_token: Some(text("SessionToken")?),
        expires: Some(expires),
        source: source.into(),
        look_again: None,
    })
}
