//! The HTML dialect: every value is escaped for the place in the document where it is written.
//!
//! The reference works out those places once, before execution, and refuses templates whose branches end in different
//! ones. Here the document is followed while it is written, so that the place of a value is simply known; what both
//! accept comes out the same.

mod attribute;
mod context;
mod escapers;
mod javascript;
mod transition;
mod writer;

pub(crate) use escapers::{Escaper, apply};
pub(crate) use writer::HtmlWriter;
