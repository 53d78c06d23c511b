//! The disk fails at every call, and the process is killed or the power cut at every call: what was answered is there.

use std::collections::BTreeMap;
use std::time::Duration;

use files::{Fault, MemFiles};
use jiff::Timestamp;
use metrics::Registry;
use model::clock::ManualClock;
use receivers::{Memory, MemoryValue};

use super::*;
use crate::log::{Entry, LogKey, NotificationLog};
use crate::matcher::{MatchOp, Syntax};
use crate::silence::{PostedMatcher, PostedSilence, SilenceLimits, Silences};
use crate::stats::LedgerStats;

const FOLDER: &str = "data";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Both ledgers of a server, and what it has answered.
struct Server {
    silences: Silences,
    log: NotificationLog,
    clock: Arc<ManualClock>,
    answered: Answered,
}

/// What somebody was told, and may expect.
#[derive(Clone, Debug, Default)]
struct Answered {
    /// Comments of silences by their id; what a change that failed would have made of them counts as well.
    silences: BTreeMap<String, Vec<String>>,
    /// When the log last said so, by group.
    sent: BTreeMap<String, Timestamp>,
}

fn open(files: &MemFiles, clock: &Arc<ManualClock>) -> Result<Server, StorageError> {
    let registry = Registry::new();
    let supervisor = Supervisor::new(&registry);
    let files: Arc<dyn Files> = Arc::new(files.clone());
    let (silences, _) = Silences::open(
        files.clone(),
        clock.clone(),
        Path::new(FOLDER),
        DAY,
        SilenceLimits::default(),
        supervisor.clone(),
        LedgerStats::of_silences(&registry),
    )?;
    let stats = LedgerStats::of_log(&registry);
    let (log, _) = NotificationLog::open(files, clock.clone(), Path::new(FOLDER), DAY, supervisor, stats)?;
    Ok(Server {
        silences,
        log,
        clock: clock.clone(),
        answered: Answered::default(),
    })
}

fn posted(id: &str, value: &str, comment: &str) -> PostedSilence {
    PostedSilence {
        id: id.to_owned(),
        matchers: vec![PostedMatcher {
            name: "a".to_owned(),
            op: MatchOp::Equal,
            value: value.to_owned(),
        }],
        starts_at: Timestamp::from_second(1).ok(),
        ends_at: Timestamp::from_second(40_000).ok(),
        comment: comment.to_owned(),
        ..PostedSilence::default()
    }
}

impl Server {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(model::clock::Clock::now_ms(&*self.clock)).expect("a time")
    }

    /// Makes or changes a silence; gives its id if that was answered.
    async fn put(&mut self, id: &str, value: &str, comment: &str) -> Option<String> {
        let mut silence = posted(id, value, comment);
        if let Some(known) = self.silences.get(id) {
            silence.starts_at = Some(known.starts_at);
            let is_same = known.matchers[0].iter().any(|matcher| matcher.value == value);
            let then = if is_same { comment } else { &known.comment };
            // Should this fail, it may be there all the same.
            self.answered
                .silences
                .entry(id.to_owned())
                .or_default()
                .push(then.to_owned());
        }
        let now = self.now();
        let put = self.silences.put(silence, Syntax::Fallback, || now).await.ok()?;
        let comments = self.answered.silences.entry(put.clone()).or_default();
        *comments = vec![comment.to_owned()];
        Some(put)
    }

    async fn enter(&mut self, group: &str) {
        let now = self.now();
        let entry = Entry {
            key: key(group),
            timestamp: now,
            firing: vec![1, u64::MAX],
            resolved: vec![7],
            memory: Memory::from([("ts".to_owned(), MemoryValue::Text("é".to_owned()))]),
            expires_at: now,
            term: 0,
        };
        if self.log.enter(entry, DAY).await.is_ok() {
            self.answered.sent.insert(group.to_owned(), now);
        }
    }

    /// Some of everything, a second each.
    async fn work(&mut self) {
        let tick = |clock: &ManualClock| clock.set(model::clock::Clock::now_ms(clock) + 1_000);
        let first = self.put("", "1", "first").await;
        tick(&self.clock);
        let second = self.put("", "2", "second").await;
        self.enter("one").await;
        tick(&self.clock);
        if let Some(id) = &first {
            self.put(id, "1", "first, edited").await;
        }
        let _ = self.silences.maintain(self.now());
        let _ = self.log.maintain(self.now());
        tick(&self.clock);
        if let Some(id) = &second {
            self.put(id, "other", "third, in place of the second").await;
        }
        self.enter("one").await;
        tick(&self.clock);
        if let Some(id) = &first {
            let now = self.now();
            let _ = self.silences.expire(id, || now).await;
        }
        self.enter("two").await;
        let _ = self.silences.maintain(self.now());
        let _ = self.log.maintain(self.now());
        tick(&self.clock);
        self.put("", "4", "fourth").await;
    }
}

fn key(group: &str) -> LogKey {
    LogKey {
        group: group.to_owned(),
        receiver: "team".to_owned(),
        kind: "webhook".to_owned(),
        index: 0,
    }
}

/// What a server finds that starts on `files` has all that was answered.
fn check(files: &MemFiles, clock: &Arc<ManualClock>, answered: &Answered, at: &str) {
    let server = open(files, clock).unwrap_or_else(|error| panic!("{at}: {error}"));
    for (id, comments) in &answered.silences {
        let silence = server
            .silences
            .get(id)
            .unwrap_or_else(|| panic!("{at}: {id} {comments:?} is lost"));
        assert!(
            comments.contains(&silence.comment),
            "{at}: {silence:?} {comments:?}"
        );
        assert_eq!(silence.matchers[0].len(), 1, "{at}");
    }
    for (group, when) in &answered.sent {
        let entry = server
            .log
            .last(&key(group))
            .unwrap_or_else(|| panic!("{at}: {group} is lost"));
        assert!(entry.timestamp >= *when, "{at}: {entry:?}");
        assert_eq!((entry.firing.len(), entry.memory.len()), (2, 1), "{at}");
    }
}

