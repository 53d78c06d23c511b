//! What others push, against real stores.

mod attacks;
mod otlp;
mod store;
mod write;
