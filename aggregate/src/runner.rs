//! A rule at work: its state and schedule behind one lock, its counts, and the references of what it writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashMap;
use model::labels::Labels;
use model::sample::stale_nan;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, SeriesRef, append_resolved};
use parking_lot::Mutex;

use crate::accumulator::{Part, part_label};
use crate::rule::{Rule, Taken};
use crate::schedule::Schedule;
use crate::slab::Id;
use crate::state::{Moment, State, Verdict};

/// What a rule counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) taken: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) dropped_late: AtomicU64,
    pub(crate) dropped_nan: AtomicU64,
    pub(crate) dropped_duplicate: AtomicU64,
    pub(crate) dropped_memory: AtomicU64,
    pub(crate) histograms: AtomicU64,
    pub(crate) refused_series: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) refused_outputs: AtomicU64,
    pub(crate) failed_flushes: AtomicU64,
}

/// Adds to a count.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    if by > 0 {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// A rule at work.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) rule: Arc<Rule>,
    /// The rule's number in the journal.
    pub(crate) key: u64,
    pub(crate) running: Mutex<Running>,
    pub(crate) counts: Counts,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) state: State,
    pub(crate) schedule: Schedule,
    /// From this time of day on, series that are not known are new.
    first_counts_from_ms: i64,
}

/// A sample for a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel {
    pub(crate) input: Id,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

/// Something that comes out.
struct Told {
    group: Id,
    output: u16,
    part: Part,
    value: f64,
    /// Labels of the group, where nothing is known of the series yet.
    labels: Option<Labels>,
}

/// The series of a group, by output and part.
type Parts = HashMap<(u16, Part), Option<SeriesRef>>;

/// What a rule writes to, by group, output and part; nothing where relabelling drops it.
#[derive(Debug, Default)]
struct Writer {
    series: HashMap<(u32, u32), Parts>,
    batch: AppendBatch,
    outcome: AppendOutcome,
}

impl Runner {
    pub(crate) fn new(rule: Arc<Rule>, key: u64, now_ms: i64) -> Self {
        let running = Running {
            state: State::new(),
            schedule: Schedule::new(&rule, now_ms),
            first_counts_from_ms: now_ms.saturating_add(rule.first_sample_ms),
        };
        Runner {
            rule,
            key,
            running: Mutex::new(running),
            counts: Counts::default(),
            writer: Mutex::default(),
        }
    }

    /// The rule's number for a series that it takes.
    pub(crate) fn attach(&self, taken: Taken, now_ms: i64) -> Option<Id> {
        let attached = self.running.lock().state.attach(&self.rule, taken, now_ms);
        if attached.is_none() {
            count(&self.counts.refused_series, 1);
        }
        attached
    }

    /// Takes samples, all of this rule.
    pub(crate) fn take(&self, parcels: &[Parcel], now_ms: i64) {
        let mut verdicts = [0u64; 7];
        {
            let mut running = self.running.lock();
            let at = running.moment(now_ms);
            for parcel in parcels {
                let verdict =
                    running
                        .state
                        .take(&self.rule, parcel.input, parcel.timestamp_ms, parcel.value, at);
                verdicts[verdict as usize] += 1;
            }
        }
        let of = |verdict: Verdict| verdicts[verdict as usize];
        count(&self.counts.taken, of(Verdict::Taken) + of(Verdict::TakenLate));
        count(&self.counts.late, of(Verdict::TakenLate));
        count(&self.counts.dropped_late, of(Verdict::Late));
        count(&self.counts.dropped_nan, of(Verdict::NotANumber));
        count(&self.counts.dropped_duplicate, of(Verdict::Duplicate));
        count(
            &self.counts.dropped_memory,
            of(Verdict::NoRoom) + of(Verdict::Forgotten),
        );
    }

    /// Does what is due next: ends an interval, and writes what comes out. Says whether anything was due.
    pub(crate) fn tick(&self, inner: &dyn Appender, now_ms: i64) -> bool {
        // Whoever writes holds this all the time, so that ends are written in their order.
        let mut writer = self.writer.lock();
        let mut running = self.running.lock();
        let Some(look) = running.schedule.due(now_ms) else {
            return false;
        };
        self.end_dedup(&mut running, look.at_ms);
        let Some((flush_ms, is_told)) = look.flush else {
            return true;
        };
        let (told, ended) = self.end_interval(&mut running, flush_ms, &writer);
        running.state.sweep(&self.rule, now_ms);
        drop(running);
        if is_told {
            self.write(&mut writer, inner, told, &ended, flush_ms);
        }
        for group in ended {
            writer.series.remove(&(group.number, group.serial));
        }
        true
    }

