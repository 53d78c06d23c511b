//! Reading answers: JSON, as forgiving about `null` as the reference is.

use httpclient::{HttpClient, Request};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use crate::prepare::{DiscoveryError, fetch};

/// Sends a request and reads the answer as JSON. The answer must be a good one and not too long: see [`fetch`].
///
/// # Errors
/// When there is no answer, or it is not what was expected.
pub(crate) async fn fetch_json<T: DeserializeOwned>(
    client: &HttpClient,
    request: &Request,
) -> Result<T, DiscoveryError> {
    let body = fetch(client, request).await?;
    serde_json::from_slice(&body).map_err(|error| DiscoveryError::content(request.url(), error))
}

/// For fields that servers leave out or write as `null` where they have nothing: both are the empty value.
pub(crate) fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
