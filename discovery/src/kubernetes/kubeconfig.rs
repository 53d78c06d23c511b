//! Kubeconfig files: where clusters are, and who asks.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use httpclient::{BasicAuth, HttpClientConfig, ProxyConfig, TlsConfig};
use yaml::{Secret, Value, YamlError};

use super::access::{AccessError, bearer, client_settings, read, server};
use super::api::Access;
use super::exec::Exec;
use crate::api::is_empty_path;

/// A kubeconfig file, as it is read. Its format has no end of fields that matter to others, so that unknown ones are none
/// of our business.
struct Kubeconfig<'f> {
    path: &'f Path,
    root: Value<'f>,
}

/// What a kubeconfig file says.
pub(super) fn access(path: &Path) -> Result<Access, AccessError> {
    let text = read(path)?;
    let document = yaml::parse(&path.to_string_lossy(), &String::from_utf8_lossy(&text))?;
    let file = Kubeconfig {
        path,
        root: document.root(),
    };
    file.access()
}

impl<'f> Kubeconfig<'f> {
    fn mistake(&self, what: impl Into<String>) -> AccessError {
        AccessError::Kubeconfig {
            path: self.path.to_owned(),
            what: what.into(),
        }
    }

    /// The entry of a list that has this name.
    fn named(&self, list: &str, name: &str, inner: &str) -> Result<Value<'f>, AccessError> {
        let entries = self.root.entry(list).map(|list| list.sequence()).transpose()?;
        let is_named = |entry: &Value<'_>| text(*entry, "name").is_ok_and(|found| found == name);
        let found = entries.into_iter().flatten().find(is_named);
        let found = found
            .and_then(|entry| entry.entry(inner))
            .filter(|inner| !inner.is_null());
        found.ok_or_else(|| self.mistake(format!("{list} has no {inner} {name:?}")))
    }

    fn access(&self) -> Result<Access, AccessError> {
        let name = text(self.root, "current-context")?;
        if name.is_empty() {
            return Err(self.mistake("no configuration has been provided: current-context is not set"));
        }
        let context = self.named("contexts", &name, "context")?;
        let (cluster, user) = (text(context, "cluster")?, text(context, "user")?);
        let cluster = self.named("clusters", &cluster, "cluster")?;
        let user = self.named("users", &user, "user");
        let address = text(cluster, "server")?;
        if address.is_empty() {
            return Err(self.mistake("the cluster has no server"));
        }
        let mut http = client_settings();
        http.tls_config = self.server_tls(cluster)?;
        let proxy = text(cluster, "proxy-url")?;
        if !proxy.is_empty() {
            http.proxy = ProxyConfig {
                proxy_url: Some(proxy),
                ..ProxyConfig::default()
            };
        }
        let is_tls = http.tls_config != TlsConfig::default();
        let server = server(&address, if is_tls { "https" } else { "http" })?;
        let (mut headers, mut exec) = (Vec::new(), None);
        match user {
            Ok(user) => {
                // Compat: credentials go over TLS only (`credentials_of_a_kubeconfig_go_over_tls_only`).
                if server.scheme() == "https" {
                    self.credentials(user, &mut http)?;
                    exec = self.exec(user)?;
                }
                headers = self.impersonation(user)?;
            }
            Err(error) if text(context, "user")?.is_empty() => return Err(error),
            // A user without settings is written as null.
            Err(error) => {
                let users = self.root.entry("users").map(|list| list.sequence()).transpose()?;
                let wanted = text(context, "user")?;
                let is_there = |entry: Value<'_>| text(entry, "name").is_ok_and(|found| found == wanted);
                if !users.into_iter().flatten().any(is_there) {
                    return Err(error);
                }
            }
        }
        Ok(Access {
            server,
            http,
            headers,
            exec,
        })
    }

    fn server_tls(&self, cluster: Value<'_>) -> Result<TlsConfig, AccessError> {
        let ca = self.data(cluster, "certificate-authority-data")?;
        Ok(TlsConfig {
            ca_file: if ca.is_empty() {
                self.file(cluster, "certificate-authority")?
            } else {
                PathBuf::new()
            },
            ca,
            insecure_skip_verify: text(cluster, "insecure-skip-tls-verify")? == "true",
            server_name: text(cluster, "tls-server-name")?,
            ..TlsConfig::default()
        })
    }

    fn credentials(&self, user: Value<'_>, http: &mut HttpClientConfig) -> Result<(), AccessError> {
        if user.entry("auth-provider").is_some_and(|value| !value.is_null()) {
            // Compat: Kubernetes' own client has none any more (`a_kubeconfig_that_cannot_be_used_says_why`).
            return Err(self.mistake("there is no `auth-provider` any more; use `exec` or a token"));
        }
        let (token, token_file) = (text(user, "token")?, self.file(user, "tokenFile")?);
        let (name, password) = (text(user, "username")?, text(user, "password")?);
        let has_name = !name.is_empty() || !password.is_empty();
        if !token.is_empty() && has_name {
            return Err(self.mistake("the user has a token and a password: only one is allowed"));
        }
        if !is_empty_path(&token_file) {
            // The file wins, being what changes.
            http.authorization = Some(bearer(Secret::default(), token_file));
        } else if !token.is_empty() {
            http.authorization = Some(bearer(Secret::new(token), PathBuf::new()));
        } else if has_name {
            http.basic_auth = Some(BasicAuth {
                username: name,
                password: Secret::new(password),
                ..BasicAuth::default()
            });
        }
        let tls = &mut http.tls_config;
        (tls.cert, tls.key) = (
            self.data(user, "client-certificate-data")?,
            Secret::new(self.data(user, "client-key-data")?),
        );
        if tls.cert.is_empty() {
            tls.cert_file = self.file(user, "client-certificate")?;
        }
        if tls.key.is_empty() {
            tls.key_file = self.file(user, "client-key")?;
        }
        Ok(())
    }

    /// A program that gives tokens.
    fn exec(&self, user: Value<'_>) -> Result<Option<Exec>, AccessError> {
        let Some(section) = user.entry("exec").filter(|section| !section.is_null()) else {
            return Ok(None);
        };
        let (command, api_version) = (text(section, "command")?, text(section, "apiVersion")?);
        if command.is_empty() || api_version.is_empty() {
            return Err(self.mistake("`exec` needs a command and an apiVersion"));
        }
        if text(section, "interactiveMode")? == "Always" {
            return Err(self.mistake("`exec` wants to talk with somebody, and nobody is there"));
        }
        let mut env = Vec::new();
        let variables = section.entry("env").map(|list| list.sequence()).transpose()?;
        for variable in variables.into_iter().flatten() {
            env.push((text(variable, "name")?, text(variable, "value")?));
        }
        let arguments = section.entry("args").map(|list| list.sequence()).transpose()?;
        let arguments = arguments.into_iter().flatten().map(yaml::FromYaml::from_yaml);
        Ok(Some(Exec {
            // Compat: a path is one from where the file is; a mere name is looked for where programs are
            // (`a_kubeconfig_may_name_a_program`).
            command: if command.contains('/') {
                self.path.parent().unwrap_or(Path::new("")).join(command)
            } else {
                PathBuf::from(command)
            },
            arguments: arguments.collect::<Result<_, _>>()?,
            env,
            api_version,
        }))
    }

    /// As whom to act.
    fn impersonation(&self, user: Value<'_>) -> Result<Vec<(String, String)>, AccessError> {
        let mut headers = Vec::new();
        for (key, header) in [("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")] {
            let value = text(user, key)?;
            if !value.is_empty() {
                headers.push((header.to_owned(), value));
            }
        }
        let groups = user.entry("as-groups").map(|list| list.sequence()).transpose()?;
        for group in groups.into_iter().flatten() {
            headers.push(("Impersonate-Group".to_owned(), yaml::FromYaml::from_yaml(group)?));
        }
        if let Some(extra) = user.entry("as-user-extra").filter(|extra| !extra.is_null()) {
            let extra: std::collections::BTreeMap<String, Vec<String>> = yaml::FromYaml::from_yaml(extra)?;
            for (name, values) in extra {
                let header = format!("Impersonate-Extra-{}", header_part(&name));
                headers.extend(values.into_iter().map(|value| (header.clone(), value)));
            }
        }
        if !headers.is_empty() && text(user, "as")?.is_empty() {
            return Err(self.mistake("as-uid, as-groups and as-user-extra need a user to act as"));
        }
        Ok(headers)
    }

    /// A file, which may be named from where the kubeconfig file is.
    fn file(&self, section: Value<'_>, key: &str) -> Result<PathBuf, AccessError> {
        let name = text(section, key)?;
        if name.is_empty() {
            return Ok(PathBuf::new());
        }
        Ok(self.path.parent().unwrap_or(Path::new("")).join(name))
    }

    /// A PEM text that is written in base64.
    fn data(&self, section: Value<'_>, key: &str) -> Result<String, AccessError> {
        let written: String = text(section, key)?.split_ascii_whitespace().collect();
        let bytes = BASE64
            .decode(written)
            .map_err(|error| self.mistake(format!("{key}: {error}")))?;
        String::from_utf8(bytes).map_err(|error| self.mistake(format!("{key}: {error}")))
    }
}

