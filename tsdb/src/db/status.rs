//! What a store tells about itself: the numbers of `/api/v1/status/tsdb`.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;

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

/// What labels cost, from an index alone: no label set is read. Lists are cut to the asked length, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Distinct label pairs.
    pub label_pairs: u64,
    /// Series by value of the asked label.
    pub series_by_value: Vec<Stat>,
    /// Distinct values by label name.
    pub values_by_name: Vec<Stat>,
    /// Bytes that labels of a name take in all series, by label name.
    pub bytes_by_name: Vec<Stat>,
    /// Series by label pair, as `name=value`.
    pub series_by_pair: Vec<Stat>,
}

/// Counts the pairs of an index.
#[derive(Debug)]
pub struct PairCounter {
    label: String,
    limit: usize,
    pairs: u64,
    /// Values and bytes by name.
    names: HashMap<String, (u64, u64), RandomState>,
    by_value: Largest,
    by_pair: Largest,
}

impl PairCounter {
    /// For lists of at most `limit`; the values of `label` have a list of their own.
    pub fn new(label: &str, limit: usize) -> Self {
        PairCounter {
            label: label.to_owned(),
            limit,
            pairs: 0,
            names: HashMap::default(),
            by_value: Largest::new(limit),
            by_pair: Largest::new(limit),
        }
    }

    /// Adds a pair that so many series carry.
    pub fn add(&mut self, name: &str, value: &str, series: u64) {
        self.pairs += 1;
        let bytes = (packed_len(name) + packed_len(value)) * series;
        match self.names.get_mut(name) {
            Some(counts) => {
                counts.0 += 1;
                counts.1 += bytes;
            }
            None => drop(self.names.insert(name.to_owned(), (1, bytes))),
        }
        if name == self.label {
            self.by_value.push(series, || value.to_owned());
        }
        self.by_pair.push(series, || format!("{name}={value}"));
    }

    /// All counted.
    pub fn finish(self) -> Cardinality {
        let (mut values, mut bytes) = (Largest::new(self.limit), Largest::new(self.limit));
        for (name, (count, size)) in self.names {
            values.push(count, || name.clone());
            bytes.push(size, || name);
        }
        Cardinality {
            label_pairs: self.pairs,
            series_by_value: self.by_value.finish(),
            values_by_name: values.finish(),
            bytes_by_name: bytes.finish(),
            series_by_pair: self.by_pair.finish(),
        }
    }
}

/// Bytes of a text in a packed label set.
fn packed_len(text: &str) -> u64 {
    (text.len() + if text.len() < 255 { 1 } else { 4 }) as u64
}

/// The largest of what is pushed.
#[derive(Debug)]
struct Largest {
    limit: usize,
    stats: Vec<Stat>,
    /// Smaller ones cannot be among the largest any more.
    least: u64,
}

impl Largest {
    fn new(limit: usize) -> Self {
        Largest {
            limit,
            stats: Vec::new(),
            least: 0,
        }
    }

    /// Of millions of pairs hardly one has its name made.
    fn push(&mut self, value: u64, name: impl FnOnce() -> String) {
        if value < self.least || self.limit == 0 {
            return;
        }
        self.stats.push(Stat { name: name(), value });
        if self.stats.len() >= self.limit * 2 + 64 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.stats
            .sort_by(|a, b| (Reverse(a.value), &a.name).cmp(&(Reverse(b.value), &b.name)));
        self.stats.truncate(self.limit);
        if self.stats.len() == self.limit {
            self.least = self.stats.last().map_or(0, |stat| stat.value);
        }
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
        let counted = head.cardinality(label, limit);
        HeadStatus {
            series: head.series_len() as u64,
            label_pairs: counted.label_pairs,
            chunks: head.census().chunks as u64,
            min_ms: head.min_ms(),
            max_ms: head.max_ms(),
            series_by_value: counted.series_by_value,
            values_by_name: counted.values_by_name,
            bytes_by_name: counted.bytes_by_name,
            series_by_pair: counted.series_by_pair,
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

    #[test]
    fn pairs_are_counted_by_name_and_by_value() {
        let mut counter = PairCounter::new("job", 2);
        for i in 0..500u64 {
            counter.add("pod", &format!("p{i}"), 1);
        }
        for (job, series) in [("a", 3), ("b", 490), ("c", 7)] {
            counter.add("job", job, series);
        }
        let counted = counter.finish();
        let stat = |name: &str, value| Stat {
            name: name.to_owned(),
            value,
        };
        assert_eq!(counted.label_pairs, 503);
        assert_eq!(counted.series_by_value, [stat("b", 490), stat("c", 7)]);
        assert_eq!(counted.values_by_name, [stat("pod", 500), stat("job", 3)]);
        // Length and text of name and value: `job`, `a`; `pod`, and ten, ninety and four hundred values.
        let pods = 10 * 7 + 90 * 8 + 400 * 9;
        assert_eq!(counted.bytes_by_name, [stat("pod", pods), stat("job", 500 * 6)]);
        assert_eq!(counted.series_by_pair, [stat("job=b", 490), stat("job=c", 7)]);
    }
}
