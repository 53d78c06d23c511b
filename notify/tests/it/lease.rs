//! Two servers with one lease, in simulated time, on a store that does what it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::{Format, Registry};
use model::clock::Clock;
use model::labels::Labels;
use narthex_notify::history::{NotifiedResult, What};
use narthex_notify::lease::{LeaseStore, Part, Record, Room, StoreError, Version};
use narthex_notify::matcher::MatchOp;
use narthex_notify::{Alertmanager, HistoryLimits, HistoryQuery, PostedAlert, PostedMatcher, PostedSilence};
use parking_lot::Mutex;

use crate::sim::{Manner, Sim, SimClock, files};

const ROUTES: &str = "\
route: {receiver: one, group_by: [g], group_wait: 10s, group_interval: 60s, repeat_interval: 4h}
receivers: [{name: one, webhook_configs: [{url: 'http://x/a'}]}]
";
/// The lease's duration, in seconds, and how long a holder that is cut off sends.
const DURATION: u64 = 20;
const HELD: u64 = 12;

fn config() -> String {
    format!("{ROUTES}high_availability: {{lease: {{duration: {DURATION}s, kubernetes: {{namespace: n}}}}}}\n")
}

/// How a store treats one of its clients.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weather {
    Fine,
    /// It refuses at once.
    Down,
    /// It never answers.
    Silent,
    /// It does what it is asked, and never answers.
    Deaf,
    /// It answers after so many milliseconds.
    Slow(u64),
}

#[derive(Default)]
struct Objects {
    lease: Option<(Record, u64)>,
    parts: BTreeMap<String, (Vec<u8>, u64)>,
    /// Parts that cannot be read.
    hidden: bool,
    made: u64,
    part_bytes_max: usize,
}

/// One client's store; the objects are shared.
#[derive(Clone)]
struct Store {
    objects: Arc<Mutex<Objects>>,
    weather: Arc<Mutex<Weather>>,
}

impl Store {
    fn new(objects: &Arc<Mutex<Objects>>) -> Self {
        Store {
            objects: objects.clone(),
            weather: Arc::new(Mutex::new(Weather::Fine)),
        }
    }

    async fn ask<T>(
        &self,
        change: impl FnOnce(&mut Objects) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let weather = *self.weather.lock();
        match weather {
            Weather::Down => return Err(conflict_free("down")),
            Weather::Silent => std::future::pending().await,
            Weather::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Weather::Fine | Weather::Deaf => {}
        }
        let answer = change(&mut self.objects.lock());
        if weather == Weather::Deaf {
            std::future::pending::<()>().await;
        }
        answer
    }
}

fn conflict_free(message: &str) -> StoreError {
    StoreError::Refused {
        object: "store".to_owned(),
        status: 500,
        message: message.to_owned(),
    }
}

/// Whether what is there is what the writer has seen.
fn check(there: Option<u64>, over: Option<&Version>) -> Result<(), StoreError> {
    if there.map(|version| version.to_string()) == over.map(|Version(text)| text.clone()) {
        return Ok(());
    }
    Err(StoreError::Conflict {
        object: "object".to_owned(),
    })
}

impl LeaseStore for Store {
    fn read_lease(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>> {
        self.ask(|objects| {
            let lease = objects.lease.clone();
            Ok(lease.map(|(record, version)| (record, Version(version.to_string()))))
        })
        .boxed()
    }

    fn write_lease<'a>(
        &'a self,
        record: &'a Record,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        self.ask(move |objects| {
            check(objects.lease.as_ref().map(|(_, version)| *version), over)?;
            objects.made += 1;
            objects.lease = Some((record.clone(), objects.made));
            Ok(Version(objects.made.to_string()))
        })
        .boxed()
    }

    fn read_part<'a>(
        &'a self,
        name: &'a str,
        known: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Part, StoreError>> {
        self.ask(move |objects| {
            if objects.hidden {
                return Err(conflict_free("hidden"));
            }
            Ok(match objects.parts.get(name) {
                None => Part::Absent,
                Some((_, version)) if known == Some(&Version(version.to_string())) => Part::Unchanged,
                Some((bytes, version)) => Part::Present {
                    bytes: bytes.clone(),
                    version: Version(version.to_string()),
                },
            })
        })
        .boxed()
    }

    fn write_part<'a>(
        &'a self,
        name: &'a str,
        bytes: Vec<u8>,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        self.ask(move |objects| {
            check(objects.parts.get(name).map(|(_, version)| *version), over)?;
            objects.made += 1;
            objects.parts.insert(name.to_owned(), (bytes, objects.made));
            Ok(Version(objects.made.to_string()))
        })
        .boxed()
    }

    fn room(&self) -> Room {
        Room {
            parts: 2,
            part_bytes_max: self.objects.lock().part_bytes_max,
        }
    }
}

