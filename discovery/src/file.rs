//! `file_sd_configs`: targets listed in YAML or JSON files that somebody else writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::labels::LabelsBuilder;
use notify_watch::{RecommendedWatcher, RecursiveMode, Watcher};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use yaml::{Value, YamlError};

use crate::TargetGroup;
use crate::manager::Updates;
use crate::static_groups::StaticConfig;

const DEFAULT_REFRESH_INTERVAL: yaml::Duration = yaml::Duration::from_ms(5 * 60_000);
/// Writers touch a file several times in a row; one look is enough.
const SETTLE: Duration = Duration::from_millis(50);
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Files that could not be read, over all mechanisms.
static READ_ERRORS: AtomicU64 = AtomicU64::new(0);
/// Folders that could not be watched.
static WATCH_ERRORS: AtomicU64 = AtomicU64::new(0);

/// Registers what is counted of files.
pub(crate) fn register_metrics(registry: &metrics::Registry) {
    let read = |count: &'static AtomicU64| move || count.load(Ordering::Relaxed) as f64;
    registry.counter_fn(
        "prometheus_sd_file_read_errors_total",
        "The number of File-SD read errors.",
        read(&READ_ERRORS),
    );
    registry.counter_fn(
        "prometheus_sd_file_watcher_errors_total",
        "The number of File-SD errors caused by filesystem watch failures.",
        read(&WATCH_ERRORS),
    );
}

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

impl FileConfig {
    /// Reads one entry of `file_sd_configs`.
    ///
    /// # Errors
    /// When there is no path, or one that is neither `.json` nor `.yml`.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("file_sd_configs")?;
        let files: Vec<String> = section.get_or("files", Vec::new())?;
        if files.is_empty() {
            return Err(section.error("file service discovery config must contain at least one path name"));
        }
        if let Some(bad) = files.iter().find(|path| !is_valid_path(path)) {
            let message = format!("path name {bad:?} is not valid for file discovery");
            let help = "end it in .json, .yml or .yaml; only the last part may hold a `*`, and only one";
            return Err(section.error_at("files", message).with_help(help));
        }
        let refresh_interval = section.get_or("refresh_interval", DEFAULT_REFRESH_INTERVAL)?;
        section.finish()?;
        Ok(FileConfig {
            files,
            refresh_interval,
        })
    }

    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        for file in &mut self.files {
            if Path::new(file).is_relative() {
                *file = folder.join(&*file).to_string_lossy().into_owned();
            }
        }
    }

    /// Files that the patterns name now, and an error for each pattern that cannot be followed.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files
            .iter()
            .flat_map(|pattern| yaml::glob(pattern).unwrap_or_default())
            .collect()
    }

    /// Folders that are watched: those that the patterns' last parts stand in.
    fn folders(&self) -> BTreeSet<PathBuf> {
        self.files
            .iter()
            .map(|pattern| folder_of(Path::new(pattern)))
            .collect()
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
    let read_error = |error| FileError::Read {
        path: path.to_owned(),
        source: error,
    };
    let bytes = std::fs::metadata(path).map_err(read_error)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    let text = std::fs::read(path).and_then(yaml::text_of).map_err(read_error)?;
    Ok(parse_groups(path, &text)?)
}

/// The groups of a target file; JSON is YAML, so one reader serves both.
///
/// # Errors
/// When the text is not a list of groups.
pub(crate) fn parse_groups(path: &Path, text: &str) -> Result<Vec<TargetGroup>, YamlError> {
    let name = path.to_string_lossy();
    let document = yaml::parse(&name, text)?;
    let mut groups = Vec::new();
    for (index, value) in document.root().sequence()?.into_iter().enumerate() {
        if value.is_null() {
            return Err(value.error("nil target group item found"));
        }
        let mut group = StaticConfig::read(value)?.group(source(path, index));
        let mut labels: LabelsBuilder = group.labels.to_builder();
        group.labels = labels.set("__meta_filepath", &name).build();
        groups.push(group);
    }
    Ok(groups)
}

fn source(path: &Path, index: usize) -> String {
    format!("{}:{index}", path.display())
}

