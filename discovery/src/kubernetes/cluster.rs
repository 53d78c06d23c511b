//! The API server for other rooms: objects that are read and written one at a time.

use std::path::Path;
use std::time::Duration;

use ::http::{Method, StatusCode};
use bytes::Bytes;
use httpclient::Request;

use super::access::{self, AccessError};
use super::api::{Access, Client, Failure};
use super::kubeconfig;
use crate::api::is_empty_path;
use crate::prepare::{Context, DiscoveryError, PrepareError};

/// Longest answer, in bytes: some times what a cluster stores as one object.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// An API server, and who asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    access: Access,
    client: Client,
}

/// What it answered, good or bad.
#[derive(Clone, Debug)]
pub struct ClusterAnswer {
    /// The status.
    pub status: StatusCode,
    /// An object, or the cluster's words about what is wrong.
    pub body: Bytes,
}

impl Cluster {
    /// The cluster that a kubeconfig file names; where that is empty, the one that we run in.
    ///
    /// # Errors
    /// When the file cannot be used, or this is no pod.
    pub fn open(kubeconfig_file: &Path, context: &Context) -> Result<Self, PrepareError> {
        let access = if is_empty_path(kubeconfig_file) {
            access::in_cluster(context)
        } else {
            kubeconfig::access(kubeconfig_file)
        };
        let access = access.map_err(unavailable)?;
        let client = Client::new(context.client(&access.http)?, &access);
        Ok(Cluster { access, client })
    }

    /// The namespace that we run in.
    ///
    /// # Errors
    /// When this is no pod.
    pub fn own_namespace(context: &Context) -> Result<String, PrepareError> {
        access::own_namespace(context).map_err(unavailable)
    }

    /// Asks for `path`, below the server's address; with `body` as JSON, where there is one.
    ///
    /// # Errors
    /// When there is no whole answer in time; its status is for the caller to judge.
    pub async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<ClusterAnswer, DiscoveryError> {
        let mut url = self.access.server.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = Request::new(method, url)
            .header("accept", "application/json")
            .timeout(limit);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = self.client.send(request, &self.access.headers).await;
        let answer = answer.map_err(Failure::into_error)?;
        let (status, url) = (answer.status(), answer.url().to_string());
        let body = answer.bytes(ANSWER_BYTES_MAX).await;
        let body = body.map_err(|source| DiscoveryError::Http { url, source })?;
        Ok(ClusterAnswer { status, body })
    }
}

fn unavailable(error: AccessError) -> PrepareError {
    PrepareError::Unavailable(Box::new(error))
}
