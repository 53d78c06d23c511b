//! `info`: labels of info metrics, joined by `instance` and `job`.

use foldhash::{HashMap, HashMapExt};
use model::columns::Columns;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};

use crate::engine::{ExecutionError, QueryError};
use crate::kernels::{InstantOutput, Scratch, select_instant};
use crate::plan::{Distinct, Info, Node};
use crate::row::Row;

use super::Execution;
use super::limits::{float_row_bytes, labels_bytes};
use super::table::{SeriesRow, Table};

/// Labels by which a series finds its info series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info metric that is used where the query names none.
const TARGET_INFO: &str = "target_info";

/// An info series: at each step the time of the sample that counts there, in milliseconds.
struct InfoSeries {
    labels: Labels,
    /// Metric name and identifying labels.
    signature: Labels,
    taken_ms: Row,
}

impl Execution<'_> {
    pub(super) fn info(&self, info: &Info, node: &Node) -> Result<Table, QueryError> {
        let (input, _samples) = self.table(info.child)?;
        let located = |error: QueryError| error.located(node.spans.whole);
        let names = name_matchers(info.selector.as_deref());
        let data: Vec<&Matcher> = info
            .selector
            .iter()
            .flatten()
            .filter(|matcher| matcher.name != METRIC_NAME)
            .collect();
        // Info series themselves get no more labels.
        let plain = |series: &SeriesRow| {
            let name = series.labels.metric_name();
            names.iter().all(|matcher| matcher.matches(name))
        };
        let (mut kept, enriched): (Vec<_>, Vec<_>) = input
            .series
            .iter()
            .enumerate()
            .partition(|(_, series)| plain(series));
        let infos = self
            .info_series(info, &names, &data, &enriched)
            .map_err(located)?;
        let mut results: Vec<(usize, SeriesRow)> =
            kept.drain(..).map(|(at, series)| (at, series.clone())).collect();
        let work = Work {
            infos: &infos,
            data: &data,
            steps: node.steps.count,
        };
        work.check_conflicts(&input).map_err(located)?;
        for (at, series) in enriched {
            self.shared.limits.check()?;
            for result in work.enrich(series).map_err(located)? {
                results.push((at, result));
            }
        }
        results.sort_by_key(|(at, _)| *at);
        let mut table = Table::new(&self.shared.limits);
        for (_, series) in results {
            table.push(series.labels, series.drop_name, series.row)?;
        }
        table.make_distinct(Distinct::Merge).map_err(located)?;
        self.shared.limits.touch_samples(table.samples())?;
        Ok(table)
    }

    fn info_series(
        &self,
        info: &Info,
        names: &[Matcher],
        data: &[&Matcher],
        enriched: &[(usize, &SeriesRow)],
    ) -> Result<Vec<InfoSeries>, QueryError> {
        let mut matchers = Vec::new();
        for label in IDENTIFYING {
            let mut values: Vec<&str> = enriched
                .iter()
                .map(|(_, series)| series.labels.value(label))
                .filter(|value| !value.is_empty())
                .collect();
            values.sort_unstable();
            values.dedup();
            if values.is_empty() {
                continue;
            }
            let pattern: Vec<String> = values.into_iter().map(regex::escape).collect();
            let matcher = Matcher::new(MatchOp::Regex, label, pattern.join("|"));
            matchers.push(matcher.map_err(|error| ExecutionError::Arguments(error.to_string()))?);
        }
        if matchers.is_empty() {
            return Ok(Vec::new());
        }
        matchers.extend(data.iter().map(|matcher| (*matcher).clone()));
        matchers.extend(names.iter().cloned());
        let set = self.series(&matchers)?;
        let mut infos = Vec::new();
        let (mut columns, mut scratch, mut row) = (Columns::default(), Scratch::default(), Row::default());
        for index in 0..set.len() {
            self.shared.limits.check()?;
            set.read(index, info.range(), &mut columns)?;
            let labels = set.labels(index);
            select_instant(
                &columns,
                info.times,
                info.lookback_ms,
                InstantOutput::Value,
                &mut scratch,
                &mut row,
            );
            if !row.histograms.is_empty() {
                return Err(ExecutionError::InfoHistogram(labels).into());
            }
            self.counts.borrow_mut().add_row(info.counting, info.times, &row);
            select_instant(
                &columns,
                info.times,
                info.lookback_ms,
                InstantOutput::Timestamp,
                &mut scratch,
                &mut row,
            );
            row.values
                .iter_mut()
                .for_each(|seconds| *seconds = (*seconds * 1000.0).round());
            if !row.is_empty() {
                self.held
                    .borrow_mut()
                    .add_bytes(float_row_bytes(info.times.count) + 2 * labels_bytes(&labels))?;
                infos.push(InfoSeries {
                    signature: signature(labels.metric_name(), &labels),
                    labels,
                    taken_ms: std::mem::take(&mut row),
                });
            }
        }
        Ok(infos)
    }
}

/// The conditions on info metrics' names.
fn name_matchers(selector: Option<&[Matcher]>) -> Vec<Matcher> {
    let asked: Vec<Matcher> = selector
        .unwrap_or_default()
        .iter()
        .filter(|matcher| matcher.name == METRIC_NAME)
        .cloned()
        .collect();
    let positive = |matcher: &Matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
    if asked.iter().any(positive) {
        return asked;
    }
    if asked.is_empty() {
        return vec![Matcher::equal(METRIC_NAME, TARGET_INFO)];
    }
    // Names that are only excluded are those of info metrics all the same.
    let mut matchers: Vec<Matcher> = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info")
        .into_iter()
        .collect();
    matchers.extend(asked);
    matchers
}

