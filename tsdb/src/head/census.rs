//! What is counted by visiting every series.

use super::{Head, series};

/// What is in the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Series.
    pub series: usize,
    /// Chunks, open ones included.
    pub chunks: usize,
    /// Series whose newest sample is a staleness marker.
    pub stale: usize,
    /// Series whose newest sample is a histogram.
    pub histograms: usize,
    /// Bytes of memory that series take: structs, buffers and lists, without the index.
    pub bytes: usize,
}

impl Head {
    /// Counts what is in the head; visits every series.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for (_, page) in self.pages.all() {
            let mut page = page.lock();
            census.bytes += page.bytes().0;
            page.for_each(|series| {
                census.series += 1;
                census.chunks += series.chunks();
                census.stale += usize::from(series.is_stale());
                census.histograms += usize::from(series.open() == series::Open::Histograms);
                census.bytes += series.rest_bytes();
            });
        }
        census
    }

    /// Parts of the head and the bytes of memory allocated for each; visits every series. The log's and the files' buffers
    /// are not among them.
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let (mut shared, mut used, mut rest) = (0, 0, 0);
        for (_, page) in self.pages.all() {
            let mut page = page.lock();
            let (page_bytes, page_used) = page.bytes();
            shared += page_bytes;
            used += page_used;
            page.for_each(|series| rest += series.rest_bytes());
        }
        let mut parts = vec![
            ("chunks", used),
            ("series, room behind chunks", shared - used),
            ("histograms, late samples, metadata", rest),
        ];
        parts.extend(self.index.read().memory());
        parts
    }
}
