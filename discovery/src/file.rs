//! `file_sd_configs`: targets listed in YAML or JSON files that somebody else writes.

mod hub;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::{Counter, Family, Gauge, Summary};
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};
use xxhash_rust::xxh3::xxh3_128;
use yaml::{Section, YamlError};

use crate::mechanism::Discovery;
use crate::metrics::{Metrics, QUANTILES};
use crate::prepare::{Context, PrepareError, Runner, Watch};
use crate::runner::INTERVAL_MIN;
use crate::{TargetGroup, Updates, target_list};

const DEFAULT_REFRESH_INTERVAL: yaml::Duration = yaml::Duration::from_ms(5 * 60_000);
/// Writers touch a file several times in a row; one look is enough.
const SETTLE: Duration = Duration::from_millis(50);
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Readers at the same time. A disk that does not answer holds no more threads than these.
const READERS_MAX: usize = 64;
/// Added to each target.
const PATH_LABEL: &str = "__meta_filepath";

static READERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(READERS_MAX)));

/// Which files, and how often they are read again even when no change was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileConfig {
    /// Paths; the last part may hold one `*`.
    pub files: Vec<String>,
    /// How often the files are read again.
    pub refresh_interval: yaml::Duration,
}

/// Why a file gave no groups.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A pattern that cannot be looked up: what it named before may still be there.
    #[error("{pattern}: {source}")]
    Pattern {
        /// Which pattern.
        pattern: String,
        /// Why not.
        source: yaml::GlobError,
    },
    /// It is a folder, a pipe, a device: reading it may never end.
    #[error("{}: not a regular file", path.display())]
    NotRegular {
        /// What.
        path: PathBuf,
    },
    /// It is longer than any list of targets.
    #[error("{}: {bytes} bytes are too many", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// It is no list of groups.
    #[error(transparent)]
    Content(#[from] YamlError),
}

impl Discovery for FileConfig {
    const KEY: &'static str = "file_sd_configs";
    const NAME: &'static str = "file";
    const HELP: &'static str = "target groups in YAML and JSON files";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let files: Vec<String> = section.get_or("files", Vec::new())?;
        if files.is_empty() {
            return Err(section.error("file service discovery config must contain at least one path name"));
        }
        if let Some(at) = files.iter().position(|path| !is_valid_path(path)) {
            let message = format!("path name {:?} is not valid for file discovery", files[at]);
            let help = "end it in .json, .yml or .yaml; only the last part may hold a `*`, and only one";
            return Err(section.error_at_item("files", at, message).with_help(help));
        }
        Ok(FileConfig {
            files,
            refresh_interval: section.get_or("refresh_interval", DEFAULT_REFRESH_INTERVAL)?,
        })
    }

    fn resolve_paths(&mut self, folder: &Path) {
        for file in &mut self.files {
            if Path::new(file).is_relative() {
                *file = folder.join(&*file).to_string_lossy().into_owned();
            }
        }
    }

    fn register(metrics: &Metrics) {
        FileMetrics::new(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        Ok(Runner::watch(FileWatch {
            config: self.clone(),
            metrics: FileMetrics::new(&context.metrics),
            known: BTreeMap::new(),
        }))
    }
}

impl FileError {
    /// Whether a file may be there, only that it cannot be looked for.
    fn may_hide(&self, path: &Path) -> bool {
        let FileError::Pattern { pattern, .. } = self else {
            return false;
        };
        let (pattern, name) = (Path::new(pattern), path.file_name().unwrap_or_default());
        folder_of(pattern) == folder_of(path) && yaml::glob_name(pattern, &name.to_string_lossy())
    }
}

impl FileConfig {
    /// Files that the patterns name now, and what keeps patterns from being looked up.
    pub fn paths(&self) -> (Vec<PathBuf>, Vec<FileError>) {
        let (mut paths, mut errors) = (Vec::new(), Vec::new());
        for pattern in &self.files {
            match yaml::glob(pattern) {
                Ok(mut found) => paths.append(&mut found),
                Err(source) => errors.push(FileError::Pattern {
                    pattern: pattern.clone(),
                    source,
                }),
            }
        }
        (paths, errors)
    }

    /// Patterns whose names are watched for, by the folders that their last parts stand in.
    fn watched(&self) -> BTreeMap<PathBuf, Vec<PathBuf>> {
        let mut names: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for pattern in self.files.iter().map(PathBuf::from) {
            names.entry(folder_of(&pattern)).or_default().push(pattern);
        }
        names
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn is_valid_path(path: &str) -> bool {
    let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    let Some(stem) = known.iter().find_map(|end| path.strip_suffix(end)) else {
        return false;
    };
    match stem.split_once('*') {
        None => true,
        Some((_, behind)) => !behind.contains(['*', '/']),
    }
}

/// Reads the groups of one file. A broken file gives an error and no groups at all.
///
/// # Errors
/// When the file cannot be read, or is no list of groups.
pub fn read_groups(path: &Path) -> Result<Vec<TargetGroup>, FileError> {
    parse_groups(path, read_bytes(path)?.0)
}

/// The bytes of a regular file, and when it was last changed. Never waits for a writer: opening a pipe that nobody
/// writes to would hold the reader for ever.
fn read_bytes(path: &Path) -> Result<(Vec<u8>, Option<SystemTime>), FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular {
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            bytes: metadata.len(),
        });
    }
    Ok((bytes, metadata.modified().ok()))
}

