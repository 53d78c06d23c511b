//! What a rule knows: its series, its groups, and what both have come to in the interval.

use foldhash::HashMap;
use model::labels::Labels;

use crate::accumulator::{Accumulator, Arrived, Kept, Part, Step};
use crate::output::Output;
use crate::rule::{Rule, Taken};
use crate::slab::{Id, Slab};

/// Most series that a rule takes, and most groups that it makes of them.
pub const SERIES_MAX: usize = 1_000_000;
/// A series is remembered for so many milliseconds after its last sample, or for the rule's staleness where that is longer.
pub(crate) const IDLE_MS: i64 = 10 * 60_000;

/// A series as the rule sees it.
#[derive(Debug)]
struct Input {
    labels: Labels,
    group: Id,
    seen_ms: i64,
    /// The interval of its newest sample.
    epoch: u64,
    counter: Option<Counter>,
    /// What waits for the end of the interval of deduplication.
    pending: Option<(i64, f64)>,
}

/// The last sample of a series that counts up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counter {
    pub(crate) value: f64,
    pub(crate) timestamp_ms: i64,
    /// After this time of day the next sample is a first one.
    pub(crate) deadline_ms: i64,
    /// Rates are measured from here.
    from_ms: i64,
    /// Risen since then.
    rise: f64,
    /// Whether there was a sample in this interval.
    moved: bool,
}

impl Counter {
    pub(crate) fn new(value: f64, timestamp_ms: i64, deadline_ms: i64) -> Self {
        Counter {
            value,
            timestamp_ms,
            deadline_ms,
            from_ms: timestamp_ms,
            rise: 0.0,
            moved: false,
        }
    }
}

/// Series that are put together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) labels: Labels,
    pub(crate) accumulators: Box<[Accumulator]>,
    /// It ends when this time of day has come without a sample.
    pub(crate) deadline_ms: i64,
    /// Whether it has begun and not ended.
    pub(crate) is_live: bool,
    /// Whether anything has come since it was last written to the journal.
    pub(crate) is_changed: bool,
    inputs: u32,
}

/// Why a rule does not take a sample, or what is to be said of one that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    /// Taken, although its interval is over.
    TakenLate,
    /// Not taken: its interval is over.
    Late,
    /// No number, or a staleness marker.
    NotANumber,
    /// Another sample of its interval of deduplication is newer.
    Duplicate,
    /// There is no memory to look at it.
    NoRoom,
    /// The series is not known any more.
    Forgotten,
}

/// What is known of series from before a restart.
pub(crate) type Restored = HashMap<u64, Counter>;

#[derive(Debug, Default)]
pub(crate) struct State {
    inputs: Slab<Input>,
    by_input: HashMap<Labels, Id>,
    pub(crate) groups: Slab<Group>,
    by_group: HashMap<Labels, Id>,
    kept: Kept,
    /// Intervals that have ended, from 1 on.
    epoch: u64,
    pub(crate) restored: Restored,
}

/// What a rule and the time of day say of a sample.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now_ms: i64,
    /// Samples from before this are late.
    pub(crate) window_ms: i64,
    /// Whether a first sample counts as an increase from 0.
    pub(crate) first_counts: bool,
}

impl State {
    pub(crate) fn new() -> Self {
        State {
            epoch: 1,
            ..State::default()
        }
    }

    /// The series and its group, made where they are new; `None` where there are too many.
    pub(crate) fn attach(&mut self, rule: &Rule, taken: Taken, now_ms: i64) -> Option<Id> {
        if let Some(id) = self.by_input.get(&taken.input) {
            return Some(*id);
        }
        if self.inputs.len() >= SERIES_MAX {
            return None;
        }
        let group = self.group_of(rule, &taken.group);
        if let Some(group) = self.groups.get_mut(group) {
            group.inputs += 1;
        }
        let id = self.inputs.insert(Input {
            counter: self.restored.remove(&taken.input.hash64()),
            labels: taken.input.clone(),
            group,
            seen_ms: now_ms,
            epoch: 0,
            pending: None,
        });
        self.by_input.insert(taken.input, id);
        Some(id)
    }

    /// The group with these labels, made where it is new.
    pub(crate) fn group_of(&mut self, rule: &Rule, labels: &Labels) -> Id {
        if let Some(id) = self.by_group.get(labels) {
            return *id;
        }
        let id = self.groups.insert(Group {
            labels: labels.clone(),
            accumulators: rule.outputs.iter().map(Accumulator::new).collect(),
            deadline_ms: 0,
            is_live: false,
            is_changed: false,
            inputs: 0,
        });
        self.by_group.insert(labels.clone(), id);
        id
    }

