//! A store that is only read: for tools, beside a running server or on a folder without write permission.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::clock::ManualClock;
use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{Querier, Queryable, StorageError, TimeRange};
use smallvec::SmallVec;
use ulid::Ulid;

use super::blocks::BlockSource;
use super::querier::{Source, read_parts};
use super::{DamagedBlock, Db, Options};
use crate::block::Block;
use crate::head::ReplayReport;
use files::{Files, Overlay, Result, is_not_found};

/// How often opening is tried anew when a running server has removed a file in between.
const ATTEMPTS: usize = 5;

/// A store in a folder that is not touched: no lock, no file written, cut or removed. What opening a store changes
/// happens in memory (see [`Overlay`]), full chunks of a long log included.
pub struct ReadOnly {
    db: Db,
}

/// Is shown series by series what there is; see [`ReadOnly::visit`].
pub type SeriesVisitor<'a> = dyn FnMut(&Labels, &Columns) -> ControlFlow<()> + 'a;

impl ReadOnly {
    /// Opens the store in `dir`: its blocks, and the head as its logs have it. `options` must have the chunk range that
    /// the store is written with; nothing else of them matters.
    ///
    /// # Errors
    /// When there is no such folder or files cannot be read. Damaged files are no error: see
    /// [`ReadOnly::damaged_blocks`] and [`ReadOnly::replay_report`].
    pub fn open(files: &Arc<dyn Files>, dir: &Path, options: Options) -> Result<Self> {
        let options = Options {
            lock: false,
            background: false,
            ..options
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            // Fails where there is no folder, which opening would create.
            files.list(dir)?;
            let overlay = Arc::new(Overlay::new(Arc::clone(files)));
            let opened = Db::open(overlay, dir, options.clone(), Arc::new(ManualClock::new(0)));
            let vanished = match &opened {
                Ok(db) => db.damaged_blocks().iter().any(|block| is_not_found(&block.error)),
                Err(error) => is_not_found(error),
            };
            if !vanished || attempts == ATTEMPTS {
                return Ok(ReadOnly { db: opened? });
            }
        }
    }

