//! Histograms with explicit bounds, as classic ones: a series a bucket.

use std::cmp::Ordering;

use model::float::format_float;

use super::super::wire::Head;
use super::{Family, Result, Times, Translator};

/// A point, be it as it came or added up.
pub(super) struct Point<'p> {
    pub(super) head: Head,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) counts: &'p [u64],
    pub(super) bounds: &'p [f64],
}

impl<'b> Translator<'_, 'b> {
    pub(super) fn classic_histograms(&mut self, family: &Family<'_, 'b>, times: &mut Times) -> Result<()> {
        let names = Names {
            sum: format!("{}_sum", family.name),
            count: format!("{}_count", family.name),
            bucket: format!("{}_bucket", family.name),
        };
        self.each_histogram(family, times, |translator, point| {
            translator.classic_histogram(family, &names, point)
        })
    }

    /// Calls `take` for each point that is to be stored.
    pub(super) fn each_histogram(
        &mut self,
        family: &Family<'_, 'b>,
        times: &mut Times,
        mut take: impl FnMut(&mut Self, &Point<'_>) -> Result<()>,
    ) -> Result<()> {
        let request = self.request;
        let adds_up = self.adds_up(family.metric);
        let mut sums = Vec::new();
        for point in &request.histograms[family.metric.points.range()] {
            let bounds = &request.bounds[point.bounds.range()];
            let mut added = Point {
                head: point.head,
                count: point.count,
                sum: point.sum,
                counts: &request.counts[point.counts.range()],
                bounds,
            };
            if adds_up {
                sums.clear();
                sums.extend_from_slice(added.counts);
                let taken = self.add_up(&point.head, |streams, key| {
                    streams.histogram(
                        key,
                        &mut added.head,
                        &mut added.count,
                        &mut added.sum,
                        &mut sums,
                        bounds,
                    )
                })?;
                if !taken {
                    continue;
                }
                added.counts = &sums;
            }
            times.note(&added.head);
            take(self, &added)?;
        }
        Ok(())
    }

    fn classic_histogram(&mut self, family: &Family<'_, 'b>, names: &Names, point: &Point<'_>) -> Result<()> {
        let head = &point.head;
        self.point_labels(family, head)?;
        if let Some(sum) = point.sum {
            let set = self.set(&names.sum, None)?;
            self.float(family, set, head, sum);
        }
        let set = self.set(&names.count, None)?;
        self.float(family, set, head, point.count as f64);
        self.read_exemplars(head)?;
        let mut below = 0_u64;
        for (bound, count) in point.bounds.iter().zip(point.counts) {
            below = below.wrapping_add(*count);
            // Compat: whole bounds have no decimals (payloads: histogram).
            let text = format_float(*bound);
            let set = self.set(&names.bucket, Some(("le", &text)))?;
            self.float(family, set, head, below as f64);
            // A NaN belongs to whichever bucket is next.
            self.add_exemplars(set, head, |value| {
                value.partial_cmp(bound) != Some(Ordering::Greater)
            });
        }
        // Compat: all observations, whatever the buckets say (payloads: histogram-count-mismatch).
        let set = self.set(&names.bucket, Some(("le", "+Inf")))?;
        self.float(family, set, head, point.count as f64);
        self.add_exemplars(set, head, |_| true);
        Ok(())
    }
}

/// Names of a classic histogram's series.
struct Names {
    sum: String,
    count: String,
    bucket: String,
}
