//! Profiles of the shared config and credentials files.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::error::CredentialsError;
use crate::machine::Machine;

/// The profile that is meant where none is named.
pub(super) const DEFAULT: &str = "default";

/// Profiles by name.
pub(super) type Profiles = HashMap<String, Profile>;

/// The keys of one profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile(HashMap<String, String>);

impl Profile {
    /// A value; empty where there is none.
    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.get("aws_access_key_id").is_empty() && !self.get("aws_secret_access_key").is_empty()
    }

    /// Whether its credentials come from a person's signing in.
    pub(super) fn is_for_people(&self) -> bool {
        ["sso_session", "sso_start_url", "sso_account_id", "login_session"]
            .iter()
            .any(|key| !self.get(key).is_empty())
    }
}

/// The name of the environment's profile, or the default one's.
pub(super) fn name_of(machine: &Machine) -> String {
    machine
        .var("AWS_PROFILE")
        .or_else(|| machine.var("AWS_DEFAULT_PROFILE"))
        .unwrap_or_else(|| DEFAULT.to_owned())
}

/// Reads both files; what the credentials file has goes before. A file that is not there is empty.
pub(super) async fn read(machine: &Machine) -> Result<Profiles, CredentialsError> {
    let mut profiles = Profiles::new();
    let places = [
        ("AWS_CONFIG_FILE", ".aws/config", "profile "),
        ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", ""),
    ];
    for (variable, at_home, prefix) in places {
        let path = machine.var(variable).map(PathBuf::from);
        let Some(path) = path.or_else(|| machine.at_home(at_home)) else {
            continue;
        };
        match machine.read("AWS shared files", &path).await {
            Ok(text) => add(&mut profiles, &text, prefix),
            Err(CredentialsError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(profiles)
}

/// Adds the profiles of one file, whose sections are called `prefix` and the name.
fn add(profiles: &mut Profiles, text: &str, prefix: &str) {
    let mut current: Option<String> = None;
    for line in text.lines() {
        // An indented line goes on with a value that has parts, of which none is ours.
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || is_indented {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or("").trim();
            current = match section.strip_prefix(prefix) {
                Some(name) => Some(name.trim().trim_matches('"').to_owned()),
                None if section == DEFAULT => Some(DEFAULT.to_owned()),
                None => None,
            };
            continue;
        }
        let (Some(name), Some((key, value))) = (&current, line.split_once('=')) else {
            continue;
        };
        let profile = profiles.entry(name.clone()).or_default();
        profile.0.insert(
            key.trim().to_ascii_lowercase(),
            without_comment(value).trim().to_owned(),
        );
    }
}

/// A comment begins with `#` or `;` after white space.
fn without_comment(value: &str) -> &str {
    let ends = [" #", " ;", "\t#", "\t;"];
    let end = ends.iter().filter_map(|start| value.find(start)).min();
    &value[..end.unwrap_or(value.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_make_profiles_and_the_credentials_file_goes_before() {
        let mut profiles = Profiles::new();
        let config = "[default]\nregion = eu-west-1 # here\n[profile \"a b\"]\nRole_Arn=arn:x\ns3 =\n  region = no\n\
                      [sso-session x]\nregion = no\n[profile plain]\naws_access_key_id = OLD\n";
        add(&mut profiles, config, "profile ");
        add(
            &mut profiles,
            "; comment\n[plain]\naws_access_key_id=NEW\naws_secret_access_key = a#b=\n[",
            "",
        );
        assert_eq!(profiles["default"].get("region"), "eu-west-1");
        assert_eq!(profiles["a b"].get("role_arn"), "arn:x");
        assert_eq!(profiles["a b"].get("region"), "");
        assert_eq!(profiles["plain"].get("aws_access_key_id"), "NEW");
        assert_eq!(profiles["plain"].get("aws_secret_access_key"), "a#b=");
        assert!(profiles["plain"].has_keys() && !profiles["default"].has_keys());
        assert_eq!(profiles.len(), 3);
    }
}
