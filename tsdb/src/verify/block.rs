//! A block: whether meta file, index, chunks and tombstones are whole, and agree with each other.

use std::collections::HashMap;
use std::hash::RandomState;
use std::path::Path;
use std::sync::Arc;

use model::columns::Columns;
use model::labels::Labels;

use super::{Checked, Finding, Remedy, open_block};
use crate::block::{
    Block, BlockMeta, BlockStats, INDEX_FILE, META_FILE, SeriesEntry, TOMBSTONES_FILE, Tombstones,
};
use crate::chunk::{Encoding, decode};
use crate::select::{LabelIndex, Visit};
use files::{Files, Result};

/// Findings that are reported of a block; a block that has as many is lost anyway.
const FINDINGS_MAX: usize = 20;

/// Checks the block in folder `dir`.
pub(super) fn check(files: &Arc<dyn Files>, dir: &Path) -> Checked {
    let mut checked = Checked {
        path: dir.to_owned(),
        ..Checked::default()
    };
    let quarantine = || Remedy::Quarantine(dir.to_owned());
    if let Err(error) = Tombstones::read(&**files, dir) {
        let path = dir.join(TOMBSTONES_FILE);
        let finding = Finding::of_error(&path, &error, Remedy::DropTombstones(path.clone()));
        checked.findings.push(finding);
        return checked;
    }
    let block = match open_block(files, dir) {
        Ok(block) => block,
        Err(error) => {
            let finding = Finding::of_error(dir, &error, quarantine());
            checked.findings.push(finding);
            return checked;
        }
    };
    let mut walk = Walk::new(&block);
    walk.name(files, dir);
    let walked = walk.series().and_then(|()| walk.postings());
    if let Err(error) = walked {
        walk.findings.push(Finding::of_error(dir, &error, quarantine()));
    }
    if !walk.findings.iter().any(|finding| finding.is_damage) {
        walk.agreement(dir);
    }
    let stats = walk.stats;
    checked.holds = format!(
        "{} series, {} chunks, {} samples",
        stats.num_series, stats.num_chunks, stats.num_samples
    );
    checked.findings = walk.findings;
    checked.findings.truncate(FINDINGS_MAX);
    checked
}

/// What a walk over a block's series has seen.
struct Walk<'b> {
    block: &'b Block,
    numbers: Vec<u32>,
    /// Series by symbols of name and value.
    pairs: HashMap<(u32, u32), u32, RandomState>,
    stats: BlockStats,
    findings: Vec<Finding>,
}

impl<'b> Walk<'b> {
    fn new(block: &'b Block) -> Self {
        Walk {
            block,
            numbers: Vec::new(),
            pairs: HashMap::default(),
            stats: BlockStats::default(),
            findings: Vec::new(),
        }
    }

    fn damage(&mut self, file: &str, offset: Option<u64>, what: String) {
        let dir = self.block.dir();
        self.findings.push(Finding {
            path: dir.join(file),
            offset,
            what,
            is_damage: true,
            remedy: Some(Remedy::Quarantine(dir.to_owned())),
        });
    }

    /// Whether the meta file calls the block what its folder is called, by whose name it goes.
    fn name(&mut self, files: &Arc<dyn Files>, dir: &Path) {
        let said = BlockMeta::read(&**files, dir).map(|meta| meta.ulid);
        let named = self.block.meta().ulid;
        if let Ok(said) = said
            && said != named
        {
            self.findings.push(Finding {
                path: dir.join(META_FILE),
                offset: None,
                what: format!("says that the block is {said}; it goes by its folder's name, {named}"),
                is_damage: false,
                remedy: None,
            });
        }
    }

    /// Every series: its entry, the order of labels and chunks, and the chunks themselves.
    fn series(&mut self) -> Result<()> {
        self.numbers = self.block.index().all()?.to_vec();
        if !self.numbers.is_sorted_by(|a, b| a < b) {
            self.damage(
                INDEX_FILE,
                None,
                "the list of all series is not in order".to_owned(),
            );
        }
        let mut entry = SeriesEntry::default();
        let mut columns = Columns::default();
        let mut before = Labels::empty();
        for at in 0..self.numbers.len() {
            let number = self.numbers[at];
            let labels = self.block.index().labels(number, &mut entry)?;
            // Entries lie at multiples of 16 bytes.
            let offset = Some(u64::from(number) * 16);
            if at > 0 && labels <= before {
                self.damage(
                    INDEX_FILE,
                    offset,
                    format!("series {labels} stands behind {before}"),
                );
            }
            if entry.chunks.is_empty() {
                self.damage(INDEX_FILE, offset, format!("series {labels} has no chunk"));
            }
            for pair in &entry.labels {
                *self.pairs.entry(*pair).or_default() += 1;
            }
            let mut last_ms = None;
            for chunk in &entry.chunks {
                if chunk.max_ms < chunk.min_ms || last_ms.is_some_and(|last| last >= chunk.min_ms) {
                    self.damage(INDEX_FILE, offset, format!("chunks of series {labels} overlap"));
                }
                last_ms = Some(chunk.max_ms);
                let checked = self.chunk(chunk.reference, (chunk.min_ms, chunk.max_ms), &mut columns);
                if let Err(error) = checked {
                    let remedy = Remedy::Quarantine(self.block.dir().to_owned());
                    self.findings
                        .push(Finding::of_error(self.block.dir(), &error, remedy));
                }
                if self.findings.len() >= FINDINGS_MAX {
                    return Ok(());
                }
            }
            self.stats.num_series += 1;
            before = labels;
        }
        Ok(())
    }

