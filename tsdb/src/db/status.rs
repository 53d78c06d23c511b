//! What a store tells about itself: the numbers of `/api/v1/status/tsdb`.

use std::cmp::Reverse;

use super::Db;

/// A name with a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What is counted.
    pub name: String,
    /// How many, or how many bytes.
    pub value: u64,
}

/// The head in numbers; lists are cut to the asked length, largest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadStatus {
    /// Series.
    pub series: u64,
    /// Distinct label pairs.
    pub label_pairs: u64,
    /// Chunks.
    pub chunks: u64,
    /// First timestamp in milliseconds; `i64::MAX` while the head is empty.
    pub min_ms: i64,
    /// Last timestamp in milliseconds; `i64::MIN` while the head is empty.
    pub max_ms: i64,
    /// Series by value of the asked label (`__name__` in the HTTP API).
    pub series_by_value: Vec<Stat>,
    /// Distinct values by label name.
    pub values_by_name: Vec<Stat>,
    /// Bytes by label name.
    pub bytes_by_name: Vec<Stat>,
    /// Series by label pair, as `name=value`.
    pub series_by_pair: Vec<Stat>,
}

/// The largest of what is pushed.
struct Largest {
    limit: usize,
    stats: Vec<Stat>,
}

impl Largest {
    fn new(limit: usize) -> Self {
        Largest {
            limit,
            stats: Vec::new(),
        }
    }

    fn push(&mut self, value: u64, name: impl FnOnce() -> String) {
        // Cut now and then: millions of pairs must not all be copied.
        let full = self.stats.len() >= self.limit * 2 + 64;
        if full {
            self.cut();
        }
        if self.stats.len() >= self.limit
            && self.limit > 0
            && full
            && self.stats[self.limit - 1].value >= value
        {
            return;
        }
        self.stats.push(Stat { name: name(), value });
    }

    fn cut(&mut self) {
        self.stats
            .sort_by(|a, b| (Reverse(a.value), &a.name).cmp(&(Reverse(b.value), &b.name)));
        self.stats.truncate(self.limit);
    }

    fn finish(mut self) -> Vec<Stat> {
        self.cut();
        self.stats
    }
}

impl Db {
    /// The head in numbers; `label` chooses whose values are counted.
    pub fn head_status(&self, label: &str, limit: usize) -> HeadStatus {
        let head = self.head();
        let mut by_value = Largest::new(limit);
        let mut by_pair = Largest::new(limit);
        head.for_each_pair(|name, value, series| {
            if name == label {
                by_value.push(series, || value.to_owned());
            }
            by_pair.push(series, || format!("{name}={value}"));
        });
        let (mut values, mut bytes) = (Largest::new(limit), Largest::new(limit));
        for (name, count, size) in head.name_stats() {
            values.push(count, || name.clone());
            bytes.push(size, || name);
        }
        HeadStatus {
            series: head.series_len() as u64,
            label_pairs: head.pairs_len() as u64,
            chunks: head.census().chunks as u64,
            min_ms: head.min_ms(),
            max_ms: head.max_ms(),
            series_by_value: by_value.finish(),
            values_by_name: values.finish(),
            bytes_by_name: bytes.finish(),
            series_by_pair: by_pair.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_in_order() {
        let mut largest = Largest::new(3);
        for i in 0..1000u64 {
            largest.push(i * 7 % 1000, || format!("{i}"));
        }
        let values: Vec<u64> = largest.finish().into_iter().map(|s| s.value).collect();
        assert_eq!(values, [999, 998, 997]);
    }
}
