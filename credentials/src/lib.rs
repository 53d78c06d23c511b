//! Signing, and credentials that clouds give: AWS (version 4 signatures, the SDK's chain), Google (application default
//! credentials), Azure (client secrets, managed and workload identities).
//!
//! Discovery asks clouds, remote write sends to them, notifications may: all find their credentials in the same places.
//! This room knows where those are ([`Machine`]: environment, files, the addresses of metadata services), fetches them
//! and keeps them while they last. It does not know what they are used for.
//!
//! The one decision behind it: credentials are values with an end ([`httpclient::renew`]). Whoever asks gets those that
//! are kept; new ones are fetched before the end, once for all who wait, and an error names which credentials it is
//! about and where they come from, because "access denied" alone sends people to the wrong file.
//!
//! * [`aws::Aws`] gives credentials and a region; [`sigv4::sign`] signs a request with them.
//! * [`google::Google`] and [`azure::Azure`] give bearer tokens.
//!
//! ```no_run
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! use narthex_credentials as credentials;
//! use credentials::Machine;
//! use credentials::aws::{Aws, AwsSettings};
//! use httpclient::{HttpClient, HttpClientConfig, Request};
//!
//! let machine = Machine::new("Narthex/1.0");
//! let client = HttpClient::new(&HttpClientConfig::default(), "Narthex/1.0")?;
//! let aws = Aws::new(AwsSettings::default(), client.clone(), machine)?;
//! let url = "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write".parse()?;
//! let request = aws.sign(Request::post(url, "application/x-protobuf", vec![1, 2, 3]), "aps").await?;
//! client.send(&request).await?;
//! # Ok(())
//! # }
//! ```

mod ask;
pub mod aws;
pub mod azure;
mod bearer;
mod error;
pub mod google;
mod machine;
pub mod sigv4;
pub mod xml;

pub use error::CredentialsError;
pub use machine::Machine;