/// The groups of a target file, by its ending.
fn parse_groups(path: &Path, bytes: Vec<u8>) -> Result<Vec<TargetGroup>, FileError> {
    let name = path.to_string_lossy();
    let is_json = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let document = if is_json {
        yaml::parse_json(&name, &bytes)?
    } else {
        let text = yaml::text_of(bytes).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        yaml::parse(&name, &text)?
    };
    Ok(target_list::read(&document, &name, PATH_LABEL)?)
}

#[derive(Clone, Debug)]
struct FileMetrics {
    read_errors: Counter,
    watcher_errors: Counter,
    scan_seconds: Summary,
    mtime_seconds: Family<Gauge>,
}

impl FileMetrics {
    fn new(metrics: &Metrics) -> Self {
        let registry = metrics.registry();
        FileMetrics {
            read_errors: registry.counter(
                "prometheus_sd_file_read_errors_total",
                "The number of File-SD read errors.",
            ),
            watcher_errors: registry.counter(
                "prometheus_sd_file_watcher_errors_total",
                "The number of File-SD errors caused by filesystem watch failures.",
            ),
            scan_seconds: registry.summary(
                "prometheus_sd_file_scan_duration_seconds",
                "The duration of the File-SD scan in seconds.",
                &QUANTILES,
            ),
            mtime_seconds: registry.gauge_vec(
                "prometheus_sd_file_mtime_seconds",
                "Timestamp (mtime) of files read by FileSD. Timestamp is set at read time.",
                &["filename"],
            ),
        }
    }
}

/// What is known of a file.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Groups that it had when it was last read well.
    groups: usize,
    /// Its bytes then: what has not changed is not parsed again.
    hash: Option<u128>,
}

struct FileWatch {
    config: FileConfig,
    metrics: FileMetrics,
    known: BTreeMap<PathBuf, Known>,
}

impl Watch for FileWatch {
    fn run<'w>(&'w mut self, updates: &'w Updates) -> BoxFuture<'w, ()> {
        self.follow(updates).boxed()
    }
}

/// One file as a look finds it: `None` where it holds the same bytes as before.
struct Look {
    path: PathBuf,
    found: Result<Option<(Vec<TargetGroup>, u128)>, FileError>,
    modified: Option<SystemTime>,
}

impl FileWatch {
    /// Reads the files now, at each change, and every `refresh_interval`.
    async fn follow(&mut self, updates: &Updates) {
        let mut changes = hub::watch(self.config.watched(), &self.metrics.watcher_errors);
        let interval = self.config.refresh_interval.as_std().max(INTERVAL_MIN);
        loop {
            let start = Instant::now();
            let looks = self.look().await;
            self.metrics.scan_seconds.observe(start.elapsed().as_secs_f64());
            match looks {
                Some((looks, errors)) => {
                    updates.send(self.take(looks, &errors, updates));
                    updates.settled();
                }
                None => self.metrics.read_errors.inc(),
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = changes.changed() => {
                    tokio::time::sleep(SETTLE).await;
                    changes.forget();
                }
            }
        }
    }

    /// Reads on a thread of its own, unless too many do: a disk that does not answer holds neither the pool's threads nor the program's end.
    async fn look(&self) -> Option<(Vec<Look>, Vec<FileError>)> {
        let (config, known) = (self.config.clone(), self.known.clone());
        let turn = READERS.clone().acquire_owned().await.ok()?;
        let (give, take) = oneshot::channel();
        let reading = std::thread::Builder::new()
            .name("file-sd".to_owned())
            .spawn(move || {
                let (paths, errors) = config.paths();
                let looks: Vec<Look> = paths.into_iter().map(|path| look_at(path, &known)).collect();
                // Whoever asked may have been stopped.
                let _ = give.send((looks, errors));
                drop(turn);
            });
        match reading {
            // A reader that panicked says nothing, and what was found before stays.
            Ok(_) => take.await.ok(),
            Err(error) => {
                tracing::error!(%error, "Error reading files");
                None
            }
        }
    }

