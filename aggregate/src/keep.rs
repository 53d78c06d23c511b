//! What survives a restart: totals, the last samples of counters, and who is elected.
//!
//! A record of the journal is a run of entries. A group's entry says everything about it, so that a later one replaces
//! it and one that is not told again ends by its deadline. Since the last samples of its series are there too, what
//! counters have risen by while nobody looked is not lost: the first sample after the start is measured from them.
//!
//! An entry is a byte for its kind, then
//!
//! * 1, a group: the rule's number (8 bytes), the deadline (varint), labels (a count, pairs of texts), outputs (a count;
//!   each its name and either 0 and a float or 1, a count and pairs of range and number), series (a count; each the hash
//!   of its labels in 8 bytes, value, time, deadline);
//! * 2, an election: cluster and replica, both texts.
//!
//! Numbers are written as [`files::codec`] has them.

use std::path::PathBuf;
use std::sync::Arc;

use files::codec::{Reader, RecordError, put_be64, put_f64, put_text, put_uvarint, put_varint};
use files::journal::{Format, Whole};
use files::{Files, Journal};
use foldhash::HashMap;
use model::clock::Clock;
use model::labels::{Labels, LabelsBuilder};
use model::storage::StorageError;
use parking_lot::Mutex;

use crate::accumulator::Accumulator;
use crate::buckets::Buckets;
use crate::config::Config;
use crate::replicas::Election;
use crate::rule::Rule;
use crate::runner::Runner;
use crate::state::{Counter, Group};

const FORMAT: Format = Format {
    magic: *b"NTX aggr",
    version: 1,
};
/// Entries are put together until they take so many bytes.
const RECORD_BYTES: usize = 1 << 20;
const GROUP: u8 = 1;
const ELECTED: u8 = 2;

/// Keeps what has to survive, where there is a place for it.
pub(crate) struct Keeper {
    place: Option<(Arc<dyn Files>, PathBuf)>,
    clock: Arc<dyn Clock>,
    opened: Mutex<Option<Arc<Opened>>>,
}

struct Opened {
    journal: Journal,
    /// What was there, until a rule asks for it.
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    groups: HashMap<(u64, Labels), Remembered>,
    elected: HashMap<String, String>,
}

/// A group from before a restart.
struct Remembered {
    deadline_ms: i64,
    /// By the output's name.
    totals: Vec<(String, Accumulator)>,
    counters: Vec<(u64, Counter)>,
}

impl Keeper {
    pub(crate) fn new(place: Option<(Arc<dyn Files>, PathBuf)>, clock: Arc<dyn Clock>) -> Self {
        Keeper {
            place,
            clock,
            opened: Mutex::default(),
        }
    }

    /// Reads what is there, once.
    pub(crate) fn open(&self) -> Result<(), StorageError> {
        let Some((files, path)) = &self.place else {
            return Ok(());
        };
        let mut opened = self.opened.lock();
        if opened.is_some() {
            return Ok(());
        }
        let mut found = Found::default();
        let mut damaged = 0;
        let (journal, report) = Journal::open(files.clone(), self.clock.clone(), path, FORMAT, |record| {
            damaged += u64::from(found.read(record).is_err());
        })?;
        if damaged > 0 || report.damage.is_some() {
            tracing::warn!(
                file = %path.display(),
                records = damaged,
                "Some totals of aggregation cannot be read: they begin anew"
            );
        }
        *opened = Some(Arc::new(Opened {
            journal,
            found: Mutex::new(found),
        }));
        Ok(())
    }

    fn opened(&self) -> Option<Arc<Opened>> {
        self.opened.lock().clone()
    }

    /// Lets a rule go on from before a restart.
    pub(crate) fn restore(&self, runner: &Runner, now_ms: i64) {
        let Some(opened) = self.opened() else { return };
        let mut found = opened.found.lock();
        let mut running = runner.running.lock();
        let mine = found.groups.extract_if(|(key, _), _| *key == runner.key);
        for ((_, labels), group) in mine.filter(|(_, group)| group.deadline_ms >= now_ms) {
            let place = |name: &str| {
                runner
                    .rule
                    .outputs
                    .iter()
                    .position(|output| output.suffix() == name)
            };
            let totals = group
                .totals
                .into_iter()
                .filter_map(|(name, total)| Some((place(&name)?, total)));
            let totals = totals.filter(|(place, total)| fits(&runner.rule, *place, total));
            running
                .state
                .restore(&runner.rule, &labels, group.deadline_ms, totals.collect());
            running.state.restored.extend(group.counters);
        }
    }

    /// Who was elected before a restart, where replicas are told apart.
    pub(crate) fn election(&self, config: &Config, now_ms: i64) -> Arc<Mutex<Election>> {
        let mut election = Election::default();
        if let (Some(_), Some(opened)) = (&config.replicas, self.opened()) {
            for (cluster, elected) in opened.found.lock().elected.drain() {
                election.restore(&cluster, &elected, now_ms);
            }
        }
        Arc::new(Mutex::new(election))
    }

