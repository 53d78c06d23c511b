//! Whole bodies: the conformance data, our own cases, and bodies that were damaged.

mod conformance;
mod damage;
mod render;
