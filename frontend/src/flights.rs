//! One evaluation for all who ask the same at the same time.
//!
//! An evaluation that began before somebody asked may have missed what was written in between, so it is his only if
//! nothing has changed for it since; otherwise he takes the next one, which all share that came meanwhile. However many
//! ask at once, there are two evaluations: the one under way and the next.
//!
//! An evaluation belongs to nobody. It goes on as long as anybody waits for it, and is stopped when the last one leaves.

use std::hash::Hash;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use parking_lot::Mutex;
use promql::engine::CancelHandle;
use tokio::sync::watch;

/// Evaluations under way, by what is asked.
pub struct Flights<K, T> {
    under_way: Arc<Mutex<UnderWay<K, T>>>,
}

struct UnderWay<K, T> {
    flights: HashMap<K, Flight<T>>,
    begun: u64,
}

struct Flight<T> {
    number: u64,
    waiting: usize,
    cancel: CancelHandle,
    landed: watch::Receiver<Option<Arc<T>>>,
}

/// Somebody's place in a flight; given up when dropped.
pub struct Ticket<K: Eq + Hash, T> {
    under_way: Arc<Mutex<UnderWay<K, T>>>,
    key: K,
    number: u64,
    landed: watch::Receiver<Option<Arc<T>>>,
    /// It had begun before.
    is_late: bool,
}

/// What brings a flight to its end; dropped without an answer it leaves everybody without one.
pub struct Landing<K: Eq + Hash, T> {
    under_way: Arc<Mutex<UnderWay<K, T>>>,
    key: K,
    number: u64,
    cancel: CancelHandle,
    landed: watch::Sender<Option<Arc<T>>>,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Flights {
            under_way: Arc::new(Mutex::new(UnderWay {
                flights: HashMap::new(),
                begun: 0,
            })),
        }
    }
}

impl<K: Eq + Hash + Clone, T> Flights<K, T> {
    /// A place in the flight of `key` that is under way, or else in one that `begin` begins: it is given what brings it to
    /// its end, and must not wait itself.
    pub fn board(&self, key: &K, begin: impl FnOnce(Landing<K, T>)) -> Ticket<K, T> {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.flights.get_mut(key) {
            flight.waiting += 1;
            return Ticket {
                under_way: self.under_way.clone(),
                key: key.clone(),
                number: flight.number,
                landed: flight.landed.clone(),
                is_late: true,
            };
        }
        under_way.begun += 1;
        let (number, cancel) = (under_way.begun, CancelHandle::new());
        let (sender, receiver) = watch::channel(None);
        let flight = Flight {
            number,
            waiting: 1,
            cancel: cancel.clone(),
            landed: receiver.clone(),
        };
        under_way.flights.insert(key.clone(), flight);
        drop(under_way);
        begin(Landing {
            under_way: self.under_way.clone(),
            key: key.clone(),
            number,
            cancel,
            landed: sender,
        });
        Ticket {
            under_way: self.under_way.clone(),
            key: key.clone(),
            number,
            landed: receiver,
            is_late: false,
        }
    }

    /// The number of the last flight that has begun: those with higher ones begin from now on.
    pub fn begun(&self) -> u64 {
        self.under_way.lock().begun
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.under_way.lock().flights.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash, T> Ticket<K, T> {
    /// Whether the flight had begun before this ticket was taken.
    pub fn is_late(&self) -> bool {
        self.is_late
    }

    /// Number of the flight: later ones have higher numbers.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Waits for the answer; nothing where there will be none.
    pub async fn landed(mut self) -> Option<Arc<T>> {
        // An error says that the flight is gone; its last word counts all the same.
        let _ = self.landed.wait_for(Option::is_some).await;
        self.landed.borrow().clone()
    }
}

impl<K: Eq + Hash, T> Drop for Ticket<K, T> {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        let Some(flight) = under_way.flights.get_mut(&self.key) else {
            return;
        };
        if flight.number != self.number {
            return;
        }
        flight.waiting -= 1;
        if flight.waiting == 0 {
            flight.cancel.cancel();
            under_way.flights.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash, T> Landing<K, T> {
    /// Told when nobody waits any more.
    pub fn cancel(&self) -> &CancelHandle {
        &self.cancel
    }

    /// Gives everybody the answer, also who calls. Who comes from now on begins a flight of his own.
    pub fn land(self, answer: T) -> Arc<T> {
        self.leave();
        let answer = Arc::new(answer);
        self.landed.send_replace(Some(answer.clone()));
        answer
    }

    fn leave(&self) {
        let mut under_way = self.under_way.lock();
        if under_way
            .flights
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            under_way.flights.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Landings = Vec<Landing<&'static str, u32>>;

    fn board(
        flights: &Flights<&'static str, u32>,
        key: &'static str,
        landings: &mut Landings,
    ) -> Ticket<&'static str, u32> {
        flights.board(&key, |landing| landings.push(landing))
    }

    #[tokio::test]
    async fn who_asks_the_same_waits_for_the_same() {
        let (flights, mut landings) = (Flights::default(), Vec::new());
        let first = board(&flights, "a", &mut landings);
        let second = board(&flights, "a", &mut landings);
        let other = board(&flights, "b", &mut landings);
        assert_eq!((landings.len(), flights.len()), (2, 2));
        assert!(!first.is_late() && second.is_late() && !other.is_late());
        assert!(first.number() == second.number() && other.number() > first.number());
        landings.remove(0).land(7);
        assert_eq!(flights.len(), 1);
        // The next one to ask comes too late for that.
        let next = board(&flights, "a", &mut landings);
        assert!(!next.is_late());
        assert_eq!(first.landed().await.as_deref(), Some(&7));
        assert_eq!(second.landed().await.as_deref(), Some(&7));
        assert_eq!(flights.len(), 2, "the next flight is another one");
    }

    #[tokio::test]
    async fn a_flight_goes_on_as_long_as_anybody_waits() {
        let (flights, mut landings) = (Flights::default(), Vec::new());
        let first = board(&flights, "a", &mut landings);
        let second = board(&flights, "a", &mut landings);
        let landing = landings.remove(0);
        drop(first);
        assert!(!landing.cancel().is_canceled());
        drop(second);
        assert!(landing.cancel().is_canceled() && flights.is_empty());
        // Who comes now does not get what was given up.
        let third = board(&flights, "a", &mut landings);
        landing.land(1);
        landings.remove(0).land(2);
        assert_eq!(third.landed().await.as_deref(), Some(&2));
    }

    #[tokio::test]
    async fn a_flight_that_is_lost_leaves_nobody_waiting() {
        let (flights, mut landings) = (Flights::default(), Vec::new());
        let ticket = board(&flights, "a", &mut landings);
        landings.clear();
        assert_eq!(ticket.landed().await, None);
        assert!(flights.is_empty());
    }
}
