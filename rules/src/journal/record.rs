//! Records of the alert journal. Layout: `rules/docs/alert-journal.md`.

use std::collections::HashMap;

use files::codec::{Reader, RecordError, put_f64, put_text, put_uvarint, put_varint};
use model::labels::Labels;

use crate::state::{ActiveAlert, AlertBook, AlertState, Unknown};

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
/// Times of an alert, in the order in which they are written.
const TIMES: usize = 5;
/// Behind the flags of its times: that it is, or was, unknown is told.
const UNKNOWN: u8 = 1 << TIMES;

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
    let told = if alert.unknown.is_some() { UNKNOWN } else { 0 };
    put_times(out, told, &times);
    if let Some(unknown) = &alert.unknown {
        put_text(out, &unknown.because);
        put_varint(out, unknown.since_ns);
        put_times(out, 0, &[unknown.ended_at_ns, unknown.last_sent_at_ns]);
    }
}

/// Flags, with one for each time that there is, and the times.
fn put_times(out: &mut Vec<u8>, flags: u8, times: &[Option<i64>]) {
    let known = times.iter().enumerate().filter(|(_, time)| time.is_some());
    out.push(known.fold(flags, |flags, (index, _)| flags | 1 << index));
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
    let times = read_times::<TIMES>(reader, flags)?;
    let unknown = match flags & UNKNOWN != 0 {
        true => Some(Box::new(read_unknown(reader)?)),
        false => None,
    };
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
        unknown,
        is_restored: true,
    })
}

/// The times that `flags` says are there.
fn read_times<const N: usize>(reader: &mut Reader<'_>, flags: u8) -> Result<[Option<i64>; N], RecordError> {
    let mut times = [None; N];
    for (index, time) in times.iter_mut().enumerate() {
        if flags & 1 << index != 0 {
            *time = Some(reader.varint()?);
        }
    }
    Ok(times)
}

fn read_unknown(reader: &mut Reader<'_>) -> Result<Unknown, RecordError> {
    let because = reader.text()?.into();
    let since_ns = reader.varint()?;
    let flags = reader.u8()?;
    let [ended_at_ns, last_sent_at_ns] = read_times(reader, flags)?;
    Ok(Unknown {
        because,
        since_ns,
        ended_at_ns,
        last_sent_at_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(state: AlertState) -> ActiveAlert {
        ActiveAlert {
            annotations: Labels::from_sorted([("empty", ""), ("summary", "so it is")]),
            state,
            value: 1.5,
            active_at_ns: 1_700_000_000_000_000_001,
            fired_at_ns: Some(2),
            resolved_at_ns: None,
            last_sent_at_ns: Some(-3),
            keep_firing_since_ns: Some(i64::MAX),
            missing_since_ns: None,
            unknown: Some(Box::new(Unknown {
                because: "nobody looks".into(),
                since_ns: 5,
                ended_at_ns: None,
                last_sent_at_ns: Some(6),
            })),
            is_restored: true,
        }
    }

    fn labels(job: &str) -> Labels {
        Labels::from_pairs([("alertname", "A"), ("job", job)])
    }

    fn key() -> RuleKey {
        RuleKey {
            file: "rules.yml".to_owned(),
            group: "g".to_owned(),
            name: "A".to_owned(),
            labels: Labels::from_sorted([("empty", ""), ("severity", "page")]),
            ordinal: 1,
        }
    }

    /// Records of two alerts, of one that is gone, and of rules that are.
    fn records() -> Vec<Vec<u8>> {
        let key = key();
        let mut alerts = AlertBook::default();
        alerts.insert(labels("a"), alert(AlertState::Firing));
        alerts.insert(labels("b"), alert(AlertState::Pending));
        let record = |changes_only, sent, alerts: &AlertBook| {
            let mut out = Vec::new();
            let record = AlertsRecord {
                rule: key.name(),
                at_ns: 77,
                alerts,
                changes_only,
                sent,
            };
            record.write(&mut out);
            out
        };
        let whole = record(false, None, &alerts);
        // A step that sees nobody: the pending one is gone.
        let timing = crate::state::Timing::default();
        alerts.step(i64::MAX, Vec::new(), &timing, 0).expect("no limit");
        let sent = Sending {
            at_ns: 100,
            resend_ns: 60,
        };
        let changes = record(true, Some(sent), &alerts);
        let (mut gone, mut stopped) = (Vec::new(), Vec::new());
        write_gone(&mut gone, std::slice::from_ref(&key));
        write_stopped(&mut stopped);
        vec![whole, changes, gone, stopped]
    }

    #[test]
    fn what_is_written_is_read() {
        let records = records();
        let mut saved = Saved::default();
        for _ in 0..2 {
            // Twice: what is told again changes nothing.
            saved.apply(&records[0]).expect("whole");
            let rule = &saved.rules[&key()];
            assert_eq!((rule.at_ns, rule.alerts.len()), (77, 2));
            assert_eq!(rule.alerts.get(&labels("a")), Some(&alert(AlertState::Firing)));
        }
        saved.apply(&records[1]).expect("changes");
        let rule = &saved.rules[&key()];
        assert_eq!(rule.alerts.len(), 1);
        let resolved = rule.alerts.get(&labels("a")).expect("is sent again for a while");
        assert_eq!(
            (resolved.state, resolved.last_sent_at_ns),
            (AlertState::Inactive, Some(100))
        );
        saved.apply(&records[3]).expect("stopped");
        assert!(saved.is_stopped);
        saved.apply(&records[2]).expect("gone");
        assert!(saved.rules.is_empty() && !saved.is_stopped);
    }

    #[test]
    fn no_bytes_panic() {
        for record in records() {
            for len in 0..record.len() {
                assert!(Saved::default().apply(&record[..len]).is_err(), "cut at {len}");
            }
            for at in 0..record.len() {
                for mask in [0x01, 0x80, 0xff] {
                    let mut record = record.clone();
                    record[at] ^= mask;
                    // Read or refused.
                    let _ = Saved::default().apply(&record);
                }
            }
        }
    }
}
