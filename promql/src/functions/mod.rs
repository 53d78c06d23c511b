//! Functions of single samples: applied to each float, or each histogram, of a row.
//!
//! [`element_function`] finds those that look at one sample at a time (`abs`, `clamp`, `hour`, `histogram_count` …).

mod civil;
mod element;

pub use element::{ElementFunction, ElementInput, element_function};
