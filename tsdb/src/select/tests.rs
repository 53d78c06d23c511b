//! Selecting against a scan of every series.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::labels::Labels;

use super::*;
use crate::block::{ChunkMeta, IndexReader, IndexWriter, SeriesEntry};
use crate::chunk::testing::Rng;
use files::{Files, MemFiles};

/// An index made of maps.
pub(crate) struct Maps {
    series: Vec<Labels>,
    values: BTreeMap<String, BTreeMap<String, Vec<u32>>>,
}

impl Maps {
    pub(crate) fn new(series: Vec<Labels>) -> Self {
        let mut values: BTreeMap<String, BTreeMap<String, Vec<u32>>> = BTreeMap::new();
        for (i, labels) in series.iter().enumerate() {
            for (name, value) in labels {
                let values = values.entry(name.into()).or_default();
                values.entry(value.into()).or_default().push(i as u32);
            }
        }
        Maps { series, values }
    }
}

impl LabelIndex for Maps {
    fn all(&self) -> Result<Postings, StorageError> {
        Ok((0..self.series.len() as u32).collect::<Vec<_>>().into())
    }

    fn postings(&self, name: &str, value: &str) -> Result<Postings, StorageError> {
        let list = self.values.get(name).and_then(|v| v.get(value));
        Ok(list.cloned().unwrap_or_default().into())
    }

    fn visit_values(
        &self,
        name: &str,
        from: &str,
        visit: &mut dyn FnMut(&str) -> Visit,
    ) -> Result<Vec<Postings>, StorageError> {
        let mut taken = Vec::new();
        for (value, list) in self
            .values
            .get(name)
            .into_iter()
            .flat_map(|v| v.range(from.to_owned()..))
        {
            match visit(value) {
                Visit::Take => taken.push(list.clone().into()),
                Visit::Skip => {}
                Visit::Stop => break,
            }
        }
        Ok(taken)
    }

    fn values_len(&self, name: &str, prefix: &str) -> Result<usize, StorageError> {
        let values = self.values.get(name).into_iter().flat_map(BTreeMap::keys);
        Ok(values.filter(|value| value.starts_with(prefix)).count())
    }

    fn value_numbers(&self, name: &str, series: &[u32]) -> Result<Vec<u32>, StorageError> {
        let all: Vec<&String> = self
            .values
            .get(name)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .collect();
        let number = |i: &u32| {
            let value = self.series[*i as usize].get(name)?;
            // The place of the value among those of its label, and the label's among all labels.
            let label = self.values.keys().position(|n| n == name)?;
            Some((label * 1000 + all.iter().position(|v| *v == value)?) as u32)
        };
        Ok(series.iter().map(|i| number(i).unwrap_or(NO_VALUE)).collect())
    }

    fn value_text(&self, number: u32) -> Result<String, StorageError> {
        let label = self.values.values().nth(number as usize / 1000);
        let value = label.and_then(|values| values.keys().nth(number as usize % 1000));
        Ok(value.cloned().unwrap_or_default())
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.values.keys().cloned().collect())
    }

    fn names_of(&self, series: &[u32]) -> Result<Vec<String>, StorageError> {
        let names = series.iter().flat_map(|i| self.series[*i as usize].iter());
        let names: BTreeSet<String> = names.map(|(name, _)| name.to_owned()).collect();
        Ok(names.into_iter().collect())
    }
}

pub(crate) fn sets() -> Vec<Labels> {
    let mut sets = Vec::new();
    for i in 0..60 {
        let (zone, host) = (format!("z{}", i % 4), format!("host-{}", i % 13));
        let id = format!("{}-{i}", ["a", "b", "ab"][i % 3]);
        let mut pairs = vec![("__name__", ["up", "down", "load"][i % 3])];
        if i % 2 == 0 {
            pairs.push(("zone", &zone));
        }
        if i % 5 != 0 {
            pairs.push(("host", &host));
        }
        if i % 7 != 0 {
            pairs.push(("id", &id));
        }
        if i == 58 {
            pairs.push(("rare", "once"));
        }
        sets.push(Labels::from_pairs(pairs));
    }
    // The order of a block.
    sets.sort();
    sets
}

