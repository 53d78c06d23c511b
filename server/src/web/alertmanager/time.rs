//! Times as the reference's API reads and writes them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use model::go::Quoted;

/// What a text that is no time is not, in the words of the reference's last try.
///
/// Compat: many forms are tried, and the last one's words are the message (`alerts-post`: a bad time).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TimeError {
    #[error("parsing time {} as \"2006-01-02\": cannot parse {} as {}", Quoted(.text), Quoted(.rest), Quoted(.part))]
    Form {
        text: String,
        rest: String,
        part: &'static str,
    },
    #[error("parsing time {}: {part} out of range", Quoted(.text))]
    Range { text: String, part: &'static str },
    #[error("parsing time {}: extra text: {}", Quoted(.text), Quoted(.rest))]
    Extra { text: String, rest: String },
}

/// A moment, and in which offset from UTC it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) offset: Offset,
}

impl Moment {
    fn utc(at: Timestamp) -> Self {
        Moment {
            at,
            offset: Offset::UTC,
        }
    }

    /// Reads RFC 3339, the same without colon in the offset, without offset, without seconds, with a blank in place of
    /// the `T`, and a date alone. Compat: no text at all is 1970 (`alerts-post`: an empty time). A time beyond what can be
    /// told is the last that can: who writes the end of the year 9999 means for ever.
    pub(super) fn parse(text: &str) -> Result<Self, TimeError> {
        if text.is_empty() {
            return Ok(Moment::utc(Timestamp::UNIX_EPOCH));
        }
        parse(text).ok_or_else(|| why_no_date(text))
    }

    /// Compat: the first moment of the year 1 stands for no time.
    pub(super) fn given(self) -> Option<Self> {
        (self.at.as_second() != FIRST_SECOND || self.at.subsec_nanosecond() != 0).then_some(self)
    }
}

/// The beginning of the year 1, in seconds since 1970.
const FIRST_SECOND: i64 = -62_135_596_800;

fn parse(text: &str) -> Option<Moment> {
    let (date, rest) = take_date(text)?;
    let at_utc = |time: Time| Some(in_offset(date.to_datetime(time), Offset::UTC));
    if rest.is_empty() {
        return at_utc(Time::midnight());
    }
    let (blank, rest) = (rest.starts_with(' '), rest.strip_prefix(['T', ' '])?);
    let (hour, rest) = digits(rest, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let time = |second: u32, nano: i32| Time::new(hour as i8, minute as i8, second as i8, nano).ok();
    if matches!(rest, "" | "Z") && !blank {
        return at_utc(time(0, 0)?);
    }
    let (second, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (nano, rest) = fraction(rest)?;
    let time = time(second, nano)?;
    match rest {
        "" => at_utc(time),
        _ if blank => None,
        "Z" => at_utc(time),
        rest => Some(in_offset(date.to_datetime(time), offset(rest)?)),
    }
}

fn in_offset(time: DateTime, offset: Offset) -> Moment {
    // Years have four digits: nothing is too early.
    let at = offset.to_timestamp(time).unwrap_or(Timestamp::MAX);
    Moment { at, offset }
}

/// The time of so many seconds since 1970, the first or the last there is where that is beyond; `None` for what is no
/// number.
pub(super) fn of_seconds(seconds: f64) -> Option<Timestamp> {
    let beyond = match seconds < 0.0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    };
    let at = Timestamp::from_millisecond((seconds * 1000.0) as i64);
    (!seconds.is_nan()).then(|| at.unwrap_or(beyond))
}

fn take_date(text: &str) -> Option<(Date, &str)> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    Some((Date::new(year as i16, month as i8, day as i8).ok()?, rest))
}

/// A number of exactly `count` digits, and what follows.
fn digits(text: &str, count: usize) -> Option<(u32, &str)> {
    let head = text.get(..count)?;
    head.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    Some((head.parse().ok()?, &text[count..]))
}

/// Nanoseconds behind a point or comma, where there is one; digits beyond the ninth are cut.
fn fraction(text: &str) -> Option<(i32, &str)> {
    let Some(rest) = text.strip_prefix(['.', ',']) else {
        return Some((0, text));
    };
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    let nine: String = rest[..count].chars().chain("000000000".chars()).take(9).collect();
    (count > 0).then_some(())?;
    Some((nine.parse().ok()?, &rest[count..]))
}

/// `+02:00`, `-0530`
fn offset(text: &str) -> Option<Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = digits(&text[1..], 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':').unwrap_or(rest), 2)?;
    (rest.is_empty() && minutes < 60).then_some(())?;
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60) as i32).ok()
}

