//! Records of the alert journal. Layout: `rules/docs/alert-journal.md`.

use std::collections::HashMap;

use files::codec::{Reader, RecordError, put_f64, put_text, put_uvarint, put_varint};
use model::labels::Labels;

use crate::state::{ActiveAlert, AlertBook, AlertState};

/// What a record tells; its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Alerts = 1,
    Gone = 2,
    Stopped = 3,
}

/// In a record of alerts: they are all that the rule has.
const ALL: u8 = 1;
/// In a record of alerts: those that were due were sent.
const SENT: u8 = 2;
/// Bytes that a label set or an alert takes at least.
const LABELS_BYTES_MIN: usize = 1;
/// Its times, in the order in which they are written.
const TIMES: usize = 5;

/// Which rule something is about, over reloads and restarts: as a reload pairs rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuleKey {
    pub(crate) file: String,
    pub(crate) group: String,
    pub(crate) name: String,
    /// As written.
    pub(crate) labels: Labels,
    /// The how manieth of the group's rules with this name and these labels it is, from 0.
    pub(crate) ordinal: u32,
}

/// The same, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuleName<'a> {
    pub(crate) file: &'a str,
    pub(crate) group: &'a str,
    pub(crate) name: &'a str,
    pub(crate) labels: &'a Labels,
    pub(crate) ordinal: u32,
}

impl RuleKey {
    pub(crate) fn name(&self) -> RuleName<'_> {
        RuleName {
            file: &self.file,
            group: &self.group,
            name: &self.name,
            labels: &self.labels,
            ordinal: self.ordinal,
        }
    }
}

impl RuleName<'_> {
    pub(crate) fn to_key(self) -> RuleKey {
        RuleKey {
            file: self.file.to_owned(),
            group: self.group.to_owned(),
            name: self.name.to_owned(),
            labels: self.labels.clone(),
            ordinal: self.ordinal,
        }
    }
}

/// When a rule's alerts were sent that were due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    pub(crate) at_ns: i64,
    pub(crate) resend_ns: i64,
}

/// How a rule's alerts are.
pub(crate) struct AlertsRecord<'a> {
    pub(crate) rule: RuleName<'a>,
    /// The evaluation that they are from.
    pub(crate) at_ns: i64,
    pub(crate) alerts: &'a AlertBook,
    /// Only the alerts that the last step changed are told, not all.
    pub(crate) changes_only: bool,
    pub(crate) sent: Option<Sending>,
}

impl AlertsRecord<'_> {
    /// Appends it to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(Kind::Alerts as u8);
        put_name(out, self.rule);
        let all = if self.changes_only { 0 } else { ALL };
        let sent = if self.sent.is_some() { SENT } else { 0 };
        out.push(all | sent);
        put_varint(out, self.at_ns);
        if let Some(sent) = self.sent {
            put_varint(out, sent.at_ns);
            put_varint(out, sent.resend_ns);
        }
        let alerts = self.alerts;
        if self.changes_only {
            let (known, gone): (Vec<_>, Vec<_>) = alerts
                .changed()
                .iter()
                .map(|labels| (labels, alerts.get(labels)))
                .partition(|(_, alert)| alert.is_some());
            put_alerts(
                out,
                known.len(),
                known
                    .into_iter()
                    .filter_map(|(labels, alert)| Some((labels, alert?))),
            );
            put_uvarint(out, gone.len() as u64);
            gone.iter().for_each(|(labels, _)| put_labels(out, labels));
        } else {
            put_alerts(out, alerts.len(), alerts.iter());
            put_uvarint(out, 0);
        }
    }
}

/// Appends that rules are gone.
pub(crate) fn write_gone(out: &mut Vec<u8>, keys: &[RuleKey]) {
    out.push(Kind::Gone as u8);
    put_uvarint(out, keys.len() as u64);
    keys.iter().for_each(|key| put_name(out, key.name()));
}

/// Appends that everything was sent and nothing evaluates any more.
pub(crate) fn write_stopped(out: &mut Vec<u8>) {
    out.push(Kind::Stopped as u8);
}

/// A rule's alerts as records tell them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SavedRule {
    pub(crate) alerts: AlertBook,
    /// The last evaluation that is known.
    pub(crate) at_ns: i64,
}

/// What a journal's records add up to.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) rules: HashMap<RuleKey, SavedRule>,
    /// The last record says that everything was sent.
    pub(crate) is_stopped: bool,
}

impl Saved {
    /// Takes a record in.
    ///
    /// # Errors
    /// When it is none; what it says may have been taken in by half.
    pub(crate) fn apply(&mut self, record: &[u8]) -> Result<(), RecordError> {
        let mut reader = Reader::new(record);
        let kind = reader.u8()?;
        self.is_stopped = kind == Kind::Stopped as u8;
        if kind == Kind::Alerts as u8 {
            self.apply_alerts(&mut reader)?;
        } else if kind == Kind::Gone as u8 {
            for _ in 0..reader.count(LABELS_BYTES_MIN)? {
                self.rules.remove(&read_key(&mut reader)?);
            }
        } else if kind != Kind::Stopped as u8 {
            return Err(RecordError::Invalid("a record of an unknown kind"));
        }
        match reader.is_empty() {
            true => Ok(()),
            false => Err(RecordError::Invalid("bytes behind a record")),
        }
    }

