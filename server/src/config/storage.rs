//! The `storage` section.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use yaml::{Bytes, Duration, Value, YamlError};

/// Exemplars kept in memory unless the configuration says otherwise.
const DEFAULT_MAX_EXEMPLARS: i64 = 100_000;

/// How data is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StorageConfig {
    pub(crate) tsdb: TsdbConfig,
    #[serde(skip_serializing_if = "ExemplarsConfig::is_hidden")]
    pub(crate) exemplars: ExemplarsConfig,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let exemplars = ExemplarsConfig {
            max_exemplars: DEFAULT_MAX_EXEMPLARS,
            hidden: false,
        };
        StorageConfig {
            tsdb: TsdbConfig::default(),
            exemplars,
        }
    }
}

/// `storage.tsdb`
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TsdbConfig {
    /// How far back samples may come late.
    pub(crate) out_of_order_time_window: Duration,
    /// Share of stale series in the head from which they are written out early, 0 to 1; 0 never.
    pub(crate) stale_series_compaction_threshold: f64,
    /// `xor` or `xor2`.
    pub(crate) chunk_encoding: ChunkEncodingConfig,
    /// How long and how much is kept.
    pub(crate) retention: RetentionConfig,
}

/// `storage.tsdb.chunk_encoding`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ChunkEncodingConfig {
    /// Encoding of floats: `xor`, `xor2`, or empty for the default.
    pub(crate) floats: String,
}

/// Compat: the window is shown twice, first in milliseconds under a key that a file cannot have.
impl Serialize for TsdbConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("TsdbConfig", 5)?;
        let window = self.out_of_order_time_window;
        map.serialize_field("outofordertimewindow", &window.as_ms())?;
        if !is_zero(&window) {
            map.serialize_field("out_of_order_time_window", &window)?;
        }
        if self.stale_series_compaction_threshold != 0.0 {
            map.serialize_field(
                "stale_series_compaction_threshold",
                &self.stale_series_compaction_threshold,
            )?;
        }
        if !self.chunk_encoding.is_default() {
            map.serialize_field("chunk_encoding", &self.chunk_encoding)?;
        }
        map.serialize_field("retention", &self.retention)?;
        map.end()
    }
}

impl ChunkEncodingConfig {
    fn is_default(&self) -> bool {
        self.floats.is_empty()
    }
}

/// `storage.tsdb.retention`; zero means that the command line decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct RetentionConfig {
    /// How long samples are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) time: Duration,
    /// Most bytes of blocks.
    #[serde(skip_serializing_if = "is_zero_bytes")]
    pub(crate) size: Bytes,
    /// Largest share of the disk, in percent.
    #[serde(skip_serializing_if = "is_zero_share")]
    pub(crate) percentage: f64,
}

/// `storage.exemplars`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ExemplarsConfig {
    /// Exemplars kept; 0 or less keeps none.
    pub(crate) max_exemplars: i64,
    /// Not shown: nobody wrote it, and nothing is kept anyway.
    #[serde(skip)]
    pub(crate) hidden: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(duration: &Duration) -> bool {
    duration.as_ms() == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero_bytes(bytes: &Bytes) -> bool {
    bytes.0 == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero_share(share: &f64) -> bool {
    *share == 0.0
}

impl StorageConfig {
    /// Reads the section.
    pub(crate) fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("storage")?;
        let tsdb = section
            .value("tsdb")
            .map(TsdbConfig::read)
            .transpose()?
            .unwrap_or_default();
        let exemplars = section
            .value("exemplars")
            .map(ExemplarsConfig::read)
            .transpose()?;
        section.finish()?;
        let exemplars = exemplars.unwrap_or(ExemplarsConfig {
            max_exemplars: DEFAULT_MAX_EXEMPLARS,
            hidden: false,
        });
        Ok(StorageConfig { tsdb, exemplars })
    }
}

impl ExemplarsConfig {
    fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether this is what counts where nothing is written.
    pub(crate) fn is_default(&self) -> bool {
        self.max_exemplars == DEFAULT_MAX_EXEMPLARS
    }

    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("storage.exemplars")?;
        let config = ExemplarsConfig {
            max_exemplars: section.get_or("max_exemplars", 0)?,
            hidden: false,
        };
        section.finish()?;
        Ok(config)
    }
}

impl TsdbConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("storage.tsdb")?;
        let config = TsdbConfig {
            out_of_order_time_window: section.get_or("out_of_order_time_window", Duration::default())?,
            stale_series_compaction_threshold: section.get_or("stale_series_compaction_threshold", 0.0)?,
            chunk_encoding: section
                .value("chunk_encoding")
                .map(read_encoding)
                .transpose()?
                .unwrap_or_default(),
            retention: section
                .value("retention")
                .map(RetentionConfig::read)
                .transpose()?
                .unwrap_or_default(),
        };
        section.finish()?;
        Ok(config)
    }
}

fn read_encoding(value: Value<'_>) -> Result<ChunkEncodingConfig, YamlError> {
    let mut section = value.section("storage.tsdb.chunk_encoding")?;
    let floats: String = section.get_or("floats", String::new())?;
    if !matches!(floats.as_str(), "" | "xor" | "xor2") {
        let message = format!(
            "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, \
             got {floats:?}"
        );
        return Err(section.error_at("floats", message));
    }
    section.finish()?;
    Ok(ChunkEncodingConfig { floats })
}

impl RetentionConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("storage.tsdb.retention")?;
        let config = RetentionConfig {
            time: section.get_or("time", Duration::default())?,
            size: section.get_or("size", Bytes::default())?,
            percentage: section.get_or("percentage", 0.0)?,
        };
        if config.size.0 < 0 {
            let message = format!(
                "'storage.tsdb.retention.size' must be greater than or equal to 0, got {}",
                config.size
            );
            return Err(section.error_at("size", message));
        }
        if !(0.0..=100.0).contains(&config.percentage) {
            let message = format!(
                "'storage.tsdb.retention.percentage' must be in the range [0, 100], got {}",
                config.percentage
            );
            return Err(section.error_at("percentage", message));
        }
        section.finish()?;
        Ok(config)
    }
}
