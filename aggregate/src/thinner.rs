//! The decorator: looks at each series once, and at each sample as little as can be.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwapOption;
use files::Files;
use foldhash::{HashMap, HashSet};
use model::clock::Clock;
use model::labels::Labels;
use model::packed_sets::PackedSets;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, BatchList, FloatSample, Refusal, SeriesError,
    SeriesRef, StorageError,
};
use parking_lot::{Mutex, RwLock};

use crate::config::Config;
use crate::hold::Held;
use crate::keep::Keeper;
use crate::replicas::Election;
use crate::runner::{Runner, count};
use crate::sorting::{Scratch, Sorting};
use crate::state::IDLE_MS;
use crate::table::{Slot, Table};

/// Most samples of deduplication that wait for the store to take them.
const OVERDUE_MAX: usize = 1 << 20;
/// Slots and series are looked through for idle ones so often, in milliseconds.
const SWEEP_MS: i64 = 60_000;

/// Thins what is appended; what is not thinned goes on to the store as it came.
pub struct Thinner {
    inner: Arc<dyn Appender>,
    clock: Arc<dyn Clock>,
    pub(crate) active: ArcSwapOption<Active>,
    keeper: Keeper,
    pub(crate) totals: Totals,
    swept_ms: Mutex<i64>,
    /// Ends of intervals, one after the other.
    ticking: Mutex<()>,
}

/// What is counted of all series.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) replicas_dropped: AtomicU64,
    pub(crate) duplicates_dropped: AtomicU64,
    pub(crate) unmatched_dropped: AtomicU64,
    pub(crate) clusters_refused: AtomicU64,
    /// Samples of deduplication that the store did not take.
    pub(crate) held_refused: AtomicU64,
    pub(crate) journal_failures: AtomicU64,
}

/// A configuration in force.
pub(crate) struct Active {
    pub(crate) config: Config,
    pub(crate) runners: Vec<Arc<Runner>>,
    pub(crate) table: RwLock<Table>,
    pub(crate) election: Arc<Mutex<Election>>,
    scratches: Mutex<Vec<Scratch>>,
    overdue: Mutex<Vec<(SeriesRef, Held)>>,
}

/// A configuration that is ready to be put in force.
pub struct Prepared {
    config: Config,
}

impl Thinner {
    /// One that does nothing until something is put in force. What has to survive is kept at `journal`, where there is one.
    pub fn new(
        inner: Arc<dyn Appender>,
        clock: Arc<dyn Clock>,
        journal: Option<(Arc<dyn Files>, std::path::PathBuf)>,
    ) -> Self {
        let swept_ms = Mutex::new(clock.now_ms());
        Thinner {
            keeper: Keeper::new(journal, clock.clone()),
            inner,
            clock,
            active: ArcSwapOption::empty(),
            totals: Totals::default(),
            swept_ms,
            ticking: Mutex::default(),
        }
    }

