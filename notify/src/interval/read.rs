//! Reading intervals, with the reference's messages.

use jiff::tz::TimeZone;
use model::go::Quoted;
use yaml::{FromYaml, Value, YamlError};

use super::{Location, MONTHS, NamedIntervals, Range, TimeInterval, TimeRange, WEEKDAYS};

impl NamedIntervals {
    /// Reads an entry of `time_intervals`; `what` is what messages call it.
    ///
    /// # Errors
    /// When it has no name, or an interval is malformed.
    pub fn read(value: Value<'_>, what: &'static str) -> Result<Self, YamlError> {
        let mut section = value.section(what)?;
        let named = NamedIntervals {
            name: section.get_or("name", String::new())?,
            intervals: section.list("time_intervals", TimeInterval::read)?,
        };
        if named.name.is_empty() {
            return Err(section.error(format_args!("missing name in {what}")));
        }
        section.finish()?;
        Ok(named)
    }
}

impl TimeInterval {
    /// Reads one interval.
    ///
    /// # Errors
    /// When a condition is malformed, or a time zone unknown.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("time interval")?;
        let mut ranges = |key, read: fn(&str) -> Result<Range, String>| {
            let list = section.value(key).map(|list| list.sequence()).transpose()?;
            let read = |value: Value<'_>| {
                let text = String::from_yaml(value)?;
                read(&text.to_lowercase()).map_err(|message| value.error(message))
            };
            list.map(|list| list.into_iter().map(read).collect::<Result<Vec<_>, _>>())
                .transpose()
        };
        let weekdays = ranges("weekdays", weekdays)?;
        let days_of_month = ranges("days_of_month", days_of_month)?;
        let months = ranges("months", months)?;
        let years = ranges("years", years)?;
        let times = section.value("times").map(|list| list.sequence()).transpose()?;
        let interval = TimeInterval {
            times: times
                .map(|list| list.into_iter().map(time_range).collect::<Result<Vec<_>, _>>())
                .transpose()?,
            weekdays,
            days_of_month,
            months,
            years,
            location: section.value("location").map(location).transpose()?,
        };
        section.finish()?;
        Ok(interval)
    }
}

fn time_range(value: Value<'_>) -> Result<TimeRange, YamlError> {
    let mut section = value.section("time range")?;
    let start: String = section.get_or("start_time", String::new())?;
    let end: String = section.get_or("end_time", String::new())?;
    if start.is_empty() || end.is_empty() {
        return Err(section.error("both start and end times must be provided"));
    }
    let minute = |key, text: &str| {
        minute_of(text).ok_or_else(|| {
            section.error_at(
                key,
                format_args!("couldn't parse timestamp {text}, invalid format"),
            )
        })
    };
    let range = TimeRange {
        start: minute("start_time", &start)?,
        end: minute("end_time", &end)?,
    };
    if range.start >= range.end {
        return Err(section.error_at(
            "start_time",
            "start time cannot be equal or greater than end time",
        ));
    }
    section.finish()?;
    Ok(range)
}

/// `HH:MM`, up to `24:00`.
fn minute_of(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0))).then_some(hours * 60 + minutes)
}

fn location(value: Value<'_>) -> Result<Location, YamlError> {
    let name = String::from_yaml(value)?;
    let refuse = |message: String| Err(value.error(message));
    // Compat: names that could leave the folder of time zones are refused in words of their own (`bad locations`).
    if name.contains("..") || name.starts_with(['/', '\\']) || name.contains('\\') {
        return refuse("time: invalid location name".to_owned());
    }
    let zone = match name.as_str() {
        "" | "UTC" => TimeZone::UTC,
        "Local" => TimeZone::system(),
        name => match TimeZone::get(name) {
            Ok(zone) => zone,
            Err(_) => return refuse(format!("unknown time zone {name}")),
        },
    };
    let name = if name.is_empty() { "UTC".to_owned() } else { name };
    Ok(Location { name, zone })
}

/// `first:last`, or one alone; `number` reads either.
fn range(text: &str, number: impl Fn(&str) -> Result<i64, String>) -> Result<Range, String> {
    let mut parts = text.split(':');
    let (first, last, more) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    if more.is_some() {
        return Err(format!("couldn't parse range {text}, invalid format"));
    }
    let begin = number(first)?;
    let end = last.map_or(Ok(begin), number)?;
    Ok(Range { begin, end })
}

fn weekdays(text: &str) -> Result<Range, String> {
    let day = |text: &str| {
        let at = WEEKDAYS.iter().position(|name| *name == text);
        at.map(|at| at as i64)
            .ok_or_else(|| format!("{text} is not a valid weekday"))
    };
    let range = range(text, day)?;
    if range.begin > range.end {
        return Err("start day cannot be before end day".to_owned());
    }
    Ok(range)
}

fn days_of_month(text: &str) -> Result<Range, String> {
    let range = range(text, number)?;
    for day in [range.begin, range.end] {
        if day == 0 || !(-31..=31).contains(&day) {
            return Err(format!("{day} is not a valid day of the month: out of range"));
        }
    }
    if range.begin < 0 && range.end > 0 {
        return Err("end day must be negative if start day is negative".to_owned());
    }
    // In the shortest month the days must not be upside down either.
    let shortest = |day: i64| if day < 0 { 28 + day } else { day };
    if shortest(range.begin) > shortest(range.end) {
        return Err(format!(
            "end day {} is always before start day {}",
            range.end, range.begin
        ));
    }
    Ok(range)
}

fn months(text: &str) -> Result<Range, String> {
    let month = |text: &str| {
        let at = MONTHS.iter().position(|name| *name == text);
        at.map(|at| at as i64 + 1)
            .or_else(|| number(text).ok())
            .ok_or_else(|| format!("{text} is not a valid month"))
    };
    let range = range(text, month)?;
    if range.begin > range.end {
        let name = |month: i64| {
            let at = usize::try_from(month - 1).ok();
            at.and_then(|at| MONTHS.get(at)).copied().unwrap_or("")
        };
        return Err(format!(
            "end month {} is before start month {}",
            name(range.end),
            name(range.begin)
        ));
    }
    Ok(range)
}

fn years(text: &str) -> Result<Range, String> {
    let range = range(text, number)?;
    if range.begin > range.end {
        return Err(format!(
            "end year {} is before start year {}",
            range.end, range.begin
        ));
    }
    Ok(range)
}

/// A whole number, with the message of Go's reader.
fn number(text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", Quoted(text)))
}
