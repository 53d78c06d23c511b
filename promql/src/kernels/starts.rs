//! What start timestamps say about counter resets. A start timestamp of 0 is unknown.

/// Timestamp and start timestamp of a sample, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When it was taken.
    pub(super) at: i64,
    /// When its counter started.
    pub(super) start: i64,
}

/// Whether the start timestamps tell that the counter was reset between two samples.
///
/// A start at or behind its own sample says nothing. A start that coincides with the previous sample is a reset for
/// deltas; for a cumulative counter of unknown start it is none, which shows in the previous start.
pub(super) fn is_reset(previous: Times, current: Times) -> bool {
    if current.start == 0 || current.start >= current.at || current.start < previous.at {
        return false;
    }
    current.start > previous.at || (previous.start != 0 && previous.start < previous.at)
}

/// Whether the current sample claims to have started before the previous one was taken, though not with it.
pub(super) fn overlap(previous: Times, current: Times) -> bool {
    current.start != 0 && current.start < previous.at && current.start != previous.start
}

/// Times of sample `index`; samples of a series without start timestamps have none.
#[inline]
pub(super) fn times(timestamps: &[i64], starts: &[i64], index: usize) -> Times {
    Times {
        at: timestamps[index],
        start: starts.get(index).copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_by_start() {
        let cases = [
            // (previous start, previous, start, at, reset, overlap)
            (0, 10, 0, 20, false, false),
            (0, 10, 15, 20, true, false),
            (0, 10, 20, 20, false, false),
            (0, 10, 25, 20, false, false),
            (5, 10, 5, 20, false, false),
            (5, 10, 10, 20, true, false),
            (0, 10, 10, 20, false, false),
            (10, 10, 10, 20, false, false),
            (12, 10, 10, 20, false, false),
            (5, 10, 6, 20, false, true),
        ];
        for (previous_start, previous_at, start, at, reset, overlaps) in cases {
            let previous = Times {
                at: previous_at,
                start: previous_start,
            };
            let current = Times { at, start };
            assert_eq!(is_reset(previous, current), reset, "{previous:?} {current:?}");
            assert_eq!(overlap(previous, current), overlaps, "{previous:?} {current:?}");
        }
    }
}