    /// Makes ready what is to be in force. What was kept over a restart is read now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn prepare(&self, config: Config) -> Result<Prepared, StorageError> {
        if !config.is_empty() {
            self.keeper.open()?;
        }
        Ok(Prepared { config })
    }

    /// Puts a configuration in force. Rules that were there before go on; what others had gathered ends.
    pub fn apply(&self, prepared: Prepared) {
        let _ticking = self.ticking.lock();
        let now_ms = self.clock.now_ms();
        let config = prepared.config;
        let before = self.active.load_full();
        if before.as_ref().is_some_and(|before| before.config == config)
            || before.is_none() && config.is_empty()
        {
            return;
        }
        let mut left: Vec<Arc<Runner>> = before
            .as_ref()
            .map_or_else(Vec::new, |before| before.runners.clone());
        let mut keys = HashMap::default();
        let runners = config.rules.iter().map(|rule| {
            let twin: &mut u64 = keys.entry(rule.fingerprint()).or_default();
            let key = rule.fingerprint().wrapping_add(*twin);
            *twin += 1;
            match left.iter().position(|runner| runner.rule == *rule) {
                Some(at) => left.swap_remove(at),
                None => {
                    let runner = Runner::new(rule.clone(), key, now_ms);
                    self.keeper.restore(&runner, now_ms);
                    Arc::new(runner)
                }
            }
        });
        let runners: Vec<Arc<Runner>> = runners.collect();
        let table = Table::following(before.as_ref().map(|before| before.table.read()).as_deref());
        let election = match &before {
            Some(before) if before.config.replicas == config.replicas => before.election.clone(),
            _ => self.keeper.election(&config, now_ms),
        };
        let active = (!config.is_empty()).then(|| {
            Arc::new(Active {
                config,
                runners,
                table: RwLock::new(table),
                election,
                scratches: Mutex::default(),
                overdue: Mutex::default(),
            })
        });
        self.active.store(active);
        // What is left of the old configuration comes out now: nobody else would end it.
        if let Some(before) = before {
            self.release_held(&before, i64::MAX);
            left.iter().for_each(|runner| runner.finish(&*self.inner, now_ms));
        }
    }

    /// Does what is due: ends intervals and writes what comes out, stores what deduplication held, and keeps what has to
    /// survive.
    pub fn tick(&self) {
        let _ticking = self.ticking.lock();
        let Some(active) = self.active.load_full() else {
            return;
        };
        let now_ms = self.clock.now_ms();
        let mut flushed = false;
        for runner in &active.runners {
            while runner.tick(&*self.inner, now_ms) {
                flushed = true;
            }
        }
        self.release_held(&active, now_ms);
        if flushed || active.config.replicas.is_some() {
            let kept = self.keeper.keep(&active.runners, &active.election);
            if let Err(error) = kept {
                count(&self.totals.journal_failures, 1);
                tracing::error!(%error, "Totals of aggregation cannot be kept over a restart");
            }
        }
        let mut swept_ms = self.swept_ms.lock();
        if (now_ms - *swept_ms).abs() >= SWEEP_MS {
            *swept_ms = now_ms;
            let longest_ms = active
                .runners
                .iter()
                .map(|runner| runner.rule.staleness_ms.max(2 * runner.rule.interval_ms));
            let idle_ms = longest_ms.max().unwrap_or(0).max(IDLE_MS);
            active.table.write().sweep(now_ms.saturating_sub(idle_ms));
        }
    }

    /// Ends everything, at a stop: what rules want told is told, what is held is stored, totals are kept.
    pub fn finish(&self) {
        self.tick();
        let _ticking = self.ticking.lock();
        let Some(active) = self.active.load_full() else {
            return;
        };
        let now_ms = self.clock.now_ms();
        active
            .runners
            .iter()
            .for_each(|runner| runner.finish(&*self.inner, now_ms));
        self.release_held(&active, i64::MAX);
        if let Err(error) = self.keeper.keep(&active.runners, &active.election) {
            count(&self.totals.journal_failures, 1);
            tracing::error!(%error, "Totals of aggregation cannot be kept over a restart");
        }
    }

    /// Milliseconds until something is due, at most a second.
    pub fn pause_ms(&self) -> i64 {
        let now_ms = self.clock.now_ms();
        let active = self.active.load();
        let looks = active
            .iter()
            .flat_map(|active| &active.runners)
            .map(|runner| runner.running.lock().schedule.look_ms);
        looks
            .map(|look_ms| look_ms - now_ms)
            .min()
            .unwrap_or(1000)
            .clamp(1, 1000)
    }

    /// Stores what is held of intervals that are over at `now_ms`.
    fn release_held(&self, active: &Active, now_ms: i64) {
        let mut released = std::mem::take(&mut *active.overdue.lock());
        if active.config.dedup_ms > 0 {
            let table = active.table.read();
            for (_, slot) in table.slots.iter() {
                let Some((hold, series)) = slot.hold.as_ref().zip(slot.series()) else {
                    continue;
                };
                let held = hold.lock().release(now_ms, active.config.dedup_ms);
                released.extend(held.map(|held| (series, held)));
            }
        }
        if released.is_empty() {
            return;
        }
        let mut batch = AppendBatch::default();
        add_held(&mut batch, &released);
        let mut outcome = AppendOutcome::default();
        let lost = match self.inner.append(&batch, &mut outcome) {
            Ok(()) => outcome.refused.len(),
            Err(error) => {
                tracing::error!(%error, "Samples that deduplication held cannot be stored");
                batch.floats.len()
            }
        };
        count(&self.totals.held_refused, lost as u64);
    }

    /// What to do with a series that is not known yet.
    fn settle(&self, active: &Active, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let now_ms = self.clock.now_ms();
        let mut stored = labels.clone();
        let mut member = None;
        if let Some(replicas) = &active.config.replicas {
            let (cluster, replica) = (
                labels.get(&replicas.cluster_label),
                labels.get(&replicas.replica_label),
            );
            if let Some((cluster, replica)) = cluster.zip(replica) {
                let found = active.election.lock().member(cluster, replica, now_ms);
                member = Some(found.map_err(|_| {
                    count(&self.totals.clusters_refused, 1);
                    SeriesError::LimitReached
                })?);
                stored = labels.without(|name| name == replicas.replica_label);
            }
        }
        let matching: Vec<(usize, &Arc<Runner>)> = active
            .runners
            .iter()
            .enumerate()
            .filter(|(_, runner)| runner.rule.matches(&stored))
            .collect();
        let is_kept = match matching.is_empty() {
            true => !active.config.drop_unmatched,
            false => matching.iter().any(|(_, runner)| runner.rule.keep_input),
        };
        if is_kept && matching.is_empty() && member.is_none() && active.config.dedup_ms == 0 {
            let series = self.inner.resolve(labels)?;
            let mut table = active.table.write();
            return table
                .note_plain(series)
                .then_some(series)
                .ok_or(SeriesError::LimitReached);
        }
        let series = is_kept.then(|| self.inner.resolve(&stored)).transpose()?;
        let mut slot = Slot::new(labels.clone(), series, now_ms);
        slot.is_kept = is_kept;
        slot.member = member;
        slot.hold = (is_kept && active.config.dedup_ms > 0).then(Mutex::default);
        for (number, runner) in matching {
            let taken = runner.rule.take(&stored);
            let input = taken.and_then(|taken| runner.attach(taken, now_ms));
            slot.takes.extend(input.map(|input| (number as u16, input)));
        }
        let mut table = active.table.write();
        if !table.has_room() {
            return Err(SeriesError::LimitReached);
        }
        // Somebody else may have come first.
        let id = table.find(labels.packed()).unwrap_or_else(|| table.insert(slot));
        Ok(Table::of_slot(id))
    }

    /// The store's series of a slot, made where samples of it are to be stored although it is not kept, or where the store
    /// has forgotten it.
    pub(crate) fn series_of(&self, active: &Active, slot: &Slot) -> Result<SeriesRef, SeriesError> {
        if let Some(series) = slot.series() {
            return Ok(series);
        }
        let replica = active.config.replicas.as_ref().filter(|_| slot.member.is_some());
        let series = match replica {
            Some(replicas) => self
                .inner
                .resolve(&slot.labels.without(|name| name == replicas.replica_label)),
            None => self.inner.resolve(&slot.labels),
        }?;
        slot.set_series(Some(series));
        Ok(series)
    }
}

