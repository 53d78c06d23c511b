//! Opening the store in two steps, so that the listener answers between them; and closing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::clock::Clock;
use model::storage::StorageError;
use tokio_util::sync::CancellationToken;
use tsdb::db::Db;
use tsdb::head::ReplayProgress;

use crate::cli::serve_options::{ServeOptions, StorageOptions, WalCompression};
use crate::config::Config;
use crate::reload::{EncodingError, retention, xor2_floats};

/// The store cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
#[error("opening storage in {}: {source}", path.display())]
pub(crate) struct StoreError {
    /// Its folder.
    path: PathBuf,
    /// Why not.
    source: StorageError,
}

impl StoreError {
    pub(crate) fn new(folder: &Path, source: StorageError) -> Self {
        StoreError {
            path: folder.to_owned(),
            source,
        }
    }
}

/// What a site asks of whichever store there is.
pub(crate) trait Store: Send + Sync {
    /// Damaged segments of the log that were found at the start; asked once it is read.
    fn corruptions(&self) -> usize;

    /// Why nothing can be stored at present, if so; asked once the log is read.
    fn write_failure(&self) -> Option<String>;
}

impl Store for Db {
    fn corruptions(&self) -> usize {
        self.replay_report().damages.len()
    }

    fn write_failure(&self) -> Option<String> {
        self.head().write_failure()
    }
}

/// What the command line and the configuration say of the store.
pub(crate) fn settings(
    options: &ServeOptions,
    config: &Config,
    progress: Arc<ReplayProgress>,
    supervisor: supervise::Supervisor,
) -> Result<tsdb::db::Options, EncodingError> {
    let StorageOptions {
        min_block, max_block, ..
    } = &options.storage;
    let retention = retention(config, &options.storage);
    let tenth_ms = retention.time_ms / 10;
    let month_ms = 31 * 24 * 3_600_000;
    let customary_ms = if tenth_ms > 0 {
        tenth_ms.min(month_ms)
    } else {
        month_ms
    };
    let mut settings = tsdb::db::Options {
        supervisor,
        ..tsdb::db::Options::default()
    };
    settings.head.progress = progress;
    settings.head.chunk_range_ms = min_block.as_millis() as i64;
    settings.head.series_max = options.storage.series_max;
    settings.head.samples_per_chunk =
        options.storage.samples_per_chunk.clamp(1, usize::from(u16::MAX)) as u16;
    settings.head.out_of_order_window_ms = config.storage.tsdb.out_of_order_time_window.as_ms();
    settings.head.exemplars_max = if options.features.exemplar_storage {
        config.storage.exemplars.max_exemplars.max(0) as usize
    } else {
        0
    };
    settings.head.start_timestamps = options.features.start_timestamps;
    settings.head.wal_compression = options.storage.wal_compression.into();
    if options.storage.wal_segment_bytes > 0 {
        settings.head.wal_segment_bytes = options.storage.wal_segment_bytes;
    }
    settings.block_range_max_ms = max_block.map_or(customary_ms, |max| max.as_millis() as i64);
    settings.head.xor2_floats = xor2_floats(config, &options.features)?;
    settings.stale_series_threshold = config.storage.tsdb.stale_series_compaction_threshold;
    settings.retention_ms = retention.time_ms;
    settings.retention_bytes = retention.bytes;
    settings.retention_percent = retention.percent;
    settings.wal_sync_interval = options.storage.wal_sync_interval;
    settings.head_snapshot_interval = options.storage.head_snapshot_interval;
    settings.head.snapshots = !options.storage.head_snapshot_interval.is_zero();
    settings.merge_overlapping = options.storage.merge_overlapping;
    settings.uploads_file = options.storage.uploads_file.clone();
    settings.compaction_interval = options.storage.block_reload_interval;
    settings.lock = options.storage.lock;
    Ok(settings)
}

impl From<WalCompression> for tsdb::wal::Compression {
    fn from(compression: WalCompression) -> Self {
        match compression {
            WalCompression::None => Self::None,
            WalCompression::Snappy => Self::Snappy,
            WalCompression::Zstd => Self::Zstd,
        }
    }
}

/// Runs work on the store off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StorageError::Other(error.to_string())))
}

/// Opens the store as far as its blocks go.
pub(crate) async fn open_blocks(
    path: &Path,
    settings: tsdb::db::Options,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Db>, StoreError> {
    let path = path.to_owned();
    let opened = blocking({
        let path = path.clone();
        move || Db::open_blocks(Arc::new(files::DiskFiles), &path, settings, clock)
    });
    match opened.await {
        Ok(db) => Ok(Arc::new(db)),
        Err(source) => Err(StoreError { path, source }),
    }
}

/// Has a log read by `reading`; gives up when the server is to stop.
pub(crate) async fn read_log(
    reading: impl FnOnce() -> Result<(), StorageError> + Send + 'static,
    progress: &ReplayProgress,
    stop: &CancellationToken,
) -> Result<(), StorageError> {
    let reading = blocking(reading);
    tokio::pin!(reading);
    tokio::select! {
        read = &mut reading => read,
        () = stop.cancelled() => {
            progress.cancel();
            reading.await
        }
    }
}

/// Reads the logs; gives up when the server is to stop.
pub(crate) async fn open_head(
    db: &Arc<Db>,
    progress: &ReplayProgress,
    stop: &CancellationToken,
) -> Result<(), StorageError> {
    let opened = db.clone();
    read_log(move || opened.open_head(), progress, stop).await?;
    let report = db.replay_report();
    tracing::info!(
        series = report.series,
        samples = report.samples,
        snapshot = %report.snapshot,
        took_ms = report.duration.as_millis() as u64,
        "Write-ahead log read"
    );
    Ok(())
}

/// Writes out what is in buffers and gives the folder free.
pub(crate) async fn close(db: &Arc<Db>) -> Result<(), StoreError> {
    let closing = db.clone();
    blocking(move || closing.close())
        .await
        .map_err(|source| StoreError::new(db.dir(), source))
}
