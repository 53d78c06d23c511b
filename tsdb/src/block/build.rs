//! Series with their samples into a block: what imports end with.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use model::columns::Columns;
use model::labels::Labels;
use model::storage::StorageError;
use ulid::Ulid;

use super::{BlockMeta, BlockWriter};
use crate::chunk::Encoding;
use files::Files;

/// Why series did not become a block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A series has two values at one time.
    #[error("series {labels} has two values at {timestamp_ms}: {} and {}", values[0], values[1])]
    Conflict {
        /// Which series.
        labels: Labels,
        /// When, in milliseconds since the epoch.
        timestamp_ms: i64,
        /// Both.
        values: [f64; 2],
    },
    /// The system refuses.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Writes a block called `ulid` in folder `parent` from series with floats; gives its meta, or `None` where there is no
/// sample. Series and samples may come in any order, a label set several times; a sample that is there twice counts
/// once.
///
/// # Errors
/// When two samples contradict each other, or files cannot be written; nothing is left of the block then.
pub fn write_series(
    files: &Arc<dyn Files>,
    parent: &Path,
    ulid: Ulid,
    mut series: Vec<(Labels, Columns)>,
) -> Result<Option<BlockMeta>, BuildError> {
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1.timestamps_ms.append(&mut next.1.timestamps_ms);
            kept.1.values.append(&mut next.1.values);
        }
        same
    });
    let (mut min_ms, mut max_ms) = (i64::MAX, i64::MIN);
    for (labels, columns) in &mut series {
        sort_by_time(labels, columns)?;
        if let (Some(first), Some(last)) = (columns.timestamps_ms.first(), columns.timestamps_ms.last()) {
            (min_ms, max_ms) = (min_ms.min(*first), max_ms.max(*last));
        }
    }
    if min_ms > max_ms {
        return Ok(None);
    }
    let meta = BlockMeta::of_head(ulid, min_ms, max_ms.saturating_add(1));
    Ok(write_sorted(files, parent, meta, Encoding::Xor, &series)?)
}

/// Writes a block from series that are sorted, each once, with samples in order of time, each once; floats are encoded as
/// `floats` says. Gives its meta, or `None` where there is no sample.
///
/// # Errors
/// When files cannot be written; nothing is left of the block then.
pub(crate) fn write_sorted(
    files: &Arc<dyn Files>,
    parent: &Path,
    meta: BlockMeta,
    floats: Encoding,
    series: &[(Labels, Columns)],
) -> Result<Option<BlockMeta>, StorageError> {
    let symbols: BTreeSet<&str> = series
        .iter()
        .flat_map(|(labels, _)| labels.iter())
        .flat_map(|(name, value)| [name, value])
        .collect();
    let mut writer = BlockWriter::create(Arc::clone(files), parent, meta, symbols)?;
    for (labels, columns) in series {
        writer.add_encoded(labels, columns, floats)?;
    }
    writer.finish()
}

/// Brings samples in order of time, each once.
fn sort_by_time(labels: &Labels, columns: &mut Columns) -> Result<(), BuildError> {
    if columns.timestamps_ms.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    let times = columns.timestamps_ms.iter().copied();
    let mut samples: Vec<(i64, f64)> = times.zip(columns.values.iter().copied()).collect();
    samples.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
    samples.dedup_by(|a, b| a.0 == b.0 && a.1.to_bits() == b.1.to_bits());
    if let Some(pair) = samples.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(BuildError::Conflict {
            labels: labels.clone(),
            timestamp_ms: pair[0].0,
            values: [pair[0].1, pair[1].1],
        });
    }
    columns.clear();
    for (timestamp_ms, value) in samples {
        columns.push(timestamp_ms, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Block;
    use files::MemFiles;
    use model::storage::TimeRange;

    fn columns(samples: &[(i64, f64)]) -> Columns {
        let mut columns = Columns::default();
        samples.iter().for_each(|(t, v)| columns.push(*t, *v));
        columns
    }

    fn write(series: Vec<(Labels, Columns)>) -> (Arc<dyn Files>, Result<Option<BlockMeta>, BuildError>) {
        let files: Arc<dyn Files> = Arc::new(MemFiles::new());
        files.create_dir_all(Path::new("d")).unwrap();
        let written = write_series(&files, Path::new("d"), Ulid::from_parts(1, 2), series);
        (files, written)
    }

    #[test]
    fn samples_in_any_order_become_a_block() {
        let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
        let (files, written) = write(vec![
            (labels("b"), columns(&[(5, 1.0)])),
            (labels("a"), columns(&[(30, 3.0), (10, 1.0), (30, 3.0)])),
            (labels("a"), columns(&[(20, 2.0)])),
        ]);
        let meta = written.unwrap().unwrap();
        assert_eq!((meta.min_time, meta.max_time), (5, 31));
        assert_eq!((meta.stats.num_series, meta.stats.num_samples), (2, 4));
        let block = Block::open(files, &Path::new("d").join(meta.ulid.to_string())).unwrap();
        let found = block
            .select(&[model::matcher::Matcher::equal("__name__", "a")])
            .unwrap();
        let mut read = Columns::default();
        block.read(found[0], TimeRange::ALL, &mut read).unwrap();
        assert_eq!(
            (read.timestamps_ms, read.values),
            (vec![10, 20, 30], vec![1.0, 2.0, 3.0])
        );
    }

    #[test]
    fn contradictions_are_named_and_nothing_is_left() {
        let labels = Labels::from_pairs([("__name__", "a")]);
        let (files, written) = write(vec![(labels, columns(&[(10, 1.0), (10, 2.0)]))]);
        let said = written.unwrap_err().to_string();
        assert_eq!(said, "series {__name__=\"a\"} has two values at 10: 1 and 2");
        assert!(files.list(Path::new("d")).unwrap().is_empty());
        assert!(write(Vec::new()).1.unwrap().is_none());
    }
}
