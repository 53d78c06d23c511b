//! Times of the command line and of the API: RFC 3339, with the offset that they were written in.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{Offset, TimeZone};
use model::go::Quoted;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no time, in words that scripts may know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MomentError {
    /// A part is not there, or not of its form.
    #[error(
        "parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as {}",
        Quoted(.text),
        Quoted(.rest),
        Quoted(.part)
    )]
    Form {
        text: String,
        rest: String,
        part: &'static str,
    },
    /// A part is of its form, and there is no such thing.
    #[error("parsing time {}: {part} out of range", Quoted(.text))]
    Range { text: String, part: &'static str },
    /// Something follows.
    #[error("parsing time {}: extra text: {}", Quoted(.text), Quoted(.rest))]
    Extra { text: String, rest: String },
}

/// A time, and the offset from UTC that it is shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    offset: Offset,
}

impl Moment {
    /// A time that is shown in UTC.
    pub(super) fn utc(at: Timestamp) -> Self {
        Moment {
            at,
            offset: Offset::UTC,
        }
    }

    /// The first moment of the year 1, which stands for no time.
    pub(super) fn none() -> Self {
        let zero = template::Time::zero().unix_ns();
        Moment::utc(Timestamp::from_nanosecond(zero).unwrap_or(Timestamp::MIN))
    }

    /// Reads `2026-03-01T08:00:00+01:00` and the like. A time beyond what can be told is the last that can: who writes the
    /// end of the year 9999 means for ever.
    ///
    /// # Errors
    /// See [`MomentError`].
    pub(super) fn parse(text: &str) -> Result<Self, MomentError> {
        let mut reader = Reader { text, rest: text };
        let year = reader.digits(4, "2006")?;
        reader.literal("-")?;
        let month = reader.digits(2, "01")?;
        if !(1..=12).contains(&month) {
            return Err(reader.range("month"));
        }
        reader.literal("-")?;
        let day = reader.digits(2, "02")?;
        reader.literal("T")?;
        let hour = reader.hour()?;
        reader.literal(":")?;
        let minute = reader.below_60("04", "minute")?;
        reader.literal(":")?;
        let second = reader.below_60("05", "second")?;
        let nano = reader.fraction();
        let offset = reader.offset()?;
        if !reader.rest.is_empty() {
            return Err(MomentError::Extra {
                text: text.to_owned(),
                rest: reader.rest.to_owned(),
            });
        }
        let date = Date::new(year as i16, month as i8, day as i8).map_err(|_| reader.range("day"))?;
        let time =
            Time::new(hour as i8, minute as i8, second as i8, nano).map_err(|_| reader.range("hour"))?;
        // Years have four digits: nothing is too early.
        let at = offset.to_timestamp(date.to_datetime(time));
        Ok(Moment {
            at: at.unwrap_or(Timestamp::MAX),
            offset,
        })
    }

    /// The time in Go's layout notation.
    pub(super) fn format(self, layout: &str) -> String {
        self.for_templates().format(layout)
    }

    /// The time as templates have it: with the name of the local zone, where that has the same offset then.
    pub(super) fn for_templates(self) -> template::Time {
        let local = TimeZone::system();
        let zone = match self.offset {
            Offset::UTC => TimeZone::UTC,
            offset if local.to_offset(self.at) == offset => local,
            offset => TimeZone::fixed(offset),
        };
        template::Time::from_zoned(self.at.to_zoned(zone))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.format("2006-01-02T15:04:05.000Z07:00"))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Moment::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Takes a time apart, from left to right.
struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
}

