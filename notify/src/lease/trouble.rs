//! Whether the lease's store does what it is asked: that it does not is told when it begins and when it ends, not at every
//! attempt, of which there are several a second.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// What the store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asking {
    /// The lease, to see or to write it.
    Lease,
    /// To read what lies beside it.
    Reading(&'static str),
    /// To write what lies beside it.
    Writing(&'static str),
}

impl Asking {
    /// The word that metrics have for it.
    pub(super) fn object(self) -> &'static str {
        match self {
            Asking::Lease => "lease",
            Asking::Reading(object) | Asking::Writing(object) => object,
        }
    }
}

/// What fails.
#[derive(Default)]
pub(super) struct Trouble {
    ongoing: Mutex<BTreeMap<Asking, Ongoing>>,
}

/// Something has failed since it worked last.
struct Ongoing {
    error: String,
    is_told: bool,
}

/// What there is to tell of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It begins.
    Begins,
    /// It fails in another way, or together with the lease, of which is told.
    Changes,
    /// Nothing.
    GoesOn,
}

impl Trouble {
    /// Takes note of a failure.
    pub(super) fn begin(&self, asking: Asking, error: &str) -> News {
        let mut ongoing = self.ongoing.lock();
        // A store that is out of reach does nothing at all, and one line is enough.
        let tells = asking == Asking::Lease || !ongoing.contains_key(&Asking::Lease);
        let now = Ongoing {
            error: error.to_owned(),
            is_told: tells,
        };
        match ongoing.get_mut(&asking) {
            None => {
                ongoing.insert(asking, now);
                if tells { News::Begins } else { News::Changes }
            }
            Some(before) if tells && !before.is_told => {
                *before = now;
                News::Begins
            }
            Some(before) if before.error != error => {
                error.clone_into(&mut before.error);
                News::Changes
            }
            Some(_) => News::GoesOn,
        }
    }

    /// Takes note that it works; whether it was told that it did not.
    pub(super) fn end(&self, asking: Asking) -> bool {
        let ended = self.ongoing.lock().remove(&asking);
        ended.is_some_and(|ended| ended.is_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_when_it_begins_and_when_it_ends() {
        let trouble = Trouble::default();
        assert!(!trouble.end(Asking::Lease));
        assert_eq!(trouble.begin(Asking::Lease, "refused"), News::Begins);
        assert_eq!(trouble.begin(Asking::Lease, "refused"), News::GoesOn);
        assert_eq!(trouble.begin(Asking::Lease, "timeout"), News::Changes);
        assert_eq!(trouble.begin(Asking::Lease, "timeout"), News::GoesOn);
        assert!(trouble.end(Asking::Lease));
        assert!(!trouble.end(Asking::Lease));
        assert_eq!(trouble.begin(Asking::Lease, "timeout"), News::Begins);
    }

    #[test]
    fn what_fails_with_the_lease_is_told_once_it_fails_alone() {
        let (trouble, part) = (Trouble::default(), Asking::Writing("nflog"));
        assert_eq!(trouble.begin(Asking::Lease, "refused"), News::Begins);
        assert_eq!(trouble.begin(part, "refused"), News::Changes);
        assert_eq!(trouble.begin(part, "refused"), News::GoesOn);
        assert!(trouble.end(Asking::Lease));
        assert_eq!(trouble.begin(part, "refused"), News::Begins);
        assert_eq!(trouble.begin(part, "refused"), News::GoesOn);
        // That it can be read says nothing of writing it.
        assert!(!trouble.end(Asking::Reading("nflog")));
        assert!(trouble.end(part));
    }
}
