//! What selections are for: told to stores elsewhere, which may send less for it.

use crate::matcher::Matcher;
use crate::storage::TimeRange;

/// What becomes of the series that are selected. Nothing that is read depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectPurpose {
    /// What the whole query may read.
    pub query: TimeRange,
    /// What is read of these series.
    pub range: TimeRange,
    /// Distance of the steps at which they are looked at, in milliseconds; 0 where there is one.
    pub step_ms: i64,
    /// Length of the windows, in milliseconds; 0 where the newest sample counts.
    pub window_ms: i64,
    /// Name of the function or aggregation around them; empty for none.
    pub function: String,
    /// How the aggregation right around them groups.
    pub grouping: Vec<String>,
    /// Whether it groups by these labels, not by all others.
    pub by: bool,
}

impl SelectPurpose {
    /// Series of `range` for a purpose that has a word of its own.
    pub fn of(function: &str, range: TimeRange) -> Self {
        SelectPurpose {
            query: range,
            range,
            step_ms: 0,
            window_ms: 0,
            function: function.to_owned(),
            grouping: Vec::new(),
            by: false,
        }
    }

    /// Both purposes in one: what only one of them says is not said.
    pub fn join(&mut self, other: SelectPurpose) {
        self.query = self.query.hull(&other.query);
        self.range = self.range.hull(&other.range);
        if self.step_ms != other.step_ms {
            self.step_ms = 0;
        }
        if self.window_ms != other.window_ms {
            self.window_ms = 0;
        }
        if self.function != other.function {
            self.function.clear();
        }
        if (&self.grouping, self.by) != (&other.grouping, other.by) {
            self.grouping.clear();
            self.by = false;
        }
    }
}

/// Series that will be selected, and what for.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// What for.
    pub purpose: SelectPurpose,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_purposes_do_not_share_is_not_said() {
        let rate = SelectPurpose {
            window_ms: 60,
            grouping: vec!["job".to_owned()],
            by: true,
            ..SelectPurpose::of("rate", TimeRange::new(10, 20))
        };
        let mut same = rate.clone();
        same.join(rate.clone());
        assert_eq!(same, rate);
        let mut both = rate;
        both.join(SelectPurpose {
            window_ms: 60,
            ..SelectPurpose::of("max_over_time", TimeRange::new(5, 15))
        });
        let expected = SelectPurpose {
            window_ms: 60,
            ..SelectPurpose::of("", TimeRange::new(5, 20))
        };
        assert_eq!(both, expected);
    }
}