/// A text; empty where there is none.
fn text(section: Value<'_>, key: &str) -> Result<String, YamlError> {
    match section.entry(key).filter(|value| !value.is_null()) {
        Some(value) => yaml::FromYaml::from_yaml(value),
        None => Ok(String::new()),
    }
}

/// A name as the end of a header's name: what no header has is percent-encoded.
fn header_part(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    name.bytes()
        .map(|byte| match keep(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access_of(text: &str) -> Result<Access, String> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("kube.yml");
        std::fs::write(&path, text).expect("a file");
        let access = super::access(&path).map_err(|error| error.to_string())?;
        // Files are named from the kubeconfig's folder.
        for file in access.http.files() {
            assert!(is_empty_path(file) || file.starts_with(folder.path()), "{file:?}");
        }
        Ok(access)
    }

    fn config(cluster: &str, user: &str) -> String {
        format!(
            "current-context: c\nunknown: [1]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: other, cluster: {{server: x}}}}, {{name: k, cluster: {{{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    const TLS: &str = "server: 'https://k.example:6443/prefix', certificate-authority-data: UEVN";

    #[test]
    fn a_kubeconfig_says_where_and_who() {
        let access = access_of(&config(TLS, "token: t")).expect("valid");
        assert_eq!(access.server.as_str(), "https://k.example:6443/prefix");
        assert_eq!(access.http.tls_config.ca, "PEM");
        assert!(access.http.proxy.proxy_from_environment);
        let authorization = access.http.authorization.expect("a token");
        assert_eq!(authorization.credentials.reveal(), "t");

        let access = access_of(&config(TLS, "token: t, tokenFile: f")).expect("valid");
        assert!(
            access
                .http
                .authorization
                .expect("a token")
                .credentials_file
                .ends_with("f")
        );

        let access = access_of(&config(TLS, "username: a, password: b")).expect("valid");
        let auth = access.http.basic_auth.expect("a password");
        assert_eq!((&*auth.username, auth.password.reveal()), ("a", "b"));

        let user = "client-certificate-data: UEVN, client-key: k.pem";
        let tls = access_of(&config(TLS, user)).expect("valid").http.tls_config;
        assert_eq!(tls.cert, "PEM");
        assert!(tls.key_file.ends_with("k.pem"));

        let cluster = "server: 'https://k.example', certificate-authority: ca.pem, tls-server-name: n, \
                       insecure-skip-tls-verify: true, proxy-url: 'http://p.example:3128'";
        let http = access_of(&config(cluster, "")).expect("valid").http;
        assert!(http.tls_config.ca_file.ends_with("ca.pem") && http.tls_config.insecure_skip_verify);
        assert_eq!(http.tls_config.server_name, "n");
        assert_eq!(http.proxy.proxy_url.as_deref(), Some("http://p.example:3128"));
    }

    #[test]
    fn a_kubeconfig_may_name_a_program() {
        let user = "exec: {command: bin/x, args: [a, 7], env: [{name: N, value: v}], apiVersion: v1}";
        let exec = access_of(&config(TLS, user))
            .expect("valid")
            .exec
            .expect("a program");
        assert!(
            exec.command.is_absolute() && exec.command.ends_with("bin/x"),
            "{exec:?}"
        );
        assert_eq!(exec.arguments, ["a", "7"]);
        assert_eq!(exec.env, [("N".to_owned(), "v".to_owned())]);
        let by_name = access_of(&config(TLS, "exec: {command: x, apiVersion: v1}")).expect("valid");
        assert_eq!(by_name.exec.expect("a program").command, Path::new("x"));
    }

    #[test]
    fn a_kubeconfig_may_say_as_whom_to_act() {
        let user = "as: a, as-uid: '7', as-groups: [g, h], as-user-extra: {'x/y': [z]}";
        let access = access_of(&config(TLS, user)).expect("valid");
        let headers: Vec<(&str, &str)> = access
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            headers,
            [
                ("Impersonate-User", "a"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-Group", "g"),
                ("Impersonate-Group", "h"),
                ("Impersonate-Extra-x%2Fy", "z"),
            ]
        );
        assert!(access_of(&config(TLS, "as-groups: [g]")).is_err());
    }

    #[test]
    fn credentials_of_a_kubeconfig_go_over_tls_only() {
        let access = access_of(&config("server: 'http://k.example'", "token: t")).expect("valid");
        assert_eq!(access.http.authorization, None);
        let access = access_of(&config(
            "server: 'k.example:6443', insecure-skip-tls-verify: true",
            "token: t",
        ));
        assert_eq!(access.expect("valid").server.as_str(), "https://k.example:6443/");
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_used_says_why() {
        let cases = [
            ("", "current-context is not set"),
            ("current-context: c", "contexts has no context \"c\""),
            (&config("server: ''", ""), "the cluster has no server"),
            (&config(TLS, "exec: {command: aws}"), "apiVersion"),
            (
                &config(
                    TLS,
                    "exec: {command: aws, apiVersion: v1, interactiveMode: Always}",
                ),
                "nobody is there",
            ),
            (&config(TLS, "auth-provider: {name: gcp}"), "`auth-provider`"),
            (&config(TLS, "token: t, username: u"), "only one is allowed"),
            (
                &config("server: 'https://k', certificate-authority-data: '*'", ""),
                "certificate-authority-data",
            ),
            ("current-context: [", "kubeconfig"),
            (
                &config(TLS, "").replace("user: u}", "user: v}"),
                "users has no user \"v\"",
            ),
        ];
        for (text, expected) in cases {
            let error = access_of(text).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
