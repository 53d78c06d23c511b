//! What each operator of a query takes: rows, samples, time, memory. Only kept for queries that are explained.

use std::time::Instant;

use parking_lot::Mutex;

use crate::plan::{NodeId, Plan};

use super::Execution;
use super::pipeline::{Ledger, Pipeline};
use super::source::Source;
use super::table::Table;

/// What one operator has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    /// Series that it looked at: those of a selector.
    pub(crate) series_selected: u64,
    /// Series that it gave.
    pub(crate) series: u64,
    /// Samples that it gave, over all steps.
    pub(crate) samples: u64,
    /// Samples that were decoded for it.
    pub(crate) samples_decoded: u64,
    /// From its begin to its end, its inputs' work included, in nanoseconds.
    pub(crate) wall_ns: u64,
    /// Its own work on all threads, in nanoseconds of processor time.
    pub(crate) cpu_ns: u64,
    /// Most bytes that the query held while it worked beyond what it held before.
    pub(crate) peak_bytes: u64,
    /// Parts that its input was cut into.
    pub(crate) parts: u64,
    /// How often it was evaluated: 0 where nobody asked for it in the end.
    pub(crate) evaluations: u64,
    /// Time for finding its series in the index, in nanoseconds.
    pub(crate) select_ns: u64,
    /// Its rows went on one by one.
    pub(crate) streamed: bool,
    /// Its rows were kept.
    pub(crate) kept: bool,
}

/// The operators of a plan.
#[derive(Debug)]
pub(crate) struct Profile(Mutex<State>);

#[derive(Debug)]
struct State {
    took: Vec<Took>,
    /// For each operator that is being evaluated, outermost first.
    open: Vec<Open>,
}

/// An operator under way.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// Processor time of this thread that went to others, in nanoseconds.
    elsewhere_ns: u64,
    /// Time of pipelines for it as a consumer, on all threads.
    consumed_ns: u64,
    parts: u64,
}

/// What was so when an operator began.
pub(crate) struct Frame {
    began: Instant,
    cpu_ns: u64,
    held_bytes: usize,
    peak_before: usize,
}

impl Profile {
    /// Nothing taken yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        Profile(Mutex::new(State {
            // One more for the query itself, where it is no operator.
            took: vec![Took::default(); plan.nodes.len() + 1],
            // What the query does outside of all operators.
            open: vec![Open::default()],
        }))
    }

    /// What node `id` took.
    pub(crate) fn of(&self, id: NodeId) -> Took {
        self.0.lock().took[id.0 as usize]
    }

    /// What the query took where it is no operator.
    pub(crate) fn of_root(&self) -> Took {
        self.0.lock().took.last().copied().unwrap_or_default()
    }
}

impl Execution<'_> {
    /// Begins an operator; nothing where nobody wants to know.
    pub(super) fn enter(&self) -> Option<Frame> {
        let profile = self.shared.profile.as_ref()?;
        profile.0.lock().open.push(Open::default());
        let limits = &self.shared.limits;
        Some(Frame {
            held_bytes: limits.held_bytes(),
            peak_before: limits.restart_peak(),
            began: Instant::now(),
            cpu_ns: thread_cpu_ns(),
        })
    }

    fn leave(&self, frame: &Frame) -> Option<(Open, Took)> {
        let profile = self.shared.profile.as_ref()?;
        let limits = &self.shared.limits;
        let peak = limits.peak_bytes();
        limits.restore_peak(frame.peak_before);
        let mut state = profile.0.lock();
        let open = state.open.pop()?;
        let cpu_ns = thread_cpu_ns().saturating_sub(frame.cpu_ns);
        if let Some(outer) = state.open.last_mut() {
            outer.elsewhere_ns += cpu_ns;
        }
        let took = Took {
            wall_ns: nanoseconds(frame.began),
            cpu_ns: cpu_ns.saturating_sub(open.elsewhere_ns),
            peak_bytes: peak.saturating_sub(frame.held_bytes) as u64,
            evaluations: 1,
            ..Took::default()
        };
        Some((open, took))
    }

    /// Ends a node that keeps its rows.
    pub(super) fn leave_operator(&self, frame: Option<Frame>, id: NodeId, table: &Table) {
        let Some((open, mut took)) = frame.and_then(|frame| self.leave(&frame)) else {
            return;
        };
        took.series = table.series.len() as u64;
        took.samples = table
            .series
            .iter()
            .map(|series| series.row.present.count() as u64)
            .sum();
        took.cpu_ns += open.consumed_ns;
        took.parts = open.parts;
        took.kept = true;
        self.note(id, took);
    }

    /// Ends the selection of a node's series.
    pub(super) fn leave_selection(&self, frame: Option<Frame>, id: NodeId) {
        if let Some((_, took)) = frame.and_then(|frame| self.leave(&frame)) {
            let took = Took {
                select_ns: took.wall_ns,
                wall_ns: 0,
                ..took
            };
            self.note(id, took);
        }
    }

    /// Ends a query that gives samples as they are stored.
    pub(super) fn leave_samples(&self, frame: Option<Frame>, selected: usize, samples: &Took) {
        if let Some((_, took)) = frame.and_then(|frame| self.leave(&frame)) {
            let took = Took {
                series_selected: selected as u64,
                series: samples.series,
                samples: samples.samples,
                samples_decoded: samples.samples_decoded,
                ..took
            };
            self.note(NodeId(self.plan.nodes.len() as u32), took);
        }
    }

    /// Ends a run of rows through the nodes of a pipeline.
    pub(super) fn leave_pipeline(&self, frame: Option<Frame>, pipeline: &Pipeline<'_>, ledger: &Ledger) {
        let Some((_, shared_took)) = frame.and_then(|frame| self.leave(&frame)) else {
            return;
        };
        let cpu = ledger.watch.cpu_ns();
        for (index, place) in pipeline.places.iter().enumerate() {
            if index == 0 && matches!(pipeline.source, Source::Table(_)) {
                continue;
            }
            let passed = ledger.passed[index];
            let mut took = Took {
                series: passed.rows as u64,
                samples: passed.samples as u64,
                cpu_ns: cpu[index],
                parts: ledger.watch.runs,
                streamed: true,
                ..shared_took
            };
            if index == 0 {
                took.series_selected = pipeline.source.len() as u64;
                took.samples_decoded = ledger.watch.decoded;
            }
            self.note(place.id, took);
        }
        if let Some(profile) = &self.shared.profile
            && let Some(consumer) = profile.0.lock().open.last_mut()
        {
            consumer.consumed_ns += cpu.last().copied().unwrap_or_default();
            consumer.parts = consumer.parts.max(ledger.watch.runs);
        }
    }

    fn note(&self, id: NodeId, took: Took) {
        if let Some(profile) = &self.shared.profile {
            profile.0.lock().took[id.0 as usize].add(&took);
        }
    }
}