    /// Ends what is under way, and writes it where the rule wants that.
    pub(crate) fn finish(&self, inner: &dyn Appender, now_ms: i64) {
        if !self.rule.flush_on_shutdown {
            return;
        }
        let mut writer = self.writer.lock();
        let mut running = self.running.lock();
        self.end_dedup(&mut running, now_ms);
        let (told, ended) = self.end_interval(&mut running, now_ms, &writer);
        let is_silent = running.schedule.is_silent();
        drop(running);
        if !is_silent {
            self.write(&mut writer, inner, told, &ended, now_ms);
        }
    }

    fn end_dedup(&self, running: &mut Running, at_ms: i64) {
        if self.rule.dedup_ms > 0 {
            let at = running.moment(at_ms);
            let lost = running.state.end_dedup(&self.rule, at);
            count(&self.counts.dropped_memory, lost);
        }
    }

    fn end_interval(&self, running: &mut Running, flush_ms: i64, writer: &Writer) -> (Vec<Told>, Vec<Id>) {
        let (mut told, mut ended) = (Vec::new(), Vec::new());
        running.state.end_interval(
            &self.rule,
            flush_ms,
            |id, group, output, part, value| {
                let output = output as u16;
                let known = writer.series.get(&(id.number, id.serial));
                let is_known = known.is_some_and(|known| known.contains_key(&(output, part)));
                told.push(Told {
                    group: id,
                    output,
                    part,
                    value,
                    labels: (!is_known).then(|| group.labels.clone()),
                });
            },
            |id| ended.push(id),
        );
        (told, ended)
    }

    /// One transaction: what was told, and markers for what has ended.
    fn write(&self, writer: &mut Writer, inner: &dyn Appender, told: Vec<Told>, ended: &[Id], flush_ms: i64) {
        for item in &told {
            let Some(labels) = &item.labels else { continue };
            let series = self.resolve(inner, labels, item);
            writer
                .series
                .entry((item.group.number, item.group.serial))
                .or_default()
                .insert((item.output, item.part), series);
        }
        let written = append_resolved(
            &mut *writer,
            |writer| {
                writer.batch.clear();
                let of = |group: Id| writer.series.get(&(group.number, group.serial));
                for item in &told {
                    let series = of(item.group).and_then(|parts| *parts.get(&(item.output, item.part))?);
                    writer
                        .batch
                        .floats
                        .extend(series.map(|series| sample(series, flush_ms, item.value)));
                }
                for group in ended {
                    let parts = of(*group).into_iter().flat_map(|parts| parts.values().flatten());
                    writer
                        .batch
                        .floats
                        .extend(parts.map(|series| sample(*series, flush_ms, stale_nan())));
                }
                match writer.batch.is_empty() {
                    true => Ok(()),
                    false => inner.append(&writer.batch, &mut writer.outcome),
                }
            },
            |writer, gone| self.forget(writer, inner, gone),
        );
        match written {
            Ok(()) => {
                let refused = writer.outcome.refused.len() as u64;
                count(
                    &self.counts.written,
                    (writer.batch.floats.len() as u64).saturating_sub(refused),
                );
                count(&self.counts.refused_outputs, refused);
                writer.outcome.refused.clear();
            }
            Err(error) => {
                count(&self.counts.failed_flushes, 1);
                tracing::error!(rule = self.rule.name, %error, "What a rule of aggregation gave cannot be stored");
            }
        }
    }

    fn resolve(&self, inner: &dyn Appender, labels: &Labels, item: &Told) -> Option<SeriesRef> {
        let output = self.rule.outputs.get(usize::from(item.output))?;
        let extra = part_label(output, item.part);
        let extra = extra.as_ref().map(|(name, value)| (*name, value.as_str()));
        let labels = self.rule.output_labels(labels, output, extra)?;
        inner
            .resolve(&labels)
            .inspect_err(|_| count(&self.counts.refused_outputs, 1))
            .ok()
    }

    /// Asks for series again that the store has forgotten.
    fn forget(&self, writer: &mut Writer, inner: &dyn Appender, gone: &[SeriesRef]) {
        let running = self.running.lock();
        for (group, parts) in &mut writer.series {
            let id = Id {
                number: group.0,
                serial: group.1,
            };
            let labels = running.state.groups.get(id).map(|group| group.labels.clone());
            for ((output, part), series) in parts {
                if !series.is_some_and(|series| gone.contains(&series)) {
                    continue;
                }
                let item = Told {
                    group: id,
                    output: *output,
                    part: *part,
                    value: 0.0,
                    labels: None,
                };
                *series = labels
                    .as_ref()
                    .and_then(|labels| self.resolve(inner, labels, &item));
            }
        }
    }
}

impl Running {
    fn moment(&self, now_ms: i64) -> Moment {
        Moment {
            now_ms,
            window_ms: self.schedule.window_ms,
            first_counts: now_ms >= self.first_counts_from_ms,
        }
    }
}

fn sample(series: SeriesRef, timestamp_ms: i64, value: f64) -> FloatSample {
    FloatSample {
        series,
        timestamp_ms,
        value,
    }
}
