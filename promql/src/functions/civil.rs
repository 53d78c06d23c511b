//! Calendar fields of a Unix time in UTC, by arithmetic alone.

/// A moment's calendar fields in UTC, in the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    /// Astronomical year.
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: u32,
    /// 1 to 31.
    pub(super) day: u32,
    /// 1 to 366.
    pub(super) year_day: u32,
    /// 0 (Sunday) to 6.
    pub(super) weekday: u32,
    /// 0 to 23.
    pub(super) hour: u32,
    /// 0 to 59.
    pub(super) minute: u32,
}

/// Days in 400 years, after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01. Years that start in March have their leap day at the end.
const EPOCH_FROM_MARCH_0: i64 = 719_468;

/// 1 March of the year -292277022400, in seconds since the epoch.
const GO_FIRST_SECOND: i64 = -(292_277_022_400 / 400 * DAYS_PER_ERA + EPOCH_FROM_MARCH_0) * 86_400;

impl Civil {
    /// Fields of a time in seconds since the epoch; fractions are cut off.
    pub(super) fn from_unix_seconds(seconds: f64) -> Self {
        // Compat: NaN and values beyond 64 bits become the smallest integer, as amd64's conversion gives.
        let whole = if seconds.is_nan() || seconds >= i64::MAX as f64 {
            i64::MIN
        } else {
            seconds as i64
        };
        // Compat: before the first year that Go knows, its count of seconds goes around, to the year 292277026596.
        let whole = i128::from(whole) + if whole < GO_FIRST_SECOND { 1 << 64 } else { 0 };
        let days = whole.div_euclid(86_400) as i64;
        let second = whole.rem_euclid(86_400) as u32;

        let shifted = days + EPOCH_FROM_MARCH_0;
        let era = shifted.div_euclid(DAYS_PER_ERA);
        let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // 153 days in each run of five months from March on.
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = (day_from_march - (153 * month_from_march + 2) / 5 + 1) as u32;
        let january_or_february = month_from_march >= 10;
        let month = if january_or_february {
            month_from_march - 9
        } else {
            month_from_march + 3
        } as u32;
        let year = era * 400 + year_of_era + i64::from(january_or_february);
        let year_day = if january_or_february {
            day_from_march - 305
        } else {
            day_from_march + 60 + i64::from(is_leap(year))
        } as u32;
        Civil {
            year,
            month,
            day,
            year_day,
            weekday: (days + 4).rem_euclid(7) as u32,
            hour: second / 3_600,
            minute: second / 60 % 60,
        }
    }

    /// Length of the month.
    pub(super) fn days_in_month(&self) -> u32 {
        match self.month {
            2 => 28 + u32::from(is_leap(self.year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the calendar day by day over two eras and compares.
    #[test]
    fn follows_the_calendar() {
        let (mut year, mut month, mut day, mut year_day) = (1600_i64, 1, 1, 1);
        let start = -135_140_i64;
        for days in start..start + 2 * DAYS_PER_ERA {
            let civil = Civil::from_unix_seconds((days * 86_400 + 3_600 * 5 + 60 * 7 + 59) as f64);
            assert_eq!(
                (civil.year, civil.month, civil.day, civil.year_day),
                (year, month, day, year_day)
            );
            assert_eq!((civil.hour, civil.minute), (5, 7));
            day += 1;
            year_day += 1;
            if day > civil.days_in_month() {
                day = 1;
                month += 1;
            }
            if month > 12 {
                (month, year, year_day) = (1, year + 1, 1);
            }
        }
    }

    #[test]
    fn knows_weekdays_and_fractions() {
        let epoch = Civil::from_unix_seconds(0.0);
        assert_eq!((epoch.weekday, epoch.year), (4, 1970));
        assert_eq!(Civil::from_unix_seconds(-0.5), epoch);
        assert_eq!(Civil::from_unix_seconds(-1.0).weekday, 3);
        let monday = Civil::from_unix_seconds(1_136_239_445.9);
        assert_eq!((monday.weekday, monday.hour, monday.minute), (1, 22, 4));
        assert_eq!((monday.year, monday.month, monday.day), (2006, 1, 2));
        for beyond in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e19] {
            let civil = Civil::from_unix_seconds(beyond);
            assert_eq!((civil.year, civil.month, civil.day), (292_277_026_596, 12, 4));
            assert_eq!((civil.hour, civil.minute), (15, 30));
        }
    }
}
