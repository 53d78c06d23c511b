//! `--recurring`: when a silence is in force, in words: `sat,sun`, `mon-fri 22:00-06:00`, `02:00-04:00`.

use serde_json::{Value, json};

use super::error::AlertError;

/// The days, from Sunday on.
const DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
/// Shortest form of a day's name.
const DAY_LETTERS_MIN: usize = 3;
const MINUTES_A_DAY: u32 = 24 * 60;

/// The annotation that says so: a list of time intervals, as JSON.
///
/// # Errors
/// When a text is none of these, or the server would refuse it.
pub(super) fn annotation(texts: &[String], zone: Option<&str>) -> Result<String, AlertError> {
    let mut intervals = Vec::new();
    for text in texts {
        let wrong = |what: String| AlertError::Recurring {
            text: text.clone(),
            what,
        };
        if text.trim_start().starts_with('{') {
            // As in the configuration file, with a place of its own; checked with the others.
            intervals.push(text.trim().to_owned());
            continue;
        }
        let found = read(text).map_err(wrong)?;
        intervals.extend(found.into_iter().map(|mut interval| {
            if let Some(zone) = zone {
                interval["location"] = zone.into();
            }
            interval.to_string()
        }));
    }
    let list = format!("[{}]", intervals.join(","));
    notify::check_recurrence(&list).map_err(|what| AlertError::Recurring {
        text: texts.join("; "),
        what,
    })?;
    Ok(list)
}

/// The annotation in words: as they are typed where it has nothing but days, times of day and a place.
pub(super) fn words(annotation: &str) -> String {
    let intervals: Vec<Value> = match serde_json::from_str(annotation) {
        Ok(intervals) => intervals,
        Err(_) => return annotation.to_owned(),
    };
    let (mut texts, mut zones) = (Vec::new(), Vec::new());
    for interval in &intervals {
        let Some((text, zone)) = words_of(interval) else {
            return annotation.to_owned();
        };
        texts.push(text);
        zones.push(zone);
    }
    zones.dedup();
    match zones[..] {
        [""] => texts.join("; "),
        [zone] => format!("{}, {zone}", texts.join("; ")),
        _ => annotation.to_owned(),
    }
}

/// Days and times of an interval, and its place.
fn words_of(interval: &Value) -> Option<(String, &str)> {
    let (mut days, mut times, mut zone) = (String::new(), Vec::new(), "");
    for (key, value) in interval.as_object()? {
        match key.as_str() {
            "weekdays" => days = words_of_days(value.as_array()?)?,
            "times" => {
                for span in value.as_array()? {
                    times.push(format!(
                        "{}-{}",
                        span["start_time"].as_str()?,
                        span["end_time"].as_str()?
                    ));
                }
            }
            "location" => zone = value.as_str()?,
            _ => return None,
        }
    }
    let text = format!("{days} {}", times.join(","));
    Some((text.trim().to_owned(), zone))
}

/// `mon-fri,sun`; nothing where a day is not named alone.
fn words_of_days(named: &[Value]) -> Option<String> {
    let mut is_in: Days = [false; 7];
    for name in named {
        is_in[DAYS.iter().position(|day| Some(*day) == name.as_str())?] = true;
    }
    // From Monday on, so that a weekend is one span.
    let order = [1, 2, 3, 4, 5, 6, 0];
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for place in (0..7).filter(|place| is_in[order[*place]]) {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == place => *last = place,
            _ => spans.push((place, place)),
        }
    }
    let short = |place: usize| &DAYS[order[place]][..DAY_LETTERS_MIN];
    let texts: Vec<String> = spans
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => short(first).to_owned(),
            1 => format!("{},{}", short(first), short(last)),
            _ => format!("{}-{}", short(first), short(last)),
        })
        .collect();
    Some(texts.join(","))
}

/// Days, times of day, or both.
fn read(text: &str) -> Result<Vec<Value>, String> {
    let (mut days, mut times) = (None, None);
    for word in text.split_whitespace() {
        let is_time = word.starts_with(|c: char| c.is_ascii_digit());
        if is_time && times.is_none() {
            times = Some(word.split(',').map(span).collect::<Result<Vec<_>, _>>()?);
        } else if !is_time && days.is_none() {
            days = Some(read_days(word)?);
        } else {
            return Err(format!(
                "{word:?} is too many: it is written 'mon-fri 22:00-06:00', with commas between several days or times"
            ));
        }
    }
    match (days, times) {
        (None, None) => Err("it is empty".to_owned()),
        (Some(days), None) => Ok(vec![json!({"weekdays": names(&days)})]),
        (days, Some(times)) => Ok(times
            .into_iter()
            .flat_map(|span| spans_of_days(days, span))
            .map(|(days, (start, end))| {
                let mut interval = json!({"times": [{"start_time": clock(start), "end_time": clock(end)}]});
                if let Some(days) = days {
                    interval["weekdays"] = names(&days).into();
                }
                interval
            })
            .collect()),
    }
}

