//! Where credentials are looked for, in order.

use std::collections::HashSet;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::profile::{self, Profile, Profiles};
use super::sts::{self, Role, WebIdentity};
use super::{AwsCredentials, Shared, metadata, process};
use crate::error::CredentialsError;

/// Keys in files are looked at again after this time: who rotates them tells nobody.
const LOOK_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
const OF_ENVIRONMENT: &str = "AWS credentials of the environment";

/// The first credentials that there are.
pub(super) async fn find(shared: &Shared, region: &str) -> Result<AwsCredentials, CredentialsError> {
    let settings = &shared.settings;
    // Compat: one key without the other counts as none.
    if !settings.access_key.is_empty() && !settings.secret_key.is_empty() {
        return Ok(AwsCredentials::lasting(
            &settings.access_key,
            settings.secret_key.reveal(),
            "the configuration",
        ));
    }
    if settings.profile.is_empty() {
        if let Some(keys) = of_environment(shared) {
            return Ok(keys);
        }
        if let Some(file) = shared.machine.var("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let arn = shared.machine.var("AWS_ROLE_ARN").unwrap_or_default();
            let session = shared.machine.var("AWS_ROLE_SESSION_NAME").unwrap_or_default();
            return web_identity(shared, region, &arn, &session, &file).await;
        }
    }
    let profiles = profile::read(&shared.machine).await?;
    let name = if settings.profile.is_empty() {
        profile::name_of(&shared.machine)
    } else {
        settings.profile.clone()
    };
    if name != profile::DEFAULT && !profiles.contains_key(&name) {
        return Err(CredentialsError::unusable(
            format_args!("AWS profile {name:?}"),
            "not in the shared config and credentials files (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE)",
        ));
    }
    let walk = Walk {
        shared,
        region,
        profiles: &profiles,
    };
    walk.of_profile(&name, HashSet::new()).await
}

fn of_environment(shared: &Shared) -> Option<AwsCredentials> {
    let machine = &shared.machine;
    let id = machine
        .var("AWS_ACCESS_KEY_ID")
        .or_else(|| machine.var("AWS_ACCESS_KEY"))?;
    let secret = machine
        .var("AWS_SECRET_ACCESS_KEY")
        .or_else(|| machine.var("AWS_SECRET_KEY"))?;
    let mut keys = AwsCredentials::lasting(id, secret, "the environment");
    keys.session_token = machine.var("AWS_SESSION_TOKEN");
    Some(keys)
}

async fn web_identity(
    shared: &Shared,
    region: &str,
    arn: &str,
    session: &str,
    file: &str,
) -> Result<AwsCredentials, CredentialsError> {
    let of = format!("AWS web identity for role {arn:?}");
    if arn.is_empty() {
        return Err(CredentialsError::unusable(
            of,
            "a role is needed: AWS_ROLE_ARN or role_arn",
        ));
    }
    let token = shared.machine.read(&of, file.as_ref()).await?;
    let identity = WebIdentity {
        arn,
        session,
        token: &token,
    };
    sts::assume_with_web_identity(shared, region, &of, &identity).await
}

/// From profile to profile.
struct Walk<'w> {
    shared: &'w Shared,
    region: &'w str,
    profiles: &'w Profiles,
}

impl Walk<'_> {
    fn of_profile<'w>(
        &'w self,
        name: &'w str,
        mut seen: HashSet<&'w str>,
    ) -> BoxFuture<'w, Result<AwsCredentials, CredentialsError>> {
        async move {
            let of = format!("AWS profile {name:?}");
            let none = Profile::default();
            let profile = self.profiles.get(name).unwrap_or(&none);
            let (arn, source) = (profile.get("role_arn"), profile.get("source_profile"));
            let is_first = seen.insert(name);
            let own = if !arn.is_empty() && !source.is_empty() && source != name {
                if !is_first || seen.contains(source) {
                    return Err(CredentialsError::unusable(
                        of,
                        "source_profile leads round in a circle",
                    ));
                }
                if !self.profiles.contains_key(source) {
                    let detail = format!("source_profile {source:?} is not in the shared files");
                    return Err(CredentialsError::unusable(of, detail));
                }
                self.of_profile(source, seen).await?
            } else {
                let web = profile.get("web_identity_token_file");
                if !web.is_empty() && !profile.has_keys() && profile.get("credential_source").is_empty() {
                    let session = profile.get("role_session_name");
                    return web_identity(self.shared, self.region, arn, session, web).await;
                }
                self.own(name, profile, &of).await?
            };
            if arn.is_empty() {
                return Ok(own);
            }
            if !profile.get("mfa_serial").is_empty() {
                let detail = "mfa_serial asks for a code that nobody is there to type";
                return Err(CredentialsError::unusable(of, detail));
            }
            let role = Role {
                arn,
                external_id: profile.get("external_id"),
                session: profile.get("role_session_name"),
                seconds: profile.get("duration_seconds").parse().ok(),
            };
            sts::assume_role(self.shared, self.region, &own, &role).await
        }
        .boxed()
    }

    /// Credentials that a profile has itself, or that are there where it has none.
    async fn own(&self, name: &str, profile: &Profile, of: &str) -> Result<AwsCredentials, CredentialsError> {
        if profile.has_keys() {
            let (id, secret) = (
                profile.get("aws_access_key_id"),
                profile.get("aws_secret_access_key"),
            );
            let mut keys = AwsCredentials::lasting(id, secret, format!("profile {name:?}"));
            keys.session_token = Some(profile.get("aws_session_token").to_owned()).filter(|t| !t.is_empty());
            keys.look_again = Some(self.shared.machine.now() + LOOK_AGAIN);
            return Ok(keys);
        }
        match profile.get("credential_source") {
            "" => {}
            "Ec2InstanceMetadata" => return metadata::of_instance(self.shared).await,
            "Environment" => {
                let none = || {
                    CredentialsError::unusable(
                        OF_ENVIRONMENT,
                        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
                    )
                };
                return of_environment(self.shared).ok_or_else(none);
            }
            "EcsContainer" => {
                let found = metadata::of_container(self.shared).await?;
                let detail = "credential_source is EcsContainer, but neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set";
                return found.ok_or_else(|| CredentialsError::unusable(of, detail));
            }
            other => {
                let detail = format!(
                    "credential_source {other:?}: there are EcsContainer, Ec2InstanceMetadata and Environment"
                );
                return Err(CredentialsError::unusable(of, detail));
            }
        }
        if profile.is_for_people() {
            let detail = "single sign-on asks people in a browser; use keys, a role or credential_process";
            return Err(CredentialsError::unusable(of, detail));
        }
        let command = profile.get("credential_process");
        if !command.is_empty() {
            return process::run(
                &self.shared.machine,
                command,
                name,
                self.shared.machine.now() + LOOK_AGAIN,
            )
            .await;
        }
        if let Some(found) = metadata::of_container(self.shared).await? {
            return Ok(found);
        }
        metadata::of_instance(self.shared).await
    }
}
