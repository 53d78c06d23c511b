//! Start timestamps in OpenMetrics: found in the `_created` sample that follows somewhere in the family.
//!
//! Compat: which samples get one is defined by the reference's search (`openmetrics_parser_cases`, `own_bodies`). It runs ahead from a sample to the next
//! `_created` line before any metadata; that line counts if it has the sample's labels (without `le` or `quantile`)
//! and its family's name. What was found last also serves later samples with the same labels.

use std::borrow::Cow;

use model::sample::MetricType;

use crate::entry::Entry;
use crate::number;
use crate::openmetrics::OpenMetricsParser;
use crate::scan::{self, Grammar, LabelSink};

const SUFFIX: &[u8] = b"_created";

/// What is known of the start timestamps of a body.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartTimes<'a> {
    /// Identity and start timestamp of the series that one was found for last.
    found: Option<(Identity<'a>, i64)>,
    /// Result of the last search: where it ended, and the `_created` sample there. It holds for all samples before.
    ahead: Option<(usize, Option<(Identity<'a>, i64)>)>,
}

/// What a sample and its `_created` line have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity<'a> {
    family: Cow<'a, [u8]>,
    labels: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> StartTimes<'a> {
    /// Start timestamp of the sample with series text `text` of a family whose name has `family_bytes` bytes; `ahead`
    /// stands on the line after it. 0 where there is none.
    pub(crate) fn of(&mut self, text: &'a [u8], family_bytes: usize, ahead: OpenMetricsParser<'a>) -> i64 {
        let kind = ahead.kind();
        let Some(mut identity) = Identity::read(text, kind) else {
            return 0;
        };
        let Some(family) = identity.family.get(..family_bytes) else {
            return 0;
        };
        identity.family = Cow::Owned(family.to_vec());
        if let Some((found, start_ms)) = &self.found
            && *found == identity
            && *start_ms > 0
        {
            return *start_ms;
        }
        let position = ahead.position();
        let (_, created) = match self.ahead.take() {
            Some(known) if known.0 > position => self.ahead.insert(known),
            _ => self.ahead.insert(search(ahead, kind)),
        };
        match created {
            Some((found, start_ms)) if *found == identity => {
                self.found = Some((identity, *start_ms));
                *start_ms
            }
            _ => {
                self.found = None;
                0
            }
        }
    }
}

/// The next `_created` sample before anything that is not a sample, and the position after what was looked at.
fn search<'a>(mut ahead: OpenMetricsParser<'a>, kind: MetricType) -> (usize, Option<(Identity<'a>, i64)>) {
    loop {
        match ahead.next() {
            Ok(Some(Entry::Series(series))) if is_created(series.text) => {
                let created = Identity::read(series.text, kind).and_then(|mut identity| {
                    let stem = identity.family.strip_suffix(SUFFIX)?.to_vec();
                    identity.family = Cow::Owned(stem);
                    Some((identity, number::seconds_to_ms(series.value)))
                });
                return (ahead.position(), created);
            }
            Ok(Some(Entry::Series(_))) => {}
            _ => return (ahead.position(), None),
        }
    }
}

/// Whether the metric name of a series text ends with `_created`.
pub(crate) fn is_created(text: &[u8]) -> bool {
    let bare = &text[..scan::metric_name(text, 0)];
    if !bare.is_empty() {
        return bare.ends_with(SUFFIX);
    }
    Identity::read(text, MetricType::Unknown).is_some_and(|identity| identity.family.ends_with(SUFFIX))
}

impl<'a> Identity<'a> {
    /// Name (with its suffix, still) and labels of a series text.
    fn read(text: &'a [u8], kind: MetricType) -> Option<Self> {
        let left_out: &[u8] = match kind {
            MetricType::Summary => b"quantile",
            MetricType::Histogram => b"le",
            _ => b"",
        };
        let mut sink = Parts {
            left_out,
            identity: Identity {
                family: Cow::Borrowed(b""),
                labels: Vec::new(),
            },
        };
        scan::series(text, 0, Grammar::OpenMetrics, &mut sink).ok()?;
        Some(sink.identity)
    }
}

struct Parts<'a> {
    left_out: &'static [u8],
    identity: Identity<'a>,
}

impl<'a> LabelSink<'a> for Parts<'a> {
    fn metric_name(&mut self, name: &'a [u8]) {
        self.identity.family = Cow::Borrowed(name);
    }
    fn pair(&mut self, name: &'a [u8], value: &'a [u8]) {
        if name != self.left_out {
            self.identity.labels.push((name, value));
        }
    }
}