/// One of the two.
struct Server {
    server: Alertmanager,
    registry: Registry,
    store: Store,
}

impl Server {
    fn metric(&self, name: &str) -> f64 {
        let text = self.registry.render(Format::Text);
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    fn holds(&self) -> bool {
        self.registry
            .gauge("narthex_alertmanager_lease_holding", "")
            .get()
            == 1.0
    }

    fn weather(&self, weather: Weather) {
        *self.store.weather.lock() = weather;
    }

    fn post(&self, g: &str) {
        self.post_as(g, None);
    }

    fn post_as(&self, g: &str, ends_at: Option<jiff::Timestamp>) {
        let alert = PostedAlert {
            labels: Labels::from_pairs([("g", g)]),
            ends_at,
            ..PostedAlert::default()
        };
        self.server.post(vec![alert]).expect("good");
    }
}

struct Pair {
    sim: Sim,
    objects: Arc<Mutex<Objects>>,
}

impl Pair {
    fn new() -> Self {
        Pair {
            sim: Sim::new(),
            objects: Arc::new(Mutex::new(Objects {
                part_bytes_max: 1 << 20,
                ..Objects::default()
            })),
        }
    }

    fn server(&self) -> Server {
        self.server_by(self.sim.clock.clone())
    }

    fn server_by(&self, clock: Arc<dyn Clock>) -> Server {
        self.server_under(clock, Weather::Fine)
    }

    fn server_under(&self, clock: Arc<dyn Clock>, weather: Weather) -> Server {
        let (registry, store) = (Registry::new(), Store::new(&self.objects));
        let mut options = self.sim.options(&files(), &registry);
        options.clock = clock;
        *store.weather.lock() = weather;
        options.history = HistoryLimits {
            age: Duration::from_secs(15 * 24 * 3600),
            bytes: 64 << 20,
        };
        let opened = store.clone();
        options.open_lease = Arc::new(move |_| Ok(Arc::new(opened.clone())));
        let server = Alertmanager::open(options).expect("opened");
        self.sim.configure(&server, &config()).expect("good");
        Server {
            server,
            registry,
            store,
        }
    }

    /// What was told: second, number of alerts, whether they fire.
    fn told(&self) -> Vec<(u64, usize, bool)> {
        let inbox = self.sim.inbox.lock();
        let show = |told: &crate::sim::Told| {
            let alerts = &told.notification.alerts;
            let fires = alerts.iter().any(|alert| alert.ends_at.is_none());
            (told.after.as_secs(), alerts.len(), fires)
        };
        inbox.iter().map(show).collect()
    }

