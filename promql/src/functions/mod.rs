//! Functions of single samples: applied to each float, or each histogram, of a row.
//!
//! [`element_function`] finds those that look at one sample at a time (`abs`, `clamp`, `hour`, `histogram_count` …);
//! [`classic`] and [`native`] hold the maths behind `histogram_quantile` and `histogram_fraction`, whose classic form
//! gathers several series.

mod civil;
pub mod classic;
mod element;
pub mod native;

pub use element::{ElementFunction, ElementInput, element_function, go_max, go_min};

#[cfg(test)]
mod tests;
