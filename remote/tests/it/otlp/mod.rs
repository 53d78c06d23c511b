//! The OTLP receiver against what the reference answered and stored.

mod conformance;
mod hostile;
mod message;
mod store;
mod streams;