impl Took {
    fn add(&mut self, more: &Took) {
        // A node that streams into its own table is told of twice: its rows are the same.
        self.series = self.series.max(more.series);
        self.samples = self.samples.max(more.samples);
        self.series_selected = self.series_selected.max(more.series_selected);
        self.samples_decoded += more.samples_decoded;
        self.wall_ns = self.wall_ns.max(more.wall_ns);
        self.cpu_ns += more.cpu_ns;
        self.peak_bytes = self.peak_bytes.max(more.peak_bytes);
        self.parts = self.parts.max(more.parts);
        self.evaluations = self.evaluations.max(more.evaluations);
        self.select_ns += more.select_ns;
        self.streamed |= more.streamed;
        self.kept |= more.kept;
    }
}

/// Where the time of a run goes: to the source, to each stage, to the consumer.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// Empty where nobody wants to know.
    spent_ns: Vec<u64>,
    last: Option<Instant>,
    cpu_began_ns: u64,
    cpu_total_ns: u64,
    /// Samples decoded.
    decoded: u64,
    /// Runs put together.
    runs: u64,
}

impl Stopwatch {
    /// A watch for that many parts, if it is on.
    pub(crate) fn new(on: bool, parts: usize) -> Self {
        Stopwatch {
            spent_ns: vec![0; if on { parts } else { 0 }],
            last: None,
            cpu_began_ns: if on { thread_cpu_ns() } else { 0 },
            cpu_total_ns: 0,
            decoded: 0,
            runs: 1,
        }
    }

    /// A row begins.
    #[inline]
    pub(crate) fn start(&mut self) {
        if !self.spent_ns.is_empty() {
            self.last = Some(Instant::now());
        }
    }

    /// What was done since the last call was the work of `part`.
    #[inline]
    pub(crate) fn lap(&mut self, part: usize) {
        if let Some(last) = self.last {
            let now = Instant::now();
            let spent = now.saturating_duration_since(last).as_nanos();
            self.spent_ns[part] += u64::try_from(spent).unwrap_or(u64::MAX);
            self.last = Some(now);
        }
    }

    /// What was done since the start was putting two consumers together.
    pub(crate) fn lap_merge(&mut self) {
        if let Some(consumer) = self.spent_ns.len().checked_sub(1) {
            let before = self.spent_ns[consumer];
            self.lap(consumer);
            self.cpu_total_ns += self.spent_ns[consumer] - before;
        }
    }

    /// That many samples were decoded.
    #[inline]
    pub(crate) fn add_decoded(&mut self, samples: usize) {
        self.decoded += samples as u64;
    }

    /// The run ends.
    pub(crate) fn stop(&mut self) {
        if !self.spent_ns.is_empty() {
            self.cpu_total_ns = thread_cpu_ns().saturating_sub(self.cpu_began_ns);
        }
    }

    pub(super) fn absorb(&mut self, later: &Stopwatch) {
        for (mine, more) in self.spent_ns.iter_mut().zip(&later.spent_ns) {
            *mine += more;
        }
        self.cpu_total_ns += later.cpu_total_ns;
        self.decoded += later.decoded;
        self.runs += later.runs;
    }

    /// Processor time of each part: what the threads took altogether, shared out as the clock on the wall says, which
    /// can be asked a thousand times as often.
    fn cpu_ns(&self) -> Vec<u64> {
        let spent: u64 = self.spent_ns.iter().sum();
        let share = self.cpu_total_ns as f64 / spent.max(1) as f64;
        self.spent_ns
            .iter()
            .map(|ns| (*ns as f64 * share) as u64)
            .collect()
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time of this thread so far.
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}
