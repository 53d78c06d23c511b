//! Selecting against a scan of every series.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::Labels;

use super::*;
use crate::chunk::testing::Rng;

/// An index made of maps.
struct Maps {
    series: Vec<Labels>,
    values: BTreeMap<String, BTreeMap<String, Vec<u32>>>,
}

impl Maps {
    fn new(series: Vec<Labels>) -> Self {
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

    fn names(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.values.keys().cloned().collect())
    }

    fn names_of(&self, series: &[u32]) -> Result<Vec<String>, StorageError> {
        let names = series.iter().flat_map(|i| self.series[*i as usize].iter());
        let names: BTreeSet<String> = names.map(|(name, _)| name.to_owned()).collect();
        Ok(names.into_iter().collect())
    }
}

fn index() -> Maps {
    let mut series = Vec::new();
    for i in 0..60 {
        let (zone, host) = (format!("z{}", i % 4), format!("host-{}", i % 13));
        let mut pairs = vec![("__name__", ["up", "down", "load"][i % 3])];
        if i % 2 == 0 {
            pairs.push(("zone", &zone));
        }
        if i % 5 != 0 {
            pairs.push(("host", &host));
        }
        series.push(Labels::from_pairs(pairs));
    }
    Maps::new(series)
}

#[test]
fn matchers_find_what_they_match() {
    let index = index();
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
    ];
    for seed in 0..4000 {
        let mut rng = Rng::new(seed);
        let matchers: Vec<Matcher> = (0..rng.below(4))
            .map(|_| {
                let name = ["__name__", "zone", "host", "nothing"][rng.below(4)];
                Matcher::new(ops[rng.below(4)], name, texts[rng.below(texts.len())]).unwrap()
            })
            .collect();
        let want: Vec<u32> = (0..60)
            .filter(|i| {
                matchers
                    .iter()
                    .all(|m| m.matches_labels(&index.series[*i as usize]))
            })
            .collect();
        let shown: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        assert_eq!(select(&index, &matchers).unwrap(), want, "seed {seed}: {shown:?}");
        let labels_of = |i: &u32| index.series[*i as usize].clone();
        for name in ["zone", "host"] {
            let values: BTreeSet<String> = want
                .iter()
                .map(labels_of)
                .map(|l| l.value(name).to_owned())
                .collect();
            let values: Vec<String> = values.into_iter().filter(|v| !v.is_empty()).collect();
            assert_eq!(
                label_values(&index, name, &matchers, 0).unwrap(),
                values,
                "seed {seed}: {shown:?}"
            );
            let limited = label_values(&index, name, &matchers, 2).unwrap();
            assert_eq!(limited, values[..values.len().min(2)]);
        }
        let names: BTreeSet<String> = want
            .iter()
            .flat_map(|i| index.series[*i as usize].iter())
            .map(|(n, _)| n.to_owned())
            .collect();
        let names: Vec<String> = names.into_iter().collect();
        assert_eq!(
            label_names(&index, &matchers, 0).unwrap(),
            names,
            "seed {seed}: {shown:?}"
        );
        assert_eq!(
            label_names(&index, &matchers, 1).unwrap(),
            names[..names.len().min(1)]
        );
    }
}
