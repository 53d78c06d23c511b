//! E-mail.

mod compose;
mod settings;
mod smtp;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use httpclient::Dialer;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::settings::{EmailConfig, HostPort};
use self::smtp::Session;
use crate::integration::Setup;
use crate::receiver::{Failure, Memory, Receiver};
use crate::{Notification, http, preview, settings::is_named};

/// The port on which TLS comes first, by custom.
const IMPLICIT_TLS_PORT: &str = "465";

struct Email {
    config: EmailConfig,
    setup: Setup,
    /// A file of certificates that cannot be used matters only to servers that are spoken to by TLS.
    dialer: Result<Dialer, String>,
    hostname: String,
}

impl Email {
    fn new(config: EmailConfig, setup: &Setup) -> Self {
        let dialer = Dialer::new(&config.tls_config, setup.machine.surroundings.clone());
        Email {
            config,
            setup: setup.clone(),
            dialer: dialer.map_err(|error| error.to_string()),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

impl Receiver for Email {
    fn notify<'a>(
        &'a self,
        notification: &'a Notification,
        _memory: &'a mut Memory,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let late = |_| Failure::again("context deadline exceeded");
            timeout_at(deadline, self.send(notification))
                .await
                .map_err(late)?
        })
    }
}

impl Email {
    async fn send(&self, notification: &Notification) -> Result<(), Failure> {
        let mail = compose::Mail::compose(self, notification)?;
        if preview::mail(&mail.from, &mail.to, &mail.content) {
            return Ok(());
        }
        let mut session = self.connect().await?;
        let sent = self.converse(&mut session, &mail).await;
        session.quit().await;
        sent
    }

    fn dialer(&self) -> Result<&Dialer, Failure> {
        let unusable = |error| Failure::last(format!("parse TLS configuration: {error}"));
        self.dialer.as_ref().map_err(unusable)
    }

    /// A connection on which the server has said its greeting.
    async fn connect(&self) -> Result<Session, Failure> {
        let HostPort { host, port } = &self.config.smarthost;
        let is_implicit = self
            .config
            .force_implicit_tls
            .unwrap_or(port == IMPLICIT_TLS_PORT);
        let number = self.config.smarthost.port_number().ok_or_else(|| {
            Failure::again(format!("establish connection to server: unknown port {port:?}"))
        })?;
        let plain;
        let dialer = match &self.dialer {
            Ok(dialer) => dialer,
            Err(_) if is_implicit => self.dialer()?,
            Err(_) => {
                plain = Dialer::new(
                    &httpclient::TlsConfig::default(),
                    self.setup.machine.surroundings.clone(),
                )
                .map_err(|error| Failure::last(error.to_string()))?;
                &plain
            }
        };
        let doing = if is_implicit {
            "establish TLS connection to server: "
        } else {
            "establish connection to server: "
        };
        let failed = |error: httpclient::HttpClientError| Failure::again(error.to_string()).within(doing);
        let stream = dialer.dial(host, number).await.map_err(failed)?;
        let mut session = if is_implicit {
            let stream = dialer.handshake(host, stream).await.map_err(failed)?;
            Session::over_tls(stream, &self.config.hello)
        } else {
            Session::new(stream, &self.config.hello)
        };
        let greeted = session.greeting().await;
        greeted.map_err(|error| Failure::again(format!("create SMTP client: {error}")))?;
        Ok(session)
    }

    /// All between the greeting and the farewell.
    async fn converse(&self, session: &mut Session, mail: &compose::Mail) -> Result<(), Failure> {
        let step =
            |what: &'static str| move |error: smtp::SmtpError| Failure::again(format!("{what}: {error}"));
        session.hello().await.map_err(step("send EHLO command"))?;
        if self.config.require_tls && !session.is_tls() {
            if session.extension("STARTTLS").is_none() {
                return Err(Failure::again(format!(
                    "'require_tls' is true (default) but \"{}\" does not advertise the STARTTLS extension",
                    self.config.smarthost
                )));
            }
            let host = &self.config.smarthost.host;
            let upgraded = session.start_tls(self.dialer()?, host).await;
            upgraded.map_err(step("send STARTTLS command"))?;
        }
        if let Some(mechanisms) = session.extension("AUTH") {
            self.authenticate(session, &mechanisms).await?;
        }
        let from = compose::addresses(&mail.from)
            .map_err(|error| Failure::last(format!("parse 'from' addresses: {error}")))?;
        let [from] = from.as_slice() else {
            let message = format!("must be exactly one 'from' address (got: {})", from.len());
            return Err(Failure::last(message));
        };
        session.mail(from).await.map_err(step("send MAIL command"))?;
        let to = compose::addresses(&mail.to)
            .map_err(|error| Failure::last(format!("parse 'to' addresses: {error}")))?;
        for address in &to {
            session
                .recipient(address)
                .await
                .map_err(step("send RCPT command"))?;
        }
        session.data().await.map_err(step("send DATA command"))?;
        session
            .content(&mail.content)
            .await
            .map_err(step("delivery failure"))
    }

    /// By the first mechanism that the server offers and that there is a secret for; without a user name not at all.
    async fn authenticate(&self, session: &mut Session, mechanisms: &str) -> Result<(), Failure> {
        let config = &self.config;
        if config.auth_username.is_empty() {
            return Ok(());
        }
        let mut reasons = Vec::new();
        for mechanism in mechanisms.split(' ') {
            let (kind, secret) = match mechanism {
                "CRAM-MD5" => ("secret", self.secret().await),
                "PLAIN" | "LOGIN" => ("password", self.password().await),
                other => {
                    reasons.push(format!("unknown auth mechanism: {other}"));
                    continue;
                }
            };
            let secret = match secret {
                Ok(secret) if secret.is_empty() => {
                    reasons.push(format!("missing {kind} for {mechanism} auth mechanism"));
                    continue;
                }
                Ok(secret) => secret,
                Err(error) => {
                    reasons.push(error);
                    continue;
                }
            };
            let username = config.auth_username.as_str();
            let (name, outcome) = match mechanism {
                "CRAM-MD5" => ("*smtp.cramMD5Auth", session.cram_md5(username, &secret).await),
                "PLAIN" => {
                    let identity = config.auth_identity.as_str();
                    let host = &config.smarthost.host;
                    (
                        "*smtp.plainAuth",
                        session.plain(identity, username, &secret, host).await,
                    )
                }
                _ => ("*email.loginAuth", session.login(username, &secret).await),
            };
            return outcome.map_err(|error| Failure::again(format!("{name} auth: {error}")));
        }
        Err(Failure::again(format!(
            "find auth mechanism: {}",
            reasons.join("\n")
        )))
    }

    async fn password(&self) -> Result<String, String> {
        let path = &self.config.auth_password_file;
        if !is_named(path) {
            return Ok(self.config.auth_password.reveal().to_owned());
        }
        let read = http::read_word(path).await;
        read.map_err(|error| format!("could not read {}: {error}", path.display()))
    }

    /// Compat: with the newline at the end of its file (conformance `auth-secret-file`).
    async fn secret(&self) -> Result<String, String> {
        let path = &self.config.auth_secret_file;
        if !is_named(path) {
            return Ok(self.config.auth_secret.reveal().to_owned());
        }
        let read = http::read_file(path).await;
        read.map_err(|error| format!("could not read {}: {error}", path.display()))
    }
}

/// Builds what sends mail by these settings.
fn receiver(config: &EmailConfig, setup: &Setup) -> Arc<dyn Receiver> {
    Arc::new(Email::new(config.clone(), setup))
}
