//! Lines of InfluxDB's protocol, as Telegraf and its kin push them, to samples.
//!
//! A line is a point: a measurement, tags, fields, a time. Every field becomes a sample of the metric
//! `{measurement}_{field}`, tags become labels, the database the label `db`: names are VictoriaMetrics', so that dashboards
//! made for the one do for the other. Nothing here knows a socket.
//!
//! ```
//! use narthex_remote::influx::{Precision, points};
//! let lines = "cpu,host=a usage_idle=99.5,cores=8i 1700000000000000000\n# a comment\n";
//! let point = points(lines).next().expect("one")?;
//! assert_eq!((&*point.measurement, &*point.tags[0].1, point.fields[1].value), ("cpu", "a", Some(8.0)));
//! assert_eq!(Precision::Guess.to_ms(point.timestamp, 0), 1_700_000_000_000);
//! # Ok::<(), narthex_remote::influx::LineError>(())
//! ```

mod line;
mod samples;
#[cfg(test)]
mod tests;

pub use line::{Field, LineError, Point, Problem, points};
pub use samples::{Precision, Rules, read};
