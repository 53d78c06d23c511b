//! What finds nothing at the moment, and why: for pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

/// Longest error that is kept, in characters.
const ERROR_CHARS_MAX: usize = 2_000;

/// A mechanism that cannot look for targets; those that it found before stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whose: [`SCRAPE`](crate::SCRAPE) or [`NOTIFY`](crate::NOTIFY).
    pub manager: &'static str,
    /// The jobs that have it.
    pub jobs: Vec<String>,
    /// Which kind.
    pub mechanism: &'static str,
    /// The last error.
    pub error: String,
    /// When it began.
    pub since: SystemTime,
}

/// All troubles of the managers whose [`Context`](crate::Context) has them. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<u64, Trouble>>>);

impl Troubles {
    /// Those that there are now.
    pub fn now(&self) -> Vec<Trouble> {
        self.0.lock().values().cloned().collect()
    }

    /// A mechanism has failed, perhaps again.
    pub(crate) fn begin(&self, provider: u64, mut trouble: Trouble) {
        if let Some((at, _)) = trouble.error.char_indices().nth(ERROR_CHARS_MAX) {
            trouble.error.truncate(at);
        }
        let mut all = self.0.lock();
        if let Some(before) = all.get(&provider) {
            trouble.since = before.since;
        }
        all.insert(provider, trouble);
    }

    /// A mechanism works.
    pub(crate) fn end(&self, provider: u64) {
        self.0.lock().remove(&provider);
    }

    /// Keeps a manager's mechanisms that still run, with the jobs that have them now.
    pub(crate) fn keep(&self, manager: &str, wanted: &BTreeMap<u64, Vec<String>>) {
        self.0.lock().retain(|provider, trouble| {
            let jobs = wanted.get(provider);
            if let Some(jobs) = jobs {
                trouble.jobs.clone_from(jobs);
            }
            trouble.manager != manager || jobs.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_trouble_lasts_from_its_beginning_to_its_end() {
        let troubles = Troubles::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let trouble = |manager, error: &str, seconds| Trouble {
            manager,
            jobs: vec!["a".to_owned()],
            mechanism: "ec2",
            error: error.to_owned(),
            since: at(seconds),
        };
        troubles.begin(1, trouble("scrape", "first", 5));
        troubles.begin(1, trouble("scrape", &"é".repeat(5_000), 9));
        troubles.begin(2, trouble("notify", "other", 7));
        let now = troubles.now();
        assert_eq!(
            (now[0].since, now[0].error.chars().count()),
            (at(5), ERROR_CHARS_MAX)
        );
        troubles.keep("scrape", &BTreeMap::from([(1, vec!["b".to_owned()])]));
        assert_eq!(troubles.now()[0].jobs, ["b"]);
        troubles.keep("scrape", &BTreeMap::new());
        assert_eq!(troubles.now().len(), 1, "another manager's stays");
        troubles.end(2);
        assert_eq!(troubles.now(), []);
    }
}