/// A metric name with the identifying labels of a series.
fn signature(name: &str, labels: &Labels) -> Labels {
    let identifying = labels.iter().filter(|(label, _)| IDENTIFYING.contains(label));
    Labels::from_pairs(identifying.chain([(METRIC_NAME, name)]))
}

struct Work<'w> {
    infos: &'w [InfoSeries],
    data: &'w [&'w Matcher],
    steps: usize,
}

impl Work<'_> {
    /// Refuses two info series of one signature whose newest samples are of the same time.
    fn check_conflicts(&self, input: &Table) -> Result<(), QueryError> {
        let mut by_signature: HashMap<&Labels, Vec<&InfoSeries>> = HashMap::new();
        for info in self.infos {
            by_signature.entry(&info.signature).or_default().push(info);
        }
        let asked = |step: usize| input.series.iter().any(|series| series.row.present.get(step));
        for infos in by_signature.values().filter(|infos| infos.len() > 1) {
            for step in (0..self.steps).filter(|step| asked(*step)) {
                let mut newest: Option<(&InfoSeries, f64)> = None;
                for info in infos {
                    let Some(taken) = info.taken_ms.get(step) else {
                        continue;
                    };
                    match newest {
                        Some((existing, at)) if at == taken => {
                            return Err(ExecutionError::DuplicateInfo {
                                existing: existing.labels.clone(),
                                existing_ms: at as i64,
                                new: info.labels.clone(),
                                new_ms: taken as i64,
                            }
                            .into());
                        }
                        Some((_, at)) if at > taken => {}
                        _ => newest = Some((info, taken)),
                    }
                }
            }
        }
        Ok(())
    }

    /// The rows that a series becomes: one for each set of labels that it gets.
    fn enrich(&self, series: &SeriesRow) -> Result<Vec<SeriesRow>, QueryError> {
        let candidates = self.candidates(&series.labels);
        let mut results: Vec<SeriesRow> = Vec::new();
        let mut last: Option<(Vec<usize>, Option<usize>)> = None;
        for step in 0..self.steps {
            if !series.row.present.get(step) {
                continue;
            }
            let chosen: Vec<usize> = candidates
                .iter()
                .filter_map(|infos| self.newest(infos, step))
                .collect();
            let target = match &last {
                Some((before, target)) if *before == chosen => *target,
                _ => {
                    let target = self
                        .labels(&series.labels, &chosen)?
                        .map(|labels| self.result_row(labels, series, &mut results));
                    last = Some((chosen, target));
                    target
                }
            };
            let Some(target) = target else {
                continue;
            };
            let row = &mut results[target].row;
            match series.row.histogram(step) {
                Some(histogram) => row.push_histogram(step, histogram.clone()),
                None => row.set(step, series.row.values[step]),
            }
        }
        Ok(results)
    }

    fn result_row(&self, labels: Labels, series: &SeriesRow, results: &mut Vec<SeriesRow>) -> usize {
        if let Some(at) = results.iter().position(|result| result.labels == labels) {
            return at;
        }
        let mut row = Row::default();
        row.reset(self.steps);
        results.push(SeriesRow {
            labels,
            drop_name: series.drop_name,
            row,
        });
        results.len() - 1
    }

    /// The info series with the series' identifying labels, by metric name.
    fn candidates(&self, labels: &Labels) -> Vec<Vec<usize>> {
        let mut by_name: Vec<(&str, Vec<usize>)> = Vec::new();
        for (index, info) in self.infos.iter().enumerate() {
            let name = info.labels.metric_name();
            if info.signature != signature(name, labels) {
                continue;
            }
            match by_name.iter_mut().find(|(known, _)| *known == name) {
                Some((_, infos)) => infos.push(index),
                None => by_name.push((name, vec![index])),
            }
        }
        by_name.into_iter().map(|(_, infos)| infos).collect()
    }

    fn newest(&self, infos: &[usize], step: usize) -> Option<usize> {
        infos
            .iter()
            .filter_map(|info| Some((*info, self.infos[*info].taken_ms.get(step)?)))
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(info, _)| info)
    }

    /// The labels with those of the chosen info series; `None` where the series is dropped because it has none though
    /// the query asks for some.
    fn labels(&self, labels: &Labels, chosen: &[usize]) -> Result<Option<Labels>, QueryError> {
        if chosen.is_empty() {
            let satisfied = self.data.iter().all(|matcher| matcher.matches_empty());
            return Ok(satisfied.then(|| labels.clone()));
        }
        let mut builder = labels.to_builder();
        let mut added: HashMap<&str, &str> = HashMap::new();
        for info in chosen {
            for (name, value) in &self.infos[*info].labels {
                let wanted = self.data.is_empty() || self.data.iter().any(|matcher| matcher.name == name);
                if name == METRIC_NAME || !wanted {
                    continue;
                }
                if added.get(name).is_some_and(|known| *known != value) {
                    return Err(ExecutionError::ConflictingLabel(name.to_owned()).into());
                }
                if labels.get(name).is_none() {
                    added.insert(name, value);
                    builder.set(name, value);
                }
            }
        }
        Ok(Some(builder.build()))
    }
}