impl Appender for Thinner {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let active = self.active.load();
        let Some(active) = &*active else {
            return self.inner.resolve(labels);
        };
        {
            let table = active.table.read();
            if let Some(id) = table.find(labels.packed()) {
                if let Some(slot) = table.slots.get(id).filter(|slot| slot.is_kept) {
                    self.series_of(active, slot)?;
                }
                return Ok(Table::of_slot(id));
            }
        }
        self.settle(active, labels)
    }

    fn find(&self, sets: &PackedSets, found: &mut Vec<Option<SeriesRef>>) {
        self.inner.find(sets, found);
        let active = self.active.load();
        let Some(active) = &*active else { return };
        let table = active.table.read();
        for (set, found) in sets.iter().zip(found) {
            *found = match table.find(set) {
                Some(id) => Some(Table::of_slot(id)),
                // A series of the store that nobody has asked for may be one that something is to be done to.
                None => found.filter(|series| table.is_plain(*series)),
            };
        }
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        let active = self.active.load();
        let Some(active) = &*active else {
            return self.inner.append(batch, outcome);
        };
        let mut scratch = active.scratches.lock().pop().unwrap_or_default();
        let appended = self.append_thinned(active, batch, outcome, &mut scratch);
        if appended.is_err() && !scratch.released.is_empty() {
            self.keep_overdue(active, &scratch.released);
        }
        active.scratches.lock().push(scratch);
        appended
    }
}

