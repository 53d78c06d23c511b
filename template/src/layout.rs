//! Go's time layouts, which show what the time 15:04:05 on Monday, 2 January 2006 in MST should look like.

use std::fmt::Write;

use jiff::Zoned;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// The words of a layout; at each place the first that fits counts.
const WORDS: [&str; 37] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "002",
    "2006",
    "__2",
    "_2006",
    "_2",
    "15",
    "1",
    "2",
    "3",
    "4",
    "5",
    "PM",
    "pm",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    ".0",
    ",0",
    ".9",
];

/// `time` written as `layout` shows.
pub(crate) fn format(time: &Zoned, layout: &str) -> String {
    let mut out = String::with_capacity(layout.len() + 8);
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = fraction(rest) {
            write_fraction(&mut out, time, &rest[..length]);
            rest = &rest[length..];
            continue;
        }
        match WORDS.iter().find(|word| is_word(rest, word)) {
            Some(word) => {
                // Writing to a String cannot fail.
                let _ = write_word(&mut out, time, word);
                rest = &rest[word.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

fn is_word(rest: &str, word: &str) -> bool {
    if !rest.starts_with(word) {
        return false;
    }
    let follows = rest[word.len()..].bytes().next();
    match word {
        // `Janet` and `Money` are no names.
        "Jan" | "Mon" => !follows.is_some_and(|b| b.is_ascii_lowercase()),
        ".0" | ",0" | ".9" => false,
        _ => true,
    }
}

/// Length of a fraction of seconds: a point or comma and zeros or nines that no digit follows.
fn fraction(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digit = *bytes.get(1)?;
    if !matches!(bytes[0], b'.' | b',') || !matches!(digit, b'0' | b'9') {
        return None;
    }
    let run = bytes[1..].iter().take_while(|b| **b == digit).count();
    let ends = !bytes.get(1 + run).is_some_and(u8::is_ascii_digit);
    ends.then_some(1 + run)
}

fn write_fraction(out: &mut String, time: &Zoned, layout: &str) {
    let digits = format!("{:09}", time.subsec_nanosecond());
    let wanted = layout.len() - 1;
    let kept: String = digits
        .chars()
        .chain(std::iter::repeat('0'))
        .take(wanted.min(9))
        .collect();
    let kept = if layout.ends_with('9') {
        kept.trim_end_matches('0')
    } else {
        &kept
    };
    if !kept.is_empty() {
        out.push_str(&layout[..1]);
        out.push_str(kept);
    }
}

fn write_word(out: &mut String, time: &Zoned, word: &str) -> std::fmt::Result {
    let month = MONTHS[usize::from(time.month().unsigned_abs()) - 1];
    let day = DAYS[time.weekday().to_monday_zero_offset().unsigned_abs() as usize];
    let hour12 = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    match word {
        "January" => out.write_str(month),
        "Jan" => out.write_str(&month[..3]),
        "1" => write!(out, "{}", time.month()),
        "01" => write!(out, "{:02}", time.month()),
        "Monday" => out.write_str(day),
        "Mon" => out.write_str(&day[..3]),
        "2" => write!(out, "{}", time.day()),
        "_2" => write!(out, "{:2}", time.day()),
        "02" => write!(out, "{:02}", time.day()),
        "__2" => write!(out, "{:3}", time.day_of_year()),
        "002" => write!(out, "{:03}", time.day_of_year()),
        "15" => write!(out, "{:02}", time.hour()),
        "3" => write!(out, "{hour12}"),
        "03" => write!(out, "{hour12:02}"),
        "4" => write!(out, "{}", time.minute()),
        "04" => write!(out, "{:02}", time.minute()),
        "5" => write!(out, "{}", time.second()),
        "05" => write!(out, "{:02}", time.second()),
        "2006" => write!(out, "{:04}", time.year()),
        "_2006" => write!(out, "_{:04}", time.year()),
        "06" => write!(out, "{:02}", time.year().rem_euclid(100)),
        "PM" => out.write_str(if time.hour() >= 12 { "PM" } else { "AM" }),
        "pm" => out.write_str(if time.hour() >= 12 { "pm" } else { "am" }),
        "MST" => write_zone_name(out, time),
        word => write_offset(out, time.offset().seconds(), word),
    }
}

fn write_zone_name(out: &mut String, time: &Zoned) -> std::fmt::Result {
    let zone = time.time_zone();
    // A mere offset has no name.
    if *zone != jiff::tz::TimeZone::UTC && zone.to_fixed_offset().is_ok() {
        return write_offset(out, time.offset().seconds(), "-0700");
    }
    let info = zone.to_offset_info(time.timestamp());
    let name = info.abbreviation();
    // Zones without letters of their own are named by their offset, in either notation.
    out.write_str(name)
}

fn write_offset(out: &mut String, seconds: i32, word: &str) -> std::fmt::Result {
    if word.starts_with('Z') && seconds == 0 {
        return out.write_str("Z");
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let magnitude = seconds.unsigned_abs();
    let (hours, minutes, rest) = (magnitude / 3600, magnitude / 60 % 60, magnitude % 60);
    match &word[1..] {
        "07" => write!(out, "{sign}{hours:02}"),
        "0700" => write!(out, "{sign}{hours:02}{minutes:02}"),
        "07:00" => write!(out, "{sign}{hours:02}:{minutes:02}"),
        "070000" => write!(out, "{sign}{hours:02}{minutes:02}{rest:02}"),
        _ => write!(out, "{sign}{hours:02}:{minutes:02}:{rest:02}"),
    }
}
