//! Silences that silence at certain times only, again and again: every weekend, every night.
//!
//! The times are time intervals as in `alertmanager.yml` and stand, as YAML, in an annotation of the silence. So files,
//! clients and the API carry them without knowing of them, and a silence without the annotation is what it always was.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::interval::TimeInterval;

/// The annotation that says when a silence is in force, between its beginning and its end.
pub const RECURRENCE: &str = "narthex_recurrence";
/// Longest text of it, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Most intervals in it.
const INTERVALS_MAX: usize = 64;
/// What its text is called in messages.
const NAME: &str = "recurrence";

/// The times at which a silence is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recurrence(Vec<TimeInterval>);

impl Recurrence {
    /// Of a silence with these annotations; `None` for one that is in force all the time.
    ///
    /// # Errors
    /// What is wrong with the annotation.
    pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        annotations
            .get(RECURRENCE)
            .map(|text| Self::read(text))
            .transpose()
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!(
                "it has {} bytes, and may have {TEXT_BYTES_MAX}",
                text.len()
            ));
        }
        let document = yaml::parse(NAME, text).map_err(|error| error.message().to_owned())?;
        let items = document
            .root()
            .sequence()
            .map_err(|_| "it is a list of time intervals, as under time_intervals".to_owned())?;
        if items.is_empty() || items.len() > INTERVALS_MAX {
            return Err(format!(
                "it has {} time intervals, and has to have between 1 and {INTERVALS_MAX}",
                items.len()
            ));
        }
        let read = |value| TimeInterval::read(value).map_err(|error| error.message().to_owned());
        items
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Recurrence)
    }

    /// Whether a moment is one of its times.
    pub(crate) fn contains(&self, at: Timestamp) -> bool {
        self.0.iter().any(|interval| interval.contains(at))
    }
}

/// Whether a text may stand in the annotation [`RECURRENCE`].
///
/// # Errors
/// What is wrong with it.
pub fn check_recurrence(text: &str) -> Result<(), String> {
    Recurrence::read(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked() {
        for (text, wrong) in [
            ("[{weekdays: ['friday:saturday'], location: Europe/Berlin}]", None),
            (
                "[{\"times\":[{\"start_time\":\"22:00\",\"end_time\":\"24:00\"}]}]",
                None,
            ),
            ("[{}]", None),
            (
                "[]",
                Some("it has 0 time intervals, and has to have between 1 and 64"),
            ),
            (
                "",
                Some("it has 0 time intervals, and has to have between 1 and 64"),
            ),
            (
                "every weekend",
                Some("it is a list of time intervals, as under time_intervals"),
            ),
            ("[{weekdays: [someday]}]", Some("someday is not a valid weekday")),
            (
                "[{location: Nowhere/At_All}]",
                Some("unknown time zone Nowhere/At_All"),
            ),
            (
                "[{weekends: true}]",
                Some("field weekends not found in time interval"),
            ),
        ] {
            assert_eq!(check_recurrence(text).err().as_deref(), wrong, "{text}");
        }
        let long = format!("[{{weekdays: [monday]}}]{}", " ".repeat(TEXT_BYTES_MAX));
        assert!(check_recurrence(&long).is_err());
        let many = format!("[{}]", vec!["{}"; INTERVALS_MAX + 1].join(","));
        assert!(check_recurrence(&many).is_err());
    }

    #[test]
    fn moments_are_those_of_the_place() {
        let text = "[{times: [{start_time: '02:00', end_time: '04:00'}], location: America/New_York}]";
        let recurrence = Recurrence::read(text).unwrap();
        // Before and after the clocks there are set.
        for (at, is_in) in [
            ("2026-03-07T06:59:00Z", false),
            ("2026-03-07T07:00:00Z", true),
            ("2026-03-07T09:00:00Z", false),
            ("2026-03-09T06:00:00Z", true),
            ("2026-03-09T08:00:00Z", false),
        ] {
            assert_eq!(recurrence.contains(at.parse().unwrap()), is_in, "{at}");
        }
    }
}