/// Lets a server work while the disk does what `fault` says, kills it, cuts its power, and looks. Gives whether the fault
/// was beyond the end of the work.
fn try_fault(fault: Fault, at: &str, is_over: impl Fn(&MemFiles) -> bool) -> bool {
    let files = MemFiles::new();
    files.create_dir_all(Path::new(FOLDER)).expect("folder");
    files.sync_dir(Path::new("")).expect("synced");
    let clock = Arc::new(ManualClock::new(2_000_000));
    files.inject(fault);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    let answered = match open(&files, &clock) {
        Ok(mut server) => runtime.block_on(async {
            server.work().await;
            server.answered.clone()
        }),
        Err(_) => Answered::default(),
    };
    check(&files.after_kill(), &clock, &answered, &format!("{at}, killed"));
    check(
        &files.after_power_loss(),
        &clock,
        &answered,
        &format!("{at}, without power"),
    );
    is_over(&files)
}

#[test]
fn what_was_answered_is_there_whatever_the_disk_does() {
    let kinds = [
        ("stops at call", Fault::FreezeAtCall as fn(u64) -> Fault),
        ("stops within call", Fault::TornAtCall),
        ("fails at call", Fault::Call),
        ("fails from call", Fault::CallsFrom),
    ];
    for (what, fault) in kinds {
        // Creating the folder took some.
        let over = (3..1_000).find(|number| {
            let at = format!("{what} {number}");
            try_fault(fault(*number), &at, |files| files.calls() < *number)
        });
        assert!(over.expect("the work ends") > 30, "{what}");
    }
    let over = (2..1_000).find(|number| {
        let at = format!("fails at sync {number}");
        try_fault(Fault::Sync(*number), &at, |files| files.syncs() < *number)
    });
    assert!(over.expect("the work ends") > 10);
}

#[test]
fn a_disk_without_room_costs_what_comes_meanwhile() {
    let files = MemFiles::new();
    files.create_dir_all(Path::new(FOLDER)).expect("folder");
    let clock = Arc::new(ManualClock::new(2_000_000));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let mut server = open(&files, &clock).expect("opened");
        let first = server.put("", "1", "before").await.expect("answered");
        files.inject(Fault::NoSpaceAfter(10));
        assert_eq!(server.put("", "2", "meanwhile").await, None);
        assert_eq!(server.silences.len(), 1, "what could not be stored is not there");
        // It was sent, so this process knows; only the disk does not.
        server.enter("one").await;
        assert!(server.answered.sent.is_empty() && server.log.last(&key("one")).is_some());
        files.heal();
        clock.set(3_000_000);
        let third = server.put("", "3", "afterwards").await.expect("answered");
        server.enter("two").await;
        let answered = server.answered.clone();
        check(&files.after_power_loss(), &clock, &answered, "healed");
        assert!(answered.silences.contains_key(&first) && answered.silences.contains_key(&third));
        // What the log could not say then it has said since.
        let after = open(&files.after_power_loss(), &clock).expect("opened");
        assert!(after.log.last(&key("one")).is_some());
    });
}

#[test]
fn many_who_wait_are_written_together() {
    let files = MemFiles::new();
    files.create_dir_all(Path::new(FOLDER)).expect("folder");
    let clock = Arc::new(ManualClock::new(2_000_000));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    let server = open(&files, &clock).expect("opened");
    let before = files.syncs();
    runtime.block_on(async {
        let enter = |number: usize| {
            let now = server.now();
            let entry = Entry {
                key: key(&number.to_string()),
                timestamp: now,
                firing: vec![number as u64],
                resolved: Vec::new(),
                memory: Memory::new(),
                expires_at: now,
                term: 0,
            };
            server.log.enter(entry, DAY)
        };
        let entered = futures_util::future::join_all((0..1_000).map(enter)).await;
        assert!(entered.into_iter().all(|entered| entered.is_ok()));
    });
    assert!(files.syncs() - before < 100, "{}", files.syncs() - before);
    let after = open(&files.after_power_loss(), &clock).expect("opened");
    assert!((0..1_000).all(|number| after.log.last(&key(&number.to_string())).is_some()));
}

#[test]
fn damage_is_told_and_the_rest_is_used() {
    let files = MemFiles::new();
    files.create_dir_all(Path::new(FOLDER)).expect("folder");
    let clock = Arc::new(ManualClock::new(2_000_000));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let mut server = open(&files, &clock).expect("opened");
        server.put("", "1", "one").await.expect("answered");
        server.put("", "2", "two").await.expect("answered");
        server.silences.maintain(server.now()).expect("written");
    });
    let folder = Path::new(FOLDER);
    files
        .remove_file(&folder.join("silences.journal"))
        .expect("removed");
    let snapshot = folder.join("silences");
    let bytes = files.read(&snapshot).expect("a snapshot");
    replace_file(&files, &snapshot, &bytes[..bytes.len() - 3]).expect("cut");
    let registry = Registry::new();
    let (silences, recovery) = Silences::open(
        Arc::new(files.clone()),
        clock,
        folder,
        DAY,
        SilenceLimits::default(),
        Supervisor::new(&registry),
        LedgerStats::of_silences(&registry),
    )
    .expect("opened");
    assert_eq!(silences.len(), 1);
    assert!(recovery.snapshot_lost_bytes > 10, "{recovery:?}");
    assert_eq!(
        files.read(&folder.join("silences.damaged")).expect("kept").len(),
        bytes.len() - 3
    );
}
