//! What has been noted already: things that go on are told once, not at every look.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

/// Most things of one generation, some 20 MiB; where there are more, some are told again.
const NOTED_MAX: usize = 500_000;
/// What was not seen again for so long, or for twice that, is forgotten.
const GENERATION_MS: i64 = 24 * 3600 * 1000;

/// How things were when they were last looked at, by numbers of both.
#[derive(Default)]
pub(super) struct Noted {
    now: HashMap<u64, u64>,
    before: HashMap<u64, u64>,
    since_ms: i64,
}

impl Noted {
    /// Takes note that `key` is as `state` says; whether it was otherwise, or not known.
    pub(super) fn is_new(&mut self, key: impl Hash, state: impl Hash, at: Timestamp) -> bool {
        let (key, state, at_ms) = (number(key), number(state), at.as_millisecond());
        // A clock that was set back begins a generation, too, rather than none for as long as that was.
        let is_over = !(0..GENERATION_MS).contains(&(at_ms - self.since_ms));
        if is_over || self.now.len() >= NOTED_MAX {
            self.before = std::mem::take(&mut self.now);
            self.since_ms = at_ms;
        }
        let known = self.now.insert(key, state).or_else(|| self.before.remove(&key));
        known != Some(state)
    }
}

fn number(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn what_goes_on_is_new_once() {
        let mut noted = Noted::default();
        assert!(noted.is_new("a", 1, at(0)));
        assert!(!noted.is_new("a", 1, at(1)));
        assert!(noted.is_new("a", 2, at(2)));
        assert!(noted.is_new("b", 2, at(2)));
        // Seen once in a day, it stays known; otherwise not.
        assert!(!noted.is_new("a", 2, at(GENERATION_MS)));
        assert!(!noted.is_new("a", 2, at(2 * GENERATION_MS)));
        assert!(noted.is_new("b", 2, at(2 * GENERATION_MS)));
    }

    #[test]
    fn there_are_never_more_than_two_generations() {
        let mut noted = Noted::default();
        for n in 0..3 * NOTED_MAX {
            noted.is_new(n, 0, at(0));
        }
        assert!(noted.now.len() <= NOTED_MAX && noted.before.len() <= NOTED_MAX);
    }
}
