//! What the room does as a whole, against real stores and recorded data.

mod attacks;
mod import;
mod otlp;
mod send;
mod store;
mod write;
