//! Receivers that are ready to send.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use credentials::Machine;
use httpclient::HttpClientError;

use crate::config::ReceiverConfig;
use crate::notification::{Alert, Notification};
use crate::receiver::Receiver;
use crate::rendering::Rendering;
use crate::templates::Templates;

/// What receivers are built with.
#[derive(Clone)]
pub struct Setup {
    /// The templates, which know the server's external URL.
    pub templates: Templates,
    /// What clients call themselves, how names become addresses, where the credentials of clouds are, the time of day.
    pub machine: Machine,
}

impl Setup {
    /// Begins to render texts of a notification that tells of `alerts`.
    pub(crate) fn rendering(&self, notification: &Notification, alerts: &[Alert]) -> Rendering<'_> {
        self.templates
            .rendering(notification, alerts, self.machine.clock.now_ms())
    }
}

/// Why a receiver cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("{integration}: {source}")]
pub struct BuildError {
    /// The receiver and its integration: `team/webhook[0]`.
    pub integration: String,
    /// Why.
    pub source: Unbuilt,
}

/// What is wrong with an integration's settings beyond their text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unbuilt {
    /// A certificate, a header or a proxy cannot be used.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// A file of a secret cannot be read.
    #[error("{0}")]
    Secret(String),
}

/// One entry of a receiver, ready to send. Cloning shares it.
#[derive(Clone)]
pub struct Integration {
    receiver: Arc<str>,
    kind: &'static str,
    index: usize,
    send_resolved: bool,
    sender: Arc<dyn Receiver>,
}

impl fmt::Debug for Integration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.receiver, self.name())
    }
}

/// Builds the integrations of a receiver. Reads files of certificates and some of secrets: not for the network's threads.
///
/// # Errors
/// When one of them cannot be built.
pub fn build(config: &ReceiverConfig, setup: &Setup) -> Result<Vec<Integration>, BuildError> {
    let receiver: Arc<str> = Arc::from(config.name.as_str());
    let mut integrations: Vec<Integration> = Vec::with_capacity(config.entries().len());
    for entry in config.entries() {
        let kind = entry.name();
        let index = integrations.iter().filter(|before| before.kind == kind).count();
        let sender = entry.build(setup).map_err(|source| BuildError {
            integration: format!("{receiver}/{kind}[{index}]"),
            source,
        })?;
        integrations.push(Integration {
            receiver: receiver.clone(),
            kind,
            index,
            send_resolved: entry.send_resolved(),
            sender,
        });
    }
    Ok(integrations)
}

impl Integration {
    /// One with a sender of another's making: for tests of who calls it.
    pub fn new(
        receiver: &str,
        kind: &'static str,
        index: usize,
        send_resolved: bool,
        sender: Arc<dyn Receiver>,
    ) -> Self {
        Integration {
            receiver: Arc::from(receiver),
            kind,
            index,
            send_resolved,
            sender,
        }
    }

    /// Name of the receiver that it belongs to.
    pub fn receiver(&self) -> &str {
        &self.receiver
    }

    /// The kind, as metrics and the log of notifications name it: `webhook`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its place among those of its kind.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether it is told of resolved alerts.
    pub fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    /// Those of a receiver's configuration, all of which hand what they are told to `sender` instead of sending it: nothing
    /// is built, so that no file and no credentials have to be there.
    pub fn all_to(config: &ReceiverConfig, sender: &Arc<dyn Receiver>) -> Vec<Integration> {
        let mut integrations: Vec<Integration> = Vec::with_capacity(config.entries().len());
        for entry in config.entries() {
            let kind = entry.name();
            let index = integrations.iter().filter(|before| before.kind == kind).count();
            let all = Integration::new(&config.name, kind, index, entry.send_resolved(), sender.clone());
            integrations.push(all);
        }
        integrations
    }

    /// Kind and place: `webhook[0]`.
    pub fn name(&self) -> String {
        format!("{}[{}]", self.kind, self.index)
    }

    pub(crate) fn sender(&self) -> &dyn Receiver {
        &*self.sender
    }

    /// The notification as this integration is told of it; `None` when that is nothing.
    pub(crate) fn what_is_told<'n>(&self, notification: &'n Notification) -> Option<Cow<'n, Notification>> {
        let fires = |alert: &&Alert| alert.ends_at.is_none();
        if self.send_resolved || notification.alerts.iter().all(|alert| fires(&alert)) {
            return Some(Cow::Borrowed(notification));
        }
        let firing: Vec<Alert> = notification.alerts.iter().filter(fires).cloned().collect();
        (!firing.is_empty()).then(|| {
            Cow::Owned(Notification {
                alerts: Arc::new(firing),
                ..notification.clone()
            })
        })
    }
}
