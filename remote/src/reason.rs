//! What another server says of a failure.

use httpclient::Response;

/// What is read of a body that tells of a failure, in bytes, as in the reference.
const REASON_BYTES_MAX: usize = 1024;

/// The beginning of a body, as text.
pub(crate) async fn reason_of(mut response: Response) -> String {
    let mut text = Vec::new();
    while text.len() < REASON_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                text.extend_from_slice(&chunk[..chunk.len().min(REASON_BYTES_MAX - text.len())]);
            }
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}
