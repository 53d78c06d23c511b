//! `count_values`: one series a value.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::float::format_float;
use model::labels::{Labels, METRIC_NAME};

use crate::annotations::Annotations;
use crate::ast::Grouping;
use crate::engine::QueryError;
use crate::exec::Execution;
use crate::exec::head::Head;
use crate::exec::limits::{Held, Limits};
use crate::exec::pipeline::{Consumer, Sink};
use crate::exec::table::Table;
use crate::plan::{Node, NodeId};
use crate::row::Row;

impl Execution<'_> {
    pub(super) fn count_values(
        &self,
        child: NodeId,
        label: &str,
        grouping: &Grouping,
        node: &Node,
    ) -> Result<Table, QueryError> {
        let limits = &self.shared.limits;
        let new = || Counting {
            label,
            grouping,
            steps: node.steps.count,
            numbers: HashMap::new(),
            counted: Vec::new(),
            held: Held::new(limits),
            last: 0,
        };
        let (counting, _samples) = self.consume(child, new)?;
        let gathered = counting.last;
        let table = counting.finish(limits)?;
        limits.touch_samples(table.samples() + gathered)?;
        Ok(table)
    }
}

struct Counting<'p> {
    label: &'p str,
    grouping: &'p Grouping,
    steps: usize,
    numbers: HashMap<Labels, usize>,
    counted: Vec<(Labels, Vec<f64>)>,
    held: Held,
    /// Rows that have a value at the last step.
    last: usize,
}

impl Counting<'_> {
    /// Labels of the series that counts `value` for rows of `head`.
    fn labels(&self, head: &Head, value: &str) -> Labels {
        let mut builder = model::labels::LabelsBuilder::new();
        for (name, value) in head.iter() {
            builder.set(name, value);
        }
        builder.set(self.label, value);
        let grouping = self.grouping;
        let named = |name: &str| {
            grouping
                .labels
                .binary_search_by(|label| label.as_str().cmp(name))
                .is_ok()
        };
        builder.retain(|name, _| match grouping.without {
            true => !named(name) && name != METRIC_NAME,
            false => named(name),
        });
        builder.build()
    }

    fn number(&mut self, labels: Labels) -> Result<usize, QueryError> {
        if let Some(number) = self.numbers.get(&labels) {
            return Ok(*number);
        }
        self.held.add_bytes(self.steps * 8 + labels.as_bytes().len())?;
        let number = self.counted.len();
        self.numbers.insert(labels.clone(), number);
        self.counted.push((labels, vec![0.0; self.steps]));
        Ok(number)
    }

    fn finish(self, limits: &Arc<Limits>) -> Result<Table, QueryError> {
        let mut table = Table::new(limits);
        for (labels, counts) in self.counted {
            limits.check()?;
            let mut row = Row::default();
            row.reset(self.steps);
            for (step, count) in counts.into_iter().enumerate() {
                if count > 0.0 {
                    row.set(step, count);
                }
            }
            table.push(labels, false, row)?;
        }
        Ok(table)
    }
}

impl Sink for Counting<'_> {
    fn take(&mut self, head: Head, row: &mut Row, _: &mut Annotations) -> Result<(), QueryError> {
        self.last += usize::from(row.has_last());
        for (step, histogram) in row.histograms.drain(..) {
            row.present.unset(step as usize);
            let labels = self.labels(&head, &histogram.to_string());
            let number = self.number(labels)?;
            self.counted[number].1[step as usize] += 1.0;
        }
        // Values repeat from step to step.
        let mut seen: HashMap<u64, usize> = HashMap::new();
        let mut failed = Ok(());
        row.present.for_each_set(|step| {
            if failed.is_err() {
                return;
            }
            let value = row.values[step];
            let number = match seen.get(&value.to_bits()) {
                Some(number) => *number,
                None => {
                    let labels = self.labels(&head, &format_float(value));
                    match self.number(labels) {
                        Ok(number) => {
                            seen.insert(value.to_bits(), number);
                            number
                        }
                        Err(error) => {
                            failed = Err(error);
                            return;
                        }
                    }
                }
            };
            self.counted[number].1[step] += 1.0;
        });
        failed
    }
}

impl Consumer for Counting<'_> {
    fn merge(&mut self, later: Self, _: &mut Annotations) -> Result<(), QueryError> {
        self.last += later.last;
        for (index, (labels, counts)) in later.counted.into_iter().enumerate() {
            self.held.limits().check_now_and_then(index)?;
            let number = self.number(labels)?;
            let mine = &mut self.counted[number].1;
            mine.iter_mut().zip(counts).for_each(|(a, b)| *a += b);
        }
        Ok(())
    }
}
