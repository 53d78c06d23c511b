//! Connections for protocols other than HTTP, by the same resolver, roots and TLS settings: mail servers.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
pub use tokio_rustls::client::TlsStream;

use crate::config::TlsConfig;
use crate::connect::{self, Surroundings};
use crate::error::HttpClientError;
use crate::tls::TlsSource;

/// Makes connections, and TLS on them where the protocol wants it.
#[derive(Clone, Debug)]
pub struct Dialer {
    surroundings: Surroundings,
    tls: Arc<TlsSource>,
}

impl Dialer {
    /// Reads the certificates that the settings name.
    ///
    /// # Errors
    /// When a file cannot be read or holds no certificate.
    pub fn new(settings: &TlsConfig, surroundings: Surroundings) -> Result<Self, HttpClientError> {
        let tls = Arc::new(TlsSource::new(settings, false, surroundings.roots.as_ref())?);
        Ok(Dialer { surroundings, tls })
    }

    /// A plain connection.
    ///
    /// # Errors
    /// When the name has no address, or nobody answers there.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, HttpClientError> {
        connect::dial(&*self.surroundings.resolver, host, port, false).await
    }

    /// TLS on a connection to `host`. Certificates are read again where their files have changed.
    ///
    /// # Errors
    /// When the server's certificate is not good for the host, or it does not speak TLS.
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, HttpClientError> {
        if self.tls.has_files() {
            let tls = self.tls.clone();
            let refreshed = tokio::task::spawn_blocking(move || tls.refresh()).await;
            refreshed.map_err(|failed| HttpClientError::Certificate {
                what: "certificates",
                detail: failed.to_string(),
            })??;
        }
        connect::handshake(self.tls.config(), self.tls.server_name(host)?, host, stream).await
    }
}