    /// Takes a sample of a series.
    #[inline]
    pub(crate) fn take(&mut self, rule: &Rule, id: Id, timestamp_ms: i64, value: f64, at: Moment) -> Verdict {
        let Some(input) = self.inputs.get_mut(id) else {
            return Verdict::Forgotten;
        };
        input.seen_ms = at.now_ms;
        if value.is_nan() {
            return Verdict::NotANumber;
        }
        let is_late = timestamp_ms < at.window_ms;
        if is_late && rule.ignore_old_samples {
            return Verdict::Late;
        }
        if rule.dedup_ms > 0 {
            let Some(pending) = &mut input.pending else {
                input.pending = Some((timestamp_ms, value));
                return if is_late {
                    Verdict::TakenLate
                } else {
                    Verdict::Taken
                };
            };
            if replaces(*pending, (timestamp_ms, value)) {
                *pending = (timestamp_ms, value);
            }
            return Verdict::Duplicate;
        }
        match self.add(rule, id, timestamp_ms, value, at) {
            Verdict::Taken if is_late => Verdict::TakenLate,
            verdict => verdict,
        }
    }

    /// Brings a sample into its group.
    #[inline]
    fn add(&mut self, rule: &Rule, id: Id, timestamp_ms: i64, value: f64, at: Moment) -> Verdict {
        let Some(input) = self.inputs.get_mut(id) else {
            return Verdict::Forgotten;
        };
        let deadline_ms = at.now_ms.saturating_add(rule.staleness_ms);
        let step = match rule.follows_counters() {
            true => step(&mut input.counter, timestamp_ms, value, deadline_ms, at),
            false => Step::Unknown,
        };
        let is_new = input.epoch != self.epoch;
        input.epoch = self.epoch;
        let Some(group) = self.groups.get_mut(input.group) else {
            return Verdict::Forgotten;
        };
        (group.is_live, group.is_changed) = (true, true);
        group.deadline_ms = group.deadline_ms.max(deadline_ms);
        let sample = Arrived {
            value,
            timestamp_ms,
            step,
            is_new,
        };
        let outputs = group.accumulators.iter_mut().zip(&rule.outputs);
        let all = outputs.fold(true, |all, (accumulator, output)| {
            accumulator.add(output, sample, &mut self.kept) && all
        });
        if all { Verdict::Taken } else { Verdict::NoRoom }
    }

    /// Brings in what deduplication has left of its interval.
    pub(crate) fn end_dedup(&mut self, rule: &Rule, at: Moment) -> u64 {
        let mut lost = 0;
        let waiting: Vec<(Id, (i64, f64))> = self
            .inputs
            .iter_mut()
            .filter_map(|(id, input)| Some((id, input.pending.take()?)))
            .collect();
        for (id, (timestamp_ms, value)) in waiting {
            lost += u64::from(self.add(rule, id, timestamp_ms, value, at) == Verdict::NoRoom);
        }
        lost
    }

    /// Ends the interval at `flush_ms`. `tell` hears of what comes out, `ended` of groups that have ended.
    pub(crate) fn end_interval(
        &mut self,
        rule: &Rule,
        flush_ms: i64,
        mut tell: impl FnMut(Id, &Group, usize, Part, f64),
        mut ended: impl FnMut(Id),
    ) {
        self.add_rates(rule, flush_ms);
        for (id, group) in self.groups.iter_mut().filter(|(_, group)| group.is_live) {
            let mut accumulators = std::mem::take(&mut group.accumulators);
            let is_over = flush_ms > group.deadline_ms;
            for (place, (accumulator, output)) in accumulators.iter_mut().zip(&rule.outputs).enumerate() {
                match is_over {
                    true => accumulator.reset(output, &mut self.kept),
                    false => accumulator.finish(output, &mut self.kept, |part, value| {
                        tell(id, group, place, part, value);
                    }),
                }
            }
            group.accumulators = accumulators;
            if is_over {
                (group.is_live, group.is_changed) = (false, true);
                ended(id);
            }
        }
        self.epoch += 1;
    }

    /// Works out the rates of the interval that ends.
    fn add_rates(&mut self, rule: &Rule, flush_ms: i64) {
        let is_rate = |output: &Output| matches!(output, Output::RateAvg | Output::RateSum);
        if !rule.outputs.iter().any(is_rate) {
            return;
        }
        for (_, input) in self.inputs.iter_mut() {
            let Some(counter) = input.counter.as_mut().filter(|counter| counter.moved) else {
                continue;
            };
            let seconds = (counter.timestamp_ms - counter.from_ms) as f64 / 1000.0;
            let rate = counter.rise / seconds;
            (counter.from_ms, counter.rise, counter.moved) = (counter.timestamp_ms, 0.0, false);
            if seconds <= 0.0 || flush_ms > counter.deadline_ms {
                continue;
            }
            if let Some(group) = self.groups.get_mut(input.group) {
                group
                    .accumulators
                    .iter_mut()
                    .for_each(|accumulator| accumulator.add_rate(rate));
            }
        }
    }