    /// Keeps what has changed since the last time.
    pub(crate) fn keep(
        &self,
        runners: &[Arc<Runner>],
        election: &Mutex<Election>,
    ) -> Result<(), StorageError> {
        let Some(opened) = self.opened() else {
            return Ok(());
        };
        let mut records = Records::default();
        for runner in runners.iter().filter(|runner| runner.rule.has_memory()) {
            runner.running.lock().state.remembered(true, |group, counters| {
                put_group(records.entry(), runner, group, counters);
            });
        }
        for cluster in &mut election.lock().clusters {
            if std::mem::take(&mut cluster.is_changed) {
                put_elected(
                    records.entry(),
                    &cluster.name,
                    &cluster.replicas[cluster.elected as usize],
                );
            }
        }
        for record in &records.0 {
            opened
                .journal
                .write(record, |whole| put_whole(whole, runners, election))?;
        }
        Ok(())
    }
}

/// Entries, put together.
#[derive(Default)]
struct Records(Vec<Vec<u8>>);

impl Records {
    /// Where the next entry goes.
    fn entry(&mut self) -> &mut Vec<u8> {
        if self.0.last().is_none_or(|last| last.len() >= RECORD_BYTES) {
            self.0.push(Vec::new());
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

fn put_whole(whole: &mut Whole<'_>, runners: &[Arc<Runner>], election: &Mutex<Election>) {
    let mut entry = Vec::new();
    for runner in runners.iter().filter(|runner| runner.rule.has_memory()) {
        runner.running.lock().state.remembered(false, |group, counters| {
            entry.clear();
            put_group(&mut entry, runner, group, counters);
            whole.push(&entry);
        });
    }
    for cluster in &election.lock().clusters {
        entry.clear();
        put_elected(
            &mut entry,
            &cluster.name,
            &cluster.replicas[cluster.elected as usize],
        );
        whole.push(&entry);
    }
}

fn put_elected(out: &mut Vec<u8>, cluster: &str, replica: &str) {
    out.push(ELECTED);
    put_text(out, cluster);
    put_text(out, replica);
}

fn put_group(out: &mut Vec<u8>, runner: &Runner, group: &Group, counters: &[(u64, Counter)]) {
    out.push(GROUP);
    put_be64(out, runner.key);
    put_varint(out, group.deadline_ms);
    put_uvarint(out, group.labels.len() as u64);
    for (name, value) in &group.labels {
        put_text(out, name);
        put_text(out, value);
    }
    let totals = runner.rule.outputs.iter().zip(&*group.accumulators);
    let totals = totals.filter(|(output, _)| output.is_cumulative());
    put_uvarint(out, totals.clone().count() as u64);
    for (output, total) in totals {
        put_text(out, output.suffix());
        match total {
            Accumulator::Ranges(ranges) => {
                out.push(1);
                put_uvarint(out, ranges.len() as u64);
                for (range, count) in ranges.iter() {
                    put_uvarint(out, u64::from(range));
                    put_uvarint(out, count);
                }
            }
            Accumulator::Total(before, _) => {
                out.push(0);
                put_f64(out, *before);
            }
            _ => {
                out.push(0);
                put_f64(out, 0.0);
            }
        }
    }
    put_uvarint(out, counters.len() as u64);
    for (hash, counter) in counters {
        put_be64(out, *hash);
        put_f64(out, counter.value);
        put_varint(out, counter.timestamp_ms);
        put_varint(out, counter.deadline_ms);
    }
}

impl Found {
    fn read(&mut self, record: &[u8]) -> Result<(), RecordError> {
        let mut reader = Reader::new(record);
        while !reader.is_empty() {
            match reader.u8()? {
                GROUP => self.read_group(&mut reader)?,
                ELECTED => {
                    let cluster = reader.text()?.to_owned();
                    self.elected.insert(cluster, reader.text()?.to_owned());
                }
                _ => return Err(RecordError::Invalid("an entry of an unknown kind")),
            }
        }
        Ok(())
    }

    fn read_group(&mut self, reader: &mut Reader<'_>) -> Result<(), RecordError> {
        let key = reader.be64()?;
        let deadline_ms = reader.varint()?;
        let mut labels = LabelsBuilder::new();
        for _ in 0..reader.count(2)? {
            let name = reader.text()?;
            labels.set(name, reader.text()?);
        }
        let labels = labels
            .try_build()
            .map_err(|_| RecordError::Invalid("a label is too long"))?;
        let mut totals = Vec::new();
        for _ in 0..reader.count(2)? {
            let name = reader.text()?.to_owned();
            totals.push((name, read_total(reader)?));
        }
        let mut counters = Vec::new();
        for _ in 0..reader.count(18)? {
            let (hash, value) = (reader.be64()?, reader.f64()?);
            counters.push((hash, Counter::new(value, reader.varint()?, reader.varint()?)));
        }
        let group = Remembered {
            deadline_ms,
            totals,
            counters,
        };
        self.groups.insert((key, labels), group);
        Ok(())
    }
}

fn read_total(reader: &mut Reader<'_>) -> Result<Accumulator, RecordError> {
    if reader.u8()? == 0 {
        return Ok(Accumulator::Total(reader.f64()?, 0.0));
    }
    let mut ranges = Buckets::default();
    for _ in 0..reader.count(2)? {
        let range = u16::try_from(reader.uvarint()?).map_err(|_| RecordError::Invalid("no such range"))?;
        ranges.set(range, reader.uvarint()?);
    }
    Ok(Accumulator::Ranges(ranges))
}

/// A kind of total must be its output's: a damaged or foreign one must not take its place.
fn fits(rule: &Rule, place: usize, total: &Accumulator) -> bool {
    let own = rule.outputs.get(place).map(Accumulator::new);
    own.is_some_and(|own| std::mem::discriminant(&own) == std::mem::discriminant(total))
}