impl Thinner {
    fn append_thinned(
        &self,
        active: &Active,
        batch: &AppendBatch,
        outcome: &mut AppendOutcome,
        scratch: &mut Scratch,
    ) -> Result<(), AppendError> {
        let now_ms = self.clock.now_ms();
        scratch.clear(active.runners.len());
        {
            let table = active.table.read();
            let mut sorting = Sorting {
                thinner: self,
                active,
                reading: table.reading(),
                scratch,
                now_ms,
            };
            sorting.floats(batch);
            sorting.histograms(batch);
            sorting.extras(batch);
        }
        if !scratch.unknown.is_empty() {
            return Err(AppendError::UnknownSeries(std::mem::take(&mut scratch.unknown)));
        }
        outcome.accepted = 0;
        outcome.refused.clear();
        let thinned_away = (batch.floats.len() - scratch.floats.len()) as u64;
        add_held(&mut scratch.batch, &scratch.released);
        if !scratch.batch.is_empty() {
            if let Err(error) = self.inner.append(&scratch.batch, &mut scratch.outcome) {
                return Err(self.in_our_words(active, error));
            }
            outcome.accepted = scratch.outcome.accepted;
            let own = scratch.floats.len();
            let mut held_refused = 0;
            for (list, place, refusal) in &scratch.outcome.refused {
                let places = match list {
                    BatchList::Floats if *place as usize >= own => {
                        held_refused += 1;
                        continue;
                    }
                    BatchList::Floats => &scratch.floats,
                    BatchList::Histograms => &scratch.histograms,
                    BatchList::Exemplars => &scratch.exemplars,
                };
                outcome
                    .refused
                    .extend(places.get(*place as usize).map(|place| (*list, *place, *refusal)));
            }
            count(&self.totals.held_refused, held_refused);
        }
        outcome.accepted += thinned_away;
        let is_hindrance = |(list, _, refusal): &(BatchList, u32, Refusal)| {
            *list != BatchList::Exemplars && !matches!(refusal, Refusal::Overtaken | Refusal::Doubled)
        };
        if batch.all_or_nothing && outcome.refused.iter().any(is_hindrance) {
            outcome.accepted = 0;
            return Ok(());
        }
        for (runner, parcels) in active.runners.iter().zip(&scratch.parcels) {
            if !parcels.is_empty() {
                runner.take(parcels, now_ms);
            }
        }
        Ok(())
    }

    /// References that the store has forgotten, as they were handed out.
    fn in_our_words(&self, active: &Active, error: AppendError) -> AppendError {
        let AppendError::UnknownSeries(gone) = error else {
            return error;
        };
        let gone: HashSet<SeriesRef> = gone.into_iter().collect();
        let mut table = active.table.write();
        let mut ours: Vec<SeriesRef> = Vec::with_capacity(gone.len());
        for (id, slot) in table.slots.iter() {
            if slot.series().is_some_and(|series| gone.contains(&series)) {
                // It is asked for again when the next sample comes.
                slot.set_series(None);
                ours.push(Table::of_slot(id));
            }
        }
        for series in gone {
            if table.is_plain(series) {
                table.forget_plain(series);
                ours.push(series);
            }
        }
        AppendError::UnknownSeries(ours)
    }

    /// Samples that deduplication has let go and the store did not take: the next end of an interval tries again.
    fn keep_overdue(&self, active: &Active, released: &[(SeriesRef, Held)]) {
        let mut overdue = active.overdue.lock();
        let room = OVERDUE_MAX - overdue.len().min(OVERDUE_MAX);
        overdue.extend(released.iter().take(room));
        count(
            &self.totals.held_refused,
            released.len().saturating_sub(room) as u64,
        );
    }
}

/// Adds samples of deduplication behind all others.
fn add_held(batch: &mut AppendBatch, released: &[(SeriesRef, Held)]) {
    let has_starts = released.iter().any(|(_, held)| held.start_ms != 0);
    if has_starts || !batch.float_starts_ms.is_empty() {
        batch.float_starts_ms.resize(batch.floats.len(), 0);
        batch
            .float_starts_ms
            .extend(released.iter().map(|(_, held)| held.start_ms));
    }
    batch
        .floats
        .extend(released.iter().map(|(series, held)| FloatSample {
            series: *series,
            timestamp_ms: held.timestamp_ms,
            value: held.value,
        }));
}