    /// A chunk: checksum, encoding, samples, and whether they lie where the index says.
    fn chunk(&mut self, reference: u64, range: (i64, i64), columns: &mut Columns) -> Result<()> {
        let segments = self.block.segments();
        let data = segments.chunk(reference)?;
        columns.clear();
        let decoded = decode(data.encoding, data.bytes, i64::MIN, i64::MAX, columns);
        decoded.map_err(|error| segments.corrupt(reference, error.to_string()))?;
        let times = &columns.timestamps_ms;
        let found = (times.first().copied(), times.last().copied());
        if found != (Some(range.0), Some(range.1)) {
            let what = format!("chunk holds samples from {found:?}, the index says {range:?}");
            return Err(segments.corrupt(reference, what));
        }
        if !times.is_sorted_by(|a, b| a < b) {
            return Err(segments.corrupt(reference, "samples are not in order of time"));
        }
        self.stats.num_chunks += 1;
        self.stats.num_samples += times.len() as u64;
        let is_histogram = Encoding::from_byte(data.encoding).is_ok_and(Encoding::is_histogram);
        match is_histogram {
            true => self.stats.num_histogram_samples += times.len() as u64,
            false => self.stats.num_float_samples += times.len() as u64,
        }
        Ok(())
    }

    /// Every list of postings: series that exist, in order, as many as have the label pair; and a list for every pair.
    fn postings(&mut self) -> Result<()> {
        let index = self.block.index();
        let (mut lists, mut wrong, mut failed) = (0, Vec::new(), None);
        for name in index.names()? {
            let symbol = index.symbols().find(&name);
            index.visit_values(&name, "", &mut |value| {
                lists += 1;
                match self.list(symbol, &name, value) {
                    Ok(what) => wrong.extend(what),
                    Err(error) => failed = Some(error),
                }
                match failed.is_some() || wrong.len() >= FINDINGS_MAX {
                    true => Visit::Stop,
                    false => Visit::Skip,
                }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        if lists != self.pairs.len() && wrong.is_empty() {
            wrong.push(format!("{} label pairs have {lists} lists", self.pairs.len()));
        }
        let offset = Some(index.toc().postings);
        for what in wrong {
            self.damage(INDEX_FILE, offset, what);
        }
        Ok(())
    }

    /// What is wrong with the list of a label pair.
    fn list(&self, name_symbol: Option<u32>, name: &str, value: &str) -> Result<Option<String>> {
        let index = self.block.index();
        let list = index.postings(name, value)?.to_vec();
        let key = name_symbol.zip(index.symbols().find(value));
        let expected = key.and_then(|key| self.pairs.get(&key)).copied().unwrap_or(0);
        if list.len() as u64 != u64::from(expected) {
            let what = format!("has {} series, {expected} have the label", list.len());
            return Ok(Some(format!("the list of {name}={value:?} {what}")));
        }
        if !list.is_sorted_by(|a, b| a < b) {
            return Ok(Some(format!("the list of {name}={value:?} is not in order")));
        }
        let stray = list.iter().find(|n| self.numbers.binary_search(n).is_err());
        Ok(stray.map(|n| format!("the list of {name}={value:?} has series {n}, which does not exist")))
    }

    /// Whether meta file and tombstones speak of what is there.
    fn agreement(&mut self, dir: &Path) {
        let meta = self.block.meta();
        let note = |path: &str, what: String| Finding {
            path: dir.join(path),
            offset: None,
            what,
            is_damage: false,
            remedy: None,
        };
        let says = (
            meta.stats.num_series,
            meta.stats.num_chunks,
            meta.stats.num_samples,
        );
        let has = (
            self.stats.num_series,
            self.stats.num_chunks,
            self.stats.num_samples,
        );
        if says != has {
            let what = format!(
                "speaks of {} series, {} chunks and {} samples; there are {}, {} and {}",
                says.0, says.1, says.2, has.0, has.1, has.2
            );
            self.findings.push(note(META_FILE, what));
        }
        let tombstones = self.block.tombstones();
        let known = |series: u64| u32::try_from(series).is_ok_and(|n| self.numbers.binary_search(&n).is_ok());
        let strangers = tombstones.iter().filter(|(series, _)| !known(*series)).count();
        if strangers > 0 {
            let what = format!("deletes samples of {strangers} series that do not exist");
            self.findings.push(note(TOMBSTONES_FILE, what));
        }
        let (says, has) = (meta.stats.num_tombstones, tombstones.len());
        if says != has {
            let what = format!("has {has} deleted ranges, {META_FILE} speaks of {says}");
            self.findings.push(Finding {
                // What was deleted is answered again.
                is_damage: has < says,
                ..note(TOMBSTONES_FILE, what)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::write_series;
    use files::MemFiles;
    use model::storage::TimeRange;
    use std::path::PathBuf;
    use ulid::Ulid;

    fn block() -> (MemFiles, Arc<dyn Files>, PathBuf) {
        let mem = MemFiles::new();
        let files: Arc<dyn Files> = Arc::new(mem.clone());
        files.create_dir_all(Path::new("d")).unwrap();
        let series = (0..5).map(|i| {
            let mut columns = Columns::default();
            (0..200).for_each(|t| columns.push(t * 1000, (t * i) as f64));
            let i = i.to_string();
            (
                Labels::from_pairs([("__name__", "m"), ("i", i.as_str())]),
                columns,
            )
        });
        let meta: BlockMeta = write_series(&files, Path::new("d"), Ulid::from_parts(1, 1), series.collect())
            .unwrap()
            .unwrap();
        (mem, files, Path::new("d").join(meta.ulid.to_string()))
    }

    #[test]
    fn a_whole_block_has_no_findings() {
        let (_, files, dir) = block();
        let checked = check(&files, &dir);
        assert_eq!(
            (checked.findings, checked.holds.as_str()),
            (vec![], "5 series, 10 chunks, 1000 samples")
        );
    }

    /// Every byte that a reader trusts counts: a flipped bit anywhere is found, but for the padding between entries.
    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        for file in ["index", "chunks/000001", "tombstones"] {
            let (mem, files, dir) = block();
            let path = dir.join(file);
            let len = files.len(&path).unwrap();
            let mut missed = 0;
            for at in 0..len {
                mem.flip(&path, at as usize, 0x10).unwrap();
                let findings = check(&files, &dir).findings;
                missed += usize::from(!findings.iter().any(|f| f.is_damage));
                mem.flip(&path, at as usize, 0x10).unwrap();
            }
            // Padding to 16 bytes between series, to 4 between lists; three unused bytes of a segment's header.
            assert!(
                missed <= if file == "index" { 120 } else { 3 },
                "{file}: {missed} of {len} bytes"
            );
        }
    }

    #[test]
    fn what_does_not_agree_is_said() {
        let (_, files, dir) = block();
        let mut meta = BlockMeta::read(&*files, &dir).unwrap();
        meta.stats.num_samples = 7;
        meta.write(&*files, &dir).unwrap();
        let mut stones = Tombstones::default();
        stones.add(9_999_999, 0, 5);
        stones.write(&*files, &dir).unwrap();
        let said: Vec<String> = check(&files, &dir)
            .findings
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            said[0].contains("speaks of 5 series, 10 chunks and 7 samples; there are 5, 10 and 1000"),
            "{said:?}"
        );
        assert!(
            said[1].contains("deletes samples of 1 series that do not exist"),
            "{said:?}"
        );
        assert!(
            said[2].contains("has 1 deleted ranges, meta.json speaks of 0"),
            "{said:?}"
        );
        files.remove_file(&dir.join("chunks/000001")).unwrap();
        let findings = check(&files, &dir).findings;
        assert!(
            findings[0].is_damage && findings[0].what.contains("segment that is missing"),
            "{findings:?}"
        );
        files.remove_file(&dir.join("meta.json")).unwrap();
        let findings = check(&files, &dir).findings;
        assert_eq!(findings[0].remedy, Some(Remedy::Quarantine(dir)));
    }

    #[test]
    fn tombstones_that_are_gone_are_damage() {
        let (_, files, dir) = block();
        let block = open_block(&files, &dir).unwrap();
        assert_eq!(block.delete(TimeRange::new(0, 5000), &[]).unwrap(), 5);
        assert_eq!(check(&files, &dir).findings, []);
        files.remove_file(&dir.join(TOMBSTONES_FILE)).unwrap();
        let findings = check(&files, &dir).findings;
        assert!(
            findings[0].is_damage && findings[0].what == "has 0 deleted ranges, meta.json speaks of 5",
            "{findings:?}"
        );
    }

    #[test]
    fn a_block_under_another_name_is_told() {
        let (_, files, dir) = block();
        let mut meta = BlockMeta::read(&*files, &dir).unwrap();
        meta.ulid = Ulid::from_parts(2, 2);
        meta.write(&*files, &dir).unwrap();
        let findings = check(&files, &dir).findings;
        let what = format!(
            "says that the block is {}; it goes by its folder's name, {}",
            Ulid::from_parts(2, 2),
            Ulid::from_parts(1, 1)
        );
        assert_eq!((findings.len(), findings[0].what.as_str()), (1, what.as_str()));
    }
}