impl Reader<'_> {
    fn form(&self, part: &'static str) -> MomentError {
        MomentError::Form {
            text: self.text.to_owned(),
            rest: self.rest.to_owned(),
            part,
        }
    }

    fn range(&self, part: &'static str) -> MomentError {
        let text = self.text.to_owned();
        MomentError::Range { text, part }
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), MomentError> {
        self.rest = self
            .rest
            .strip_prefix(literal)
            .ok_or_else(|| self.form(literal))?;
        Ok(())
    }

    fn digits(&mut self, count: usize, part: &'static str) -> Result<u32, MomentError> {
        let head = self.rest.get(..count);
        let digits = head.filter(|head| head.bytes().all(|b| b.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| self.form(part))?;
        self.rest = &self.rest[count..];
        Ok(number)
    }

    /// Compat: one digit is enough.
    fn hour(&mut self) -> Result<u32, MomentError> {
        let count = self.rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        match self.digits(count.max(1), "15")? {
            hour if hour < 24 => Ok(hour),
            _ => Err(self.range("hour")),
        }
    }

    fn below_60(&mut self, part: &'static str, name: &'static str) -> Result<u32, MomentError> {
        match self.digits(2, part)? {
            number if number < 60 => Ok(number),
            _ => Err(self.range(name)),
        }
    }

    /// Nanoseconds behind a point or comma, where there are digits; those beyond the ninth are cut.
    fn fraction(&mut self) -> i32 {
        let Some(behind) = self.rest.strip_prefix(['.', ',']) else {
            return 0;
        };
        let count = behind.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        let nine: String = behind[..count]
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        self.rest = &behind[count..];
        nine.parse().unwrap_or(0)
    }

    fn offset(&mut self) -> Result<Offset, MomentError> {
        const PART: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(Offset::UTC);
        }
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.form(PART)),
        };
        let number = |at: usize| -> Option<i32> {
            let digits = self.rest.get(at..at + 2)?;
            let all = digits.bytes().all(|b| b.is_ascii_digit());
            all.then(|| digits.parse().ok()).flatten()
        };
        let (Some(hours), Some(b':'), Some(minutes)) = (number(1), bytes.get(3), number(4)) else {
            return Err(self.form(PART));
        };
        if hours > 24 {
            return Err(self.range("time zone offset hour"));
        }
        if minutes >= 60 {
            return Err(self.range("time zone offset minute"));
        }
        let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60));
        let offset = offset.map_err(|_| self.range("time zone offset hour"))?;
        self.rest = &self.rest[6..];
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offset_and_shown_in_it() {
        for (text, shown, json) in [
            (
                "2026-03-01T08:00:00Z",
                "2026-03-01 08:00:00 UTC",
                "\"2026-03-01T08:00:00.000Z\"",
            ),
            (
                "2026-03-01T8:00:00.5+05:30",
                "2026-03-01 08:00:00 +0530",
                "\"2026-03-01T08:00:00.500+05:30\"",
            ),
            (
                "0001-01-01T00:00:00Z",
                "0001-01-01 00:00:00 UTC",
                "\"0001-01-01T00:00:00.000Z\"",
            ),
            (
                "9999-12-31T23:59:59.999999999Z",
                "9999-12-30 22:00:00 UTC",
                "\"9999-12-30T22:00:00.999Z\"",
            ),
            (
                "9999-12-31T12:00:00-08:00",
                "9999-12-30 14:00:00 -0800",
                "\"9999-12-30T14:00:00.999-08:00\"",
            ),
        ] {
            let moment = Moment::parse(text).expect(text);
            assert_eq!(moment.format("2006-01-02 15:04:05 MST"), shown);
            assert_eq!(serde_json::to_string(&moment).expect("JSON"), json);
        }
        assert_eq!(Moment::parse("0001-01-01T00:00:00Z"), Ok(Moment::none()));
    }

    #[test]
    fn what_is_no_time_is_said_in_the_references_words() {
        let form = |text: &str, rest: &str, part: &str| {
            format!(
                "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{rest}\" as \"{part}\""
            )
        };
        let time = "2026-03-01T08:00:00";
        for (text, words) in [
            ("yesterday".to_owned(), form("yesterday", "yesterday", "2006")),
            ("2026-03-01".to_owned(), form("2026-03-01", "", "T")),
            (time.to_owned(), form(time, "", "Z07:00")),
            (format!("{time}+1"), form(&format!("{time}+1"), "+1", "Z07:00")),
            (
                format!("{time}Zx"),
                format!("parsing time \"{time}Zx\": extra text: \"x\""),
            ),
            (
                "2026-13-01T00:00:00Z".to_owned(),
                "parsing time \"2026-13-01T00:00:00Z\": month out of range".to_owned(),
            ),
            (
                "2026-02-30T00:00:00Z".to_owned(),
                "parsing time \"2026-02-30T00:00:00Z\": day out of range".to_owned(),
            ),
        ] {
            assert_eq!(
                Moment::parse(&text).map_err(|error| error.to_string()),
                Err(words)
            );
        }
    }
}
