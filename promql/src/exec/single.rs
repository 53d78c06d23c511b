//! `scalar(vector)`.

use crate::annotations::Annotations;
use crate::engine::QueryError;
use crate::plan::NodeId;
use crate::row::Row;

use super::Execution;
use super::head::Head;
use super::pipeline::{Consumer, Sink};

impl Execution<'_> {
    /// `scalar(vector)` at every step: the value of the only float, NaN where there is none or more than one.
    pub(super) fn single_values(&self, id: NodeId) -> Result<Vec<f64>, QueryError> {
        let count = self.plan.node(id).steps.count;
        self.check_steps(self.plan.node(id).steps)?;
        let (single, _held) = self.consume(id, || Single::new(count))?;
        Ok(single.finish())
    }
}

/// Looks for the only float of each step.
struct Single {
    values: Vec<f64>,
    /// Floats seen, at most 2.
    seen: Vec<u8>,
}

impl Single {
    fn new(steps: usize) -> Self {
        Single {
            values: vec![f64::NAN; steps],
            seen: vec![0; steps],
        }
    }

    fn add(&mut self, step: usize, value: f64, times: u8) {
        self.seen[step] = (self.seen[step] + times).min(2);
        self.values[step] = value;
    }

    fn finish(mut self) -> Vec<f64> {
        for (value, seen) in self.values.iter_mut().zip(&self.seen) {
            if *seen != 1 {
                *value = f64::NAN;
            }
        }
        self.values
    }
}

impl Sink for Single {
    fn take(&mut self, _: Head, row: &mut Row, _: &mut Annotations) -> Result<(), QueryError> {
        for step in 0..self.values.len() {
            if row.present.get(step) && row.histogram(step).is_none() {
                self.add(step, row.values[step], 1);
            }
        }
        Ok(())
    }
}

impl Consumer for Single {
    fn merge(&mut self, later: Self, _: &mut Annotations) -> Result<(), QueryError> {
        for (step, (value, seen)) in later.values.iter().zip(&later.seen).enumerate() {
            if *seen > 0 {
                self.add(step, *value, *seen);
            }
        }
        Ok(())
    }
}
