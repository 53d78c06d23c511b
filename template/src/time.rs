//! Moments and durations, with the methods and layouts that templates know from Go.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::error::CallError;
use crate::value::Value;

const SECOND_NS: i64 = 1_000_000_000;

/// A moment in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    zoned: Zoned,
}

impl Time {
    /// A moment in UTC, by nanoseconds since the Unix epoch, held to the years 1 to 9999.
    pub fn from_unix_ns(unix_ns: i128) -> Self {
        let lowest = i128::from(-62_135_596_800i64) * i128::from(SECOND_NS);
        let highest = i128::from(253_402_207_200i64) * i128::from(SECOND_NS);
        let timestamp = Timestamp::from_nanosecond(unix_ns.clamp(lowest, highest)).unwrap_or_default();
        Time {
            zoned: timestamp.to_zoned(TimeZone::UTC),
        }
    }

    /// A moment as clocks of a zone, or of an offset, show it.
    pub fn from_zoned(zoned: Zoned) -> Self {
        Time { zoned }
    }

    /// The zero time, 1 January of the year 1: what the reference has where no time is known.
    pub fn zero() -> Self {
        Time::from_unix_ns(i128::MIN)
    }

    /// Reads `2026-03-29T00:30:00Z` and the like.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let timestamp: Timestamp = text.parse().ok()?;
        Some(Time::from_unix_ns(timestamp.as_nanosecond()))
    }

    /// Nanoseconds since the Unix epoch.
    pub fn unix_ns(&self) -> i128 {
        self.zoned.timestamp().as_nanosecond()
    }

    /// The same moment in the time zone `name` of the IANA database.
    pub(crate) fn in_zone(&self, name: &str) -> Result<Self, CallError> {
        let zone = match name {
            "" | "UTC" => TimeZone::UTC,
            "Local" => TimeZone::system(),
            name => TimeZone::get(name).map_err(|_| CallError::UnknownZone(name.to_owned()))?,
        };
        Ok(Time {
            zoned: self.zoned.timestamp().to_zoned(zone),
        })
    }

    fn moved(&self, ns: i128) -> Self {
        let moved = Time::from_unix_ns(self.unix_ns().saturating_add(ns));
        Time {
            zoned: moved.zoned.timestamp().to_zoned(self.zoned.time_zone().clone()),
        }
    }

    fn is_zero(&self) -> bool {
        self.unix_ns() == Time::zero().unix_ns()
    }

    /// RFC 3339 with as many decimals as needed: what JSON has.
    pub(crate) fn rfc3339(&self) -> String {
        self.format("2006-01-02T15:04:05.999999999Z07:00")
    }

    /// The moment in Go's layout notation.
    pub fn format(&self, layout: &str) -> String {
        crate::layout::format(&self.zoned, layout)
    }

    /// Calls one of the methods that Go's `time.Time` has.
    pub(crate) fn method(&self, name: &str, args: &[Value]) -> Option<Result<Value, CallError>> {
        let z = &self.zoned;
        let int = |n: i128| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let value = match name {
            "String" => self.to_string().into(),
            "Unix" => int(self.unix_ns().div_euclid(i128::from(SECOND_NS))),
            "UnixMilli" => int(self.unix_ns().div_euclid(1_000_000)),
            "UnixMicro" => int(self.unix_ns().div_euclid(1_000)),
            "UnixNano" => int(self.unix_ns()),
            "Year" => int(z.year().into()),
            "Month" => self.format("January").into(),
            "Day" => int(z.day().into()),
            "Hour" => int(z.hour().into()),
            "Minute" => int(z.minute().into()),
            "Second" => int(z.second().into()),
            "Nanosecond" => int(z.subsec_nanosecond().into()),
            "YearDay" => int(z.day_of_year().into()),
            "Weekday" => self.format("Monday").into(),
            "IsZero" => self.is_zero().into(),
            "UTC" => return Some(arity(name, args, 0).and_then(|()| self.in_zone("UTC")).map(time)),
            "Local" => {
                return Some(
                    arity(name, args, 0)
                        .and_then(|()| self.in_zone("Local"))
                        .map(time),
                );
            }
            _ => return self.method_with_arguments(name, args),
        };
        Some(arity(name, args, 0).map(|()| value))
    }

    fn method_with_arguments(&self, name: &str, args: &[Value]) -> Option<Result<Value, CallError>> {
        let result = match name {
            "Format" => one(name, args).and_then(|v| Ok(self.format(text(v)?).into())),
            "Add" => one(name, args).and_then(|v| Ok(time(self.moved(duration(v)?.into())))),
            "Truncate" => one(name, args).and_then(|v| {
                let unit = i128::from(duration(v)?);
                let zero = Time::zero().unix_ns();
                let since = self.unix_ns() - zero;
                let over = if unit > 0 { since.rem_euclid(unit) } else { 0 };
                Ok(time(self.moved(-over)))
            }),
            "AddDate" => self.add_date(args),
            "Sub" => one(name, args).and_then(|v| Ok(Value::Duration(self.since(moment(v)?)))),
            "Before" => one(name, args).and_then(|v| Ok((self.unix_ns() < moment(v)?.unix_ns()).into())),
            "After" => one(name, args).and_then(|v| Ok((self.unix_ns() > moment(v)?.unix_ns()).into())),
            "Equal" => one(name, args).and_then(|v| Ok((self.unix_ns() == moment(v)?.unix_ns()).into())),
            _ => return None,
        };
        Some(result)
    }

    fn add_date(&self, args: &[Value]) -> Result<Value, CallError> {
        arity("AddDate", args, 3)?;
        let (years, months, days) = (integer(&args[0])?, integer(&args[1])?, integer(&args[2])?);
        let span = jiff::Span::new()
            .try_years(years)
            .and_then(|s| s.try_months(months))
            .and_then(|s| s.try_days(days))
            .map_err(|_| CallError::TimeRange)?;
        let zoned = self.zoned.checked_add(span).map_err(|_| CallError::TimeRange)?;
        Ok(time(Time { zoned }))
    }

    /// Nanoseconds from `earlier` to this, saturating.
    pub(crate) fn since(&self, earlier: &Time) -> i64 {
        let ns = self.unix_ns() - earlier.unix_ns();
        ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}

