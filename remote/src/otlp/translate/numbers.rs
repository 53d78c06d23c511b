//! Gauges, sums and summaries.

use std::borrow::Cow;

use model::float::format_float;

use super::super::wire::Kind;
use super::{Family, Result, Times, Translator};

impl<'b> Translator<'_, 'b> {
    pub(super) fn numbers(&mut self, family: &Family<'_, 'b>, times: &mut Times) -> Result<()> {
        let request = self.request;
        let adds_up = self.adds_up(family.metric);
        for point in &request.numbers[family.metric.points.range()] {
            let (mut point, sent) = (*point, point.head);
            if adds_up && !self.add_up(&sent, |streams, key| streams.number(key, &mut point))? {
                continue;
            }
            let head = &point.head;
            times.note(head);
            self.point_labels(family, head)?;
            let set = self.set(&family.name, None)?;
            // Compat: a point without a value counts as zero (payloads: gauge-no-value).
            self.float(family, set, head, point.value.value().unwrap_or(0.0));
            if family.metric.kind == Kind::Sum {
                self.read_exemplars(head)?;
                self.add_exemplars(set, head, |_| true);
            }
        }
        Ok(())
    }

    pub(super) fn summaries(&mut self, family: &Family<'_, 'b>, times: &mut Times) -> Result<()> {
        let request = self.request;
        let (sum, count) = (format!("{}_sum", family.name), format!("{}_count", family.name));
        for point in &request.summaries[family.metric.points.range()] {
            let head = &point.head;
            times.note(head);
            self.point_labels(family, head)?;
            let set = self.set(&sum, None)?;
            self.float(family, set, head, point.sum);
            let set = self.set(&count, None)?;
            self.float(family, set, head, point.count as f64);
            for (quantile, value) in &request.quantiles[point.quantiles.range()] {
                let quantile: Cow<'_, str> = Cow::Owned(format_float(*quantile));
                let set = self.set(&family.name, Some(("quantile", &quantile)))?;
                self.float(family, set, head, *value);
            }
        }
        Ok(())
    }
}