fn why_no_date(text: &str) -> TimeError {
    let form = |rest: &str, part| TimeError::Form {
        text: text.to_owned(),
        rest: rest.to_owned(),
        part,
    };
    let range = |part| TimeError::Range {
        text: text.to_owned(),
        part,
    };
    let Some((_, rest)) = digits(text, 4) else {
        return form(text, "2006");
    };
    let Some(behind) = rest.strip_prefix('-') else {
        return form(rest, "-");
    };
    let rest = match digits(behind, 2) {
        Some((month, _)) if !(1..=12).contains(&month) => return range("month"),
        Some((_, rest)) => rest,
        None => return form(behind, "01"),
    };
    let Some(behind) = rest.strip_prefix('-') else {
        return form(rest, "-");
    };
    match digits(behind, 2) {
        None => form(behind, "02"),
        // Nothing else can be wrong with it.
        Some((_, "")) => range("day"),
        Some((_, rest)) => TimeError::Extra {
            text: text.to_owned(),
            rest: rest.to_owned(),
        },
    }
}

/// A time as the API writes it, in an offset.
pub(super) fn text(at: Timestamp, offset: Offset) -> String {
    let civil = offset.to_datetime(at);
    let time = civil.strftime("%Y-%m-%dT%H:%M:%S.%3f");
    if offset == Offset::UTC {
        return format!("{time}Z");
    }
    let (sign, minutes) = (
        if offset.seconds() < 0 { '-' } else { '+' },
        offset.seconds().abs() / 60,
    );
    format!("{time}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A time as the API writes it.
pub(super) fn utc_text(at: Timestamp) -> String {
    text(at, Offset::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_reference_reads_them_and_keep_their_offset() {
        for (read, written) in [
            ("", "1970-01-01T00:00:00.000Z"),
            ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000Z"),
            (
                "2026-03-01T10:00:00.123456789-05:00",
                "2026-03-01T10:00:00.123-05:00",
            ),
            ("2026-03-01T10:00:00.5+0530", "2026-03-01T10:00:00.500+05:30"),
            ("2026-03-01T10:00:00+00:00", "2026-03-01T10:00:00.000Z"),
            ("2026-03-01T10:00:00", "2026-03-01T10:00:00.000Z"),
            ("2026-03-01T10:00Z", "2026-03-01T10:00:00.000Z"),
            ("2026-03-01T10:00", "2026-03-01T10:00:00.000Z"),
            ("2026-03-01 10:00:00", "2026-03-01T10:00:00.000Z"),
            ("2026-03-01", "2026-03-01T00:00:00.000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00.000Z"),
            ("9999-12-31", "9999-12-30T22:00:00.999Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-30T22:00:00.999Z"),
            ("9999-12-31T23:59:59-05:00", "9999-12-30T17:00:00.999-05:00"),
            ("9999-12-31T00:00:00+14:00", "9999-12-31T00:00:00.000+14:00"),
        ] {
            let moment = Moment::parse(read).expect(read);
            assert_eq!(text(moment.at, moment.offset), written, "{read}");
        }
        assert_eq!(
            Moment::parse("0001-01-01T00:00:00Z").ok().and_then(Moment::given),
            None
        );
    }

    #[test]
    fn seconds_beyond_what_can_be_told_are_the_first_or_the_last() {
        let at = |seconds| of_seconds(seconds).map(Timestamp::as_millisecond);
        assert_eq!(at(1.5), Some(1500));
        assert_eq!(of_seconds(1e300), Some(Timestamp::MAX));
        assert_eq!(of_seconds(f64::INFINITY), Some(Timestamp::MAX));
        assert_eq!(of_seconds(-1e300), Some(Timestamp::MIN));
        assert_eq!(at(f64::NAN), None);
    }

    #[test]
    fn what_is_no_time_is_said_in_the_references_words() {
        let as_date = |text, rest, part| {
            format!("parsing time \"{text}\" as \"2006-01-02\": cannot parse \"{rest}\" as \"{part}\"")
        };
        for (text, message) in [
            ("yesterday", as_date("yesterday", "yesterday", "2006")),
            ("2026", as_date("2026", "", "-")),
            ("2026-x", as_date("2026-x", "x", "01")),
            ("2026-03-1", as_date("2026-03-1", "1", "02")),
            (
                "2026-13-01",
                "parsing time \"2026-13-01\": month out of range".to_owned(),
            ),
            (
                "2026-02-30",
                "parsing time \"2026-02-30\": day out of range".to_owned(),
            ),
            (
                "2026-03-01T25:00:00Z",
                "parsing time \"2026-03-01T25:00:00Z\": extra text: \"T25:00:00Z\"".to_owned(),
            ),
            (
                "2026-03-01 10:00:00Z",
                "parsing time \"2026-03-01 10:00:00Z\": extra text: \" 10:00:00Z\"".to_owned(),
            ),
        ] {
            assert_eq!(
                Moment::parse(text).map_err(|error| error.to_string()),
                Err(message)
            );
        }
    }
}