/// `2015-06-23 13:19:44.128 +0000 UTC`
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

fn time(time: Time) -> Value {
    Value::Time(std::sync::Arc::new(time))
}

fn arity(name: &str, args: &[Value], want: usize) -> Result<(), CallError> {
    if args.len() == want {
        return Ok(());
    }
    let name = name.to_owned();
    let got = args.len();
    Err(CallError::ArgumentCount { name, want, got })
}

fn one<'a>(name: &str, args: &'a [Value]) -> Result<&'a Value, CallError> {
    arity(name, args, 1)?;
    Ok(&args[0])
}

fn wrong(expected: &'static str, value: &Value) -> CallError {
    let got = value.type_name().to_owned();
    CallError::WrongType { expected, got }
}

fn text(value: &Value) -> Result<&str, CallError> {
    value.as_str().ok_or_else(|| wrong("string", value))
}

fn integer(value: &Value) -> Result<i64, CallError> {
    match value {
        Value::Int(i) => Ok(*i),
        value => Err(wrong("int", value)),
    }
}

fn duration(value: &Value) -> Result<i64, CallError> {
    match value {
        Value::Duration(ns) | Value::Int(ns) => Ok(*ns),
        value => Err(wrong("time.Duration", value)),
    }
}

fn moment(value: &Value) -> Result<&Time, CallError> {
    match value {
        Value::Time(time) => Ok(time),
        value => Err(wrong("time.Time", value)),
    }
}

/// Calls one of the methods that Go's `time.Duration` has.
pub(crate) fn duration_method(ns: i64, name: &str, args: &[Value]) -> Option<Result<Value, CallError>> {
    let value = match name {
        "Seconds" => Value::Float(seconds(ns)),
        "Minutes" => Value::Float(parts(ns, 60 * SECOND_NS)),
        "Hours" => Value::Float(parts(ns, 3600 * SECOND_NS)),
        "Milliseconds" => Value::Int(ns / 1_000_000),
        "Microseconds" => Value::Int(ns / 1_000),
        "Nanoseconds" => Value::Int(ns),
        "String" => duration_text(ns).into(),
        "Abs" => Value::Duration(ns.saturating_abs()),
        "Round" | "Truncate" => {
            return Some(one(name, args).and_then(|v| {
                let unit = duration(v)?;
                Ok(Value::Duration(rounded(ns, unit, name == "Round")))
            }));
        }
        _ => return None,
    };
    Some(arity(name, args, 0).map(|()| value))
}

fn rounded(ns: i64, unit: i64, half_up: bool) -> i64 {
    if unit <= 0 {
        return ns;
    }
    let rest = ns % unit;
    let down = ns - rest;
    if half_up && i128::from(rest.unsigned_abs()) * 2 >= i128::from(unit) {
        return down.saturating_add(unit * ns.signum());
    }
    down
}

/// Seconds of a duration in nanoseconds.
pub(crate) fn seconds(ns: i64) -> f64 {
    parts(ns, SECOND_NS)
}

/// `ns` in units of `unit` nanoseconds; whole and fraction are converted apart, as Go does, to round once.
fn parts(ns: i64, unit: i64) -> f64 {
    (ns / unit) as f64 + (ns % unit) as f64 / unit as f64
}

/// A duration as Go prints it: `1h2m3.5s`, `1.5ms`, `0s`.
pub(crate) fn duration_text(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let magnitude = ns.unsigned_abs();
    let with_fraction = |unit: u64| {
        let fraction = format!("{:0width$}", magnitude % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        (magnitude / unit, point, fraction.to_owned())
    };
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => {
            let (whole, point, fraction) = with_fraction(1_000);
            format!("{sign}{whole}{point}{fraction}µs")
        }
        1_000_000..1_000_000_000 => {
            let (whole, point, fraction) = with_fraction(1_000_000);
            format!("{sign}{whole}{point}{fraction}ms")
        }
        _ => {
            let (total, point, fraction) = with_fraction(1_000_000_000);
            let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
            let head = match (hours, minutes) {
                (0, 0) => String::new(),
                (0, minutes) => format!("{minutes}m"),
                (hours, minutes) => format!("{hours}h{minutes}m"),
            };
            format!("{sign}{head}{seconds}{point}{fraction}s")
        }
    }
}
