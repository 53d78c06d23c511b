//! Remote write, the receiving side.
