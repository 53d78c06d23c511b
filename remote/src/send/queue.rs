//! A queue: reads the log, sends what it says, and remembers how far that got.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::clock::Clock;
use model::labels::Labels;
use model::log::{Log, LogPosition};
use model::storage::StorageError;
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::config::RemoteWriteConfig;
use super::cursor::{CursorFile, Ledger, Place};
use super::deliver::{Sending, Traffic};
use super::hold::Hold;
use super::item::Item;
use super::metrics::QueueMetrics;
use super::rate::{Load, Rate, TICK, desired};
use super::reader::{Chunk, Reader};
use super::series::{Naming, Table};
use super::shards::{Entries, Shards, ended};
use super::target::Target;

/// What panics of queues are counted under.
const TASK: &str = "remote write queue";
const READ: &str = "remote write reader";
/// How often the cursor is written, where it has moved: what a kill may have sent twice.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);
/// The log is looked at after this time although nobody said that it was written.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Pause before a queue that came to grief begins anew at its cursor.
const REST: Duration = Duration::from_secs(1);

/// A queue and what it needs.
pub(super) struct Queue {
    pub(super) key: String,
    pub(super) config: Arc<RemoteWriteConfig>,
    pub(super) external: Labels,
    pub(super) type_and_unit_labels: bool,
    pub(super) target: Arc<dyn Target>,
    pub(super) metrics: QueueMetrics,
    pub(super) log: Arc<dyn Log>,
    pub(super) written: watch::Receiver<()>,
    pub(super) cursor: CursorFile,
    pub(super) hold: Arc<Hold>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) supervisor: Supervisor,
    pub(super) flush_deadline: Duration,
}

/// Why a round of a queue ends.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Ended(#[from] supervise::Ended),
}

impl Queue {
    /// Sends until `stop` is cancelled.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.round(&stop).await {
                Ok(()) => return,
                Err(error) => tracing::error!(
                    remote_name = self.config.name, %error,
                    "A queue of remote write came to grief; it begins anew where it was"
                ),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(REST) => {}
            }
        }
    }

    /// Where the queue stands; one that is new begins here and now.
    async fn place(&self) -> Result<Place, Trouble> {
        let (cursor, end, now_ms) = (self.cursor.clone(), self.log.end(), self.clock.now_ms());
        let place = self.supervisor.blocking(READ, move || {
            if let Some(mut place) = cursor.read()? {
                if place.position > end {
                    tracing::warn!("The log is shorter than it was when remote write last read it; it is read from its beginning");
                    place.position = LogPosition::default();
                }
                return Ok::<_, StorageError>(place);
            }
            let mut place = Place {
                position: end,
                since_ms: now_ms,
                begun: Default::default(),
            };
            place.note_segment(end.segment, now_ms);
            cursor.write(&place)?;
            Ok(place)
        });
        Ok(place.await??)
    }

    /// Sends from the cursor on until `stop` is cancelled or something goes wrong.
    async fn round(&self, stop: &CancellationToken) -> Result<(), Trouble> {
        let place = self.place().await?;
        self.hold.set(&self.key, place.position.segment);
        let sending = Arc::new(Sending {
            config: self.config.clone(),
            target: self.target.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            traffic: Traffic::default(),
            type_and_unit_labels: self.type_and_unit_labels,
            stop: stop.child_token(),
        });
        sending.traffic.last_sent_ms.store(-1, Ordering::Relaxed);
        let naming = Naming {
            external: self.external.clone(),
            rules: self.config.write_relabel_configs.clone().into(),
            kind: self.config.protobuf_message,
        };
        let follower = {
            let (log, from) = (self.log.clone(), place.position);
            self.supervisor.blocking(READ, move || log.follow(from)).await??
        };
        let reader = Reader::new(follower, Table::new(naming), sending.clone(), place.since_ms);
        let ledger = Arc::new(Mutex::new(Ledger::at(place.position)));
        let mut feed = Feed {
            queue: self,
            shards: Shards::start(self.config.queue_config.min_shards, sending.clone(), &ledger),
            ledger,
            saved: place.position,
            place,
            written: self.written.clone(),
            reading: Reading::Idle(Box::new((reader, Chunk::default()))),
            head: None,
            pending: Vec::new().into_iter(),
            came: Rate::default(),
            appended: 0,
            traffic_seen: Default::default(),
            sending,
        };
        feed.appended = feed.appended();
        feed.written.mark_changed();
        let ended = feed.run(stop).await;
        let flushed = match &ended {
            Ok(()) => feed.flush().await,
            Err(_) => Ok(()),
        };
        ended.and(flushed)
    }
}

/// The reader, here or on a thread that may wait for a disk.
enum Reading {
    Idle(Box<(Reader, Chunk)>),
    Busy(JoinHandle<Result<Read, supervise::Panicked>>),
    /// Between the two.
    Gone,
}

type Read = (Box<(Reader, Chunk)>, Result<(), StorageError>);

