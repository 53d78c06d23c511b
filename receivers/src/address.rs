//! Where chats are told: an address that is a secret, or the file that holds it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::time::Instant;
use yaml::{Section, YamlError};

use crate::http::{Client, read_word};
use crate::receiver::Failure;
use crate::settings::{SecretUrl, Settings as _, is_named, is_unnamed};

/// `webhook_url` and `webhook_url_file`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WebhookAddress {
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_url: Option<SecretUrl>,
    #[serde(skip_serializing_if = "is_unnamed")]
    webhook_url_file: PathBuf,
}

impl WebhookAddress {
    /// Takes the keys, of which at most one may be given.
    pub(crate) fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let address = WebhookAddress {
            webhook_url: section.get("webhook_url")?,
            webhook_url_file: section.path("webhook_url_file")?,
        };
        section.at_most_one([
            ("webhook_url", address.webhook_url.is_some()),
            ("webhook_url_file", is_named(&address.webhook_url_file)),
        ])?;
        Ok(address)
    }

    /// Takes the keys, of which one must be given.
    pub(crate) fn required(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let address = WebhookAddress::read(section)?;
        if address.is_absent() {
            return Err(section.error("one of webhook_url or webhook_url_file must be configured"));
        }
        Ok(address)
    }

    /// Whether neither is given.
    pub(crate) fn is_absent(&self) -> bool {
        self.webhook_url.is_none() && !is_named(&self.webhook_url_file)
    }

    /// These or, where neither is given, those.
    pub(crate) fn or(self, url: Option<&SecretUrl>, file: &Path) -> Self {
        if !self.is_absent() {
            return self;
        }
        WebhookAddress {
            webhook_url: url.cloned(),
            webhook_url_file: file.to_owned(),
        }
    }

    /// Posts JSON there, once; what may heal is what [`Answer::check`](crate::http::Answer::check) says of no other status.
    pub(crate) async fn post(
        &self,
        client: &Client,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let url = self.get().await?;
        client.post_json(&url, body, deadline).await?.check(&[])
    }

    /// The address itself.
    pub(crate) async fn get(&self) -> Result<String, Failure> {
        match &self.webhook_url {
            Some(url) => Ok(url.reveal().to_owned()),
            None => {
                let read = read_word(&self.webhook_url_file).await;
                read.map_err(|error| Failure::last(format!("read webhook_url_file: {error}")))
            }
        }
    }
}