fn random_matchers(rng: &mut Rng) -> Vec<Matcher> {
    let ops = [
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ];
    let texts = [
        "",
        "up",
        "z1",
        "host-1",
        ".*",
        ".+",
        "up|down",
        "z[12]",
        "host-1.*",
        "|z1",
        "z1|",
        ".*1",
        "(?i)UP",
        "x",
        "host-1|host-2|",
        "z0.?",
        "^$",
        "a-.*",
        "a-1|a-3.*|b-.*5|host-1",
        "ab?-[0-9]+",
        "once|.*host.*",
    ];
    (0..rng.below(5))
        .map(|_| {
            let name = ["__name__", "zone", "host", "id", "rare", "nothing"][rng.below(6)];
            Matcher::new(ops[rng.below(4)], name, texts[rng.below(texts.len())]).unwrap()
        })
        .collect()
}

/// Compares what an index answers with a look at every series.
pub(crate) fn check(index: &impl LabelIndex, sets: &[Labels], labels_of: impl Fn(u32) -> Labels, seeds: u64) {
    for seed in 0..seeds {
        let mut rng = Rng::new(seed);
        let matchers = random_matchers(&mut rng);
        let shown: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        let about = format!("seed {seed}: {shown:?}");
        let want: Vec<&Labels> = sets
            .iter()
            .filter(|labels| matchers.iter().all(|m| m.matches_labels(labels)))
            .collect();
        let found = select(index, &matchers).unwrap();
        assert!(found.is_sorted(), "{about}");
        let found: Vec<Labels> = found.into_iter().map(&labels_of).collect();
        assert!(found.iter().eq(want.iter().copied()), "{about}");
        let limit = rng.below(4);
        let cut =
            |list: &[String]| list[..list.len().min(if limit == 0 { usize::MAX } else { limit })].to_vec();
        for name in ["zone", "host", "id", "rare", "nothing"] {
            let values: BTreeSet<&str> = want.iter().filter_map(|labels| labels.get(name)).collect();
            let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
            let found = label_values(index, name, &matchers, limit).unwrap();
            assert_eq!(found, cut(&values), "{about}, values of {name}, {limit}");
        }
        let names: BTreeSet<&str> = want
            .iter()
            .flat_map(|labels| labels.iter())
            .map(|(n, _)| n)
            .collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let found = label_names(index, &matchers, limit).unwrap();
        assert_eq!(found, cut(&names), "{about}, names, {limit}");
    }
}

#[test]
fn a_plain_index_finds_what_matches() {
    let sets = sets();
    let index = Maps::new(sets.clone());
    check(&index, &sets, |number| sets[number as usize].clone(), 1500);
}

#[test]
fn a_blocks_index_finds_what_matches() {
    let sets = sets();
    let (files, dir) = (Arc::new(MemFiles::new()), Path::new("/block"));
    files.create_dir_all(dir).unwrap();
    let symbols: BTreeSet<&str> = sets.iter().flatten().flat_map(|(n, v)| [n, v]).collect();
    let mut writer = IndexWriter::create(files.clone(), dir, symbols).unwrap();
    let chunk = ChunkMeta {
        min_ms: 0,
        max_ms: 9,
        reference: 8,
    };
    for labels in &sets {
        writer.add(labels, &[chunk]).unwrap();
    }
    writer.finish().unwrap();
    let index = IndexReader::open(&*files, dir).unwrap();
    let labels_of = |number| index.labels(number, &mut SeriesEntry::default()).unwrap();
    check(&index, &sets, labels_of, 600);
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for pair in sets.iter().flatten() {
        *counts.entry(pair).or_default() += 1;
    }
    let mut pairs = Vec::new();
    index
        .visit_pairs(|name, value, series| pairs.push((name.to_owned(), value.to_owned(), series)))
        .unwrap();
    let want = counts
        .into_iter()
        .map(|((n, v), series)| (n.to_owned(), v.to_owned(), series));
    assert!(pairs.into_iter().eq(want));
}
