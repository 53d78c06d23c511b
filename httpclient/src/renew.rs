//! Values that are fetched when they are needed, kept while they last, and fetched once for all who wait for them:
//! tokens, and credentials with an end.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::task::JoinError;

/// What is left of a value's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is used, and nothing is fetched.
    Fresh,
    /// A new one is fetched; it is used where that fails.
    Waning,
    /// It is used no more.
    Gone,
}

type Fetching<V, E> = Shared<BoxFuture<'static, Result<V, Arc<E>>>>;

/// Keeps a value and the request for the next one, which all that need it wait for together.
///
/// `K` is what the value was fetched with, a secret for instance: with another one, another value is fetched.
pub struct Renewed<K, V, E> {
    state: Mutex<State<K, V, E>>,
}

struct State<K, V, E> {
    kept: Option<(K, V)>,
    fetching: Option<(K, Fetching<V, E>)>,
}

impl<K, V, E> Default for Renewed<K, V, E> {
    fn default() -> Self {
        Renewed {
            state: Mutex::new(State {
                kept: None,
                fetching: None,
            }),
        }
    }
}

impl<K, V, E> fmt::Debug for Renewed<K, V, E> {
    /// What is kept is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed")
    }
}

impl<K, V, E> Renewed<K, V, E>
where
    K: Clone + PartialEq,
    V: Clone + Send + Sync + 'static,
    E: From<JoinError> + Send + Sync + 'static,
{
    /// The value. `fetch` begins to fetch one; that runs in a task of its own, so that whoever gives up waiting does
    /// not take it from the others.
    ///
    /// # Errors
    /// When there is no value that can be used, and none could be fetched. The next call asks again.
    pub async fn get<F>(&self, key: &K, age: impl Fn(&V) -> Age, fetch: impl Fn() -> F) -> Result<V, Arc<E>>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        loop {
            let fetching = {
                let mut state = self.state.lock();
                if let Some((with, kept)) = &state.kept
                    && with == key
                    && age(kept) == Age::Fresh
                {
                    return Ok(kept.clone());
                }
                match &state.fetching {
                    Some((with, fetching)) if with == key => fetching.clone(),
                    _ => {
                        let fetching = in_a_task(fetch());
                        state.fetching = Some((key.clone(), fetching.clone()));
                        fetching
                    }
                }
            };
            let was_over = fetching.peek().is_some();
            let result = fetching.clone().await;
            let mut state = self.state.lock();
            // Whoever comes first puts the result away.
            if state
                .fetching
                .as_ref()
                .is_some_and(|(_, current)| current.ptr_eq(&fetching))
            {
                state.fetching = None;
                if let Ok(value) = &result {
                    state.kept = Some((key.clone(), value.clone()));
                }
            }
            match &result {
                // Everybody who had asked for it had given up, and meanwhile it has ended.
                Ok(value) if was_over && age(value) == Age::Gone => {}
                Ok(_) => return result,
                Err(_) => {
                    return match &state.kept {
                        Some((with, kept)) if with == key && age(kept) != Age::Gone => Ok(kept.clone()),
                        _ => result,
                    };
                }
            }
        }
    }

    /// Forgets what is kept: a server has refused it.
    pub fn forget(&self) {
        self.state.lock().kept = None;
    }
}

fn in_a_task<V, E, F>(fetch: F) -> Fetching<V, E>
where
    V: Clone + Send + 'static,
    E: From<JoinError> + Send + Sync + 'static,
    F: Future<Output = Result<V, E>> + Send + 'static,
{
    let task = tokio::spawn(fetch);
    async move {
        task.await
            .unwrap_or_else(|ended| Err(ended.into()))
            .map_err(Arc::new)
    }
    .boxed()
    .shared()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[derive(Debug)]
    enum Failure {
        Refused,
        Ended,
    }

    impl From<JoinError> for Failure {
        fn from(_: JoinError) -> Self {
            Failure::Ended
        }
    }

    type Numbers = Renewed<&'static str, usize, Failure>;

    #[tokio::test]
    async fn all_who_wait_share_one_fetch_and_one_who_gives_up_takes_it_from_nobody() {
        let (numbers, fetched) = (Arc::new(Numbers::default()), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Notify::new());
        let wait = |numbers: Arc<Numbers>| {
            let (fetched, gate) = (fetched.clone(), gate.clone());
            async move {
                let fetch = || {
                    let (fetched, gate) = (fetched.clone(), gate.clone());
                    async move {
                        gate.notified().await;
                        Ok(fetched.fetch_add(1, Ordering::SeqCst) + 1)
                    }
                };
                numbers.get(&"key", |_| Age::Fresh, fetch).await
            }
        };
        let gives_up = tokio::spawn(wait(numbers.clone()));
        let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(wait(numbers.clone()))).collect();
        tokio::task::yield_now().await;
        gives_up.abort();
        gate.notify_one();
        for task in waiting {
            assert_eq!(task.await.expect("no panic").expect("a number"), 1);
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_waning_value_bridges_a_failure_and_one_that_is_gone_does_not() {
        let numbers = Numbers::default();
        let good = || async { Ok(7) };
        let bad = || async { Err(Failure::Refused) };
        assert_eq!(
            numbers.get(&"a", |_| Age::Fresh, good).await.expect("a number"),
            7
        );
        assert_eq!(
            numbers
                .get(&"a", |_| Age::Waning, bad)
                .await
                .expect("the old one"),
            7
        );
        assert!(numbers.get(&"a", |_| Age::Gone, bad).await.is_err());
        assert!(
            numbers.get(&"b", |_| Age::Fresh, bad).await.is_err(),
            "another key"
        );
        numbers.forget();
        assert!(numbers.get(&"a", |_| Age::Fresh, bad).await.is_err(), "forgotten");
    }

    #[tokio::test]
    async fn a_panic_while_fetching_is_an_error_of_that_fetch_alone() {
        let numbers = Numbers::default();
        let panics = || async { panic!("while fetching") };
        let error = numbers
            .get(&"a", |_| Age::Fresh, panics)
            .await
            .expect_err("a panic");
        assert!(matches!(*error, Failure::Ended));
        assert_eq!(
            numbers
                .get(&"a", |_| Age::Fresh, || async { Ok(1) })
                .await
                .expect("a number"),
            1
        );
    }
}
