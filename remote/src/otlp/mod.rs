//! Metrics of OpenTelemetry, pushed by its protocol.
//!
//! A request goes through four stages: its body is inflated (`body`), read into flat lists over borrowed bytes
//! (`wire`, after `json` where it is JSON), translated into samples and packed label sets (`translate`), and stored
//! as one transaction, whole or not at all ([`Receiver`]). Until the last stage the store is not touched.
//!
//! What the protocol's world calls resources, scopes and attributes becomes labels here; which and how is what the
//! section [`OtlpConfig`] steers.

mod body;
mod config;
mod delta;
mod json;
mod labels;
mod names;
mod receiver;
mod samples;
mod translate;
mod value;
mod wire;

pub use body::{BODY_BYTES_MAX, BodyError};
pub use config::{OtlpConfig, TranslationStrategy};
pub use delta::DeltaError;
pub use json::JsonError;
pub use labels::LabelsError;
pub use names::NameError;
pub use receiver::{Encoding, OtlpError, OtlpOptions, Receiver, Verdict};
pub use samples::TooMuch;
pub use translate::{TranslateError, TranslateErrors, TranslateOptions, Warnings};
pub use wire::DecodeError;
