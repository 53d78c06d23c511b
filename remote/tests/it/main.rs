//! What others push, against real stores.

mod otlp;