    fn apply_alerts(&mut self, reader: &mut Reader<'_>) -> Result<(), RecordError> {
        let rule = self.rules.entry(read_key(reader)?).or_default();
        let flags = reader.u8()?;
        rule.at_ns = reader.varint()?;
        let sent = match flags & SENT != 0 {
            true => Some(Sending {
                at_ns: reader.varint()?,
                resend_ns: reader.varint()?,
            }),
            false => None,
        };
        if flags & ALL != 0 {
            rule.alerts = AlertBook::default();
        }
        for _ in 0..reader.count(LABELS_BYTES_MIN)? {
            let labels = read_labels(reader)?;
            rule.alerts.insert(labels, read_alert(reader)?);
        }
        for _ in 0..reader.count(LABELS_BYTES_MIN)? {
            rule.alerts.remove(&read_labels(reader)?);
        }
        if let Some(Sending { at_ns, resend_ns }) = sent {
            rule.alerts.note_sent(at_ns, resend_ns).for_each(drop);
        }
        Ok(())
    }
}

fn put_name(out: &mut Vec<u8>, key: RuleName<'_>) {
    put_text(out, key.file);
    put_text(out, key.group);
    put_text(out, key.name);
    put_labels(out, key.labels);
    put_uvarint(out, key.ordinal.into());
}

fn read_key(reader: &mut Reader<'_>) -> Result<RuleKey, RecordError> {
    Ok(RuleKey {
        file: reader.text()?.to_owned(),
        group: reader.text()?.to_owned(),
        name: reader.text()?.to_owned(),
        labels: read_labels(reader)?,
        ordinal: u32::try_from(reader.uvarint()?)
            .map_err(|_| RecordError::Invalid("a number out of range"))?,
    })
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_uvarint(out, labels.len() as u64);
    for (name, value) in labels {
        put_text(out, name);
        put_text(out, value);
    }
}

fn read_labels(reader: &mut Reader<'_>) -> Result<Labels, RecordError> {
    let mut pairs = Vec::new();
    for _ in 0..reader.count(2)? {
        let pair = (reader.text()?, reader.text()?);
        if pairs.last().is_some_and(|(before, _)| *before >= pair.0) {
            return Err(RecordError::Invalid("labels out of order"));
        }
        if model::labels::LabelTooLong::check(pair.0, pair.1).is_err() {
            return Err(RecordError::Invalid("a label is longer than any can be"));
        }
        pairs.push(pair);
    }
    // Annotations and labels of rules, as written, may have empty values.
    Ok(Labels::from_sorted(pairs))
}

fn put_alerts<'a>(
    out: &mut Vec<u8>,
    count: usize,
    alerts: impl Iterator<Item = (&'a Labels, &'a ActiveAlert)>,
) {
    put_uvarint(out, count as u64);
    for (labels, alert) in alerts {
        put_labels(out, labels);
        put_alert(out, alert);
    }
}

fn put_alert(out: &mut Vec<u8>, alert: &ActiveAlert) {
    put_labels(out, &alert.annotations);
    out.push(alert.state as u8);
    put_f64(out, alert.value);
    put_varint(out, alert.active_at_ns);
    let times: [Option<i64>; TIMES] = [
        alert.fired_at_ns,
        alert.resolved_at_ns,
        alert.last_sent_at_ns,
        alert.keep_firing_since_ns,
        alert.missing_since_ns,
    ];
    let known = times.iter().enumerate().filter(|(_, time)| time.is_some());
    out.push(known.fold(0, |flags, (index, _)| flags | 1 << index));
    times.iter().flatten().for_each(|time| put_varint(out, *time));
}

fn read_alert(reader: &mut Reader<'_>) -> Result<ActiveAlert, RecordError> {
    let annotations = read_labels(reader)?;
    let state = reader.u8()?;
    let known = [AlertState::Inactive, AlertState::Pending, AlertState::Firing];
    let state = known.into_iter().find(|known| *known as u8 == state);
    let state = state.ok_or(RecordError::Invalid("an alert in an unknown state"))?;
    let value = reader.f64()?;
    let active_at_ns = reader.varint()?;
    let flags = reader.u8()?;
    let mut times = [None; TIMES];
    for (index, time) in times.iter_mut().enumerate() {
        if flags & 1 << index != 0 {
            *time = Some(reader.varint()?);
        }
    }
    let [
        fired_at_ns,
        resolved_at_ns,
        last_sent_at_ns,
        keep_firing_since_ns,
        missing_since_ns,
    ] = times;
    Ok(ActiveAlert {
        annotations,
        state,
        value,
        active_at_ns,
        fired_at_ns,
        resolved_at_ns,
        last_sent_at_ns,
        keep_firing_since_ns,
        missing_since_ns,
        is_restored: true,
    })
}