/// A queue at work.
struct Feed<'q> {
    queue: &'q Queue,
    sending: Arc<Sending>,
    shards: Shards,
    ledger: Arc<Mutex<Ledger>>,
    place: Place,
    /// What stands in the cursor's file.
    saved: LogPosition,
    written: watch::Receiver<()>,
    reading: Reading,
    /// The item that found no room in its shard.
    head: Option<Item>,
    /// What was read and is in no shard yet, behind that.
    pending: std::vec::IntoIter<Item>,
    came: Rate,
    /// What the store had taken at the last tick.
    appended: u64,
    traffic_seen: Rates,
}

/// Rates of the traffic, as they stand.
#[derive(Default)]
struct Rates {
    went: Rate,
    dropped: Rate,
    busy: Rate,
}

impl Feed<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut saves = interval(CURSOR_INTERVAL);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                ended = ended(&mut self.shards.tasks) => self.mourn(ended)?,
                _ = ticks.tick() => self.tick(stop).await?,
                _ = saves.tick() => self.save().await,
                fed = feed(
                    &self.shards.entries, &mut self.head, &mut self.pending, &mut self.reading, &mut self.written, &mut look_at,
                    &self.queue.supervisor,
                ) => {
                    let Fed { parts, read } = fed?;
                    self.take(parts, read)?;
                }
            }
        }
    }

    /// A stream that ended by itself has lost what it had: all begins anew at the cursor.
    fn mourn(&self, ended: Option<JoinError>) -> Result<(), Trouble> {
        match ended {
            Some(error) => {
                self.queue.supervisor.joined::<()>(TASK, Err(error))?;
                Ok(())
            }
            // Told to stop, which is seen in the next round of the loop.
            None => Ok(()),
        }
    }

    /// Takes over what was read.
    fn take(
        &mut self,
        mut parts: Box<(Reader, Chunk)>,
        read: Result<(), StorageError>,
    ) -> Result<(), Trouble> {
        let chunk = &mut parts.1;
        {
            let mut ledger = self.ledger.lock();
            let mut items = chunk.items.iter_mut();
            for (end, count) in &chunk.records {
                let number = ledger.add(*end, *count);
                items
                    .by_ref()
                    .take(*count as usize)
                    .for_each(|item| item.record = number);
            }
        }
        let is_all = chunk.is_all;
        self.pending = std::mem::take(&mut chunk.items).into_iter();
        self.reading = Reading::Idle(parts);
        if !is_all {
            self.written.mark_changed();
        }
        Ok(read?)
    }

    /// Thinks about the number of shards, and about how long the log must be kept.
    async fn tick(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        let now_ms = self.queue.clock.now_ms();
        self.place.note_segment(self.queue.log.end().segment, now_ms);
        self.sweep(now_ms).await;
        let shards = self.shards.len();
        let wanted = self.wanted();
        if wanted == shards || !self.may_reshard() {
            return Ok(());
        }
        tracing::info!(
            remote_name = self.queue.config.name,
            from = shards,
            to = wanted,
            "Remote write changes its shards"
        );
        // Samples stay in order only if the old shards are empty before the new ones begin.
        tokio::select! {
            biased;
            // What is left the flush takes care of.
            () = stop.cancelled() => return Ok(()),
            finished = self.shards.finish() => {
                if let Err(error) = finished {
                    self.queue.supervisor.joined::<()>(TASK, Err(error))?;
                }
            }
        }
        self.shards = Shards::start(wanted, self.sending.clone(), &self.ledger);
        Ok(())
    }

    fn appended(&self) -> u64 {
        let appended = self.queue.log.appended();
        appended.floats + appended.histograms + appended.exemplars
    }

    fn wanted(&mut self) -> usize {
        let appended = self.appended();
        self.came.add(appended.saturating_sub(self.appended));
        self.appended = appended;
        self.came.tick();
        let traffic = &self.sending.traffic;
        let seen = &mut self.traffic_seen;
        for (from, to) in [
            (&traffic.went, &mut seen.went),
            (&traffic.dropped, &mut seen.dropped),
            (&traffic.busy, &mut seen.busy),
        ] {
            to.add(from.take());
            to.tick();
        }
        let newest_seconds = (self.queue.log.appended().newest_ms / 1000) as f64;
        let load = Load {
            came: self.came.per_second(),
            went: seen.went.per_second(),
            dropped: seen.dropped.per_second(),
            busy: seen.busy.per_second() / 1e9,
            behind_seconds: newest_seconds - self.queue.metrics.highest_sent.seconds(),
        };
        let queue = &self.queue.config.queue_config;
        let (wanted, shards) = desired(&load, self.shards.len(), queue.min_shards, queue.max_shards);
        if let Some(wanted) = wanted {
            self.queue.metrics.shards_desired.set(wanted);
        }
        shards
    }

    /// Not while nothing gets through, and not while the receiver is in trouble.
    fn may_reshard(&self) -> bool {
        let now_ms = self.queue.clock.elapsed().as_millis() as i64;
        let traffic = &self.sending.traffic;
        let last_ms = traffic.last_sent_ms.load(Ordering::Relaxed);
        let is_recent = last_ms >= 0 && last_ms >= now_ms - TICK.as_millis() as i64;
        is_recent && now_ms >= traffic.troubled_until_ms.load(Ordering::Relaxed)
    }

    /// Gives up segments that the limits of size and age do not allow to be kept.
    async fn sweep(&mut self, now_ms: i64) {
        let (hold, log, place) = (
            self.queue.hold.clone(),
            self.queue.log.clone(),
            self.place.clone(),
        );
        let (key, done) = (self.queue.key.clone(), self.ledger.lock().done());
        let swept = self.queue.supervisor.blocking(READ, move || {
            let mut segment = done.segment;
            let last = log.end().segment;
            while segment < last {
                let is_old = place
                    .ended_ms(segment)
                    .is_some_and(|ended| now_ms - ended > hold.age_max_ms);
                if !is_old && log.bytes_from(segment)? <= hold.bytes_max {
                    break;
                }
                segment += 1;
            }
            hold.set(&key, segment);
            Ok::<_, StorageError>(())
        });
        match swept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "The size of the log cannot be told"),
            Err(error) => tracing::error!(%error, "The size of the log cannot be told"),
        }
    }

    /// Writes the cursor where it has moved. What cannot be written is written the next time.
    async fn save(&mut self) {
        let done = self.ledger.lock().done();
        if done == self.saved {
            return;
        }
        self.place.position = done;
        let (cursor, place) = (self.queue.cursor.clone(), self.place.clone());
        match self
            .queue
            .supervisor
            .blocking(READ, move || cursor.write(&place))
            .await
        {
            Ok(Ok(())) => {
                // Only now may the log be cut up to there.
                let moved_on = done.segment > self.saved.segment;
                self.saved = done;
                if moved_on {
                    self.queue.hold.set(&self.queue.key, done.segment);
                }
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "The cursor of remote write cannot be written; more would be sent twice after a kill");
            }
            Err(error) => {
                tracing::error!(%error, "The cursor of remote write cannot be written; more would be sent twice after a kill");
            }
        }
    }

    /// Sends what was read, for as long as the deadline allows and the receiver does not fail, and writes the cursor.
    async fn flush(mut self) -> Result<(), Trouble> {
        let flushing = async {
            // What was read is a whole number of records: none of them is sent by half, and then once more.
            while let Some(item) = self.head.take().or_else(|| self.pending.next()) {
                if let Err(item) = self.shards.entries.push(item) {
                    let reference = item.reference;
                    self.head = Some(item);
                    tokio::select! {
                        () = self.shards.entries.room(reference) => {}
                        _ = ended(&mut self.shards.tasks) => break,
                    }
                }
            }
            self.shards.finish().await
        };
        let finished = tokio::time::timeout(self.queue.flush_deadline, flushing).await;
        self.save().await;
        match finished {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.queue.supervisor.joined::<()>(TASK, Err(error))?;
                Ok(())
            }
            Err(_) => {
                tracing::warn!(
                    remote_name = self.queue.config.name,
                    "Remote write could not send all within --storage.remote.flush-deadline; the rest is sent after the next start"
                );
                Ok(())
            }
        }
    }
}

