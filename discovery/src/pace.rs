//! How often what has changed is looked at.

use std::time::Duration;

/// Work on changes takes no more than one part in this many of a core's time.
const SHARE: u32 = 50;

/// How long to rest after work that took `took`: nothing is lost by looking at the next change at once while that is cheap,
/// and changes are collected where it is not. Never less than `least`, never more than `most`.
pub fn rest_after(took: Duration, least: Duration, most: Duration) -> Duration {
    took.saturating_mul(SHARE).max(least).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cheap_is_done_often_and_what_is_dear_seldom() {
        let ms = Duration::from_millis;
        let rest = |took| rest_after(took, ms(50), ms(5_000));
        assert_eq!(
            [rest(ms(0)), rest(ms(10)), rest(ms(1_000))],
            [ms(50), ms(500), ms(5_000)]
        );
        assert_eq!(rest(Duration::MAX), ms(5_000));
        assert_eq!(rest_after(ms(1), ms(50), ms(20)), ms(20), "the longest rest wins");
    }
}