    /// What has changed: the groups of all readable files, and empty groups for what is gone.
    fn take(&mut self, looks: Vec<Look>, errors: &[FileError], updates: &Updates) -> Vec<TargetGroup> {
        let mut groups = Vec::new();
        let present: BTreeSet<PathBuf> = looks.iter().map(|look| look.path.clone()).collect();
        for Look {
            path,
            found,
            modified,
        } in looks
        {
            let name = path.to_string_lossy().into_owned();
            if let Some(modified) = modified {
                let since = modified
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                self.metrics.mtime_seconds.with(&[&name]).set(since.as_secs_f64());
            }
            match found {
                Ok(None) => {}
                Ok(Some((mut new, hash))) => {
                    let known = self.known.entry(path).or_default();
                    groups.extend((new.len()..known.groups).map(|index| gone(&name, index)));
                    known.groups = new.len();
                    known.hash = Some(hash);
                    groups.append(&mut new);
                }
                // What the file said before stays.
                Err(error) => {
                    self.metrics.read_errors.inc();
                    tracing::error!(%error, config = &*updates.job, "Error reading file");
                }
            }
        }
        for error in errors {
            self.metrics.read_errors.inc();
            tracing::error!(%error, config = &*updates.job, "Error looking for files; those found before stay");
        }
        let metrics = &self.metrics;
        self.known.retain(|path, known| {
            let stays = present.contains(path) || errors.iter().any(|error| error.may_hide(path));
            if !stays {
                let name = path.to_string_lossy();
                groups.extend((0..known.groups).map(|index| gone(&name, index)));
                metrics.mtime_seconds.remove(&[&name]);
            }
            stays
        });
        groups
    }
}

fn look_at(path: PathBuf, known: &BTreeMap<PathBuf, Known>) -> Look {
    match read_bytes(&path) {
        Err(error) => Look {
            path,
            found: Err(error),
            modified: None,
        },
        Ok((bytes, modified)) => {
            let hash = xxh3_128(&bytes);
            let is_same = known.get(&path).is_some_and(|known| known.hash == Some(hash));
            let found = if is_same {
                Ok(None)
            } else {
                parse_groups(&path, bytes).map(|groups| Some((groups, hash)))
            };
            Look {
                path,
                found,
                modified,
            }
        }
    }
}

fn gone(path: &str, index: usize) -> TargetGroup {
    TargetGroup {
        source: target_list::source(path, index),
        ..TargetGroup::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_may_hold_one_star_in_the_last_part() {
        for good in ["a.json", "x/a.yml", "x/*.yaml", "/x/tgt-*.json", "*.YML"] {
            assert!(is_valid_path(good), "{good}");
        }
        for bad in ["a.txt", "x/*/a.yml", "**.yml", "a", "", "a.yml.bak", "*a*.json"] {
            assert!(!is_valid_path(bad), "{bad}");
        }
    }

    fn parse(path: &str, text: &str) -> Result<Vec<TargetGroup>, FileError> {
        parse_groups(Path::new(path), text.into())
    }

    #[test]
    fn groups_carry_their_path() {
        let text = r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "x", "gone": null}}, {"targets": []}]"#;
        let groups = parse("t.json", text).expect("valid");
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].source, "t.json:0");
        assert_eq!(groups[0].targets[1].value("__address__"), "b:2");
        assert_eq!(
            groups[0].labels.to_string(),
            r#"{__meta_filepath="t.json", env="x"}"#
        );
    }

    #[test]
    fn json_is_not_yaml() {
        for bad in [
            "",
            "\n",
            "- targets: [a]",
            r#"[{"targets":["a",]}]"#,
            r#"[{"labels":{"a":1}}]"#,
            "[null]",
        ] {
            parse("t.json", bad).expect_err(bad);
        }
        assert!(parse("t.json", "null").expect("an empty list").is_empty());
        assert!(parse("t.yml", "").expect("an empty list").is_empty());
        let groups = parse("t.JSON", r#"[{"Targets":["a:1"],"Labels":{"a":"b","a":"c"}}]"#).expect("valid");
        assert_eq!(groups[0].targets[0].value("__address__"), "a:1");
        assert_eq!(groups[0].labels.value("a"), "c");
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let error = parse("t.yml", "- targets: [a]\n  lables: {x: y}\n").expect_err("misspelt");
        assert_eq!(
            error.to_string(),
            "t.yml:2:3: field lables not found in a target group (did you mean `labels`?)"
        );
    }

    #[test]
    fn labels_that_cannot_be_stored_are_refused() {
        let long = "x".repeat(1 << 24);
        for (text, place) in [
            (
                format!("- targets: [a]\n  labels:\n    k: {long}\n"),
                "3:5: label \"k\"",
            ),
            (format!("- targets: [{long}]\n"), "1:12: label \"__address__\""),
        ] {
            let error = parse("t.yml", &text).expect_err("too long");
            assert_eq!(
                error.to_string(),
                format!(
                    "t.yml:{place}: a value of 16777216 bytes is more than a label can hold, which is 16777215 bytes"
                )
            );
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let pipe = folder.path().join("pipe.json");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .expect("pipe");
        let sub = folder.path().join("folder.yml");
        std::fs::create_dir(&sub).expect("folder");
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink(&pipe, &link).expect("link");
        for path in [&pipe, &sub, &link] {
            let error = read_groups(path).expect_err("not regular");
            assert!(matches!(error, FileError::NotRegular { .. }), "{error}");
        }
    }
}
