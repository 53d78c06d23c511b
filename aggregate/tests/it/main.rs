//! The room as its neighbours see it: an appender in front of a store, and time going by.

mod cases;
mod decorator;
mod oracle;
mod restart;
mod store;