    /// Forgets series that have had no sample for long, and groups without any.
    pub(crate) fn sweep(&mut self, rule: &Rule, now_ms: i64) {
        let idle_ms = IDLE_MS.max(rule.staleness_ms).max(2 * rule.interval_ms);
        let old = |seen_ms: i64| now_ms.saturating_sub(seen_ms) > idle_ms;
        let idle: Vec<Id> = self
            .inputs
            .iter()
            .filter(|(_, input)| old(input.seen_ms))
            .map(|(id, _)| id)
            .collect();
        for id in idle {
            let Some(input) = self.inputs.remove(id) else {
                continue;
            };
            self.by_input.remove(&input.labels);
            if let Some(group) = self.groups.get_mut(input.group) {
                group.inputs -= 1;
            }
        }
        let empty = |group: &Group| group.inputs == 0 && !group.is_live && !group.is_changed;
        let empty: Vec<Id> = self
            .groups
            .iter()
            .filter(|(_, group)| empty(group))
            .map(|(id, _)| id)
            .collect();
        for id in empty {
            if let Some(group) = self.groups.remove(id) {
                self.by_group.remove(&group.labels);
            }
        }
        self.restored.retain(|_, counter| counter.deadline_ms >= now_ms);
    }

    /// Goes on with a group from before a restart.
    pub(crate) fn restore(
        &mut self,
        rule: &Rule,
        labels: &Labels,
        deadline_ms: i64,
        totals: Vec<(usize, Accumulator)>,
    ) {
        let id = self.group_of(rule, labels);
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        (group.is_live, group.deadline_ms) = (true, deadline_ms);
        for (place, total) in totals {
            if let Some(accumulator) = group.accumulators.get_mut(place) {
                accumulator.restore(total, &mut self.kept);
            }
        }
    }

    /// Groups that have begun, and the counters of their series by the hash of their labels: all, or those that have changed
    /// since they were last asked for.
    pub(crate) fn remembered(&mut self, only_changed: bool, mut tell: impl FnMut(&Group, &[(u64, Counter)])) {
        let mut counters: HashMap<u32, Vec<(u64, Counter)>> = HashMap::default();
        let wanted = |group: &&Group| group.is_live && (group.is_changed || !only_changed);
        for (_, input) in self.inputs.iter() {
            let is_wanted = self.groups.get(input.group).filter(wanted).is_some();
            if let (Some(counter), true) = (input.counter, is_wanted) {
                counters
                    .entry(input.group.number)
                    .or_default()
                    .push((input.labels.hash64(), counter));
            }
        }
        for (id, group) in self.groups.iter_mut() {
            if wanted(&&*group) {
                tell(group, counters.get(&id.number).map_or(&[], Vec::as_slice));
            }
            if only_changed {
                group.is_changed = false;
            }
        }
    }

    pub(crate) fn series(&self) -> usize {
        self.inputs.len()
    }

    pub(crate) fn live_groups(&self) -> usize {
        self.groups.iter().filter(|(_, group)| group.is_live).count()
    }
}

/// Whether the second of two samples of one interval of deduplication is the one that counts: the newer, and of two of one
/// time the larger.
pub(crate) fn replaces(held: (i64, f64), next: (i64, f64)) -> bool {
    next.0 > held.0 || next.0 == held.0 && (next.1 > held.1 || model::sample::is_stale_nan(held.1))
}

/// What a sample is to its counter, which remembers it.
fn step(counter: &mut Option<Counter>, timestamp_ms: i64, value: f64, deadline_ms: i64, at: Moment) -> Step {
    let Some(last) = counter.as_mut().filter(|last| last.deadline_ms >= at.now_ms) else {
        let mut first = Counter::new(value, timestamp_ms, deadline_ms);
        first.moved = true;
        *counter = Some(first);
        return Step::First(if at.first_counts { value } else { 0.0 });
    };
    if timestamp_ms < last.timestamp_ms {
        return Step::Late;
    }
    // What is less than before has begun anew, at 0.
    let rise = if value >= last.value {
        value - last.value
    } else {
        value
    };
    last.rise += rise;
    (last.value, last.timestamp_ms, last.deadline_ms, last.moved) = (value, timestamp_ms, deadline_ms, true);
    Step::Rise(rise)
}
