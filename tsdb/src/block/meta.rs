//! `meta.json`: what a block is and where it comes from (`tsdb/docs/meta.md`).

use std::collections::BTreeMap;
use std::path::Path;

use model::storage::StorageError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use super::codec::FilePath;
use files::{Files, replace_file};

/// Name of the file in a block's folder.
pub const META_FILE: &str = "meta.json";
/// The only version of the file.
const VERSION: i64 = 1;

/// Hint on blocks made of out-of-order chunks only: they say nothing about how far the log has been written out.
pub const HINT_OUT_OF_ORDER: &str = "from-out-of-order";
/// Hint on blocks made of series that had gone stale.
pub const HINT_STALE_SERIES: &str = "from-stale-series";
/// Hint on blocks made of series that somebody chose.
pub const HINT_SELECTED_SERIES: &str = "from-selected-series";

/// What a block is. Fields of other programs are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockMeta {
    /// The block's name: changes with its contents.
    #[serde(with = "ulid_text")]
    pub ulid: Ulid,
    /// First millisecond of the block.
    pub min_time: i64,
    /// First millisecond behind the block.
    pub max_time: i64,
    /// What is in it.
    pub stats: BlockStats,
    /// Where it comes from.
    pub compaction: Compaction,
    /// Version of the block's files.
    pub version: i64,
    /// Fields that other programs have added.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// What is in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Samples of all kinds.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Floats among them.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Histograms among them.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted ranges in the tombstones file.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

/// Where a block comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Compaction {
    /// How often its contents have been merged; 1 for blocks that the head wrote.
    pub level: u32,
    /// Blocks of level 1 that it is made of.
    #[serde(with = "ulid_list", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Ulid>,
    /// Merging it left nothing: it can be removed.
    #[serde(skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// Blocks that it was merged from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockDesc>,
    /// Merging it has failed; it is left alone from then on.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// What is special about its contents, sorted: the `HINT_` texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// A block in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockDesc {
    /// Its name.
    #[serde(with = "ulid_text")]
    pub ulid: Ulid,
    /// First millisecond.
    pub min_time: i64,
    /// First millisecond behind it.
    pub max_time: i64,
}

impl Compaction {
    /// Whether the block has a hint.
    pub fn has_hint(&self, hint: &str) -> bool {
        self.hints.iter().any(|h| h == hint)
    }

    /// Gives the block a hint.
    pub fn add_hint(&mut self, hint: &str) {
        if let Err(at) = self.hints.binary_search_by(|h| h.as_str().cmp(hint)) {
            self.hints.insert(at, hint.to_owned());
        }
    }
}

impl BlockMeta {
    /// The meta of a block that the head writes: level 1, its own source.
    pub fn of_head(ulid: Ulid, min_time: i64, max_time: i64) -> Self {
        BlockMeta {
            ulid,
            min_time,
            max_time,
            compaction: Compaction {
                level: 1,
                sources: vec![ulid],
                ..Compaction::default()
            },
            version: VERSION,
            ..BlockMeta::default()
        }
    }

    /// The meta of a block merged from `blocks`: covers them all, one level above the highest. "Out of order" stays only
    /// where all have it, the other hints where one has them.
    pub fn of_merged<'a>(ulid: Ulid, blocks: impl IntoIterator<Item = &'a BlockMeta>) -> Self {
        let mut merged = BlockMeta {
            ulid,
            min_time: i64::MAX,
            max_time: i64::MIN,
            version: VERSION,
            ..BlockMeta::default()
        };
        let mut all_out_of_order = true;
        for block in blocks {
            let (into, from) = (&mut merged.compaction, &block.compaction);
            merged.min_time = merged.min_time.min(block.min_time);
            merged.max_time = merged.max_time.max(block.max_time);
            into.level = into.level.max(from.level);
            into.sources.extend(&from.sources);
            into.parents.push(block.desc());
            for hint in [HINT_STALE_SERIES, HINT_SELECTED_SERIES] {
                if from.has_hint(hint) {
                    into.add_hint(hint);
                }
            }
            all_out_of_order &= from.has_hint(HINT_OUT_OF_ORDER);
        }
        let compaction = &mut merged.compaction;
        if all_out_of_order && !compaction.parents.is_empty() {
            compaction.add_hint(HINT_OUT_OF_ORDER);
        }
        compaction.level = compaction.level.saturating_add(1);
        compaction.sources.sort_unstable();
        compaction.sources.dedup();
        merged
    }

    /// The block in short.
    pub fn desc(&self) -> BlockDesc {
        BlockDesc {
            ulid: self.ulid,
            min_time: self.min_time,
            max_time: self.max_time,
        }
    }

    /// Reads the meta of the block in folder `dir`.
    ///
    /// # Errors
    /// When the file is missing, is no JSON of this shape, or has another version.
    pub fn read(files: &dyn Files, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(META_FILE);
        let bytes = files.read(&path)?;
        let path = FilePath(path);
        let meta: BlockMeta = serde_json::from_slice(&bytes).map_err(|e| path.corrupt(0, e.to_string()))?;
        if meta.version != VERSION {
            return Err(path.corrupt(0, format!("unexpected meta file version {}", meta.version)));
        }
        if meta.min_time > meta.max_time {
            return Err(path.corrupt(0, "the block ends before it begins"));
        }
        Ok(meta)
    }

    /// Writes the meta into folder `dir`; after a crash either the old or the new file is there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, files: &dyn Files, dir: &Path) -> Result<(), StorageError> {
        replace_file(files, &dir.join(META_FILE), &self.to_json())
    }

    /// The file's contents: indented by tabs, as the reference writes them.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut out = serde_json::Serializer::with_formatter(&mut json, indent);
        self.serialize(&mut out)
            .expect("a Vec takes everything and no key can fail");
        json
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn parse_ulid<E: serde::de::Error>(text: &str) -> Result<Ulid, E> {
    Ulid::from_string(text).map_err(|e| E::custom(format!("{text:?} is no ULID: {e}")))
}

mod ulid_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(ulid: &Ulid, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(ulid)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ulid, D::Error> {
        parse_ulid(&String::deserialize(from)?)
    }
}

mod ulid_list {
    use super::*;

    pub(super) fn serialize<S: Serializer>(list: &[Ulid], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(list.iter().map(Ulid::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Ulid>, D::Error> {
        let texts = Option::<Vec<String>>::deserialize(from)?.unwrap_or_default();
        texts.iter().map(|text| parse_ulid(text)).collect()
    }
}