/// Runs until `stop`: reads the files now, at each change, and every `refresh_interval`.
pub(crate) async fn run(config: FileConfig, updates: Updates, stop: CancellationToken) {
    let (changed, mut changes) = mpsc::channel(1);
    let _watcher = watch(&config, changed);
    let mut refresh = tokio::time::interval(config.refresh_interval.as_std().max(Duration::from_millis(1)));
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Number of groups that each file had when it was last read well.
    let mut known: BTreeMap<PathBuf, usize> = BTreeMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = refresh.tick() => {}
            change = changes.recv() => {
                if change.is_none() {
                    // No watcher: from here on only the interval counts.
                    refresh.tick().await;
                } else {
                    tokio::time::sleep(SETTLE).await;
                    while changes.try_recv().is_ok() {}
                }
            }
        }
        let paths = config.paths();
        let read = tokio::task::spawn_blocking(move || {
            paths
                .into_iter()
                .map(|path| (read_groups(&path), path))
                .collect::<Vec<_>>()
        });
        let Ok(files) = read.await else { return };
        updates.send(refresh_known(&mut known, files));
    }
}

/// What has changed: the groups of all readable files, and empty groups for what is gone.
fn refresh_known(
    known: &mut BTreeMap<PathBuf, usize>,
    files: Vec<(Result<Vec<TargetGroup>, FileError>, PathBuf)>,
) -> Vec<TargetGroup> {
    let mut groups = Vec::new();
    let present: BTreeSet<PathBuf> = files.iter().map(|(_, path)| path.clone()).collect();
    for (read, path) in files {
        match read {
            Ok(mut found) => {
                let before = known.insert(path.clone(), found.len()).unwrap_or(0);
                groups.extend((found.len()..before).map(|index| gone(&path, index)));
                groups.append(&mut found);
            }
            // What the file said before stays.
            Err(error) => {
                READ_ERRORS.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "Error reading file");
            }
        }
    }
    let vanished: Vec<PathBuf> = known
        .keys()
        .filter(|path| !present.contains(*path))
        .cloned()
        .collect();
    for path in vanished {
        let count = known.remove(&path).unwrap_or(0);
        groups.extend((0..count).map(|index| gone(&path, index)));
    }
    groups
}

fn gone(path: &Path, index: usize) -> TargetGroup {
    TargetGroup {
        source: source(path, index),
        ..TargetGroup::default()
    }
}

/// Watches the folders, not the files: editors and orchestrators replace files by renaming.
fn watch(config: &FileConfig, changed: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify_watch::Result<notify_watch::Event>| {
        // Reading a file is an event too, and would go round in circles.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full channel means that a look is due anyway.
            let _ = changed.try_send(());
        }
    };
    let mut watcher = notify_watch::recommended_watcher(on_event)
        .inspect_err(|error| tracing::error!(%error, "Error adding file watcher; changes are seen at each refresh only"))
        .ok()?;
    for folder in config.folders() {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            WATCH_ERRORS.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, folder = %folder.display(), "Error adding file watch");
        }
    }
    Some(watcher)
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

    #[test]
    fn json_is_read_like_yaml() {
        let text = r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "x"}}, {"targets": []}]"#;
        let groups = parse_groups(Path::new("t.json"), text).expect("valid");
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].source, "t.json:0");
        assert_eq!(groups[0].targets[1].value("__address__"), "b:2");
        assert_eq!(
            groups[0].labels.to_string(),
            r#"{__meta_filepath="t.json", env="x"}"#
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let error =
            parse_groups(Path::new("t.yml"), "- targets: [a]\n  lables: {x: y}\n").expect_err("misspelt");
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
            let error = parse_groups(Path::new("t.yml"), &text).expect_err("too long");
            assert_eq!(
                error.to_string(),
                format!(
                    "t.yml:{place}: a value of 16777216 bytes is more than a label can hold, which is 16777215 bytes"
                )
            );
        }
    }

    #[test]
    fn vanished_groups_are_taken_back() {
        let mut known = BTreeMap::new();
        let path = PathBuf::from("a.yml");
        let two = parse_groups(&path, "- targets: [a]\n- targets: [b]\n").expect("valid");
        let one = parse_groups(&path, "- targets: [a]\n").expect("valid");
        assert_eq!(refresh_known(&mut known, vec![(Ok(two), path.clone())]).len(), 2);
        let groups = refresh_known(&mut known, vec![(Ok(one), path.clone())]);
        assert_eq!(
            groups[0],
            TargetGroup {
                source: "a.yml:1".into(),
                ..TargetGroup::default()
            }
        );
        let broken = FileError::Read {
            path: path.clone(),
            source: std::io::Error::other("x"),
        };
        assert!(refresh_known(&mut known, vec![(Err(broken), path)]).is_empty());
        let groups = refresh_known(&mut known, Vec::new());
        assert_eq!(
            groups,
            [TargetGroup {
                source: "a.yml:0".into(),
                ..TargetGroup::default()
            }]
        );
    }
}