    /// Opens the blocks in `dir` alone, by where they begin, those included that were merged into others and are about
    /// to be removed; and the folders that look like blocks and cannot be opened.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn blocks_in(files: &Arc<dyn Files>, dir: &Path) -> Result<(Vec<Arc<Block>>, Vec<DamagedBlock>)> {
        let (mut blocks, mut damaged) = (Vec::new(), Vec::new());
        for path in Self::block_dirs(&**files, dir)? {
            match Block::open(Arc::clone(files), &path) {
                Ok(block) => blocks.push(Arc::new(block)),
                // Removed since it was listed.
                Err(_) if !files.exists(&path) => {}
                Err(error) => damaged.push(DamagedBlock { path, error }),
            }
        }
        let parents: BTreeSet<Ulid> = blocks
            .iter()
            .flat_map(|block| block.meta().compaction.parents.clone())
            .map(|parent| parent.ulid)
            .collect();
        // What is damaged and in another block is no loss.
        damaged.retain(|block| block_ulid(&block.path).is_none_or(|ulid| !parents.contains(&ulid)));
        super::blocks::sort(&mut blocks);
        Ok((blocks, damaged))
    }

    /// Folders in `dir` that have the name of a block, in order of their names: of when they were written.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn block_dirs(files: &dyn Files, dir: &Path) -> Result<Vec<PathBuf>> {
        let entries = files.list(dir)?.into_iter().filter(|entry| entry.is_dir);
        let paths = entries.map(|entry| dir.join(entry.name));
        Ok(paths.filter(|path| block_ulid(path).is_some()).collect())
    }

    /// What was found in the logs.
    pub fn replay_report(&self) -> &ReplayReport {
        self.db.replay_report()
    }

    /// Blocks that could not be opened; everything else is served.
    pub fn damaged_blocks(&self) -> Vec<DamagedBlock> {
        self.db.damaged_blocks()
    }

    /// The blocks, by where they begin.
    pub fn blocks(&self) -> Arc<[Arc<Block>]> {
        self.db.blocks()
    }

    /// First and last timestamp of everything stored; `None` while there is nothing.
    pub fn time_range(&self) -> Option<TimeRange> {
        self.db.time_range()
    }

    /// Shows every series that satisfies all matchers of one of the `selectors`, with its samples in `range`, until
    /// `visit` breaks. Series come in order of their labels, but for a head without blocks, whose series come in order
    /// of creation; each comes once, and not without samples.
    ///
    /// Blocks are walked series by series: what is held of each is the list of the numbers that were selected.
    ///
    /// # Errors
    /// When files are damaged; what comes before the damage has been shown.
    pub fn visit(
        &self,
        range: TimeRange,
        selectors: &[Vec<Matcher>],
        visit: &mut SeriesVisitor<'_>,
    ) -> Result<()> {
        let mut cursors = self.cursors(range, selectors)?;
        let mut columns = Columns::default();
        loop {
            let next = cursors.iter().filter_map(|cursor| cursor.current.as_ref());
            let Some(labels) = next.map(|(_, labels)| labels).min().cloned() else {
                return Ok(());
            };
            columns.clear();
            let has = |number: &usize| matches!(&cursors[*number].current, Some((_, own)) if *own == labels);
            let having: SmallVec<[usize; 4]> = (0..cursors.len()).filter(has).collect();
            let parts = having.iter().filter_map(|number| {
                let cursor = &cursors[*number];
                Some((&*cursor.source, cursor.current.as_ref()?.0))
            });
            read_parts(parts, range, &mut columns)?;
            if !columns.is_empty() && visit(&labels, &columns).is_break() {
                return Ok(());
            }
            for number in having {
                cursors[number].advance()?;
            }
        }
    }

    fn cursors(&self, range: TimeRange, selectors: &[Vec<Matcher>]) -> Result<Vec<Cursor>> {
        let mut cursors = Vec::new();
        for block in self
            .blocks()
            .iter()
            .filter(|block| block.range().overlaps(&range))
        {
            let mut series: Vec<u32> = Vec::new();
            for matchers in selectors {
                series.append(&mut block.select(matchers)?);
            }
            // Numbers of a block's series are in order of their labels.
            series.sort_unstable();
            series.dedup();
            let own = block.range();
            let source = BlockSource {
                block: Arc::clone(block),
                range: TimeRange::new(own.min_ms.max(range.min_ms), own.max_ms.min(range.max_ms)),
            };
            cursors.push(Cursor {
                source: Arc::new(source),
                rest: Rest::Block(Arc::clone(block), series.into_iter()),
                current: None,
            });
        }
        let in_order_end_ms = super::in_order_end_ms(&self.blocks());
        let view = Arc::new(self.db.head().view(range, in_order_end_ms));
        let mut series: Vec<(u64, Labels)> = Vec::new();
        for matchers in selectors {
            let found = view.select(matchers)?;
            series.extend(found.into_iter().map(|(series, labels)| (series.0.0, labels)));
        }
        if cursors.is_empty() && selectors.len() == 1 {
            // Compat: nothing to merge with, so nothing is sorted (server/tests/it/tools.rs,
            // samples_are_dumped_as_the_reference_dumps_them_and_nothing_is_touched).
            series.sort_unstable_by_key(|(handle, _)| *handle);
        } else {
            series.sort_unstable_by(|a, b| a.1.cmp(&b.1));
            series.dedup();
        }
        cursors.push(Cursor {
            source: view,
            rest: Rest::Head(series.into_iter()),
            current: None,
        });
        for cursor in &mut cursors {
            cursor.advance()?;
        }
        Ok(cursors)
    }
}

impl Queryable for ReadOnly {
    fn querier(&self, range: TimeRange) -> std::result::Result<Arc<dyn Querier>, StorageError> {
        self.db.querier(range)
    }
}

/// The block that a folder is called after.
fn block_ulid(path: &Path) -> Option<Ulid> {
    Ulid::from_string(path.file_name()?.to_str()?).ok()
}

/// The selected series of one source.
struct Cursor {
    source: Arc<dyn Source>,
    rest: Rest,
    /// The series at hand; `None` behind the last.
    current: Option<(u64, Labels)>,
}

/// Series to come.
enum Rest {
    Block(Arc<Block>, std::vec::IntoIter<u32>),
    Head(std::vec::IntoIter<(u64, Labels)>),
}

impl Cursor {
    fn advance(&mut self) -> Result<()> {
        self.current = match &mut self.rest {
            Rest::Head(series) => series.next(),
            Rest::Block(block, series) => match series.next() {
                Some(number) => Some((u64::from(number), block.labels(number)?)),
                None => None,
            },
        };
        Ok(())
    }
}
