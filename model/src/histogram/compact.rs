//! Compaction, and coarser schemas for stored histograms.

use super::iter::Indexed;
use super::layout::{Layout, absolute, coarser, deltas};
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, IntHistogram, Span};

/// Why a histogram cannot be brought to another schema.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReduceError {
    /// Custom bounds have no schema.
    #[error("cannot reduce resolution when there are custom buckets")]
    CustomBuckets,
    /// The target is no exponential schema.
    #[error("cannot reduce resolution to custom buckets schema")]
    ToCustomBuckets,
    /// The target is not coarser.
    #[error("cannot reduce resolution from schema {from} to {to}")]
    NotCoarser {
        /// Schema of the histogram.
        from: i32,
        /// Schema asked for.
        to: i32,
    },
    /// Spans and buckets contradict each other.
    #[error(transparent)]
    Invalid(#[from] super::SideFault),
}

fn check(from: i32, to: i32) -> Result<(), ReduceError> {
    if from == CUSTOM_BUCKETS_SCHEMA {
        return Err(ReduceError::CustomBuckets);
    }
    if to == CUSTOM_BUCKETS_SCHEMA {
        return Err(ReduceError::ToCustomBuckets);
    }
    if to >= from {
        return Err(ReduceError::NotCoarser { from, to });
    }
    Ok(())
}

impl FloatHistogram {
    /// Drops empty buckets, except where at most `max_empty` of them lie between two others in one span; joins spans
    /// that are no further apart.
    pub fn compact(&mut self, max_empty: usize) {
        for (spans, buckets) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            if !is_compact(spans, buckets, max_empty) {
                let compacted = Layout::compacted(Indexed::new(spans, buckets), max_empty);
                (*spans, *buckets) = (compacted.spans, compacted.buckets);
            }
        }
    }

    /// Brings the histogram to a coarser exponential schema.
    ///
    /// # Errors
    /// When the histogram or the target has custom bounds, the target is not coarser, or the spans are broken.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<(), ReduceError> {
        check(self.schema, schema)?;
        super::validate::check_spans(&self.positive_spans, self.positive_buckets.len())?;
        super::validate::check_spans(&self.negative_spans, self.negative_buckets.len())?;
        self.coarsen(schema);
        Ok(())
    }
}

impl IntHistogram {
    /// See [`FloatHistogram::compact`].
    pub fn compact(&mut self, max_empty: usize) {
        for (spans, buckets) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let counts = absolute(buckets);
            if !is_compact(spans, &counts, max_empty) {
                let compacted = Layout::compacted(Indexed::new(spans, &counts), max_empty);
                (*spans, *buckets) = (compacted.spans, deltas(&compacted.buckets));
            }
        }
    }

    /// Brings the histogram to a coarser exponential schema.
    ///
    /// # Errors
    /// When the histogram or the target has custom bounds, the target is not coarser, or the spans are broken.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<(), ReduceError> {
        check(self.schema, schema)?;
        super::validate::check_spans(&self.positive_spans, self.positive_buckets.len())?;
        super::validate::check_spans(&self.negative_spans, self.negative_buckets.len())?;
        for (spans, buckets) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let counts = absolute(buckets);
            let reduced = Layout::collect(coarser(Indexed::new(spans, &counts), self.schema, schema));
            (*spans, *buckets) = (reduced.spans, deltas(&reduced.buckets));
        }
        self.schema = schema;
        Ok(())
    }
}

/// Whether compaction would change nothing: no empty bucket, and no span that is empty or close to the one before.
fn is_compact<C: PartialEq + Default>(spans: &[Span], buckets: &[C], max_empty: usize) -> bool {
    let apart = |span: &Span| usize::try_from(span.offset).is_ok_and(|offset| offset > max_empty);
    buckets.iter().all(|bucket| *bucket != C::default())
        && spans.iter().all(|span| span.length > 0)
        && spans.iter().skip(1).all(apart)
}
