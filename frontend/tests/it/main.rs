//! Kept answers beside fresh ones, over a store that changes in every way it can.

mod concurrent;
mod exact;
mod queries;
mod world;