/// Whether each day is one of them.
type Days = [bool; 7];

/// A span of a day as spans that end with their day: what goes over midnight goes on the next morning.
fn spans_of_days(days: Option<Days>, (start, end): (u32, u32)) -> Vec<(Option<Days>, (u32, u32))> {
    if start < end {
        return vec![(days, (start, end))];
    }
    let next = days.map(|days| {
        let mut next = days;
        next.rotate_right(1);
        next
    });
    let mut spans = vec![(days, (start, MINUTES_A_DAY))];
    if end > 0 {
        spans.push((next, (0, end)));
    }
    spans
}

fn names(days: &Days) -> Vec<&'static str> {
    let named = DAYS.iter().zip(days).filter(|(_, is_in)| **is_in);
    named.map(|(name, _)| *name).collect()
}

/// `mon-fri,sun`
fn read_days(word: &str) -> Result<Days, String> {
    let mut days = [false; 7];
    for part in word.split(',') {
        let (first, last) = part.split_once(['-', ':']).unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7;
        (first..=first + count).for_each(|at| days[at % 7] = true);
    }
    Ok(days)
}

fn day(text: &str) -> Result<usize, String> {
    let lower = text.to_lowercase();
    let found = DAYS
        .iter()
        .position(|name| lower.len() >= DAY_LETTERS_MIN && name.starts_with(&lower));
    found.ok_or_else(|| format!("{text:?} is neither a day like mon nor a span of time like 22:00-06:00"))
}

/// `22:00-06:00`
fn span(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text:?} is no span of time like 22:00-06:00");
    let (start, end) = text.split_once('-').ok_or_else(wrong)?;
    let (start, end) = (minute(start).ok_or_else(wrong)?, minute(end).ok_or_else(wrong)?);
    if start == end || start == MINUTES_A_DAY {
        return Err(wrong());
    }
    Ok((start, end))
}

fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() > 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours * 60 + minutes <= MINUTES_A_DAY).then_some(hours * 60 + minutes)
}

fn clock(minute: u32) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_time_intervals() {
        for (texts, zone, expected) in [
            (&["sat,sun"][..], None, r#"[{"weekdays":["sunday","saturday"]}]"#),
            (
                &["fri-mon 2:00-04:00"],
                Some("Europe/Berlin"),
                r#"[{"location":"Europe/Berlin","times":[{"end_time":"04:00","start_time":"02:00"}],"weekdays":["sunday","monday","friday","saturday"]}]"#,
            ),
            (
                &["Saturday 22:00-06:00"],
                None,
                r#"[{"times":[{"end_time":"24:00","start_time":"22:00"}],"weekdays":["saturday"]},{"times":[{"end_time":"06:00","start_time":"00:00"}],"weekdays":["sunday"]}]"#,
            ),
            (
                &["22:00-00:00", "{days_of_month: ['1']}"],
                None,
                r#"[{"times":[{"end_time":"24:00","start_time":"22:00"}]},{days_of_month: ['1']}]"#,
            ),
        ] {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            assert_eq!(annotation(&texts, zone).expect("valid"), expected);
        }
    }

    #[test]
    fn time_intervals_become_words() {
        for (texts, zone, expected) in [
            (&["sat,sun"][..], None, "sat,sun"),
            (
                &["fri-mon 2:00-04:00"],
                Some("Europe/Berlin"),
                "mon,fri-sun 02:00-04:00, Europe/Berlin",
            ),
            (
                &["mon-fri 22:00-06:00", "sat"],
                None,
                "mon-fri 22:00-24:00; tue-sat 00:00-06:00; sat",
            ),
        ] {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            assert_eq!(words(&annotation(&texts, zone).expect("valid")), expected);
        }
        for other in [
            "[{days_of_month: ['1']}]",
            r#"[{"months":["may"]}]"#,
            r#"[{"weekdays":["monday:friday"]}]"#,
            r#"[{"weekdays":["monday"],"location":"UTC"},{"weekdays":["friday"]}]"#,
        ] {
            assert_eq!(words(other), other);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, zone, wrong) in [
            ("", None, "it is empty"),
            (
                "so",
                None,
                "\"so\" is neither a day like mon nor a span of time like 22:00-06:00",
            ),
            (
                "mon 25:00-26:00",
                None,
                "\"25:00-26:00\" is no span of time like 22:00-06:00",
            ),
            (
                "mon 10:00-10:00",
                None,
                "\"10:00-10:00\" is no span of time like 22:00-06:00",
            ),
            (
                "mon tue",
                None,
                "\"tue\" is too many: it is written 'mon-fri 22:00-06:00', with commas between several days or times",
            ),
            ("mon", Some("Mars/Base"), "unknown time zone Mars/Base"),
            ("{weekdays: [x]}", None, "x is not a valid weekday"),
        ] {
            let error = annotation(&[text.to_owned()], zone).expect_err(text).to_string();
            assert_eq!(error, format!("--recurring {text:?}: {wrong}"));
        }
    }
}