/// What feeding has brought: the reader, back with something.
struct Fed {
    parts: Box<(Reader, Chunk)>,
    read: Result<(), StorageError>,
}

/// Moves what was read into shards and reads on; returns when something was read. May be dropped at any time: nothing is
/// lost then.
async fn feed(
    shards: &Entries,
    head: &mut Option<Item>,
    pending: &mut std::vec::IntoIter<Item>,
    reading: &mut Reading,
    written: &mut watch::Receiver<()>,
    look_at: &mut Instant,
    supervisor: &Supervisor,
) -> Result<Fed, Trouble> {
    while let Some(item) = head.take().or_else(|| pending.next()) {
        if let Err(item) = shards.push(item) {
            let reference = item.reference;
            *head = Some(item);
            shards.room(reference).await;
        }
    }
    loop {
        if let Reading::Busy(handle) = reading {
            let done = handle.await;
            *reading = Reading::Gone;
            let (parts, read) = supervisor.joined(READ, done)?.map_err(supervise::Ended::from)?;
            return Ok(Fed { parts, read });
        }
        // Either the writer tells, or it is time to look.
        if let Ok(Err(_)) = tokio::time::timeout_at(*look_at, written.changed()).await {
            tokio::time::sleep_until(*look_at).await;
        }
        *look_at = Instant::now() + LOOK_INTERVAL;
        let Reading::Idle(mut parts) = std::mem::replace(reading, Reading::Gone) else {
            return Err(Trouble::Ended(supervise::Ended::Cancelled { task: READ }));
        };
        let supervisor = supervisor.clone();
        *reading = Reading::Busy(tokio::task::spawn_blocking(move || {
            supervisor.catch(READ, move || {
                let read = parts.0.fill(&mut parts.1);
                (parts, read)
            })
        }));
    }
}
