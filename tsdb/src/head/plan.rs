//! The order in which a transaction visits its series.

use model::storage::SeriesRef;

use super::admission::Verdict;
use super::pages::{PageSet, Pages};
use super::series::Series;

/// Where the samples of one list go.
#[derive(Default)]
pub(crate) struct Plan {
    /// Page of each sample.
    pub(crate) places: Vec<u32>,
    /// Samples in the order in which they are visited.
    pub(crate) order: Vec<u32>,
    /// What was found out about each sample.
    pub(crate) verdicts: Vec<Verdict>,
}

impl Plan {
    /// Finds the page of each sample and the order that visits each page once; references without a page go to
    /// `unknown`.
    pub(crate) fn locate(
        &mut self,
        all: &Pages,
        pages: &mut PageSet,
        references: impl ExactSizeIterator<Item = u64>,
        unknown: &mut Vec<SeriesRef>,
    ) {
        self.places.clear();
        self.order.clear();
        self.verdicts.clear();
        let len = references.len();
        let (mut switches, mut last) = (0, u32::MAX);
        for reference in references {
            let place = pages.place(all, reference).unwrap_or_else(|| {
                unknown.push(SeriesRef(reference));
                0
            });
            switches += usize::from(place != last);
            last = place;
            self.places.push(place);
        }
        self.order.extend(0..len as u32);
        self.verdicts.resize(len, Verdict::Refused);
        // References of one source come in runs; where they do not, sorting costs less than a lock for each.
        if switches > 8 + len / 8 {
            let places = &self.places;
            self.order.sort_unstable_by_key(|i| (places[*i as usize], *i));
        }
    }

    /// Visits every sample with its series (`None` where there is no such series) under its page's lock.
    pub(crate) fn visit(
        order: &[u32],
        places: &[u32],
        pages: &PageSet,
        reference: impl Fn(usize) -> u64,
        mut each: impl FnMut(usize, Option<Series<'_>>),
    ) {
        let mut rest = order;
        while let Some(first) = rest.first() {
            let place = places[*first as usize];
            let run = rest.iter().take_while(|i| places[**i as usize] == place).count();
            let mut page = pages.page(place).lock();
            for i in &rest[..run] {
                let i = *i as usize;
                each(i, page.get(reference(i)));
            }
            rest = &rest[run..];
        }
    }
}