    fn holder(&self) -> String {
        let objects = self.objects.lock();
        objects
            .lease
            .as_ref()
            .map_or(String::new(), |(record, _)| record.holder.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_two_sends_and_both_know() {
    let pair = Pair::new();
    let (a, b) = (pair.server(), pair.server());
    pair.sim.until(5).await;
    assert!(a.holds() != b.holds(), "both began at once; one holds");
    a.post("1");
    b.post("1");
    pair.sim.until(60).await;
    assert_eq!(pair.told(), [(15, 1, true)]);
    // Resolved at both: one tells, and after that neither has it in a group any more.
    let now = pair.sim.clock_time();
    a.post_as("1", Some(now));
    b.post_as("1", Some(now));
    pair.sim.until(200).await;
    assert_eq!(pair.told()[1..], [(75, 1, false)]);
    for server in [&a, &b] {
        assert_eq!(server.metric("alertmanager_dispatcher_aggregation_groups"), 0.0);
    }
    let left = "narthex_alertmanager_lease_notifications_left_total";
    let (holder, other) = if a.holds() { (&a, &b) } else { (&b, &a) };
    assert_eq!((holder.metric(left), other.metric(left)), (0.0, 2.0));
}

#[tokio::test(start_paused = true)]
async fn who_dies_is_followed_within_the_leases_time_and_nothing_is_said_twice() {
    let pair = Pair::new();
    let a = pair.server();
    pair.sim.until(3).await;
    let b = pair.server();
    a.post("told");
    b.post("told");
    pair.sim.until(30).await;
    assert!(a.holds() && !b.holds());
    assert_eq!(pair.told(), [(13, 1, true)]);
    // A new alert, and the death of who would tell of it: its store answers no more, and its webhook takes for ever.
    a.weather(Weather::Silent);
    let died = pair.sim.clock.elapsed_s();
    b.post("untold");
    pair.sim.until(died + DURATION).await;
    assert!(b.holds(), "taken over within the lease's time");
    assert!(!a.holds(), "and who was cut off has stopped before");
    // It was looked at when nobody sent, and is told of at once, not a group_interval later.
    pair.sim.until(died + DURATION + 1).await;
    assert_eq!(pair.told().len(), 2, "{:?}", pair.told());
    pair.sim.until(200).await;
    assert_eq!(pair.told().len(), 2);
    // The other one is back, and stays who waits.
    a.weather(Weather::Fine);
    a.post("untold");
    pair.sim.until(300).await;
    assert!(b.holds() && !a.holds());
    assert_eq!(pair.told().len(), 2, "it knows what was sent");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_cut_off_stops_before_another_one_begins() {
    for weather in [Weather::Down, Weather::Silent, Weather::Deaf] {
        let pair = Pair::new();
        let (a, b) = (pair.server(), pair.server());
        pair.sim.until(40).await;
        let (holder, other) = if a.holds() { (&a, &b) } else { (&b, &a) };
        holder.weather(weather);
        let (mut stopped, mut began) = (None, None);
        for tenth in 0..600 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!(holder.holds() && other.holds()), "{weather:?}");
            if !holder.holds() {
                stopped.get_or_insert(tenth);
            }
            if other.holds() {
                began.get_or_insert(tenth);
            }
        }
        let (stopped, began) = (stopped.expect("stopped"), began.expect("began"));
        assert!(stopped <= HELD * 10 + 1, "{weather:?}: {stopped}");
        // Who hears nothing may still be heard: its last renewal counts, one pause later at most.
        let late = if weather == Weather::Deaf { HELD * 10 } else { 0 };
        assert!(
            began > stopped && began <= DURATION * 10 + late,
            "{weather:?}: {began}"
        );
        assert!(
            pair.objects
                .lock()
                .lease
                .as_ref()
                .is_some_and(|(record, _)| record.term == 2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_is_broken_off_when_the_lease_ends() {
    let pair = Pair::new();
    let a = pair.server();
    pair.sim.until(5).await;
    pair.sim
        .behaves("http://x/a", Some(Manner::Takes(Duration::from_secs(40))));
    a.post("1");
    pair.sim.until(16).await;
    a.weather(Weather::Down);
    pair.sim.until(16 + HELD).await;
    assert!(!a.holds());
    pair.sim.behaves("http://x/a", None);
    pair.sim.until(70).await;
    assert_eq!(pair.told(), [], "nothing went out without the lease");
    a.weather(Weather::Fine);
    pair.sim.until(90).await;
    assert_eq!(pair.told().len(), 1, "it goes out when the lease is back");
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_hands_over_at_once() {
    let pair = Pair::new();
    let a = pair.server();
    pair.sim.until(3).await;
    let b = pair.server();
    a.post("1");
    pair.sim.until(20).await;
    a.server.stop().await.expect("stopped");
    assert_eq!(pair.holder(), "");
    b.post("1");
    pair.sim.until(23).await;
    assert!(b.holds());
    pair.sim.until(200).await;
    assert_eq!(pair.told(), [(13, 1, true)], "what was sent lay beside the lease");
}

#[tokio::test(start_paused = true)]
async fn slow_stores_are_borne() {
    let pair = Pair::new();
    let (a, b) = (pair.server(), pair.server());
    a.weather(Weather::Slow(3_900));
    b.weather(Weather::Slow(3_900));
    pair.sim.until(30).await;
    a.post("1");
    b.post("1");
    for second in 31..200 {
        pair.sim.until(second).await;
        assert!(a.holds() != b.holds(), "second {second}");
    }
    assert_eq!(pair.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn damage_beside_the_lease_costs_nothing_but_a_line() {
    let pair = Pair::new();
    let a = pair.server();
    a.post("1");
    pair.sim.until(20).await;
    for (bytes, version) in pair.objects.lock().parts.values_mut() {
        *bytes = vec![0xff; 100];
        *version += 1000;
    }
    let b = pair.server();
    b.post("1");
    pair.sim.until(25).await;
    a.weather(Weather::Silent);
    pair.sim.until(60).await;
    assert!(b.holds());
    assert!(b.metric("narthex_alertmanager_lease_unreadable_total{object=\"nflog\"}") >= 1.0);
    // Rather twice than never.
    assert_eq!(pair.told().len(), 2);
    let parts = pair.objects.lock().parts.clone();
    assert!(
        parts.values().all(|(bytes, _)| bytes.first() != Some(&0xff)),
        "{parts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_cannot_read_what_was_sent_waits_and_then_sends() {
    let pair = Pair::new();
    pair.objects.lock().hidden = true;
    let a = pair.server();
    a.post("1");
    pair.sim.until(DURATION).await;
    assert_eq!(pair.told(), []);
    pair.sim.until(DURATION + 5).await;
    assert_eq!(pair.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn silences_are_shared() {
    let pair = Pair::new();
    let (a, b) = (pair.server(), pair.server());
    pair.sim.until(5).await;
    let (holder, other) = if a.holds() { (&a, &b) } else { (&b, &a) };
    let silence = PostedSilence {
        matchers: vec![PostedMatcher {
            name: "g".to_owned(),
            op: MatchOp::Equal,
            value: "1".to_owned(),
        }],
        ends_at: Some(jiff::Timestamp::MAX),
        ..PostedSilence::default()
    };
    let id = other.server.put_silence(silence, None).await.expect("made").id;
    pair.sim.until(12).await;
    holder.post("1");
    pair.sim.until(100).await;
    assert_eq!(pair.told(), []);
    holder.server.expire_silence(&id, None).await.expect("ended");
    pair.sim.until(110).await;
    let ended = other.server.silence(&id).expect("known");
    assert_eq!(ended.state(other.server.now()).as_str(), "expired");
    pair.sim.until(170).await;
    assert_eq!(pair.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_left_out_and_counted() {
    let pair = Pair::new();
    pair.objects.lock().part_bytes_max = 300;
    let a = pair.server();
    for g in 0..20 {
        a.post(&g.to_string());
    }
    pair.sim.until(30).await;
    assert_eq!(pair.told().len(), 20);
    let left_out = a.metric("narthex_alertmanager_lease_left_out_entries{object=\"nflog\"}");
    assert!((1.0..20.0).contains(&left_out), "{left_out}");
    let parts = pair.objects.lock().parts.clone();
    assert!(parts.values().all(|(bytes, _)| bytes.len() <= 300));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_goes_from_the_configuration_leaves_everybody_free() {
    let pair = Pair::new();
    let a = pair.server();
    pair.sim.until(3).await;
    let b = pair.server();
    a.weather(Weather::Fine);
    b.post("1");
    pair.sim.until(20).await;
    assert_eq!(pair.told(), []);
    pair.sim.configure(&b.server, ROUTES).expect("good");
    pair.sim.until(31).await;
    assert_eq!(pair.told().len(), 1);
    // The same lease as before goes on through a reload.
    let (holder, taken) = (pair.holder(), a.metric("narthex_alertmanager_lease_taken_total"));
    pair.sim.configure(&a.server, &config()).expect("good");
    pair.sim.until(60).await;
    assert_eq!(pair.holder(), holder);
    assert_eq!(a.metric("narthex_alertmanager_lease_taken_total"), taken);
}

/// A clock that is an hour behind.
struct Behind(Arc<SimClock>);

impl Clock for Behind {
    fn now_ms(&self) -> i64 {
        self.0.now_ms() - 3_600_000
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_in_the_later_holding_counts_whatever_the_clocks_say() {
    let pair = Pair::new();
    let a = pair.server();
    pair.sim.until(3).await;
    let b = pair.server_by(Arc::new(Behind(pair.sim.clock.clone())));
    for server in [&a, &b] {
        server.post_as("1", Some(jiff::Timestamp::MAX));
    }
    pair.sim.until(20).await;
    assert_eq!(pair.told(), [(13, 1, true)]);
    // One takes over and tells of the end, an hour before the beginning as its clock has it.
    a.weather(Weather::Silent);
    pair.sim.until(50).await;
    assert!(b.holds());
    b.post_as("1", Some(b.server.now()));
    pair.sim.until(100).await;
    assert_eq!(pair.told().len(), 2);
    // The other one takes over again: the end has been told of.
    a.weather(Weather::Fine);
    a.post_as("1", Some(a.server.now()));
    pair.sim.until(115).await;
    b.weather(Weather::Down);
    pair.sim.until(400).await;
    assert!(a.holds());
    assert_eq!(pair.told().len(), 2, "{:?}", pair.told());
}

/// Random weather over two servers that get the same alerts: never both hold the lease, and while the store was fine for
/// long, each alert was told at least once; in all, hardly ever twice.
#[tokio::test(start_paused = true)]
async fn whatever_the_weather_never_both_hold_it_and_nothing_is_lost() {
    let seed = match std::env::var("NARTHEX_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("time")
            .as_nanos() as u64,
    };
    println!("NARTHEX_SEED={seed}");
    let mut random = seed | 1;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let pair = Pair::new();
    let (a, b) = (pair.server(), pair.server());
    let mut posted = 0;
    for second in 1..3000_u64 {
        pair.sim.until(second).await;
        assert!(!(a.holds() && b.holds()), "second {second}");
        if second > 2000 {
            // The sun comes out: who is left untold is told.
            a.weather(Weather::Fine);
            b.weather(Weather::Fine);
            continue;
        }
        if next(15) == 0 {
            let server = if next(2) == 0 { &a } else { &b };
            server.weather(match next(6) {
                0 => Weather::Down,
                1 => Weather::Silent,
                2 => Weather::Deaf,
                3 => Weather::Slow(next(5_000)),
                _ => Weather::Fine,
            });
        }
        if next(40) == 0 {
            posted += 1;
            for server in [&a, &b] {
                server.post_as(&posted.to_string(), Some(jiff::Timestamp::MAX));
            }
        }
    }
    let inbox = pair.sim.inbox.lock();
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for told_of in inbox.iter() {
        *told.entry(told_of.notification.group_key.clone()).or_default() += 1;
    }
    assert_eq!(told.len(), posted, "each was told of");
    let twice = told.values().filter(|times| **times > 1).count();
    assert!(
        twice * 4 <= posted,
        "{twice} of {posted} were told twice: {told:?}"
    );
}

/// What became of notifications by the history, oldest first.
fn results(server: &Server) -> Vec<NotifiedResult> {
    let page = server
        .server
        .history(&HistoryQuery::default())
        .expect("a history");
    let result = |event: &narthex_notify::history::Event| match &event.what {
        What::Notification(notified) => Some(notified.result),
        _ => None,
    };
    page.events.iter().rev().filter_map(result).collect()
}

#[tokio::test(start_paused = true)]
async fn what_nobody_sends_is_not_said_to_be_left_to_a_holder() {
    let pair = Pair::new();
    let a = pair.server_under(pair.sim.clock.clone(), Weather::Down);
    a.post("1");
    pair.sim.until(20).await;
    assert_eq!(results(&a), [NotifiedResult::Waiting]);
    assert_eq!(
        a.metric("narthex_alertmanager_lease_notifications_waiting_total"),
        1.0
    );
    // Somebody takes it, who knows nothing of the alert; then the store is seen by both.
    let b = pair.server();
    pair.sim.until(30).await;
    assert!(b.holds());
    a.weather(Weather::Fine);
    pair.sim.until(80).await;
    assert_eq!(
        results(&a),
        [NotifiedResult::Waiting, NotifiedResult::Left],
        "it is looked at again, and told once"
    );
    // Out of reach again, the holder is believed for a while, and no longer.
    a.weather(Weather::Silent);
    pair.sim.until(140).await;
    assert_eq!(
        results(&a),
        [
            NotifiedResult::Waiting,
            NotifiedResult::Left,
            NotifiedResult::Waiting
        ]
    );
    assert_eq!(pair.told(), []);
}
