//! Time intervals: when a route is mute, and when it is active.
//!
//! An interval is a set of conditions on the civil time of a place; an instant is inside if it satisfies all that are
//! there. Seconds do not count. Places are the machine's time zones, UTC where none is named.

mod read;

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// Names of the days, from Sunday on.
const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
/// Names of the months.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A named list of intervals; an instant is inside if it is inside of any.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedIntervals {
    /// What routes call it.
    pub name: String,
    /// The intervals.
    #[serde(rename = "time_intervals")]
    pub intervals: Vec<TimeInterval>,
}

impl NamedIntervals {
    /// In how many of its intervals an instant is.
    pub fn count(&self, at: Timestamp) -> usize {
        self.intervals
            .iter()
            .filter(|interval| interval.contains(at))
            .count()
    }
}

/// Conditions on civil time. A list that is empty holds always.
///
/// Compat: one that is written as `[]` holds never, since the reference tells it from one that is absent
/// (`empty lists: always` of the intervals).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeInterval {
    /// Times of day.
    pub times: Option<Vec<TimeRange>>,
    /// Days of the week, from 0 for Sunday.
    pub weekdays: Option<Vec<Range>>,
    /// Days of the month from 1; negative ones count from its end, -1 being the last.
    pub days_of_month: Option<Vec<Range>>,
    /// Months from 1.
    pub months: Option<Vec<Range>>,
    /// Years.
    pub years: Option<Vec<Range>>,
    /// Where.
    pub location: Option<Location>,
}

/// Minutes of a day, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First minute.
    pub start: i32,
    /// Minute after the last; at most 1440.
    pub end: i32,
}

/// Whole numbers from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First.
    pub begin: i64,
    /// Last.
    pub end: i64,
}

/// A time zone under the name that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub zone: TimeZone,
}

impl TimeInterval {
    /// Whether an instant is inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        let utc = TimeZone::UTC;
        let zone = self.location.as_ref().map_or(&utc, |location| &location.zone);
        let civil = zone.to_datetime(at);
        let minute = i32::from(civil.hour()) * 60 + i32::from(civil.minute());
        any(&self.times, |range| (range.start..range.end).contains(&minute))
            && any(&self.days_of_month, |range| range.has_day(civil))
            && any(&self.months, |range| range.has(i64::from(civil.month())))
            && any(&self.weekdays, |range| range.has(weekday(civil)))
            && any(&self.years, |range| range.has(i64::from(civil.year())))
    }
}

/// Whether any of the conditions holds; those that are absent do.
fn any<T>(conditions: &Option<Vec<T>>, holds: impl Fn(&T) -> bool) -> bool {
    conditions.as_ref().is_none_or(|list| list.iter().any(holds))
}

fn weekday(civil: DateTime) -> i64 {
    i64::from(civil.weekday().since(Weekday::Sunday))
}

impl Range {
    fn has(self, number: i64) -> bool {
        (self.begin..=self.end).contains(&number)
    }

    /// `first:last`, or one alone.
    fn text(self, name: fn(i64) -> String) -> String {
        if self.begin == self.end {
            return name(self.begin);
        }
        format!("{}:{}", name(self.begin), name(self.end))
    }

    /// Whether a day of the month is inside, of the length that its month has.
    fn has_day(self, civil: DateTime) -> bool {
        let days = i64::from(civil.days_in_month());
        let from_start = |day: i64| if day < 0 { days + day + 1 } else { day };
        let begin = from_start(self.begin);
        begin <= days && (begin..=from_start(self.end).min(days)).contains(&i64::from(civil.day()))
    }
}

/// As the reference prints it: keys in its order, lists of ranges on one line.
impl Serialize for TimeInterval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(times) = self.times.as_ref().filter(|list| !list.is_empty()) {
            map.serialize_entry("times", times)?;
        }
        for (key, list, name) in [
            ("weekdays", &self.weekdays, weekday_name as fn(i64) -> String),
            ("days_of_month", &self.days_of_month, |number| number.to_string()),
            ("months", &self.months, |number| number.to_string()),
            ("years", &self.years, |number| number.to_string()),
        ] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                let texts: Vec<Text> = list.iter().map(|range| Text(range.text(name))).collect();
                map.serialize_entry(key, &yaml::FlowSeq(texts))?;
            }
        }
        if let Some(location) = &self.location {
            map.serialize_entry("location", &location.name)?;
        }
        map.end()
    }
}

fn weekday_name(day: i64) -> String {
    WEEKDAYS[day as usize].to_owned()
}

/// A text that is quoted as the reference quotes it within a list on one line: with double quotes what would be a number
/// without, with single ones what the colon would end.
struct Text(String);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = self.0.split(':');
        let is_whole = parts.next().is_some_and(|first| first.parse::<i64>().is_ok());
        // Hours, minutes and seconds, which YAML once took for one number.
        let is_clock = |part: &str| part.len() <= 2 && part.parse::<u8>().is_ok_and(|number| number < 60);
        if is_whole && parts.all(is_clock) {
            yaml::DoubleQuoted(&self.0).serialize(serializer)
        } else if self.0.contains(':') {
            yaml::SingleQuoted(&self.0).serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl Serialize for TimeRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let clock = |minute: i32| Text(format!("{:02}:{:02}", minute / 60, minute % 60));
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("start_time", &clock(self.start))?;
        map.serialize_entry("end_time", &clock(self.end))?;
        map.end()
    }
}
